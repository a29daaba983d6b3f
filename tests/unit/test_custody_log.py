"""The custody log is a chain: what was done with an exhibit cannot be changed or taken out unnoticed."""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import rfc8785
from sqlalchemy import Engine, delete, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.exhibited import Exhibited, unguarded
from tests.factories import Factory
from tests.published import Record
from tracker import db, fsck, verifier
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Account, CustodyLine, Exhibit, PublicCopy
from tracker.services import copies, custody_log, drafts, erasure, exhibits, fsck_rows
from tracker.vocabulary import CustodyAction, Role, State

Check = Callable[[], list[str]]


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


@pytest.fixture
def files(record: Record, config: Config) -> Exhibited:
    return Exhibited(record, config)


@pytest.fixture
def exhibit(files: Exhibited, record: Record, session: Session) -> Exhibit:
    """With six lines: uploaded, then viewed and downloaded by two people in turn."""
    made = files.attach(record.submitted(record.first), b"original")
    look(session, made, record.mona, CustodyAction.VIEWED, record.tick())
    look(session, made, record.rafa, CustodyAction.VIEWED, record.tick())
    look(session, made, record.mona, CustodyAction.DOWNLOADED, record.tick())
    look(session, made, record.rafa, CustodyAction.DOWNLOADED, record.tick())
    look(session, made, record.rafa, CustodyAction.DOWNLOADED, record.tick())
    return made


@pytest.fixture
def check(engine: Engine, config: Config, keys: Keyring, session: Session) -> Check:
    """What `tracker fsck` says without reading bytes, which would write lines."""

    def run() -> list[str]:
        session.commit()
        found = fsck_rows.check_rows(
            fsck.Transactions(engine), origin=config.ledger_origin, public_key=keys.ledger_public_key
        )
        return [item.sentence for item in found]

    return run


def look(
    session: Session, exhibit: Exhibit, account: Account, action: CustodyAction, now: dt.datetime
) -> None:
    exhibits.log_look(session, exhibit, action, account=account, now=now)
    session.commit()


def log(session: Session, exhibit: Exhibit) -> list[CustodyLine]:
    session.rollback()
    query = select(CustodyLine).where(CustodyLine.exhibit_id == exhibit.id).order_by(CustodyLine.position)
    return list(session.scalars(query.execution_options(populate_existing=True)))


def row(position: int) -> Any:
    return CustodyLine.position == position


def rechain(session: Session, exhibit: Exhibit, begin: int, end: int) -> None:
    """Write the hashes anew from one line to another, as somebody would who knows how they are made."""
    session.expire_all()
    lines = list(session.scalars(select(CustodyLine).order_by(CustodyLine.position)))
    for line in lines[begin - 1 : end]:
        previous = lines[line.position - 2].line_hash if line.position > 1 else ""
        told = custody_log.plain(line, line.account.key if line.account else None)
        line.line_hash = verifier.custody_hash(exhibit.key, told, previous)
        session.flush()


def test_every_line_has_its_place_and_a_hash_over_the_line_before(
    exhibit: Exhibit, record: Record, session: Session, check: Check
) -> None:
    lines = log(session, exhibit)
    assert [line.position for line in lines] == [1, 2, 3, 4, 5, 6]
    session.refresh(exhibit)
    assert (exhibit.custody_count, exhibit.custody_head) == (6, lines[-1].line_hash)
    third = {
        "exhibit": exhibit.key,
        "position": 3,
        "at": lines[2].at.isoformat(),
        "account": record.rafa.key,
        "action": "viewed",
        "commitment": hashlib.sha256(f"{exhibit.salt}\n{exhibit.sha256}".encode()).hexdigest(),
        "note": "",
        "previous_hash": lines[1].line_hash,
    }
    assert lines[2].line_hash == hashlib.sha256(rfc8785.dumps(third)).hexdigest()
    assert check() == []


