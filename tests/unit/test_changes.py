"""Changes tell what the ledger recorded, for their scope only, and forget the words of what was withdrawn."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import Record
from tracker.queries import changes
from tracker.queries.changes import About, Change
from tracker.services import ledger
from tracker.vocabulary import Direction, EntryKind, Grade, Position, Precision


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def read(record: Record, about: About = changes.EVERYTHING, **values: int) -> list[Change]:
    record.session.expire_all()
    return changes.read(record.session, about, **{"limit": 50, **values})


def test_an_empty_ledger_has_no_changes(session: Session) -> None:
    assert changes.read(session, limit=10) == []
    assert changes.last_seq(session) == 0


def test_changes_come_newest_first_and_resume_oldest_first(record: Record) -> None:
    for _ in range(4):
        record.evidence(record.first)

    assert [change.seq for change in read(record)] == [5, 4, 3, 2, 1]
    assert [change.seq for change in read(record, before=3)] == [2, 1]
    assert [change.seq for change in read(record, after=2, limit=2)] == [3, 4]
    assert read(record, after=5) == []


def test_each_scope_has_its_own_changes_and_its_own_last_entry(record: Record) -> None:
    other = record.make.report("upper-valley")
    record.evidence(record.first)
    record.evidence(record.second)
    record.reply()
    record.evidence(other.recommendations[0])

    def seqs(about: About) -> list[int]:
        found = [change.seq for change in read(record, about)]
        assert changes.last_seq(record.session, about) == found[0]
        return found

    assert seqs(changes.EVERYTHING) == [5, 4, 3, 2, 1]
    assert seqs(About(record.report)) == [4, 3, 2, 1]
    assert seqs(About(record.report, record.first)) == [4, 2, 1]
    assert seqs(About(record.report, record.third)) == [4, 1]
    assert seqs(About(other)) == [5]


def test_a_finding_tells_its_step_its_reasons_and_its_evidence(record: Record) -> None:
    piece = record.evidence(record.first)
    clause = record.first.clauses[0]
    record.finding(record.first, clause, Grade.C, piece)
    record.finding(record.first, clause, Grade.B, piece, rationale="Six files were opened.")

    change = read(record)[0]

    assert (change.kind, change.noun, change.clause) == (EntryKind.FINDING_PUBLISHED, "finding", "a")
    assert (change.previous_grade, change.grade) == (Grade.C, Grade.B)
    assert (change.previous_roll_up, change.roll_up) == (Grade.C, Grade.B)
    assert change.cites == [1]
    assert change.as_of == record.now.date()
    assert change.words("rationale") == "Six files were opened."
    assert [found.number for found in change.recommendations] == ["88-a"]


def test_evidence_tells_when_it_was_and_what_it_bears_on(record: Record) -> None:
    record.evidence(record.first, record.first.clauses[1], date_precision=Precision.MONTH)

    change = read(record)[0]

    assert (change.number, change.date, change.precision) == (1, dt.date(2025, 5, 14), Precision.MONTH)
    assert change.directions == [("88-a", "b", Direction.PROGRESS)]


def test_a_reply_tells_its_position(record: Record) -> None:
    record.reply(record.first)

    assert read(record)[0].position is Position.DISPUTES


def test_withdrawn_evidence_keeps_its_entries_and_loses_its_words(record: Record) -> None:
    record.evidence(record.first, title="Unspeakable title")
    piece = record.evidence(record.first, title="Still here")
    record.withdraw(record.session.get_one(type(piece), piece.id - 1), "The source was harmed.")

    withdrawal, kept, published, _ = read(record)

    assert withdrawal.is_withdrawal
    assert withdrawal.words("reason") == "The source was harmed."
    assert withdrawal.withdrawn_at is None
    assert kept.words("title") == "Still here"
    assert published.content is None
    assert published.withdrawn_at == withdrawal.recorded_at == published.updated_at


def test_a_withdrawn_finding_shows_no_grade_after_it(record: Record) -> None:
    finding = record.finding(record.second, None, Grade.E, record.evidence(record.second))
    record.withdraw_finding(finding)

    withdrawal, published = read(record)[:2]

    assert (withdrawal.previous_grade, withdrawal.grade) == (Grade.E, None)
    assert (withdrawal.previous_roll_up, withdrawal.roll_up) == (Grade.E, None)
    assert published.withdrawn_at is not None


def test_what_a_correction_corrects_is_marked(record: Record) -> None:
    piece = record.evidence(record.second)
    record.finding(record.second, None, Grade.C, piece)
    record.finding(
        record.second, None, Grade.C, piece, correction="We had named three sites. The source names two."
    )

    correction, wrong, evidence = read(record)[:3]

    assert correction.is_correction
    assert correction.corrected_at is None
    assert wrong.corrected_at == correction.recorded_at
    assert evidence.corrected_at is None


def test_a_superseded_finding_was_not_wrong(record: Record) -> None:
    piece = record.evidence(record.second)
    record.finding(record.second, None, Grade.C, piece)
    record.finding(record.second, None, Grade.B, piece)

    assert [change.corrected_at for change in read(record)[:2]] == [None, None]


def test_erased_words_leave_a_change_without_words(record: Record) -> None:
    record.evidence(record.first)
    record.session.execute(text("DELETE FROM ledger_content WHERE seq = 2"))
    record.session.commit()

    change = read(record)[0]

    assert (change.content, change.withdrawn_at, change.words("title"), change.number) == (None, None, "", 1)


def test_an_entry_of_another_version_with_odd_facts_is_still_told(record: Record) -> None:
    ledger.append(
        record.session, EntryKind.FINDING_PUBLISHED, subject="finding/odd", report=record.report,
        recommendations=[record.first],
        facts={"grade": "Z", "clause": None, "as_of": "soon", "cites": ["one", 0, 2], "directions": [{}], "number": "x"},
        content={"rationale": 7}, now=record.now,
    )  # fmt: skip

    change = read(record)[0]

    assert (change.grade, change.as_of, change.cites, change.directions, change.number) == (
        None,
        None,
        [2],
        [],
        None,
    )
    assert change.words("rationale") == ""


def test_hidden_evidence_leaves_no_change(record: Record) -> None:
    record.hide_some(record.first)

    assert [change.kind for change in read(record)] == [EntryKind.REPORT_LOADED]
