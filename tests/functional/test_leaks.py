"""What is not public stands in no page, feed, file, header, mail, log or error, whatever the public asks for."""

from __future__ import annotations

import datetime as dt
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.mail import compose, follower, parts, unsent
from tests.published import NO_HARM, Record
from tracker import jobs, logs, permissions
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import (
    Account,
    Assignment,
    Comment,
    DissentingNote,
    Evidence,
    FieldChange,
    Finding,
    LedgerContent,
    LedgerEntry,
    Reply,
)
from tracker.queries import teamwork
from tracker.services import (
    activity,
    assignments,
    comments,
    dissent,
    evidence,
    findings,
    history,
    ledger,
    replies,
)
from tracker.views import access
from tracker.vocabulary import Access, Grade, Position, Role, State, Visibility

As = Callable[[Account], Client]
MARK = "SECRET"


class Marks:
    """Texts that are found again wherever they turn up."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return f"{MARK}{self.count:03}"


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    """A published record with everything beside it that nobody outside may see; each such text carries a mark."""
    found, mark = Record(session, make, now), Marks()
    for account in (found.mona, found.rafa):
        account.name, account.email = mark(), f"{mark()}@arvenia.example".lower()
    piece = found.evidence(found.first, found.first.clauses[0], team_note=mark(), review_reason=mark())
    found.finding(found.first, found.first.clauses[0], Grade.C, piece)
    found.reply(found.first)

    def words() -> dict[str, Any]:
        return {
            "title": mark(), "summary": mark(), "publisher": mark(), "remark": mark(), "team_note": mark(),
            "review_reason": mark(), "created_by_id": found.mona.id, "imported_as": mark(),
        }  # fmt: skip

    for state in (State.DRAFT, State.SUBMITTED, State.RETURNED):
        for visibility in Visibility:
            make.evidence(found.first, found.first.clauses[0], state=state, visibility=visibility, **words())
    for visibility in (Visibility.TEAM, Visibility.RESTRICTED):
        kept = found.evidence(found.first, visibility=visibility, **words())
        gone = found.evidence(found.first, visibility=visibility, **words())
        evidence.withdraw(session, gone, reviewer=found.rafa, reason=mark(), now=found.tick())
        assert kept.number is gone.number is None
    found.withdraw(found.evidence(found.second, **words()), reason="Public reason.")

    fields = findings.Fields(
        grade=Grade.E, as_of=now.date(), access=Access.REFUSED, rationale=mark(), would_change=mark(),
        search_what=mark(), search_where=mark(), search_languages=mark(), search_until=now.date(),
        evidence_ids=[piece.id],
    )  # fmt: skip
    for state in (State.DRAFT, State.SUBMITTED, State.RETURNED):
        made = findings.draft(
            session, fields, author=found.mona, recommendation=found.second, clause=None, now=found.tick()
        )
        if state is not State.DRAFT:
            findings.submit(session, made, author=found.mona, now=found.tick())
        if state is State.RETURNED:
            findings.send_back(session, made, reviewer=found.rafa, reason=mark(), now=found.tick())
    found.withdraw_finding(
        found.finding(found.third, None, Grade.A, piece, rationale=mark(), would_change=mark())
    )

    said = replies.Fields(
        author=mark(), position=Position.REJECTS, replied_on=now.date(), summary=mark(), quotations=[mark()],
        source_publisher=mark(), source_title=mark(), source_url=f"https://arvenia.example/{mark()}",
        recommendation_ids=[found.first.id],
    )  # fmt: skip
    for state in (State.DRAFT, State.SUBMITTED, State.RETURNED, State.WITHDRAWN):
        reply = replies.draft(session, said, report=found.report, author=found.mona, now=found.tick())
        if state is not State.DRAFT:
            replies.submit(session, reply, author=found.mona, now=found.tick())
        if state is State.RETURNED:
            replies.send_back(session, reply, reviewer=found.rafa, reason=mark(), now=found.tick())
        if state is State.WITHDRAWN:
            replies.accept(session, reply, reviewer=found.rafa, now=found.tick())
            replies.withdraw(session, reply, reviewer=found.rafa, reason="Public reason.", now=found.tick())
    activity.record(session, found.mona, "note", "report/lower-valley", now=now, reason=mark())
    session.commit()
    talk(found, mark)
    return found


def talk(found: Record, mark: Marks) -> None:
    """What the team says about everything that there is: comments, assignments, changes, notes that wait or came back."""
    session, dana = found.session, found.make.account(Role.REVIEWER)
    for row in [*session.scalars(select(Evidence)), *session.scalars(select(Finding)), *session.scalars(select(Reply))]:  # fmt: skip
        for author in (found.mona, found.rafa):
            if teamwork.may_see(session, row, author):
                comments.add(session, row, mark(), author=author, now=found.tick())
        if teamwork.can_take(session, row, found.rafa):
            assignments.assign(session, row, found.rafa, by=found.rafa, now=found.tick())
        if isinstance(row, Evidence):
            before = history.snapshot(row) | {"team_note": mark(), "detail-names": mark()}
            history.record(session, row, before, account=found.mona, now=found.tick())
        if isinstance(row, Finding) and permissions.can_dissent(dana, row):
            returned = dissent.attach(session, row, mark(), author=dana, now=found.tick())
            if row.state is State.ACCEPTED:
                dissent.send_back(session, returned, reviewer=found.rafa, reason=mark(), now=found.tick())
                dissent.attach(session, row, mark(), author=dana, now=found.tick())
                gone = dissent.attach(
                    session, row, mark(), author=found.make.account(Role.REVIEWER), now=found.tick()
                )
                dissent.release(session, gone, reviewer=found.rafa, harm=NO_HARM, now=found.tick())
                dissent.withdraw(session, gone, reviewer=found.rafa, reason="Public.", now=found.tick())
    session.commit()
    for kind in (Comment, DissentingNote, Assignment, FieldChange):
        assert len(session.scalars(select(kind)).all()) > 2, kind


def public_addresses(app: Flask, record: Record) -> list[str]:
    """Every public GET address, with everything that could stand in its places, public or not."""
    session = record.session
    keys = [*session.scalars(select(Evidence.key)), *session.scalars(select(Finding.key)), *session.scalars(select(Reply.key))]  # fmt: skip
    values = {
        "report": ["lower-valley"],
        "number": ["88-a", "88-b", "89", *map(str, range(30))],
        "token": ["0" * 32],
        "key": keys,
    }
    found = []
    for rule in app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or app.view_functions[rule.endpoint].access is not access.ANYONE:  # type: ignore[attr-defined]
            continue
        addresses = [rule.rule]
        for name in rule.arguments:
            for kind in (f"<{name}>", f"<int:{name}>"):
                addresses = [
                    address.replace(kind, value)
                    for address in addresses
                    for value in (values[name] if kind in address else [""])
                ]
        found += addresses
    session.rollback()
    return sorted(set(found))


QUERIES = (
    "",
    "?after=0",
    "?before=2000",
    "?as_of=2030-01-01",
    "?report=lower-valley&recommendation=lower-valley/88-a",
)


def everything(data: bytes) -> str:
    """What an answer says, with all that is packed into it."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data.decode(errors="replace")
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        return "".join(f"{name} {everything(packed.read(name))}" for name in packed.namelist())


