"""Evidence packs over HTTP: what the public gets, what the team gets, and that nothing else is in them."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from flask import Flask
from justhtml import JustHTML
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tests import files as samples
from tests.exhibited import Exhibited, days, unguarded
from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import NO_HARM, Record
from tests.s3 import s3_server
from tracker import create_app, jobs, packs, verifier
from tracker.config import Config
from tracker.models import (
    Account,
    Consent,
    CustodyLine,
    Evidence,
    EvidenceDetail,
    EvidenceReader,
    PublicCopy,
    Source,
    Timestamp,
)
from tracker.services import copies, ledger
from tracker.services import packs as service
from tracker.services.harm import Harm, fingerprint, warnings
from tracker.vocabulary import (
    ConsentScope,
    CustodyAction,
    Detail,
    FileKind,
    Grade,
    Role,
    SourceType,
    State,
    Visibility,
)

As = Callable[[Account], Client]
ONE = "/reports/lower-valley/88-a/pack.zip"
ALL = "/reports/lower-valley/pack.zip"
TEAM = "/workspace/pack?report=lower-valley"
MARK = "CANARY"


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


def fetch(client: Client, address: str = ONE, status: int = 200) -> bytes:
    response = client.http.get(address)
    assert response.status_code == status, response.get_data(as_text=True)[:1500]
    return response.data


def members(pack: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(pack)) as file:
        return {name: file.read(name) for name in file.namelist()}


def problems(pack: bytes, **kwargs: Any) -> list[str]:
    return list(verifier.check_pack(io.BytesIO(pack), **kwargs))


def everything(held: Exhibited) -> tuple[Evidence, PublicCopy]:
    """A finding with cited evidence that has an exhibit, a reply, and something withdrawn."""
    record = held.record
    piece, _, copy = held.published(samples.jpeg(), b"\xff\xd8\xff public copy", place="Lower Valley")
    record.finding(record.first, record.first.clauses[0], Grade.C, piece)
    record.reply(record.first)
    record.reply()
    record.evidence(record.second)
    record.withdraw(record.evidence(record.first, title="Withdrawn words"))
    return piece, copy


def test_a_public_pack_is_whole_for_the_program_in_it_run_by_itself_offline(
    held: Exhibited, client: Client, tmp_path: Path
) -> None:
    piece, copy = everything(held)
    pack = fetch(client)
    files = members(pack)
    path, program = tmp_path / "pack.zip", tmp_path / "verifier.py"
    path.write_bytes(pack)
    program.write_bytes(files["verifier.py"])
    key = json.loads(files["manifest.json"])["public_key"]

    done = subprocess.run(
        [sys.executable, "-I", program, path, "--key", key], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "The pack is whole.\n"), done.stdout + done.stderr
    name = f"exhibits/{piece.number}/1.jpg"
    assert hashlib.sha256(files[name]).hexdigest() == copy.sha256
    assert {
        "README.txt",
        "index.html",
        "style.css",
        "data.json",
        "verifier.py",
        "recommendations/88-a.html",
        f"evidence/{piece.number}.html",
        f"custody/exhibits/{piece.number}/1.json",
        "ledger/slice.jsonl",
        "ledger/checkpoint.txt",
        "manifest.json",
        "manifest.sig",
    } <= set(files)


def test_every_changed_byte_is_found(held: Exhibited, client: Client) -> None:
    everything(held)
    pack = fetch(client)
    assert problems(pack) == []
    with zipfile.ZipFile(io.BytesIO(pack)) as file:
        infos = file.infolist()
    for info in infos:
        start = info.header_offset + 30 + len(info.filename)
        for place in {
            start,
            start + info.file_size // 2,
            start + info.file_size - 1,
            info.header_offset + 14,
        }:
            broken = bytearray(pack)
            broken[place] ^= 1
            assert problems(bytes(broken)), f"{info.filename} at {place}"
    for place in range(infos[-1].header_offset, len(pack), 7):
        broken = bytearray(pack)
        broken[place] ^= 0x20
        assert problems(bytes(broken)), place
    assert problems(pack[:-1])
    assert problems(pack + b"x")


def test_its_pages_say_what_the_record_says_and_load_nothing(held: Exhibited, client: Client) -> None:
    piece, _ = everything(held)
    files = members(fetch(client, ALL))

    for name, content in files.items():
        if name.endswith(".html"):
            html = content.decode()
            assert not JustHTML(html, collect_errors=True).errors, name
            assert "<script" not in html
            assert " style=" not in html
            base = Path("/") / name
            for part in ("src=", '<link rel="stylesheet" href='):
                for value in [piece_.split('"')[1] for piece_ in html.split(part)[1:]]:
                    assert os.path.normpath(base.parent / value).lstrip("/") in files, (name, value)
    page = files["recommendations/88-a.html"].decode()
    assert "The register shows it." in page
    assert "All allegations have been examined." in page
    assert "Not implemented" in page
    shown = files[f"evidence/{piece.number}.html"].decode()
    assert "The gate of a quarry." in shown
    assert f'src="../exhibits/{piece.number}/1.jpg"' in shown
    assert "A second person of the team released it." in shown
    assert "Withdrawn words" not in b"".join(files.values()).decode(errors="replace")
    data = json.loads(files["data.json"])
    [told] = [one for one in data["evidence"] if one["name"] == str(piece.number)]
    assert told["place"] == "Lower Valley"
    assert told["exhibits"][0]["path"] == f"exhibits/{piece.number}/1.jpg"
    assert data["recommendations"][0]["findings"][0]["cites"] == [piece.number]
    assert [line["action"] for line in told["exhibits"][0]["custody"]] == ["copied", "released"]
    assert "python3 -I verifier.py pack.zip" in files["README.txt"].decode()


def test_the_slice_holds_every_entry_about_it_and_no_withdrawn_word(
    held: Exhibited, client: Client, session: Session
) -> None:
    everything(held)
    lines = [json.loads(line) for line in members(fetch(client))["ledger/slice.jsonl"].splitlines()]

    session.rollback()
    kinds = [line["kind"] for line in lines]
    assert kinds.count("evidence-published") == 2
    assert "evidence-withdrawn" in kinds
    assert "finding-published" in kinds
    assert kinds.count("reply-published") == 2
    [gone] = [line for line in lines if line["kind"] == "evidence-withdrawn"]
    before = next(line for line in lines if line["subject"] == gone["subject"])
    assert "content" not in before
    assert "content" in gone


def test_it_carries_the_timestamp_of_its_checkpoint(
    held: Exhibited, client: Client, session: Session, config: Config, keys: Any, now: dt.datetime
) -> None:
    everything(held)
    newest = ledger.take_checkpoint(
        session, origin=config.ledger_origin, public_key=keys.ledger_public_key, sign=keys.sign, now=now
    )
    session.add(
        Timestamp(
            subject=f"checkpoint/{newest.size}",
            digest=b"d" * 32,
            token=b"token",
            authority="A",
            stamped_at=now,
        )
    )
    session.commit()
    files = members(fetch(client))
    assert files["ledger/checkpoint.tsr"] == b"token"
    assert files["ledger/checkpoint.txt"].decode() == newest.note
    assert "openssl ts -verify" in files["README.txt"].decode()


def test_the_pages_of_the_record_link_to_it(record: Record, client: Client) -> None:
    assert ONE in client.get("/reports/lower-valley/88-a").links
    assert ALL in client.get("/reports/lower-valley").links


@pytest.mark.parametrize("address", ["/reports/none/pack.zip", "/reports/lower-valley/none/pack.zip"])
def test_no_pack_of_what_there_is_not(record: Record, client: Client, address: str) -> None:
    client.get(address, 404)


def test_a_report_without_anything_published_has_a_whole_pack_too(record: Record, client: Client) -> None:
    assert problems(fetch(client, ALL)) == []


# Nothing else.


def hide(held: Exhibited) -> list[bytes]:
    """Canaries in everything that a public pack must not tell. Returns the bytes to look for."""
    record, session = held.record, held.session
    count = 0

    def mark() -> str:
        nonlocal count
        count += 1
        return f"{MARK}{count}"

    for person in (record.mona, record.rafa):
        person.name, person.email = mark(), f"{mark()}@arvenia.example"
    original = samples.jpeg() + mark().encode()
    piece = record.submitted(record.first, team_note=mark(), review_reason=mark())
    exhibit = held.attach(piece, original, name=f"{mark()}.jpg")
    exhibit.examined = json.dumps({"traces": [{"what": "gps", "value": mark()}]})
    held.copy(exhibit, b"\xff\xd8\xff copy")
    unreleased = held.attach(piece, mark().encode(), name=f"{mark()}.jpg")
    for detail in Detail:
        session.add(EvidenceDetail(evidence=piece, detail=detail, visibility=Visibility.TEAM, value=mark()))
    source = Source(pseudonym="S-CANAR", created_by_id=record.mona.id, created_at=record.now)
    piece.sources.append(source)
    session.add_all(
        [
            source,
            Consent(
                evidence=piece,
                source=source,
                scope=ConsentScope.PUBLISH,
                given_on=dt.date(2025, 1, 1),
                note=mark(),
                recorded_by_id=record.mona.id,
                recorded_at=record.now,
            ),
        ]
    )
    session.commit()
    held.publish(piece)
    record.finding(record.first, record.first.clauses[0], Grade.C, piece)
    late = held.copy(exhibit, b"\xff\xd8\xff never released " + mark().encode(), description=mark())
    shown = held.copy(exhibit, b"\xff\xd8\xff withdrawn later " + mark().encode(), description=mark())
    seen = fingerprint(warnings(session, piece, keys=None))
    copies.release(
        session, shown, reviewer=record.rafa, seen=str(shown.sha256), harm=Harm(NO_HARM, looked=seen),
        now=record.tick(),
    )  # fmt: skip
    session.commit()
    copies.withdraw(session, shown, reviewer=record.rafa, reason="A face can be seen.", now=record.tick())
    session.commit()
    for visibility in (Visibility.TEAM, Visibility.RESTRICTED):
        for state in (State.SUBMITTED, State.ACCEPTED):
            other = record.submitted(
                record.first, title=mark(), summary=mark(), place=mark(), visibility=visibility
            )
            held.attach(other, mark().encode(), name=mark())
            other.state = state
            session.commit()
    hashes = [exhibit.sha256, unreleased.sha256, late.sha256, exhibit.salt]
    return [MARK.encode(), b"S-CANAR", *[str(one).encode() for one in hashes], exhibit.key.encode()]


@pytest.mark.parametrize("address", [ONE, ALL])
def test_nothing_hidden_stands_in_a_public_pack(held: Exhibited, client: Client, address: str) -> None:
    looked_for = hide(held)
    response = client.http.get(address)
    pack = response.data

    assert problems(pack) == []
    for found in looked_for:
        assert found not in pack
    assert "Set-Cookie" not in response.headers
    assert MARK not in str(response.headers)


def test_it_never_looks_at_who_is_signed_in(held: Exhibited, client: Client, as_somebody: As) -> None:
    everything(held)
    assert fetch(as_somebody(held.record.rafa)) == fetch(client)


def test_a_damaged_copy_is_left_out_and_said(held: Exhibited, client: Client, session: Session) -> None:
    piece, copy = everything(held)
    held.path_of(copy.sha256).write_bytes(b"other bytes, same name!")

    files = members(pack := fetch(client))
    assert problems(pack) == []
    assert not [name for name in files if name.startswith("exhibits/")]
    assert b"other bytes" not in pack
    assert "no longer those that were received" in files[f"evidence/{piece.number}.html"].decode()
    [told] = json.loads(files["data.json"])["evidence"][0]["exhibits"]
    assert told["damaged"]
    assert told["path"] is None


def test_a_distressing_copy_is_not_shown_unasked(held: Exhibited, client: Client, session: Session) -> None:
    piece, exhibit, _ = held.published(samples.jpeg(), b"\xff\xd8\xff copy")
    exhibit.distressing = True
    session.commit()
    page = members(fetch(client))[f"evidence/{piece.number}.html"].decode()
    assert "<img" not in page
    assert "it may distress you" in page


# Ready packs.


def ready(config: Config) -> list[Path]:
    return sorted(config.packs_path.glob("*.zip"))


def test_a_pack_is_built_once_and_anew_when_the_record_changes(
    held: Exhibited, client: Client, config: Config
) -> None:
    piece, _ = everything(held)
    first = client.http.get(ONE)
    [path] = ready(config)
    assert path.stat().st_mode & 0o777 == 0o600
    built = path.stat().st_mtime_ns
    assert client.http.get(ONE).data == first.data
    assert client.http.get(ONE, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    assert ready(config)[0].stat().st_mtime_ns == built

    held.record.withdraw(piece)
    again = client.http.get(ONE, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 200
    assert b"The gate of a quarry." not in again.data
    assert not [name for name in members(again.data) if name.startswith("exhibits/")]
    assert path not in ready(config)


def test_a_withdrawn_thing_leaves_the_disk_with_the_next_tick(
    held: Exhibited, client: Client, app: Flask, config: Config, now: dt.datetime
) -> None:
    piece, _ = everything(held)
    fetch(client)
    fetch(client, ALL)
    jobs.purge(app, now)
    assert len(ready(config)) == 2
    half = config.packs_path / "lower-valley..1.abc.zip.1234.new"
    half.write_bytes(b"half")
    held.record.withdraw(piece)
    jobs.purge(app, now)
    assert ready(config) == []
    assert half.exists()
    os.utime(half, (0, 0))
    jobs.purge(app, now)
    assert not half.exists()


def test_ready_packs_are_forgotten_after_a_day(
    held: Exhibited, client: Client, app: Flask, config: Config, now: dt.datetime
) -> None:
    fetch(client)
    [pack] = ready(config)
    # Files have the machine's real time, whatever time it is in the test.
    os.utime(pack, (now.timestamp(), now.timestamp()))
    jobs.purge(app, now + days(0.9))
    assert ready(config) == [pack]
    jobs.purge(app, now + days(1.1))
    assert ready(config) == []


def test_building_is_limited_and_ready_packs_are_not(
    held: Exhibited, client: Client, monkeypatch: pytest.MonkeyPatch, config: Config
) -> None:
    from tracker.views import packs as view

    monkeypatch.setattr(view, "_PER_NETWORK", 1)
    fetch(client)
    fetch(client, ALL, 429)
    for _ in range(3):
        fetch(client)


def test_one_is_built_at_a_time(
    held: Exhibited, client: Client, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tracker.views import packs as view

    monkeypatch.setattr(view, "_WAIT_SECONDS", 0.2)
    with packs.alone(config, seconds=1):
        response = client.http.get(ONE)
    assert response.status_code == 429
    assert "Another pack is being made" in response.get_data(as_text=True)
    fetch(client)


def test_many_who_ask_at_once_get_one_pack(held: Exhibited, app: Flask, config: Config) -> None:
    everything(held)
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(app.test_client().get(ONE).data)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(got)) == 1
    assert problems(got[0]) == []
    assert len(ready(config)) == 1


def test_a_failed_build_leaves_nothing_behind(
    held: Exhibited, client: Client, config: Config, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything(held)
    monkeypatch.setattr("tracker.packs.pack_record.data", lambda *_, **__: 1 / 0)
    app.testing = False
    client.get(ONE, 500)
    left = [path.name for path in config.packs_path.iterdir()] + [
        path.name for path in config.incoming_path.iterdir()
    ]
    assert left == ["lock"]


# For the team.


def team_pack(client: Client, address: str = TEAM, status: int = 200, **fill: Any) -> bytes:
    return client.send(address, fill, status=status).data


def keys_of(*pieces: Evidence) -> list[str]:
    return [piece.key for piece in pieces]


def test_the_team_gets_originals_with_their_names_and_logs_and_that_is_on_record(
    held: Exhibited, as_somebody: As, session: Session, config: Config
) -> None:
    record = held.record
    public, _ = everything(held)
    kept = record.submitted(record.first, visibility=Visibility.TEAM, title="Kept by the team")
    original = samples.jpeg()
    exhibit = held.attach(kept, original + b"!", name="gate at night.jpg")
    rafa = as_somebody(record.rafa)
    pack = team_pack(rafa, evidence=keys_of(kept, public), originals="y")

    assert problems(pack) == []
    files = members(pack)
    assert json.loads(files["manifest.json"])["audience"] == "staff"
    assert files[f"originals/{kept.key}/1.jpg"] == original + b"!"
    assert f"exhibits/{public.number}/1.jpg" in files
    page = files[f"evidence/{kept.key}.html"].decode()
    assert "gate at night.jpg" in page
    assert "Not public." in page
    log = json.loads(files[f"custody/originals/{kept.key}/1.json"])
    assert log["exhibit"] == exhibit.key
    assert [(line["position"], line["action"]) for line in log["lines"]] == [(1, "uploaded"), (2, "exported")]
    assert log["lines"][0]["by"] == record.mona.name
    # What everybody gets tells no more than days: neither how often somebody looked, nor a hash over who did.
    public_log = json.loads(files[f"custody/exhibits/{public.number}/1.json"])
    assert {name for line in public_log for name in line} == {"action", "how", "day"}
    [told] = [one for one in json.loads(files["data.json"])["evidence"] if one["name"] == kept.key]
    assert told["originals"][0]["file_name"] == "gate at night.jpg"
    session.rollback()
    lines = session.scalars(
        select(CustodyLine).where(CustodyLine.action == CustodyAction.EXPORTED).order_by(CustodyLine.id)
    ).all()
    assert {(line.exhibit_id, line.account_id, line.note) for line in lines} >= {
        (exhibit.id, record.rafa.id, "Pack lower-valley")
    }
    assert len(lines) == 3  # The public copy, its original, and the other original.
    assert list(config.incoming_path.iterdir()) == []


def test_a_custody_line_that_was_changed_before_the_pack_was_made_is_named_by_the_verifier(
    held: Exhibited, as_somebody: As, session: Session
) -> None:
    """The pack is signed all the same: the manifest vouches for what the database said, the chain for what was done."""
    kept = held.record.submitted(held.record.first, visibility=Visibility.TEAM)
    held.attach(kept, b"original bytes")
    rafa = as_somebody(held.record.rafa)
    team_pack(rafa, evidence=keys_of(kept), originals="y")
    session.rollback()
    with unguarded(session):
        session.execute(update(CustodyLine).where(CustodyLine.position == 2).values(account_id=None))
    pack = team_pack(rafa, evidence=keys_of(kept), originals="y")
    assert problems(pack) == [f"custody/originals/{kept.key}/1.json: line 2 was changed, put in or moved."]


def test_the_originals_commitment_in_the_ledger_opens_with_the_salt_in_a_team_pack(
    held: Exhibited, as_somebody: As
) -> None:
    public, _ = everything(held)
    files = members(team_pack(as_somebody(held.record.rafa), evidence=keys_of(public), originals="y"))
    [told] = json.loads(files["data.json"])["evidence"]
    digest = hashlib.sha256(files[told["originals"][0]["path"]]).hexdigest()
    assert verifier.commitment(told["originals"][0]["salt"], digest) == told["exhibits"][0]["original"]


def test_without_ticking_originals_none_goes_out(held: Exhibited, as_somebody: As, session: Session) -> None:
    piece = held.record.submitted(held.record.first, visibility=Visibility.TEAM)
    held.attach(piece, b"original bytes", name="never out.jpg")
    pack = team_pack(as_somebody(held.record.rafa), evidence=keys_of(piece), originals=None)
    assert b"original bytes" not in pack
    assert b"never out.jpg" not in pack
    session.rollback()
    assert (
        session.scalars(select(CustodyLine).where(CustodyLine.action == CustodyAction.EXPORTED)).all() == []
    )


def test_a_pack_holds_what_its_maker_may_see_and_no_more(
    held: Exhibited, as_somebody: As, make: Factory, session: Session
) -> None:
    record = held.record
    other = make.account(Role.REVIEWER, name="Other")
    mine = record.submitted(record.first, visibility=Visibility.RESTRICTED, title="Restricted words")
    mine.readers.append(EvidenceReader(account_id=record.rafa.id))
    shared = record.submitted(record.first, visibility=Visibility.TEAM)
    for piece, visibility, value in (
        (shared, Visibility.TEAM, "Third house"),
        (shared, Visibility.RESTRICTED, "Name of a witness"),
    ):
        detail = Detail.EXACT_PLACE if visibility is Visibility.TEAM else Detail.NAMES
        session.add(EvidenceDetail(evidence=piece, detail=detail, visibility=visibility, value=value))
    session.commit()

    page = as_somebody(other).get(TEAM)
    assert "Restricted words" not in page.text
    token = dict(page.forms[-1]["fields"])["form_token"]
    refused = as_somebody(other).http.post(TEAM, data={"form_token": "x", "evidence": mine.key})
    assert refused.status_code in (400, 403)
    client = as_somebody(other)
    response = client.send(TEAM, {"evidence": keys_of(mine)}, status=422)
    assert b"PK\x03\x04" not in response.data
    assert token
    pack = team_pack(client, evidence=keys_of(shared))
    assert b"Third house" in pack
    assert b"Name of a witness" not in pack
    pack = team_pack(as_somebody(record.rafa), evidence=keys_of(mine, shared))
    assert b"Restricted words" in pack
    assert b"Name of a witness" not in pack
    assert b"Name of a witness" in team_pack(as_somebody(record.mona), evidence=keys_of(shared))


def consented(record: Record, scope: ConsentScope | None, **values: Any) -> Evidence:
    piece = record.submitted(
        record.first,
        visibility=Visibility.TEAM,
        from_person=True,
        source_type=SourceType.TESTIMONY,
        state=State.ACCEPTED,
        **values,
    )
    if scope is not None:
        record.session.add(
            Consent(
                evidence_id=piece.id,
                scope=scope,
                given_on=dt.date(2026, 1, 1),
                recorded_by_id=record.mona.id,
                recorded_at=record.now,
            )
        )
        record.session.commit()
    return piece


def test_what_a_person_kept_for_the_team_is_marked_and_left_out_unless_somebody_insists(
    held: Exhibited, as_somebody: As, session: Session
) -> None:
    record = held.record
    internal = consented(record, ConsentScope.INTERNAL, title="Internal words")
    unknown = consented(record, None, title="No consent words")
    shared = consented(record, ConsentScope.UN, title="Words for the United Nations")
    rafa = as_somebody(record.rafa)
    page = rafa.get(TEAM)
    assert "For the team only" in page.text
    assert "No consent on record" in page.text
    assert [value for name, value in page.forms[-1]["fields"] if name == "evidence"] == [shared.key]

    pack = team_pack(rafa)
    assert b"Words for the United Nations" in pack
    assert b"May be shared with the United Nations" in pack
    assert b"Internal words" not in pack
    assert b"No consent words" not in pack
    pack = team_pack(rafa, evidence=keys_of(internal, unknown))
    assert b"Internal words" in pack
    assert b"none on record" in pack


def test_it_holds_no_note_no_comment_and_no_source(
    held: Exhibited, as_somebody: As, session: Session
) -> None:
    record = held.record
    piece = record.submitted(record.first, visibility=Visibility.TEAM, team_note="Note for colleagues only")
    piece.sources.append(Source(pseudonym="S-7F3K", created_by_id=record.mona.id, created_at=record.now))
    session.commit()
    pack = team_pack(as_somebody(record.rafa), evidence=keys_of(piece), originals="y")
    assert b"Note for colleagues only" not in pack
    assert b"S-7F3K" not in pack


def test_only_the_team_makes_one(record: Record, client: Client, as_somebody: As, make: Factory) -> None:
    assert client.http.get(TEAM).status_code == 303
    admin = as_somebody(make.account(Role.ADMIN))
    admin.get("/workspace/pack", 403)
    assert admin.http.post(TEAM, data={"form_token": "x"}).status_code == 403
    assert client.http.post(TEAM, data={"form_token": "x"}).status_code in (400, 401, 403)
    page = as_somebody(record.mona).get("/workspace/pack")
    assert TEAM in page.links
    as_somebody(record.mona).get("/workspace/pack?report=none", 404)


def test_an_exhibit_that_came_meanwhile_never_goes_out_unrecorded(
    held: Exhibited, as_somebody: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = held.record
    piece = record.submitted(record.first, visibility=Visibility.TEAM)
    held.attach(piece, b"first")
    real = packs.write

    def write(*args: Any, **kwargs: Any) -> None:
        held.attach(piece, b"came meanwhile")
        real(*args, **kwargs)

    monkeypatch.setattr("tracker.views.packs.packs.write", write)
    response = as_somebody(record.rafa).send(TEAM, {"evidence": keys_of(piece), "originals": "y"}, status=409)
    assert b"came meanwhile" not in response.data


def test_what_is_erased_while_a_pack_is_made_gets_no_line_with_its_hash(
    held: Exhibited, as_somebody: As, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = held.record.submitted(held.record.first, visibility=Visibility.TEAM)
    exhibit = held.attach(piece, b"erased meanwhile")
    real = service.gather

    def gather(*args: Any, **kwargs: Any) -> Any:
        found = real(*args, **kwargs)
        session.rollback()
        session.execute(update(type(exhibit)).values(sha256=None, erased_at=held.record.now))
        session.commit()
        return found

    monkeypatch.setattr(service, "gather", gather)
    rafa = as_somebody(held.record.rafa)
    rafa.send(TEAM, {"evidence": keys_of(piece), "originals": "y"}, status=409)
    session.rollback()
    assert (
        session.scalars(select(CustodyLine).where(CustodyLine.action == CustodyAction.EXPORTED)).all() == []
    )


def test_erased_exhibits_and_withdrawn_evidence_are_in_no_pack(
    held: Exhibited, as_somebody: As, session: Session
) -> None:
    record = held.record
    piece = record.submitted(record.first, visibility=Visibility.TEAM)
    exhibit = held.attach(piece, b"erased bytes", name="erased name.jpg")
    session.execute(update(type(exhibit)).values(sha256=None, erased_at=record.now))
    session.commit()
    gone = record.evidence(record.first, title="Withdrawn words")
    record.withdraw(gone)
    rafa = as_somebody(record.rafa)
    assert "Withdrawn words" not in rafa.get(TEAM).text
    pack = team_pack(rafa, evidence=keys_of(piece), originals="y")
    assert b"erased bytes" not in pack
    assert b"erased name" not in pack


# Large, and elsewhere.


def test_a_pack_that_would_be_too_large_is_refused_with_a_sentence(
    held: Exhibited, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything(held)
    monkeypatch.setattr("tracker.services.packs.MOST_BYTES", 3)
    page = client.get(ONE, 422)
    assert "Make one for each recommendation" in page.text


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with s3_server() as found:
        yield found


def test_it_works_with_a_bucket(server: Any, record: Record, make_config: Any, database_url: str) -> None:
    config = make_config(database_url=database_url, storage_url=server.bucket())
    held = Exhibited(record, config)
    piece, exhibit, _ = held.published(samples.jpeg(), b"\xff\xd8\xff public copy")
    app = create_app(config)
    app.testing = True
    pack = fetch(Client(app))
    assert problems(pack) == []
    assert members(pack)[f"exhibits/{piece.number}/1.jpg"] == b"\xff\xd8\xff public copy"
    assert exhibit.kind is FileKind.JPEG
    app.extensions["engine"].dispose()


def test_the_command_writes_the_same_pack(held: Exhibited, run: Any, tmp_path: Path, client: Client) -> None:
    everything(held)
    path = tmp_path / "pack.zip"
    assert run("pack", str(path), "--report", "lower-valley", "--recommendation", "88-a").stdout.startswith(
        "Wrote"
    )
    assert members(path.read_bytes()) == members(fetch(client))
    assert run("ledger", "verify", str(path)).stdout == "The pack is whole.\n"
    assert "No report is called none" in run("pack", str(path), "--report", "none", code=1).stderr
    assert (
        "cannot be written"
        in run("pack", str(tmp_path / "no" / "x"), "--report", "lower-valley", code=1).stderr
    )
    assert sorted(found.name for found in tmp_path.iterdir() if "pack" in found.name) == ["pack.zip"]
