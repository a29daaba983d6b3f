"""Two people erase a piece of evidence, and no word of it is left anywhere: not in pages, tables, files, nor mails."""

from __future__ import annotations

import datetime as dt
import json
import quopri
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import inspect, select, text
from sqlalchemy.orm import Session

from tests import files
from tests.factories import Factory
from tests.functional.conftest import Client
from tests.functional.test_exhibits import attach, make_copy
from tests.mail import follower, read
from tests.published import NO_HARM, Record
from tracker import db, dispatch, verifier
from tracker.config import Config
from tracker.errors import NotAllowed
from tracker.keyring import Keyring
from tracker.models import (
    Account,
    Blob,
    Capture,
    Erasure,
    Evidence,
    EvidenceDetail,
    EvidenceReader,
    Exhibit,
    LedgerContent,
    LedgerEntry,
    Piece,
    RecordKey,
)
from tracker.models.sealing import SealBroken
from tracker.services import activity, audit, comments, consents, erasure, evidence, exhibits, ledger, sources
from tracker.services.harm import Harm, fingerprint, warnings
from tracker.storage import open_store
from tracker.vocabulary import (
    ConsentScope,
    CustodyAction,
    Detail,
    EntryKind,
    Grade,
    Need,
    Role,
    State,
    Visibility,
)

As = Callable[[Account], Client]
MARK = "CANARY"
REASON = "Somebody asked us to."


class Marks:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return f"{MARK}{self.count:03}"


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def full(record: Record, config: Config, visibility: Visibility, as_somebody: As, keys: Keyring) -> Evidence:
    """A piece with everything that can hang on it, each text with a mark of its own, accepted and cited."""
    session, mark = record.session, Marks()
    words = {name: mark() for name in ("title", "summary", "publisher", "place", "remark", "team_note")}
    piece = record.submitted(
        record.first, record.first.clauses[0], visibility=visibility, state=State.DRAFT, **words
    )
    if visibility is Visibility.RESTRICTED:
        session.add(EvidenceReader(evidence_id=piece.id, account_id=record.rafa.id))
        session.commit()
        session.refresh(piece)
    fields = evidence.Fields(
        **words,
        occurred_on=piece.occurred_on,
        source_type=piece.source_type,
        language=mark(),
        reliability=piece.reliability,
        credibility=piece.credibility,
        visibility=visibility,
        links=[f"https://arvenia.example/{mark()}"],
        bearings=[evidence.Bears(record.first.id, record.first.clauses[0].id, piece.bearings[0].direction)],
        details={detail: (mark(), Visibility.RESTRICTED) for detail in Detail},
        reader_ids=[record.rafa.id],
    )
    evidence.edit(session, piece, fields, author=record.mona, version=piece.version, now=record.tick())
    evidence.submit(session, piece, author=record.mona, now=record.tick())
    session.commit()
    evidence.send_back(
        session, piece, reviewer=record.rafa, reason=mark(), needs=[Need.WORDING], now=record.tick()
    )
    evidence.edit(session, piece, fields, author=record.mona, version=piece.version, now=record.tick())
    evidence.submit(session, piece, author=record.mona, now=record.tick())
    session.commit()

    monitor = as_somebody(record.mona)
    attach(monitor, piece, files.jpeg(), f"{mark()}.jpg")
    attach(monitor, piece, f"{mark()} in a text.".encode(), f"{mark()}.txt")
    picture = session.scalars(select(Exhibit).order_by(Exhibit.id)).first()
    assert picture is not None
    session.rollback()
    make_copy(monitor, picture, description=mark())
    again(session)
    comments.add(session, piece, mark(), author=record.rafa, now=record.tick())
    source = sources.create(session, author=record.mona, now=record.tick())
    sources.link(session, piece, source, account=record.mona, now=record.tick())
    consents.record(
        session,
        piece,
        consents.Fields(
            scope=ConsentScope.PUBLISH,
            given_on=record.now.date(),
            language=mark(),
            note=mark(),
            source_id=source.id,
        ),
        author=record.mona,
        now=record.tick(),
    )
    session.add(
        Capture(
            evidence_id=piece.id,
            url=f"https://arvenia.example/{mark()}",
            requested_by_id=record.mona.id,
            requested_at=record.now,
            run_after=record.now,
            error=mark(),
        )
    )
    activity.record(session, record.mona, "note", evidence.subject(piece), now=record.now, reason=mark())
    session.commit()
    session.expire_all()
    found = warnings(session, piece, keys=keys)
    harmless = Harm(NO_HARM, remark=mark(), looked=fingerprint(found))
    evidence.accept(session, piece, reviewer=record.rafa, harm=harmless, now=record.tick())
    session.commit()
    if visibility is Visibility.PUBLIC:
        record.finding(record.first, record.first.clauses[0], Grade.C, piece)
    assert mark.count > 20
    return piece


