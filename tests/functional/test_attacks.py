"""Attacks over HTTP and in the database, each of which worked once."""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import time_machine
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session
from werkzeug.http import parse_options_header

from tests import files as samples
from tests.exhibited import Exhibited
from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import NO_HARM, Record
from tracker import media
from tracker.config import Config
from tracker.errors import Invalid, NotFound, TooMany
from tracker.models import Account, CustodyLine, EvidenceReader, Exhibit, HarmCheck, PublicCopy
from tracker.services import audit, comments, consents, copies, erasure, exhibits, harm
from tracker.services import evidence as pieces
from tracker.services.harm import Harm
from tracker.views import copies as view
from tracker.vocabulary import ConsentScope, CustodyAction, FileKind, Role, State, Visibility

As = Callable[[Account], Client]
PACK = "/reports/lower-valley/88-a/pack.zip"


@pytest.fixture(autouse=True)
def today(now: dt.datetime) -> Iterator[None]:
    with time_machine.travel(now, tick=True):
        yield


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


@pytest.fixture
def held(record: Record, config: Config) -> Exhibited:
    return Exhibited(record, config)


# Oracles.


def test_an_upload_is_watched_by_its_whole_name_only(
    record: Record, as_somebody: As, make: Factory, config: Config
) -> None:
    """Whoever could ask by a beginning would learn who uploads how much, also to what is hidden from them."""
    piece = record.submitted(record.first)
    config.incoming_path.mkdir(exist_ok=True)
    (config.incoming_path / "a1b2c3d4e5f60718000000012345").write_bytes(b"x" * 99)
    watcher = as_somebody(make.account(Role.MONITOR))
    nothing = watcher.get(f"/workspace/evidence/{piece.key}/exhibits/progress/0000000000000000").text
    for guess in ("a", "a1b2", "a1b2c3d4e5f6071", "a1b2c3d4e5f607180", "a1b2c3d4e5f60718000000012345"):
        shown = watcher.get(f"/workspace/evidence/{piece.key}/exhibits/progress/{guess}").text
        assert shown == nothing, guess
    mine = watcher.get(f"/workspace/evidence/{piece.key}/exhibits/progress/a1b2c3d4e5f60718").text
    assert mine != nothing


