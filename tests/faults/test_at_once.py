"""Two people, or two processes, at the same moment: one succeeds, the other is told, and the record stays whole."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import HARMLESS, NO_HARM, Record
from tracker import db
from tracker.config import Config
from tracker.errors import Conflict, TrackerError
from tracker.keyring import Keyring
from tracker.models import Account, Evidence, Finding, LedgerEntry, Reply
from tracker.services import audit, evidence, findings, ledger, replies, report_file, reports
from tracker.vocabulary import Access, Grade, Role, State

ROOT = Path(__file__).resolve().parents[2]
TIMES = 6
Act = Callable[[Session], Any]


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


@pytest.fixture(autouse=True)
def _whole(record: Record, keys: Keyring) -> Iterator[None]:
    """Whatever happened at once: the ledger verifies, and the rows say what it says."""
    yield
    record.session.rollback()
    record.session.expire_all()
    assert list(ledger.problems(record.session, origin="test", public_key=keys.ledger_public_key)) == []
    assert list(audit.problems(record.session)) == []


def at_once(engine: Engine, *acts: Act) -> list[Any]:
    """Every act in a thread and a transaction of its own; what each gave, or the error it met."""
    ready = threading.Barrier(len(acts))
    results: list[Any] = [None] * len(acts)

    def run(place: int, act: Act) -> None:
        with db.new_session(engine) as session:
            try:
                ready.wait(20)
                results[place] = act(session)
                session.commit()
            except Exception as error:  # noqa: BLE001 - the test looks at it.
                session.rollback()
                results[place] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def proposal(record: Record, place: int, *cited: Evidence, by: Account | None = None) -> Finding:
    """A proposal on 88-b."""
    author, now = by or record.mona, record.tick()
    fields = findings.Fields(
        grade=(Grade.B, Grade.C)[place % 2], as_of=now.date(), access=Access.REMOTE, rationale="The register shows it.",
        evidence_ids=[piece.id for piece in cited],
    )  # fmt: skip
    made = findings.draft(
        record.session, fields, author=author, recommendation=record.second, clause=None, now=now
    )
    findings.submit(record.session, made, author=author, now=now)
    record.session.commit()
    return made


def kinds(results: list[Any]) -> list[str]:
    return sorted(type(result).__name__ for result in results)


def test_of_two_reviewers_who_accept_at_once_one_publishes(record: Record, engine: Engine) -> None:
    other = record.make.account(Role.REVIEWER)
    for _ in range(TIMES):
        piece = record.submitted(record.first)

        def accept(session: Session, by: int, key: int = piece.id) -> Any:
            row, reviewer = session.get_one(Evidence, key), session.get_one(Account, by)
            return evidence.accept(session, row, reviewer=reviewer, harm=HARMLESS, now=record.now)

        results = at_once(
            engine, lambda session: accept(session, record.rafa.id), lambda session: accept(session, other.id)
        )
        assert kinds(results) == ["Conflict", "LedgerEntry"], results


def test_of_two_rival_proposals_approved_at_once_one_is_published(record: Record, engine: Engine) -> None:
    piece = record.evidence(record.second)
    for _ in range(TIMES):
        rivals = [proposal(record, place, piece).id for place in range(2)]

        def approve(session: Session, key: int) -> Any:
            row, reviewer = session.get_one(Finding, key), session.get_one(Account, record.rafa.id)
            return findings.approve(session, row, reviewer=reviewer, harm=NO_HARM, now=record.now)

        results = at_once(engine, *(lambda session, key=key: approve(session, key) for key in rivals))
        assert kinds(results) == ["Conflict", "LedgerEntry"], results


def test_a_finding_is_not_approved_on_evidence_that_is_withdrawn_at_the_same_moment(
    record: Record, engine: Engine
) -> None:
    for place in range(TIMES):
        piece = record.evidence(record.second)
        made = proposal(record, place, piece)

        def approve(session: Session, key: int = made.id) -> Any:
            row, reviewer = session.get_one(Finding, key), session.get_one(Account, record.rafa.id)
            list(row.citations)
            return findings.approve(session, row, reviewer=reviewer, harm=NO_HARM, now=record.now).seq

        def withdraw(session: Session, key: int = piece.id) -> Any:
            row, reviewer = session.get_one(Evidence, key), session.get_one(Account, record.rafa.id)
            return evidence.withdraw(session, row, reviewer=reviewer, reason="Wrong.", now=record.now).seq  # type: ignore[union-attr]

        approved, withdrawn = at_once(engine, approve, withdraw)
        assert isinstance(withdrawn, int), withdrawn
        assert isinstance(approved, TrackerError) or approved < withdrawn, (approved, withdrawn)


def test_what_is_accepted_and_withdrawn_at_once_has_both_entries_or_stays(
    record: Record, engine: Engine
) -> None:
    for _ in range(TIMES):
        piece = record.submitted(record.first)

        def accept(session: Session, key: int = piece.id) -> Any:
            row, reviewer = session.get_one(Evidence, key), session.get_one(Account, record.rafa.id)
            return evidence.accept(session, row, reviewer=reviewer, harm=HARMLESS, now=record.now)

        def withdraw(session: Session, key: int = piece.id) -> Any:
            row, reviewer = session.get_one(Evidence, key), session.get_one(Account, record.rafa.id)
            return evidence.withdraw(session, row, reviewer=reviewer, reason="Wrong.", now=record.now)

        accepted, withdrawn = at_once(engine, accept, withdraw)
        assert isinstance(accepted, LedgerEntry), accepted
        assert isinstance(withdrawn, (LedgerEntry, Conflict)), withdrawn


def test_who_waits_for_a_withdrawal_that_began_before_the_acceptance_sees_it(
    record: Record, engine: Engine, database: str
) -> None:
    """The row was opened before it was accepted; the withdrawal happens after: it still reaches the ledger."""
    if database == "sqlite":
        pytest.skip("on SQLite nobody else can write while a row is open for writing")
    piece = record.submitted(record.first)
    with db.new_session(engine) as early, db.new_session(engine) as late:
        stale, reviewer = early.get_one(Evidence, piece.id), early.get_one(Account, record.rafa.id)
        evidence.accept(
            late,
            late.get_one(Evidence, piece.id),
            reviewer=late.get_one(Account, record.rafa.id),
            harm=HARMLESS,
            now=record.now,
        )
        late.commit()

        entry = evidence.withdraw(early, stale, reviewer=reviewer, reason="Wrong.", now=record.now)
        early.commit()
    assert entry is not None


def test_replies_withdrawn_twice_at_once_are_withdrawn_once(record: Record, engine: Engine) -> None:
    reply = record.reply(record.first)

    def withdraw(session: Session) -> Any:
        row, reviewer = session.get_one(Reply, reply.id), session.get_one(Account, record.rafa.id)
        return replies.withdraw(session, row, reviewer=reviewer, reason="Wrong.", now=record.now)

    assert kinds(at_once(engine, withdraw, withdraw, withdraw)) == ["Conflict", "Conflict", "LedgerEntry"]


def test_a_corrected_report_and_decisions_about_its_parts_do_not_lock_each_other_out(
    record: Record, engine: Engine
) -> None:
    """The file is loaded while its evidence is withdrawn, a finding on it approved and a draft edited."""
    source = ROOT / "config" / "reports" / "ohchr-xuar-2022" / "report.toml"
    parsed = report_file.read(source, today=record.now.date())
    reports.load(record.session, parsed, now=record.tick())
    record.session.commit()
    pieces = list(
        record.session.scalars(select(Evidence.id).where(Evidence.imported_as.is_not(None)).limit(TIMES))
    )
    drafts = list(
        record.session.scalars(select(Finding.id).where(Finding.imported_as.is_not(None)).limit(TIMES))
    )
    changed = report_file.read(source, today=record.now.date())
    changed.evidence[:] = [
        table.model_copy(update={"title": f"{table.title[:100]} (again)"}) for table in changed.evidence
    ]

    def load(session: Session) -> Any:
        return reports.load(session, changed, now=record.now)

    def withdraw(session: Session) -> Any:
        row, reviewer = session.get_one(Evidence, pieces[0]), session.get_one(Account, record.rafa.id)
        return evidence.withdraw(session, row, reviewer=reviewer, reason="Wrong.", now=record.now)

    def edit(session: Session) -> Any:
        row, author = session.get_one(Finding, drafts[0]), session.get_one(Account, record.mona.id)
        fields = findings.Fields(grade=Grade.C, rationale="Mine.", evidence_ids=[pieces[1]])
        return findings.edit(session, row, fields, author=author, version=row.version, now=record.now)

    results = at_once(engine, load, withdraw, edit)
    assert not [
        result for result in results if isinstance(result, Exception) and not isinstance(result, TrackerError)
    ]


# Processes


def child(act: str, config: Config, *arguments: object) -> subprocess.Popen[bytes]:
    environment = {
        "TRACKER_DATA_DIR": str(config.data_dir),
        "TRACKER_DATABASE_URL": config.sqlalchemy_url,
        "TRACKER_BASE_URL": config.base_url,
        "PATH": os.environ["PATH"],
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.publisher", act, *map(str, arguments)], cwd=ROOT, env=environment
    )


def test_several_processes_that_publish_at_once_number_their_entries_without_gap(
    record: Record, config: Config
) -> None:
    before = ledger.position(record.session)
    pieces = [record.submitted(record.first).id for _ in range(24)]

    children = [child("accept", config, record.rafa.id, *pieces[start::3]) for start in range(3)]

    assert [process.wait(60) for process in children] == [0, 0, 0]
    record.session.rollback()
    seqs = record.session.scalars(select(LedgerEntry.seq).order_by(LedgerEntry.seq)).all()
    assert seqs == list(range(1, before + 25))
    numbers = record.session.scalars(select(Evidence.number).order_by(Evidence.number)).all()
    assert numbers == list(range(1, 25))


@pytest.mark.parametrize(
    "point",
    ["before-the-entry", "after-the-entry", "after-the-words", "before-the-commit", "after-the-commit"],
)
def test_kill_9_in_the_middle_of_an_approval_publishes_all_or_nothing(
    point: str, record: Record, config: Config
) -> None:
    piece = record.evidence(record.second)
    made = proposal(record, 0, piece)
    before = ledger.position(record.session)
    record.session.rollback()

    assert child(point, config, record.rafa.id, made.id).wait(60) == -signal.SIGKILL

    record.session.rollback()
    record.session.expire_all()
    published = point == "after-the-commit"
    assert ledger.position(record.session) == before + published
    assert record.session.get_one(Finding, made.id).state is (
        State.ACCEPTED if published else State.SUBMITTED
    )
    if not published:
        findings.approve(record.session, made, reviewer=record.rafa, harm=NO_HARM, now=record.tick())
        record.session.commit()
    assert record.session.scalar(select(func.count()).select_from(LedgerEntry)) == before + 1