def test_no_public_address_tells_anything_that_is_not_public(
    app: Flask, client: Client, record: Record
) -> None:
    addresses = public_addresses(app, record)
    assert len(addresses) > 60
    for address in addresses:
        for query in QUERIES if "<" not in address and address.count("/") < 4 else QUERIES[:1]:
            for method in ("GET", "POST") if not query else ("GET",):
                response = client.http.open(address + query, method=method, buffered=True)
                told = everything(response.get_data()) + str(response.headers)
                assert MARK.lower() not in told.lower(), (
                    address,
                    told[max(0, told.find(MARK) - 200) :][:400],
                )
                assert response.status_code < 500 or address == "/health"


def test_staff_addresses_tell_the_public_nothing(app: Flask, client: Client, record: Record) -> None:
    session = record.session
    for noun, model in (("evidence", Evidence), ("findings", Finding), ("replies", Reply)):
        for key in session.scalars(select(model.key)).all():
            addresses = [f"/workspace/{noun}/{key}{act}" for act in ("", "/edit", "/decision", "/withdrawal", "/history", "/dissent")]  # fmt: skip
            addresses += [
                f"/workspace/{what}/{model.__name__.lower()}/{key}" for what in ("comments", "assignments")
            ]
            for address in addresses:
                for method in ("GET", "POST"):
                    response = client.http.open(address, method=method)
                    assert response.status_code in (303, 401, 404, 405)
                    assert MARK not in response.get_data(as_text=True) + str(response.headers)


