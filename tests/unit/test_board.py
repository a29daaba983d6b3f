"""The board says of every recommendation what is published, and reads it in a handful of statements."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, update
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import Record
from tracker.errors import NotFound
from tracker.models import Clause, Finding, Recommendation, Report
from tracker.queries import board as boards
from tracker.queries import recommendation as pages
from tracker.timeliness import add_months
from tracker.vocabulary import Access, Grade, Position, State

TODAY = dt.date(2026, 11, 22)


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def row(record: Record, recommendation: Recommendation, **values: Any) -> boards.Row:
    record.session.expire_all()
    board = boards.board(record.session, record.report, **{"today": TODAY, "review_months": 3, **values})
    return next(found for found in board.rows if found.recommendation is recommendation)


@contextmanager
def counting(engine: Engine) -> Iterator[list[str]]:
    statements: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", count)
    yield statements
    event.remove(engine, "before_cursor_execute", count)


def test_a_new_report_is_not_assessed_anywhere(record: Record) -> None:
    board = boards.board(record.session, record.report, today=TODAY, review_months=3)

    assert [found.recommendation.number for found in board.rows] == ["88-a", "88-b", "89"]
    assert [(addressee.slug, len(rows)) for addressee, rows in board.groups] == [
        ("government", 2),
        ("business", 1),
    ]
    assert board.tally == {**dict.fromkeys(Grade, 0), None: 3}
    assert board.assessed == 0
    assert board.next_due is None
    first = board.rows[0]
    assert (first.grade, first.reply, first.access, first.evidence_count) == (None, None, None, 0)


def test_the_grade_is_rolled_up_from_the_clauses(record: Record) -> None:
    a, b = record.first.clauses
    piece = record.evidence(record.first)
    record.finding(record.first, a, Grade.A, piece)
    assert row(record, record.first).grade is Grade.A

    record.finding(record.first, b, Grade.E, piece)
    found = row(record, record.first)
    assert (found.grade, found.assessed, found.grades) == (Grade.E, 2, [Grade.A, Grade.E])


def test_a_recommendation_without_clauses_shows_its_own_finding(record: Record) -> None:
    record.finding(record.second, None, Grade.C, record.evidence(record.second))

    assert row(record, record.second).grade is Grade.C


def test_only_the_current_finding_counts(record: Record) -> None:
    piece = record.evidence(record.second)
    record.finding(record.second, None, Grade.C, piece)
    newer = record.finding(record.second, None, Grade.B, piece)
    assert row(record, record.second).grade is Grade.B

    record.withdraw_finding(newer)
    found = row(record, record.second)
    assert (found.grade, found.timeliness.reviewed_on) == (None, None)


def test_access_is_that_of_the_finding_that_looked_last(record: Record) -> None:
    a, b = record.first.clauses
    piece = record.evidence(record.first)
    record.finding(record.first, a, Grade.C, piece, access=Access.GUIDED, as_of=dt.date(2026, 5, 1))
    record.finding(record.first, b, Grade.C, piece, access=Access.REFUSED, as_of=dt.date(2026, 4, 1))

    assert row(record, record.first).access is Access.GUIDED


def test_the_position_is_that_of_the_newest_accepted_reply_to_it(record: Record) -> None:
    record.reply(record.first, position=Position.ACCEPTS, replied_on=dt.date(2026, 2, 1))
    record.reply(record.first, record.second, position=Position.REJECTS, replied_on=dt.date(2025, 2, 1))
    record.reply(position=Position.SILENT, replied_on=dt.date(2026, 3, 1))

    def position(recommendation: Recommendation) -> Position | None:
        reply = row(record, recommendation).reply
        return reply.position if reply else None

    assert position(record.first) is Position.ACCEPTS
    assert position(record.second) is Position.REJECTS
    assert position(record.third) is None


def test_only_public_evidence_is_counted(record: Record) -> None:
    record.evidence(record.first, record.first.clauses[0])
    record.withdraw(record.evidence(record.first))
    record.hide_some(record.first)

    assert row(record, record.first).evidence_count == 1


def test_evidence_that_bears_on_two_clauses_counts_once(record: Record) -> None:
    from tracker.models import Bearing
    from tracker.vocabulary import Direction

    piece = record.evidence(record.first, record.first.clauses[0])
    piece.bearings.append(
        Bearing(recommendation=record.first, clause=record.first.clauses[1], direction=Direction.REGRESS)
    )
    record.session.commit()

    assert row(record, record.first).evidence_count == 1


def test_a_recommendation_may_have_its_own_interval(record: Record, now: dt.datetime) -> None:
    record.finding(record.second, None, Grade.C, record.evidence(record.second))
    reviewed = record.now.date()
    assert row(record, record.second).timeliness.due_on == add_months(reviewed, 3)

    record.session.execute(update(Report).values(review_months=1))
    assert row(record, record.second).timeliness.due_on == add_months(reviewed, 1)

    record.session.execute(update(Recommendation).values(review_months=2))
    assert row(record, record.second).timeliness.due_on == add_months(reviewed, 2)


def test_what_does_not_exist_is_not_found(record: Record) -> None:
    for slug in ("nothing", "LOWER-VALLEY", "\0", "lower-valley\0", "' OR 1=1 --", "\U0001f600" * 200):
        with pytest.raises(NotFound):
            boards.find_report(record.session, slug)
        with pytest.raises(NotFound):
            boards.find_recommendation(record.session, "lower-valley", slug)


def test_a_recommendation_is_found_in_its_own_report_only(record: Record) -> None:
    other = record.make.report("upper-valley")

    assert boards.find_recommendation(record.session, "lower-valley", "88-a") is record.first
    assert boards.find_recommendation(record.session, "upper-valley", "88-a") is other.recommendations[0]


def fill(record: Record, numbers: Iterable[int]) -> None:
    """More recommendations with clauses, findings, evidence and replies, in one go."""
    for number in numbers:
        made = Recommendation(
            report=record.report, addressee=record.report.addressees[0], number=f"91-{number}",
            reference=f"91({number})", title="Another", text="Open the roads, and keep them open;", position=10 + number,
        )  # fmt: skip
        made.clauses = [
            Clause(label="a", title="Open", text="Open the roads", position=1),
            Clause(label="b", title="Keep", text="keep them open", position=2),
        ]
        record.session.add(made)
        record.session.flush()
        piece = record.evidence(made, made.clauses[0])
        record.finding(made, made.clauses[0], Grade.C, piece)
        record.reply(made)


def test_the_number_of_statements_does_not_grow_with_the_board(record: Record, engine: Engine) -> None:
    def statements() -> int:
        record.session.expire_all()
        report = boards.find_report(record.session, "lower-valley")
        with counting(engine) as found:
            board = boards.board(record.session, report, today=TODAY, review_months=3)
            assert [
                (one.grade, one.recommendation.addressee.name, one.recommendation.clauses)
                for one in board.rows
            ]
            assert board.groups
        return len(found)

    def statements_of_a_page() -> int:
        record.session.expire_all()
        recommendation = boards.find_recommendation(record.session, "lower-valley", "88-a")
        with counting(engine) as found:
            page = pages.page(record.session, recommendation, today=TODAY, review_months=3)
            assert page.history
            assert all(piece.bearings[0].direction.sign for piece in page.evidence)
        return len(found)

    def fill_first(times: int) -> None:
        for _ in range(times):
            record.finding(record.first, record.first.clauses[0], Grade.C, record.evidence(record.first))
            record.reply(record.first)
            record.withdraw(record.evidence(record.first))

    fill(record, range(1))
    fill_first(2)
    few, few_of_a_page = statements(), statements_of_a_page()
    fill(record, range(1, 6))
    fill_first(4)

    assert statements() == few <= 8
    assert statements_of_a_page() == few_of_a_page <= 20


def test_the_start_page_reads_every_report_at_once(record: Record, engine: Engine) -> None:
    for number in range(4):
        record.make.report(f"valley-{number}")
    record.session.expire_all()

    with counting(engine) as statements:
        found = boards.boards(record.session, today=TODAY, review_months=3)
        assert [len(board.rows) for board in found] == [3] * 5

    assert len(statements) <= 8


def test_findings_of_drafts_and_proposals_are_nowhere_on_the_board(record: Record) -> None:
    record.session.add(
        Finding(
            recommendation=record.second,
            grade=Grade.E,
            proposed_by_id=record.mona.id,
            created_at=record.now,
            rationale="Hidden proposal",
            state=State.SUBMITTED,
        )
    )
    record.session.commit()

    assert row(record, record.second).findings == {}
