"""Parts that never become public, readers per part, and evidence that waits for its day."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import HARMLESS, Record
from tracker import permissions
from tracker.errors import Conflict
from tracker.models import Evidence, EvidenceReader, LedgerContent, LedgerEntry
from tracker.services import audit, evidence
from tracker.vocabulary import Detail, EntryKind, Role, State, Visibility

SECRET = "SECRET house by the quarry"
DAY = dt.timedelta(days=1)


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def fields(**values: Any) -> evidence.Fields:
    return evidence.Fields(**{"title": "Six case files", "visibility": Visibility.PUBLIC, **values})


def test_who_reads_a_detail_depends_on_the_detail_and_on_the_piece(record: Record, make: Factory) -> None:
    session = record.session
    named, other = make.account(Role.MONITOR), make.account(Role.REVIEWER)
    admin, gone = make.account(Role.ADMIN), make.account(Role.REVIEWER, active=False)
    piece = evidence.draft(
        session,
        fields(
            details={
                Detail.EXACT_PLACE: (SECRET, Visibility.RESTRICTED),
                Detail.EXACT_DATE: ("14 May, six", Visibility.TEAM),
            },
            reader_ids=[named.id],
        ),
        author=record.mona,
        now=record.tick(),
    )
    session.commit()
    session.refresh(piece)
    day, place = piece.details
    assert (day.detail, place.detail) == (Detail.EXACT_DATE, Detail.EXACT_PLACE)

    def readers(detail: Any) -> set[str]:
        people = (record.mona, named, other, admin, gone)
        return {one.name for one in people if permissions.can_read_detail(one, piece, detail)}

    assert readers(place) == {record.mona.name, named.name}
    assert readers(day) == {record.mona.name, named.name, other.name}
    piece.visibility = Visibility.RESTRICTED
    assert readers(day) == {record.mona.name, named.name}
    # Being named for a part of it gives nobody the drafts of others.
    session.rollback()
    visible = session.scalars(select(Evidence.id).where(permissions.visible_evidence(named))).all()
    assert piece.id not in visible


def test_readers_are_kept_only_while_something_is_restricted(record: Record) -> None:
    session = record.session
    piece = evidence.draft(
        session, fields(reader_ids=[record.rafa.id]), author=record.mona, now=record.tick()
    )
    assert session.scalars(select(EvidenceReader)).all() == []
    words = fields(reader_ids=[record.rafa.id], details={Detail.NAMES: ("Aygul", Visibility.RESTRICTED)})
    evidence.edit(session, piece, words, author=record.mona, version=piece.version, now=record.tick())
    session.commit()
    assert [reader.account_id for reader in session.scalars(select(EvidenceReader))] == [record.rafa.id]


def test_a_detail_that_a_form_did_not_ask_for_stays_and_an_empty_one_goes(record: Record) -> None:
    session = record.session
    both = {
        Detail.EXACT_PLACE: (SECRET, Visibility.RESTRICTED),
        Detail.NAMES: ("Aygul", Visibility.TEAM),
    }
    piece = evidence.draft(session, fields(details=both), author=record.mona, now=record.tick())
    session.commit()

    def save(**details: tuple[str, Visibility]) -> list[tuple[Detail, str, Visibility]]:
        words = fields(details={Detail(name): value for name, value in details.items()})  # type: ignore[call-arg]
        evidence.edit(session, piece, words, author=record.mona, version=piece.version, now=record.tick())
        session.commit()
        session.expire_all()
        return [(one.detail, one.value, one.visibility) for one in piece.details]

    assert len(save()) == 2
    assert save(names=("Aygul, Tursun", Visibility.RESTRICTED)) == [
        (Detail.EXACT_PLACE, SECRET, Visibility.RESTRICTED),
        (Detail.NAMES, "Aygul, Tursun", Visibility.RESTRICTED),
    ]
    assert save(names=("", Visibility.TEAM)) == [(Detail.EXACT_PLACE, SECRET, Visibility.RESTRICTED)]
    assert "SECRET" not in str(session.execute(text("SELECT * FROM evidence_detail")).all())


def test_the_public_place_is_published_and_no_detail_is(record: Record) -> None:
    session = record.session
    piece = record.submitted(record.first, place="Lower Valley")
    evidence._fill_details(piece, fields(details={Detail.EXACT_PLACE: (SECRET, Visibility.TEAM)}))
    session.commit()
    entry = evidence.accept(session, piece, reviewer=record.rafa, harm=HARMLESS, now=record.tick())
    session.commit()
    assert entry is not None
    published = session.get_one(LedgerContent, entry.seq).content
    assert json.loads(published)["place"] == "Lower Valley"
    assert "SECRET" not in published + entry.payload
    assert list(audit.problems(session)) == []


def test_evidence_without_a_place_is_published_as_it_always_was(record: Record) -> None:
    piece = record.evidence(record.first)
    words = record.session.get_one(LedgerContent, piece.ledger_seq).content
    assert "place" not in json.loads(words)
    assert list(audit.problems(record.session)) == []


@pytest.mark.parametrize("forged", ["", "Upper Valley"])
def test_a_place_that_was_changed_in_the_database_is_noticed(record: Record, forged: str) -> None:
    piece = record.evidence(record.first, place="Lower Valley")
    record.session.execute(text("UPDATE evidence SET place = :place"), {"place": forged})
    record.session.commit()
    record.session.expire_all()
    [problem] = audit.problems(record.session)
    assert f"evidence/{piece.number} was changed" in problem


@pytest.fixture
def waiting(record: Record) -> Evidence:
    """Accepted today, to be published in three days."""
    piece = record.submitted(record.first, not_before=record.now.date() + 4 * DAY)
    assert (
        evidence.accept(record.session, piece, reviewer=record.rafa, harm=HARMLESS, now=record.tick()) is None
    )
    record.session.commit()
    return piece


def visible(session: Session) -> list[int]:
    return list(session.scalars(select(Evidence.id).where(permissions.visible_evidence(None))))


def test_what_waits_for_its_day_is_nowhere_in_public_and_is_then_published_once(
    record: Record, waiting: Evidence
) -> None:
    session = record.session
    assert (waiting.state, waiting.number, waiting.ledger_seq) == (State.ACCEPTED, None, None)
    assert visible(session) == []
    assert list(audit.problems(session)) == []
    eve = dt.datetime.combine(waiting.not_before, dt.time(), dt.UTC) - dt.timedelta(seconds=1)  # type: ignore[arg-type]
    assert evidence.due(session, now=eve) == []
    assert evidence.publish_due(session, waiting.id, now=eve) is None

    # The day is UTC's, wherever the clock that tells it stands.
    morning = (eve + dt.timedelta(seconds=1)).astimezone(dt.timezone(dt.timedelta(hours=-9)))
    assert evidence.due(session, now=morning) == [waiting.id]
    entry = evidence.publish_due(session, waiting.id, now=morning)
    session.commit()
    assert entry is not None
    assert (entry.kind, waiting.number) == (EntryKind.EVIDENCE_PUBLISHED, 1)
    assert visible(session) == [waiting.id]
    assert evidence.publish_due(session, waiting.id, now=morning + DAY) is None
    assert len(session.scalars(select(LedgerEntry).where(LedgerEntry.subject == "evidence/1")).all()) == 1


def test_a_reviewer_may_change_their_mind_before_the_day(record: Record, waiting: Evidence) -> None:
    session = record.session
    entry = evidence.withdraw(session, waiting, reviewer=record.rafa, reason="Too early.", now=record.tick())
    session.commit()
    assert entry is None
    assert evidence.due(session, now=record.now + 30 * DAY) == []
    assert evidence.publish_due(session, waiting.id, now=record.now + 30 * DAY) is None
    with pytest.raises(Conflict):
        evidence.accept(session, waiting, reviewer=record.rafa, harm=HARMLESS, now=record.tick())


def test_without_consent_on_the_day_it_is_not_published(record: Record, waiting: Evidence) -> None:
    session = record.session
    waiting.from_person = True
    session.commit()
    assert evidence.publish_due(session, waiting.id, now=record.now + 30 * DAY) is None
    assert visible(session) == []


def test_a_day_that_has_come_holds_nothing_back(record: Record) -> None:
    piece = record.evidence(record.first, not_before=record.now.date())
    assert piece.number == 1
