"""Every edit of evidence leaves its fields as they were and as they became, by whom and when."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import Record
from tracker.models import Evidence
from tracker.queries import teamwork
from tracker.services import evidence, history
from tracker.services.evidence import Bears
from tracker.vocabulary import (
    Credibility,
    Detail,
    Direction,
    Precision,
    Reliability,
    SourceType,
    State,
    Visibility,
)


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


@pytest.fixture
def draft(record: Record) -> Evidence:
    piece = evidence.draft(
        record.session, evidence.Fields(title="As it was"), author=record.mona, now=record.tick()
    )
    record.session.commit()
    return piece


def save(record: Record, piece: Evidence, **values: Any) -> None:
    words = evidence.Fields(**{"title": "As it was", **values})
    evidence.edit(record.session, piece, words, author=record.mona, version=piece.version, now=record.tick())
    record.session.commit()


def told(record: Record, piece: Evidence, **values: Any) -> list[tuple[str, str, str]]:
    found = teamwork.history(record.session, piece, values.get("viewer", record.mona), limit=100)
    return [(one.field, one.was, one.now) for one in reversed(found)]


def test_each_changed_field_is_one_line_and_what_did_not_change_is_none(
    record: Record, draft: Evidence
) -> None:
    everything = {
        "title": "As it is", "summary": "What happened.", "occurred_on": dt.date(2025, 5, 1),
        "date_precision": Precision.MONTH, "publisher": "The court", "source_type": SourceType.LAW,
        "language": "en", "reliability": Reliability.A, "credibility": Credibility.ONE,
        "remark": "A copy.", "team_note": "Ask.", "place": "Lower Valley", "from_person": True,
        "not_before": dt.date(2027, 1, 1),
        "links": ["https://a.example/", "https://b.example/"],
        "bearings": [
            Bears(record.first.id, record.first.clauses[0].id, Direction.PROGRESS),
            Bears(record.second.id, None, Direction.REGRESS),
        ],
    }  # fmt: skip
    save(record, draft, **everything)

    lines = {field: (was, now) for field, was, now in told(record, draft)}
    assert lines == {
        "title": ("As it was", "As it is"),
        "summary": ("", "What happened."),
        "occurred": ("", "2025-05-01 (month)"),
        "place": ("", "Lower Valley"),
        "publisher": ("", "The court"),
        "source_type": ("", "law"),
        "links": ("", "https://a.example/\nhttps://b.example/"),
        "language": ("", "en"),
        "reliability": ("", "A"),
        "credibility": ("", "1"),
        "bearings": ("", "88(a) a: progress\n88(b): regress"),
        "not_before": ("", "2027-01-01"),
        "from_person": ("", "yes"),
        "remark": ("", "A copy."),
        "team_note": ("", "Ask."),
    }
    before = len(told(record, draft))
    save(record, draft, **everything)
    assert len(told(record, draft)) == before
    save(record, draft, **{**everything, "links": ["https://b.example/"], "bearings": []})
    assert told(record, draft)[before:] == [
        ("links", "https://a.example/\nhttps://b.example/", "https://b.example/"),
        ("bearings", "88(a) a: progress\n88(b): regress", ""),
    ]


def test_a_line_says_who_when_and_which_version(record: Record, draft: Evidence) -> None:
    save(record, draft, summary="One")
    [line] = teamwork.history(record.session, draft, record.mona, limit=10)
    assert (line.account_id, line.changed_at, line.version) == (record.mona.id, record.now, 2)


def test_every_column_that_a_person_edits_is_in_the_snapshot(draft: Evidence) -> None:
    """A field that is added to the form and forgotten here would change without a trace."""
    names = {
        "occurred_on": "occurred", "date_precision": "occurred", "bearings": "bearings", "links": "links",
        "reader_ids": "readers", "details": "title",
    }  # fmt: skip
    for name in evidence.Fields.__dataclass_fields__:
        assert names.get(name, name) in history.snapshot(draft), name


def test_who_may_see_a_restricted_detail_sees_its_history_and_nobody_else(
    record: Record, draft: Evidence
) -> None:
    place = {Detail.EXACT_PLACE: ("SECRET Mill Street 4", Visibility.RESTRICTED)}
    save(record, draft, details=place, summary="Open words")
    save(record, draft, details={Detail.EXACT_PLACE: ("SECRET Mill Street 5", Visibility.TEAM)})
    save(record, draft, details={Detail.EXACT_PLACE: ("Mill Street 6", Visibility.TEAM)})
    draft.state = State.SUBMITTED
    record.session.commit()

    rows = record.session.execute(text("SELECT was, now FROM field_change")).all()
    assert "Mill Street" not in str(rows)
    record.session.expunge_all()
    piece = record.session.get_one(Evidence, draft.id)
    assert "SECRET Mill Street 4" in str(told(record, piece))
    seen = told(record, piece, viewer=record.rafa)
    assert "SECRET Mill Street 4" not in str(seen)
    assert ("summary", "", "Open words") in seen
    # From the team's value to the team's value: that the team may know.
    assert ("detail-exact-place", "SECRET Mill Street 5", "Mill Street 6") in seen


def test_readers_and_visibility_leave_their_lines_too(record: Record, draft: Evidence) -> None:
    save(record, draft, visibility=Visibility.RESTRICTED, reader_ids=[record.rafa.id])
    assert told(record, draft) == [
        ("visibility", "team", "restricted"),
        ("readers", "", record.rafa.name),
    ]


def test_history_is_read_in_pages(record: Record, draft: Evidence) -> None:
    for number in range(5):
        save(record, draft, summary=f"Text {number}")
    first = teamwork.history(record.session, draft, record.mona, limit=3)
    rest = teamwork.history(record.session, draft, record.mona, before=first[-1].id, limit=3)
    assert [line.now for line in (*first, *rest)] == [f"Text {number}" for number in (4, 3, 2, 1, 0)]