def erase(piece: Evidence, record: Record, as_somebody: As, make: Factory) -> None:
    """As people do it: Mona asks, Rafa confirms."""
    address = f"/workspace/evidence/{piece.key}"
    monitor, reviewer = as_somebody(record.mona), as_somebody(record.rafa)
    record.session.rollback()  # Whoever reads keeps the log of SQLite from being emptied.
    monitor.send(address, {"reason": REASON}, form=form_at(monitor, address, "/erasure"))
    reviewer.send(address, {"sure": "1"}, form=form_at(reviewer, address, "/erasure/confirmation"))


def form_at(client: Client, address: str, ending: str) -> int:
    forms = client.get(address).forms
    return next(place for place, form in enumerate(forms) if (form["action"] or "").endswith(ending))


def everything_on_disk(config: Config, session: Session) -> bytes:
    """Every byte of the data folder, and what PostgreSQL would give to somebody who dumps it."""
    session.rollback()
    told = b"".join(
        path.read_bytes()
        for path in Path(config.data_dir).parent.rglob("*")
        if path.is_file() and "keys" not in path.parts
    )
    for table in inspect(session.connection()).get_table_names():
        told += str(session.execute(text(f'SELECT * FROM "{table}"')).all()).encode()
    session.rollback()
    return told


def again(session: Session) -> None:
    session.rollback()
    session.expire_all()


@pytest.mark.parametrize("visibility", list(Visibility))
def test_no_word_of_it_is_left_and_the_ledger_verifies(
    visibility: Visibility,
    record: Record,
    config: Config,
    session: Session,
    make: Factory,
    keys: Keyring,
    app: Flask,
    client: Client,
    as_somebody: As,
    run: Callable[..., Result],
    tmp_path: Path,
) -> None:
    piece = full(record, config, visibility, as_somebody, keys)
    number, key = piece.number, piece.key
    original = session.scalars(select(Exhibit.sha256).order_by(Exhibit.id)).first()
    assert original
    whole = everything_on_disk(config, session)
    assert MARK.encode() in whole
    assert original.encode() in whole
    etags = {}
    if number:
        for address in (
            f"/evidence/{number}",
            "/changes.json",
            "/changes.atom",
            "/reports/lower-valley/88-a",
        ):
            answer = client.http.get(address)
            assert MARK in answer.get_data(as_text=True), address
            etags[address] = answer.headers["ETag"]
        run("ledger", "export", str(tmp_path / "before.jsonl"))
        (tmp_path / "before.jsonl").unlink()

    erase(piece, record, as_somebody, make)

    again(session)
    told = everything_on_disk(config, session)
    places = {told[max(0, start - 60) : start + 20] for start in positions(told, MARK.encode())}
    assert not places
    assert original.encode() not in told
    assert (piece.state, piece.title, piece.occurred_on) == (State.ERASED, "", None)
    assert session.scalars(select(RecordKey.wrapped)).all() == [None]
    assert list(open_store(config).names()) == []
    assert session.scalars(select(Blob)).all() == []
    for exhibit in session.scalars(select(Exhibit)):
        assert (exhibit.sha256, exhibit.name, exhibit.size) == (None, "", 0)
        log = [line.action for line in exhibit.custody]
        assert log[0] is CustodyAction.UPLOADED
        assert log[-1] is CustodyAction.ERASED
        assert {line.sha256 for line in exhibit.custody} == {""}

    again(session)
    assert run("ledger", "verify").output == "The ledger is whole.\n"
    run("ledger", "export", str(tmp_path / "ledger.jsonl"))
    assert MARK not in (tmp_path / "ledger.jsonl").read_text()
    assert list(verifier.check(verifier.read(str(tmp_path / "ledger.jsonl")))) == []
    assert list(audit.problems(session)) == []

    for address, etag in etags.items():
        answer = client.http.get(address, headers={"If-None-Match": etag})
        assert answer.status_code == 200, address
        assert MARK not in answer.get_data(as_text=True), address
    if number:
        page = client.get(f"/evidence/{number}").text
        assert "This piece of evidence was erased" in page
        assert REASON in page
        assert "Mona" not in page
    staff = as_somebody(record.rafa)
    page = staff.get(f"/workspace/evidence/{key}").text
    assert "This piece of evidence was erased" in page
    for address in ("/workspace", "/review", "/changes", "/", "/reports/lower-valley"):
        assert MARK not in staff.get(address).text
    staff.get(f"/workspace/evidence/{key}/edit", 403)
    again(session)


def positions(where: bytes, what: bytes) -> list[int]:
    found, start = [], where.find(what)
    while start >= 0:
        found.append(start)
        start = where.find(what, start + 1)
    return found