def test_the_public_pack_does_not_tell_that_the_team_works_on_what_is_public(
    held: Exhibited, client: Client
) -> None:
    piece, exhibit, _ = held.published(samples.jpeg(), b"\xff\xd8\xff public copy")
    first = client.http.get(PACK)
    held.attach(piece, b"a file that nobody hears of")
    held.copy(exhibit, b"\xff\xd8\xff a copy that waits")
    again = client.http.get(PACK, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304


# Somebody who can write to the database.


def test_what_the_database_alone_says_is_released_is_not_served(
    held: Exhibited, client: Client, session: Session
) -> None:
    """The original's hash written into a released copy, or a copy released, past the ledger."""
    piece, exhibit, copy = held.published(samples.jpeg(), b"\xff\xd8\xff public copy")
    waiting = held.copy(exhibit, b"\xff\xd8\xff never released")
    address = f"/evidence/{piece.number}/files/"
    assert client.http.get(address + copy.key).status_code == 200
    now = held.record.now
    session.execute(
        update(PublicCopy)
        .where(PublicCopy.id == waiting.id)
        .values(released_at=now, released_by_id=held.record.rafa.id)
    )
    session.commit()
    assert client.http.get(address + waiting.key).status_code == 404
    session.execute(
        update(PublicCopy).where(PublicCopy.id == copy.id).values(sha256=exhibit.sha256, size=exhibit.size)
    )
    session.commit()
    assert client.http.get(address + copy.key).status_code == 404
    shown = client.http.get(f"/evidence/{piece.number}").get_data(as_text=True)
    assert copy.key not in shown
    assert waiting.key not in shown


def test_calling_restricted_evidence_public_does_not_open_it(
    record: Record, session: Session, client: Client, as_somebody: As, make: Factory
) -> None:
    piece = record.submitted(record.first, title="SECRET title", visibility=Visibility.RESTRICTED)
    other = record.evidence(record.first)
    session.execute(
        text(
            "UPDATE evidence SET visibility = 'public', state = 'accepted', number = 77, ledger_seq = :seq WHERE id = :id"
        ),
        {"seq": other.ledger_seq, "id": piece.id},
    )
    session.commit()
    assert client.http.get("/evidence/77").status_code == 404
    assert "evidence/77" in " ".join(audit.problems(session))
    session.rollback()
    colleague = as_somebody(make.account(Role.MONITOR))
    colleague.get(f"/workspace/evidence/{piece.key}", 404)
    assert "SECRET" in as_somebody(record.mona).get(f"/workspace/evidence/{piece.key}").text


# Publishing without what publishing needs.


def test_a_copy_is_not_released_when_the_consent_has_ended(record: Record, held: Exhibited) -> None:
    """It ran out at midnight, and the clock has not come by yet."""
    piece = record.submitted(record.first, from_person=True)
    exhibit = held.attach(piece, samples.jpeg())
    fields = consents.Fields(
        ConsentScope.PUBLISH, dt.date(2026, 1, 1), language="en",
        expires_on=(record.now + dt.timedelta(days=4)).date(),
    )  # fmt: skip
    consents.record(record.session, piece, fields, author=record.mona, now=record.tick())
    held.publish(piece)
    copy = held.copy(exhibit, b"\xff\xd8\xff later")
    late = record.now + dt.timedelta(days=5)
    harmless, seen = Harm(NO_HARM), str(copy.sha256)
    with pytest.raises(Invalid, match="agrees"):
        copies.release(record.session, copy, reviewer=record.rafa, seen=seen, harm=harmless, now=late)
    record.session.rollback()
    assert copies.release(
        record.session, copy, reviewer=record.rafa, seen=seen, harm=harmless, now=record.now
    )


def test_a_copy_made_later_is_not_published_without_the_questions_about_harm(
    record: Record, held: Exhibited, as_somebody: As, client: Client, session: Session
) -> None:
    piece, exhibit, _ = held.published(samples.jpeg(), b"\xff\xd8\xff public copy")
    copy = held.copy(exhibit, b"\xff\xd8\xff later", description="Call +998 90 123 45 67 and ask.")
    rafa, public = as_somebody(record.rafa), f"/evidence/{piece.number}/files/{copy.key}"
    address = f"/workspace/copies/{copy.key}/release"
    assert "+998 90 123 45 67" in rafa.get(address).text
    rafa.send(address, {}, status=422)
    rafa.send(address, NO_HARM, status=422)  # The warning was not looked at.
    rafa.send(address, {**NO_HARM, "looked": "0" * 32}, status=422)
    rafa.send(address, {**NO_HARM, "person": "unsure"}, status=422)
    client.get(public, 404)
    session.rollback()
    looked = harm.fingerprint(harm.warnings(session, piece, keys=None))
    session.rollback()
    rafa.send(address, {**NO_HARM, "looked": looked})
    assert client.http.get(public).status_code == 200
    session.rollback()
    assert len(session.scalars(select(HarmCheck)).all()) == 2


# Erasing while somebody looks.


def test_whoever_looked_while_it_was_erased_leaves_no_hash_behind(
    record: Record, held: Exhibited, session: Session
) -> None:
    piece = record.submitted(record.first)
    exhibit = held.attach(piece, b"erased")
    sha256 = hashlib.sha256(b"erased").hexdigest()
    asked = erasure.request(session, piece, reason="Asked.", account=record.mona, now=record.tick())
    session.commit()
    seen = Exhibit(id=exhibit.id, sha256=sha256)  # As the other request still holds it.
    erasure.confirm(session, asked, account=record.rafa, now=record.tick())
    session.commit()
    with pytest.raises(NotFound):
        exhibits.log_look(session, seen, CustodyAction.DOWNLOADED, account=record.mona, now=record.tick())
    session.rollback()
    assert sha256 not in set(session.scalars(select(CustodyLine.sha256)))


# One person alone.


def test_an_author_does_not_destroy_what_a_colleague_attached(
    record: Record, held: Exhibited, as_somebody: As, make: Factory, session: Session
) -> None:
    """A returned piece is its author's to discard, and would take the file, its custody log and consents with it."""
    piece = record.submitted(record.first)
    held.attach(piece, b"of a colleague", account=make.account(Role.MONITOR))
    pieces.send_back(session, piece, reviewer=record.rafa, reason="Say more.", now=record.tick())
    session.commit()
    mona = as_somebody(record.mona)
    form = next(
        form for form in mona.get(f"/workspace/evidence/{piece.key}").forms if "discard" in form["action"]
    )
    mona.post(form["action"], dict(form["fields"]), 409)
    session.rollback()
    assert session.scalars(select(CustodyLine)).one().action is CustodyAction.UPLOADED


def test_the_bytes_of_what_is_discarded_go_at_once(
    record: Record, held: Exhibited, as_somebody: As, session: Session
) -> None:
    """They would lie there for a week, and count for nobody: one person could fill the disk past any limit."""
    piece = record.submitted(record.first, state=State.DRAFT)
    exhibit = held.attach(piece, samples.jpeg())
    made = held.copy(exhibit, b"\xff\xd8\xff a copy")
    shared = held.attach(record.submitted(record.second), b"the same file")
    held.attach(piece, b"the same file")
    mona = as_somebody(record.mona)
    page = mona.get(f"/workspace/exhibits/{exhibit.key}")
    token = dict(page.forms[-1]["fields"])["form_token"]
    mona.post(f"/workspace/copies/{made.key}/discard", {"form_token": token})
    assert not held.path_of(made.sha256).exists()
    form = next(
        form for form in mona.get(f"/workspace/evidence/{piece.key}").forms if "discard" in form["action"]
    )
    mona.post(form["action"], dict(form["fields"]))
    assert not held.path_of(exhibit.sha256).exists()
    assert held.path_of(shared.sha256).exists()


# A colleague who was not named.


def test_what_was_said_while_a_piece_was_restricted_stays_among_those_who_were_named(
    record: Record, as_somebody: As, session: Session, make: Factory
) -> None:
    piece = record.submitted(record.first, visibility=Visibility.RESTRICTED)
    session.add(EvidenceReader(evidence_id=piece.id, account_id=record.rafa.id))
    session.commit()
    session.refresh(piece)
    comments.add(session, piece, "SECRET is her name.", author=record.rafa, now=record.tick())
    pieces.send_back(session, piece, reviewer=record.rafa, reason="Take SECRET out.", now=record.tick())
    fields = pieces.Fields(
        title="Open words", summary="Open words.", visibility=Visibility.TEAM, occurred_on=piece.occurred_on,
        publisher="The court", source_type=piece.source_type, reliability=piece.reliability,
        credibility=piece.credibility,
        bearings=[pieces.Bears(record.first.id, None, piece.bearings[0].direction)],
    )  # fmt: skip
    pieces.edit(session, piece, fields, author=record.mona, version=piece.version, now=record.tick())
    pieces.submit(session, piece, author=record.mona, now=record.tick())
    comments.add(session, piece, "Better now.", author=record.rafa, now=record.tick())
    session.commit()
    colleague = as_somebody(make.account(Role.MONITOR))
    for address in ("", "/history"):
        shown = colleague.get(f"/workspace/evidence/{piece.key}{address}").text
        assert "SECRET" not in shown
    assert "Better now." in colleague.get(f"/workspace/evidence/{piece.key}").text
    assert "SECRET" in as_somebody(record.mona).get(f"/workspace/evidence/{piece.key}").text


# Headers.


@pytest.mark.parametrize("name", ["گۇۋاھ 🎈.jpg", "证据.jpg", "Zeugnis über.jpg", "a\";b'c.jpg"])
def test_a_file_of_any_name_is_downloaded_under_its_name(
    record: Record, held: Exhibited, as_somebody: As, name: str
) -> None:
    """A header that no server can send would lose the original to everybody."""
    exhibit = held.attach(record.submitted(record.first), samples.jpeg(), name=name)
    response = as_somebody(record.mona).http.get(f"/workspace/exhibits/{exhibit.key}/original")
    assert response.headers["Content-Disposition"].isascii()
    kind, options = parse_options_header(response.headers["Content-Disposition"])
    assert (kind, options["filename"]) == ("attachment", name)


# Much work for little.


def test_asking_for_a_large_file_again_and_again_reads_it_once(
    held: Exhibited, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A HEAD costs the public nothing; it must not make the store read 200 MB each time."""
    piece, _, copy = held.published(samples.jpeg(), b"\xff\xd8\xff" + bytes(9 * 2**20))
    small = held.published(samples.jpeg(), b"\xff\xd8\xff small")
    read: list[str] = []
    monkeypatch.setattr(view, "_found_whole", {})
    store = client.app.extensions["store"]
    check = store.check
    monkeypatch.setattr(store, "check", lambda sha256: read.append(sha256) or check(sha256))
    for _ in range(3):
        for found, shown in ((piece, copy), (small[0], small[2])):
            assert client.http.head(f"/evidence/{found.number}/files/{shown.key}").status_code == 200
    assert read.count(str(copy.sha256)) == 1
    assert read.count(str(small[2].sha256)) == 3


def test_while_files_are_read_and_one_waits_the_next_is_sent_away_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four threads answer everybody: somebody with four tabs must not hold all of them for minutes."""
    monkeypatch.setattr(media, "_SHORT_SECONDS", 0.05)
    path = tmp_path / "photo.jpg"
    path.write_bytes(samples.jpeg())
    got: list[object] = []
    waiting = threading.Thread(target=lambda: got.append(media.examine(path, "photo.jpg")))
    with media._AT_ONCE, media._AT_ONCE:
        waiting.start()
        while media._WAITING._value:
            time.sleep(0.01)
        started = time.monotonic()
        with pytest.raises(TooMany):
            media.examine(path, "photo.jpg")
        assert time.monotonic() - started < 1
    waiting.join(60)
    assert len(got) == 1
    assert media.examine(path, "photo.jpg").kind is FileKind.JPEG