@pytest.mark.parametrize(
    "note", ["", "Pack a/b", 'quote " and \\', "\x7f\x01\t\n", "记录 ئۇيغۇر 😀 \u2028", "é"]
)
def test_the_verifiers_json_is_canonical(note: str) -> None:
    """The verifier has nothing but Python, so it cannot use the library that the ledger uses."""
    line = {"position": 10**9, "at": "x", "account": None, "action": "y", "commitment": "", "note": note}
    told = line | {"exhibit": "k", "previous_hash": ""}
    assert verifier.custody_hash("k", line, "") == hashlib.sha256(rfc8785.dumps(told)).hexdigest()


def test_a_changed_line_is_named_whatever_was_changed_in_it(
    exhibit: Exhibit, session: Session, check: Check
) -> None:
    changes = {
        "at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        "account_id": None,
        "action": CustodyAction.CHECKED,
        "sha256": "0" * 64,
        "commitment": "0" * 64,
        "note": "nothing",
        "line_hash": "0" * 64,
    }
    for name, value in [*changes.items(), ("sha256", "")]:
        was = getattr(log(session, exhibit)[2], name)
        with unguarded(session):
            session.execute(update(CustodyLine).where(row(3)).values(**{name: value}))
        [found] = check()
        assert f"The custody log of exhibit {exhibit.key}: line 3 was changed" in found
        with unguarded(session):
            session.execute(update(CustodyLine).where(row(3)).values(**{name: was}))
    assert check() == []


def test_a_changed_line_whose_hash_was_written_anew_is_given_away_by_the_next(
    exhibit: Exhibit, session: Session, check: Check
) -> None:
    with unguarded(session):
        session.execute(update(CustodyLine).where(row(3)).values(note="nothing"))
        rechain(session, exhibit, 3, 3)
    assert [f"exhibit {exhibit.key}: line 4 was changed" in one for one in check()] == [True]
    with unguarded(session):
        rechain(session, exhibit, 4, 6)
    assert [f"exhibit {exhibit.key}: line 6 was put in" in one for one in check()] == [True]


@pytest.mark.parametrize("position", [1, 2, 5])
def test_a_line_that_was_taken_out_is_named(
    exhibit: Exhibit, session: Session, check: Check, position: int
) -> None:
    with unguarded(session):
        session.execute(delete(CustodyLine).where(row(position)))
    assert any(f"exhibit {exhibit.key}: line {position} is missing" in one for one in check())


def test_a_line_that_was_taken_out_is_named_also_where_the_others_moved_up(
    exhibit: Exhibit, session: Session, check: Check
) -> None:
    with unguarded(session):
        session.execute(delete(CustodyLine).where(row(3)))
        for position in (4, 5, 6):
            session.execute(update(CustodyLine).where(row(position)).values(position=position - 1))
    assert [f"exhibit {exhibit.key}: line 3 was changed" in one for one in check()] == [True]
    with unguarded(session):
        rechain(session, exhibit, 3, 5)
    assert [f"exhibit {exhibit.key}: line 6 is missing" in one for one in check()] == [True]


@pytest.mark.parametrize("left", [5, 3, 0])
def test_lines_that_were_taken_from_the_end_are_missed(
    exhibit: Exhibit, session: Session, check: Check, left: int
) -> None:
    with unguarded(session):
        session.execute(delete(CustodyLine).where(CustodyLine.position > left))
    assert any(f"exhibit {exhibit.key}: line {left + 1} is missing: there were 6" in one for one in check())


def test_a_line_that_was_put_in_is_named(
    exhibit: Exhibit, record: Record, session: Session, check: Check
) -> None:
    values = {
        "exhibit_id": exhibit.id,
        "at": record.now,
        "action": CustodyAction.CHECKED,
        "sha256": "",
        "line_hash": "0" * 64,
    }
    with unguarded(session):
        for position in (6, 5, 4):
            session.execute(update(CustodyLine).where(row(position)).values(position=position + 1))
        session.add(CustodyLine(position=4, **values))
    assert [f"exhibit {exhibit.key}: line 4 was changed, put in" in one for one in check()] == [True]
    with unguarded(session):
        session.execute(delete(CustodyLine).where(row(4)))
        for position in (5, 6, 7):
            session.execute(update(CustodyLine).where(row(position)).values(position=position - 1))
    assert check() == []
    session.add(CustodyLine(position=7, **values))
    session.flush()
    assert [f"exhibit {exhibit.key}: line 7 was changed, put in" in one for one in check()] == [True]
    with unguarded(session):
        rechain(session, exhibit, 7, 7)
    assert [f"exhibit {exhibit.key}: line 7 was put in" in one for one in check()] == [True]


