"""Attacks on the history of evidence: what was once written where it should not stand."""

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
from tracker.services import evidence
from tracker.vocabulary import Detail, State, Visibility

SECRET = "Mill Street 4"


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


def seen_by_rafa(record: Record, piece: Evidence) -> str:
    """The history as a colleague who is not named reads it, once the piece is with the reviewers."""
    record.session.execute(text("UPDATE evidence SET state = :state"), {"state": State.SUBMITTED.value})
    record.session.commit()
    record.session.expunge_all()
    found = record.session.get_one(Evidence, piece.id)
    lines = teamwork.history(record.session, found, record.rafa, limit=100)
    return str([(line.field, line.was, line.now) for line in lines])


def test_a_detail_that_became_restricted_is_not_read_in_its_earlier_history(
    record: Record, draft: Evidence
) -> None:
    """The author wrote it for the team by mistake, in a draft that nobody had seen, and restricted it then."""
    save(record, draft, details={Detail.EXACT_PLACE: (SECRET, Visibility.TEAM)})
    save(record, draft, details={Detail.EXACT_PLACE: (SECRET, Visibility.RESTRICTED)}, summary="Open words")
    seen = seen_by_rafa(record, draft)
    assert SECRET not in seen
    assert "Open words" in seen


def test_what_a_piece_said_while_it_was_restricted_is_not_told_when_it_is_no_longer(
    record: Record, draft: Evidence
) -> None:
    """The author took the secret out and opened the piece in the same edit."""
    save(record, draft, visibility=Visibility.RESTRICTED, summary=f"A family of {SECRET}")
    save(record, draft, visibility=Visibility.RESTRICTED, summary=f"A family of {SECRET}, again")
    save(record, draft, visibility=Visibility.PUBLIC, summary="A family of the Lower Valley")
    save(record, draft, visibility=Visibility.PUBLIC, summary="Open words")
    seen = seen_by_rafa(record, draft)
    assert SECRET not in seen
    assert "Open words" in seen
    rows = record.session.execute(text("SELECT was, now FROM field_change")).all()
    assert SECRET not in str(rows), "and in the database it stays sealed"


def test_what_a_draft_said_before_it_was_restricted_is_not_told_when_it_is_open_again(
    record: Record, draft: Evidence
) -> None:
    save(record, draft, summary=f"A family of {SECRET}")
    save(record, draft, visibility=Visibility.RESTRICTED, summary=f"A family of {SECRET}")
    save(record, draft, visibility=Visibility.TEAM, summary="A family of the Lower Valley")
    assert SECRET not in seen_by_rafa(record, draft)