def test_a_mail_that_waits_is_sent_without_its_words(
    record: Record,
    config: Config,
    session: Session,
    keys: Keyring,
    app: Flask,
    as_somebody: As,
    make: Factory,
) -> None:
    piece = record.evidence(record.second, title=f"{MARK} in a mail")
    reader = follower(session, keys, config, record.now)
    reader.seen_seq = 0
    session.commit()
    moment = reader.next_due_at
    assert moment is not None
    again(session)
    dispatch.compose_due(app, moment)
    again(session)
    told = {piece.sha256: piece.text for piece in session.scalars(select(Piece))}
    [hashed] = [name for name, text in told.items() if MARK.encode() in quopri.decodestring(text)]

    erase(piece, record, as_somebody, make)

    again(session)
    # The words have left the digest, and so has what would tell whoever guesses them that they were these.
    for part in session.scalars(select(Piece)):
        assert MARK.encode() not in quopri.decodestring(part.text) + quopri.decodestring(part.html)
        assert part.sha256 != hashed
    session.rollback()
    dispatch.send_due(app, moment)
    [mail] = config.outbox_path.glob("*.eml")
    message = read(mail.read_bytes())
    assert MARK not in message.as_string()
    body = message.get_body(("plain",))
    assert body is not None
    assert "removed to protect" in body.get_content() or "Report entered" in body.get_content()


def test_one_person_is_not_enough(record: Record, session: Session, make: Factory, as_somebody: As) -> None:
    piece = record.evidence(record.first)
    address = f"/workspace/evidence/{piece.key}"
    session.rollback()
    reviewer = as_somebody(record.rafa)
    reviewer.send(address, {"reason": ""}, form=form_at(reviewer, address, "/erasure"), status=422)
    reviewer.send(address, {"reason": REASON}, form=form_at(reviewer, address, "/erasure"))
    assert not any((form["action"] or "").endswith("/confirmation") for form in reviewer.get(address).forms)
    token = dict(reviewer.get(address).forms[0]["fields"])["form_token"]
    refused = reviewer.post(f"{address}/erasure/confirmation", {"form_token": token, "sure": "1"}, status=403)
    assert "yourself" in refused.get_data(as_text=True)
    reviewer.post(f"{address}/erasure", {"form_token": token, "reason": "Again."}, status=409)
    monitor = as_somebody(record.mona)
    token = dict(monitor.get(address).forms[0]["fields"])["form_token"]
    monitor.post(f"{address}/erasure/confirmation", {"form_token": token, "sure": "1"}, status=403)
    monitor.post(f"{address}/erasure/refusal", {"form_token": token}, status=403)
    again(session)
    assert piece.state is State.ACCEPTED
    assert session.scalars(select(Erasure)).one().done_at is None
    session.rollback()

    other = as_somebody(make.account(Role.REVIEWER))
    # Not by a slip of the mouse.
    other.send(address, {}, form=form_at(other, address, "/erasure/confirmation"), status=422)
    other.send(address, {}, form=form_at(other, address, "/erasure/refusal"))
    again(session)
    assert piece.state is State.ACCEPTED
    other.post(f"{address}/erasure/confirmation", {"form_token": dict(other.get(address).forms[0]["fields"])["form_token"], "sure": "1"}, status=404)  # fmt: skip


def test_who_may_not_see_it_can_neither_ask_nor_confirm(
    record: Record, session: Session, make: Factory, as_somebody: As
) -> None:
    piece = record.evidence(record.first, visibility=Visibility.RESTRICTED)
    session.commit()
    for account in (record.rafa, make.account(Role.MONITOR)):
        stranger = as_somebody(account)
        token = dict(stranger.get("/workspace/evidence/new").forms[0]["fields"])["form_token"]
        for act in ("erasure", "erasure/refusal", "erasure/confirmation"):
            code = 404 if account is record.rafa or act != "erasure/confirmation" else 403
            stranger.post(
                f"/workspace/evidence/{piece.key}/{act}",
                {"form_token": token, "reason": REASON, "sure": "1"},
                status=code,
            )
    asked = erasure.request(session, piece, reason=REASON, account=record.mona, now=record.tick())
    session.commit()
    with pytest.raises(NotAllowed):
        erasure.confirm(session, asked, account=record.rafa, now=record.tick())
    session.rollback()


def test_a_file_that_another_piece_holds_too_stays(
    record: Record, config: Config, session: Session, as_somebody: As, make: Factory
) -> None:
    first, second = record.submitted(record.first), record.submitted(record.second)
    session.rollback()
    monitor = as_somebody(record.mona)
    for piece in (first, second):
        attach(monitor, piece, files.jpeg(), "same.jpg")
    again(session)
    erase(first, record, as_somebody, make)
    again(session)
    [kept] = session.scalars(select(Exhibit).where(Exhibit.sha256.is_not(None))).all()
    assert kept.evidence_id == second.id
    assert [name for name, _ in open_store(config).names()] == [kept.sha256]