def test_swapped_lines_are_named(exhibit: Exhibit, session: Session, check: Check) -> None:
    with unguarded(session):
        for position, to in ((3, 99), (5, 3), (99, 5)):
            session.execute(update(CustodyLine).where(row(position)).values(position=to))
    assert [f"exhibit {exhibit.key}: line 3 was changed" in one for one in check()] == [True]


def test_the_log_of_another_exhibit_does_not_pass(
    exhibit: Exhibit, files: Exhibited, record: Record, session: Session, check: Check
) -> None:
    other = files.attach(record.submitted(record.second), b"other")
    with unguarded(session):
        for own, to in ((exhibit.id, None), (other.id, exhibit.id)):
            if to is None:
                session.execute(delete(CustodyLine).where(CustodyLine.exhibit_id == own))
            else:
                session.execute(
                    update(CustodyLine).where(CustodyLine.exhibit_id == own).values(exhibit_id=to)
                )
    found = "\n".join(check())
    assert f"exhibit {exhibit.key}: line 1 was changed, put in or moved" in found
    assert f"exhibit {other.key}: line 1 is missing" in found


# The guards.


def test_the_database_refuses_to_change_or_delete_a_line(
    exhibit: Exhibit, session: Session, check: Check
) -> None:
    for statement in (
        "UPDATE custody_line SET note = 'x' WHERE position = 2",
        "UPDATE custody_line SET sha256 = '' WHERE position = 2",
        "UPDATE custody_line SET line_hash = '' WHERE position = 2",
        "DELETE FROM custody_line WHERE position = 6",
        "DELETE FROM custody_line",
    ):
        with pytest.raises(DBAPIError, match="A custody log"):
            session.execute(text(statement))
        session.rollback()
    assert len(log(session, exhibit)) == 6
    assert check() == []


def test_an_erased_exhibits_lines_lose_their_hash_and_nothing_else(
    exhibit: Exhibit, record: Record, session: Session
) -> None:
    session.execute(update(Exhibit).values(erased_at=record.now))
    session.commit()
    for statement in (
        "UPDATE custody_line SET sha256 = '', note = 'x'",
        "UPDATE custody_line SET sha256 = '', account_id = NULL",
        "UPDATE custody_line SET sha256 = 'x'",
        "DELETE FROM custody_line WHERE position = 6",
    ):
        with pytest.raises(DBAPIError, match="A custody log"):
            session.execute(text(statement))
        session.rollback()
    session.execute(text("UPDATE custody_line SET sha256 = ''"))


@pytest.mark.only("sqlite")
def test_sqlite_does_not_replace_a_line_either(exhibit: Exhibit, session: Session) -> None:
    session.execute(text("PRAGMA recursive_triggers = OFF"))
    columns = "exhibit_id, position, at, action, sha256, commitment, note, line_hash"
    with pytest.raises(DBAPIError, match="A custody log is never edited"):
        session.execute(
            text(f"INSERT OR REPLACE INTO custody_line ({columns}) SELECT {columns} FROM custody_line")
        )


def test_a_discarded_draft_takes_its_log_along(
    files: Exhibited, record: Record, make: Factory, session: Session, check: Check
) -> None:
    piece = make.evidence(record.first, state=State.DRAFT, created_by=record.mona)
    exhibit = files.attach(piece, b"draft")
    drafts.discard(session, piece, author=record.mona, version=piece.version, now=record.tick())
    session.commit()
    assert log(session, exhibit) == []
    assert check() == []


# At once.


def together(*acts: Callable[[], None]) -> None:
    start = threading.Barrier(len(acts))

    def run(act: Callable[[], None]) -> None:
        start.wait(60)
        act()

    with ThreadPoolExecutor(len(acts)) as pool:
        for done in [pool.submit(run, act) for act in acts]:
            done.result(60)


