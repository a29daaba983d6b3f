"""A thing is assigned to somebody who can do what is to be done with it; the last to assign decides."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import Record
from tracker.errors import Conflict, Invalid, NotFound
from tracker.models import Activity, Assignment, EvidenceReader
from tracker.queries import queue, teamwork
from tracker.services import assignments, evidence
from tracker.vocabulary import Need, Role, State, Visibility


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def test_what_waits_for_review_goes_to_a_reviewer_and_stands_first_in_their_queue(
    record: Record, make: Factory
) -> None:
    session, piece, other = record.session, record.submitted(record.first), make.account(Role.REVIEWER)
    assignments.assign(session, piece, record.rafa, by=record.mona, now=record.tick())
    session.commit()

    mine = queue.queue(session, record.rafa, stale_before=record.now)
    theirs = queue.queue(session, other, stale_before=record.now)
    assert ([row.id for row in mine.assigned], mine.to_review) == ([piece.id], [])
    assert (theirs.assigned, [row.id for row in theirs.to_review]) == ([], [piece.id])
    given = teamwork.assignment(session, piece)
    assert given is not None
    assert (given.account_id, given.assigned_by_id) == (record.rafa.id, record.mona.id)


def test_nobody_gets_what_they_cannot_take(record: Record, make: Factory) -> None:
    author = make.account(Role.REVIEWER)
    piece = record.submitted(record.first, created_by_id=author.id)
    secret = record.submitted(record.first, visibility=Visibility.RESTRICTED)
    named = make.account(Role.REVIEWER)
    secret.readers = [EvidenceReader(account_id=named.id), EvidenceReader(account_id=make.account().id)]
    record.session.commit()
    for row, to in (
        (piece, author),  # Never to its author for review.
        (piece, record.mona),  # A monitor reviews nothing.
        (piece, make.account(Role.ADMIN)),
        (piece, make.account(Role.REVIEWER, active=False)),
        (secret, record.rafa),  # Not named.
        (secret, secret.readers[1].account),  # Named, and no reviewer.
    ):
        by = named if row is secret else record.mona
        with pytest.raises(Invalid, match="cannot take it"):
            assignments.assign(record.session, row, to, by=by, now=record.tick())
    assignments.assign(record.session, secret, named, by=record.mona, now=record.tick())
    with pytest.raises(NotFound):
        assignments.assign(record.session, secret, named, by=record.rafa, now=record.tick())
    with pytest.raises(NotFound):
        assignments.release(record.session, secret, by=record.rafa, now=record.tick())


def test_what_is_decided_is_assigned_to_nobody(record: Record) -> None:
    with pytest.raises(Conflict):
        assignments.assign(
            record.session, record.evidence(record.first), record.rafa, by=record.mona, now=record.tick()
        )


def test_the_last_one_to_assign_decides_and_it_can_be_taken_away(record: Record, make: Factory) -> None:
    session, piece, other = record.session, record.submitted(record.first), make.account(Role.REVIEWER)
    assignments.assign(session, piece, record.rafa, by=record.mona, now=record.tick())
    assignments.assign(session, piece, other, by=other, now=record.tick())
    session.commit()
    given = teamwork.assignment(session, piece)
    assert given is not None
    assert (given.account_id, given.assigned_by_id) == (other.id, other.id)

    assignments.release(session, piece, by=record.rafa, now=record.tick())
    assignments.release(session, piece, by=record.rafa, now=record.tick())
    session.commit()
    assert session.scalars(select(Assignment)).all() == []
    acts = session.scalars(select(Activity.action).where(Activity.subject == f"evidence/{piece.key}")).all()
    assert acts == ["evidence-assigned", "evidence-assigned", "evidence-unassigned"]


def test_an_assignment_rests_while_it_is_somebody_elses_turn(record: Record) -> None:
    session, piece = record.session, record.submitted(record.first)
    assignments.assign(session, piece, record.rafa, by=record.rafa, now=record.tick())
    evidence.send_back(
        session, piece, reviewer=record.rafa, reason="Which day?", needs=[Need.DATE, Need.SOURCE],
        now=record.tick(),
    )  # fmt: skip
    session.commit()
    assert queue.queue(session, record.rafa, stale_before=record.now).assigned == []
    assert piece.needs == "date,source"

    evidence.submit(session, piece, author=record.mona, now=record.tick())
    session.commit()
    again = queue.queue(session, record.rafa, stale_before=record.now)
    assert [row.id for row in again.assigned] == [piece.id]
    assert (piece.needs, piece.state) == ("", State.SUBMITTED)
    returned = select(Activity.reason).where(Activity.action == "evidence-returned")
    assert session.scalars(returned).one() == "Which day? [date, source]"


def test_drafts_and_returned_pieces_that_nobody_touches_go_stale(record: Record, make: Factory) -> None:
    session = record.session
    words = evidence.Fields(title="Forgotten")
    old = evidence.draft(session, words, author=record.mona, now=record.now)
    fresh = evidence.draft(session, words, author=record.mona, now=record.now + dt.timedelta(days=20))
    touched = evidence.draft(session, words, author=record.mona, now=record.now)
    evidence.edit(
        session, touched, evidence.Fields(title="Seen again"), author=record.mona, version=touched.version,
        now=record.now + dt.timedelta(days=20),
    )  # fmt: skip
    session.commit()

    found = queue.queue(session, record.mona, stale_before=record.now + dt.timedelta(days=10))

    assert [row.id for row in found.stale] == [old.id]
    assert {row.id for row in found.drafts} == {old.id, fresh.id, touched.id}
    assert queue.queue(session, record.rafa, stale_before=record.now + dt.timedelta(days=10)).stale == []