def test_nothing_new_is_written_to_what_was_erased(
    record: Record, session: Session, as_somebody: As, make: Factory, config: Config
) -> None:
    piece = record.evidence(record.first)
    session.rollback()
    erase(piece, record, as_somebody, make)
    again(session)
    piece.details.append(EvidenceDetail(detail=Detail.NAMES, visibility=Visibility.TEAM, value="Late"))
    with pytest.raises(SealBroken):
        session.flush()
    session.rollback()
    with pytest.raises(NotAllowed):
        exhibits.check_allowed(piece, account=record.mona)


def test_what_is_returned_after_somebody_asked_can_be_discarded(
    record: Record, session: Session, as_somebody: As
) -> None:
    piece = record.submitted(record.first)
    erasure.request(session, piece, reason=REASON, account=record.mona, now=record.tick())
    evidence.send_back(
        session, piece, reviewer=record.rafa, reason="Where?", needs=[Need.DATE], now=record.tick()
    )
    session.commit()
    address, monitor = f"/workspace/evidence/{piece.key}", as_somebody(record.mona)
    session.rollback()
    monitor.send(address, {}, form=form_at(monitor, address, "/discard"))
    assert session.scalars(select(Evidence)).all() == []
    assert session.scalars(select(Erasure)).all() == []


def test_words_that_vanish_without_an_erasure_are_tampering(record: Record, session: Session) -> None:
    piece = record.evidence(record.first)
    seq = piece.ledger_seq
    session.execute(text("DELETE FROM ledger_content WHERE seq = :seq"), {"seq": seq})
    session.commit()
    session.expire_all()
    assert list(audit.problems(session)) == [
        f"Entry {seq} has lost its words, and no entry says that evidence/{piece.number} was erased."
    ]


def test_words_that_come_back_after_an_erasure_are_noticed(
    record: Record, session: Session, as_somebody: As, make: Factory
) -> None:
    piece = record.evidence(record.first)
    entry = session.get_one(LedgerContent, piece.ledger_seq)
    kept = {"seq": entry.seq, "salt": entry.salt, "content": entry.content}
    session.rollback()
    erase(piece, record, as_somebody, make)
    again(session)
    session.execute(text("INSERT INTO ledger_content VALUES (:seq, :salt, :content)"), kept)
    session.commit()
    [problem] = audit.problems(session)
    assert "still has its words" in problem


def test_what_was_withdrawn_before_is_erased_with_its_reason(
    record: Record, session: Session, as_somebody: As, make: Factory, client: Client
) -> None:
    piece = record.evidence(record.first)
    record.withdraw(piece, f"{MARK}: the source was wrong.")
    assert MARK in client.get(f"/evidence/{piece.number}").text
    session.rollback()
    erase(piece, record, as_somebody, make)
    assert MARK not in client.get(f"/evidence/{piece.number}").text
    again(session)
    entries = session.scalars(
        select(LedgerEntry).where(LedgerEntry.subject == f"evidence/{piece.number}")
    ).all()
    assert [entry.kind for entry in entries] == [
        EntryKind.EVIDENCE_PUBLISHED, EntryKind.EVIDENCE_WITHDRAWN, EntryKind.EVIDENCE_ERASED,
    ]  # fmt: skip
    assert json.loads(session.scalars(select(LedgerContent.content).where(LedgerContent.seq == entries[-1].seq)).one()) == {"reason": REASON}  # fmt: skip
    assert list(audit.problems(session)) == []
    assert ledger.content_of(entries[0]) is None


def test_of_two_who_confirm_at_once_one_does_it(
    record: Record, session: Session, make: Factory, config: Config, keys: Keyring
) -> None:
    piece = record.evidence(record.first)
    asked = erasure.request(session, piece, reason=REASON, account=record.mona, now=record.tick())
    session.commit()
    people = [record.rafa.id, make.account(Role.REVIEWER).id]
    results: list[str] = []
    engine = db.make_engine(config.sqlalchemy_url, keys)

    def confirm(account_id: int) -> None:
        with db.new_session(engine) as own:
            try:
                found = own.get_one(Erasure, asked.id)
                erasure.confirm(own, found, account=own.get_one(Account, account_id), now=record.now)
                own.commit()
                results.append("done")
            except Exception as error:  # noqa: BLE001 - its kind is looked at.
                results.append(type(error).__name__)

    threads = [threading.Thread(target=confirm, args=(who,)) for who in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.dispose()
    assert sorted(results) == ["Conflict", "done"]
    again(session)
    kinds = session.scalars(
        select(LedgerEntry.kind).where(LedgerEntry.kind == EntryKind.EVIDENCE_ERASED)
    ).all()
    assert len(kinds) == 1