def test_of_two_who_look_at_once_both_get_their_line(
    exhibit: Exhibit, record: Record, engine: Engine, session: Session, check: Check
) -> None:
    session.commit()

    def act() -> None:
        for _ in range(10):
            with db.new_session(engine) as own, own.begin():
                found = own.get_one(Exhibit, exhibit.id)
                person = own.get_one(Account, record.rafa.id)
                exhibits.log_look(own, found, CustodyAction.VIEWED, account=person, now=record.now)

    together(act, act, act)
    assert [line.position for line in log(session, exhibit)] == list(range(1, 37))
    assert check() == []


def test_nobody_waits_for_each_other_in_a_circle(
    files: Exhibited,
    record: Record,
    engine: Engine,
    session: Session,
    config: Config,
    keys: Keyring,
    check: Check,
) -> None:
    """A check, looks, a copy that is found damaged, one that is prepared, and one that is withdrawn, of the same exhibits."""
    piece, exhibit, copy = files.published(b"original", b"copy")
    other = files.attach(piece, b"copy")  # The same bytes as the public copy of the first one.
    session.commit()
    prepared = [files.kept(bytes([number])) for number in range(8)]

    def check_bytes() -> None:
        for _ in range(4):
            list(fsck.run(engine, config, keys, now=record.now))

    def look_at_both() -> None:
        for number in range(16):
            with db.new_session(engine) as own, own.begin():
                found = own.get_one(Exhibit, (exhibit, other)[number % 2].id)
                person = own.get_one(Account, record.rafa.id)
                exhibits.log_look(own, found, CustodyAction.VIEWED, account=person, now=record.now)

    def find_damage() -> None:
        for _ in range(8):
            with db.new_session(engine) as own, own.begin():
                exhibits.note_damage(own, copy.id, now=record.now)

    def prepare() -> None:
        for incoming in prepared:
            with db.new_session(engine) as own, own.begin():
                copies.prepare(
                    own,
                    own.get_one(Exhibit, exhibit.id),
                    incoming,
                    copy.kind,
                    copy.method,
                    description="A gate.",
                    account=own.get_one(Account, record.mona.id),
                    store=files.store,
                    now=record.now,
                )

    def withdraw() -> None:
        with db.new_session(engine) as own, own.begin():
            copies.withdraw(
                own,
                own.get_one(PublicCopy, copy.id),
                reviewer=own.get_one(Account, record.rafa.id),
                reason="A face can be seen.",
                now=record.now,
            )

    together(check_bytes, look_at_both, find_damage, prepare, withdraw)
    assert check() == []


# Erasure.


def test_after_an_erasure_the_chain_verifies_and_nothing_tells_which_file_it_was(
    files: Exhibited, record: Record, make: Factory, session: Session, check: Check
) -> None:
    piece, exhibit, copy = files.published(b"original", b"copy")
    look(session, exhibit, record.rafa, CustodyAction.DOWNLOADED, record.tick())
    before = [
        (line.position, line.at, line.account_id, line.action, line.line_hash)
        for line in log(session, exhibit)
    ]
    digests = {str(exhibit.sha256), str(copy.sha256)}
    asked = erasure.request(session, piece, account=record.rafa, reason="Do no harm.", now=record.tick())
    erasure.confirm(session, asked, account=make.account(Role.REVIEWER), now=record.tick())
    session.commit()

    lines = log(session, exhibit)
    told = [(line.position, line.at, line.account_id, line.action, line.line_hash) for line in lines]
    assert told[:-1] == before
    assert lines[-1].action is CustodyAction.ERASED
    assert {line.sha256 for line in lines} == {""}
    # Whoever has the file and the whole database finds no hash in it that fits.
    session.refresh(exhibit)
    guesses = {verifier.commitment(exhibit.salt, digest) for digest in digests}
    assert not guesses & {line.commitment for line in lines}
    assert check() == []

    with unguarded(session):
        session.execute(update(CustodyLine).where(row(2)).values(account_id=None))
    assert any(f"exhibit {exhibit.key}: line 2 was changed" in one for one in check())