def test_an_admin_sees_no_more_evidence_than_the_public(
    app: Flask, record: Record, as_somebody: As, make: Factory
) -> None:
    admin = as_somebody(make.account(Role.ADMIN))
    people = {record.mona.name, record.mona.email, record.rafa.name, record.rafa.email}
    addresses = [
        rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and not rule.arguments
    ]
    for key in record.session.scalars(select(Evidence.key)).all():
        addresses += [f"/workspace/evidence/{key}", f"/workspace/evidence/{key}/edit"]
    record.session.rollback()
    for address in addresses:
        told = admin.http.get(address, buffered=True).get_data(as_text=True)
        for known in people:
            told = told.replace(known, "")
        assert MARK not in told, address


def test_the_ledger_itself_holds_nothing_that_was_never_published(record: Record) -> None:
    session = record.session
    payloads = " ".join(session.scalars(select(LedgerEntry.payload)).all())
    assert MARK not in payloads
    names = {record.mona.name, record.rafa.name, record.mona.email, record.rafa.email}
    published = json.dumps([json.loads(text) for text in session.scalars(select(LedgerContent.content))])
    assert not [name for name in names if name.lower() in published.lower()]
    hidden = session.scalars(select(Evidence).where(Evidence.number.is_(None)))
    assert not [piece.title for piece in hidden if piece.title in published]


def test_the_download_gives_no_words_that_were_withdrawn(record: Record, keys: Keyring) -> None:
    for line in ledger.public_lines(record.session, origin="test", public_key=keys.ledger_public_key):
        assert MARK not in json.dumps(line)


def test_a_digest_tells_nothing_that_is_not_public(
    record: Record, keys: Keyring, config: Config, app: Flask, now: dt.datetime
) -> None:
    reader = follower(record.session, keys, config, now)
    reader.seen_seq = 0
    record.session.commit()
    moment = reader.next_due_at
    assert moment is not None
    with app.app_context():
        compose(record.session, keys, config, moment)
        [message] = unsent(record.session, config, moment)
    for told in (*parts(message), message.decode()):
        assert "Court register" in told or told == message.decode()
        assert MARK not in told


def test_neither_database_nor_logs_hold_a_subscribers_address(
    record: Record,
    client: Client,
    config: Config,
    app: Flask,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    logs.init("debug")
    address = "quiet.reader@arvenia.example"
    client.send("/follow", {"email": address})
    client.send("/follow", {"email": address.upper()}, status=303)
    jobs.tick(app, dt.datetime.now(dt.UTC))
    [mail] = (config.outbox_path).glob("*.eml")
    from email import message_from_bytes, policy

    text = message_from_bytes(mail.read_bytes(), policy=policy.default).get_body(("plain",)).get_content()  # type: ignore[union-attr]
    link = next(word for word in text.split() if "/follow/confirm/" in word).removeprefix("http://localhost")
    client.send(link, {}, status=200)
    token = link.rpartition("/")[2]
    client.get(f"/follow/confirm/{token}", 404)
    client.get(f"/nothing/{token}?email={address}", 404)

    written = capfd.readouterr()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".eml"]
    if "sqlite" in config.sqlalchemy_url:
        assert any(path.name.startswith("tracker.db") for path in files)
        contents = b"".join(path.read_bytes() for path in files).lower()
    else:
        from sqlalchemy import text as sql

        rows = record.session.execute(
            sql(
                "SELECT s::text FROM subscriber s UNION ALL SELECT d::text FROM delivery d UNION ALL SELECT a::text FROM attempt a"
            )
        )
        contents = str(rows.all()).lower().encode()
    for told in (written.out + written.err).lower().encode(), contents:
        assert b"quiet.reader" not in told
        assert token.lower().encode() not in told
