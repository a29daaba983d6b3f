"""A dissenting note comes from another reviewer, is published by a second person, and stays with its finding."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import NO_HARM, Record
from tracker.errors import Conflict, Invalid, NotAllowed
from tracker.models import Account, DissentingNote, Evidence, Finding, LedgerEntry
from tracker.queries import changes, recommendation, teamwork
from tracker.services import audit, dissent, findings, ledger
from tracker.vocabulary import Access, EntryKind, Grade, Role, State


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


@pytest.fixture
def dana(make: Factory) -> Account:
    """Dana reviews, and sees it differently."""
    account: Account = make.account(Role.REVIEWER, "Dana Hidden-Name")
    return account


@pytest.fixture
def piece(record: Record) -> Evidence:
    return record.evidence(record.first, record.first.clauses[0])


def proposed(record: Record, piece: Evidence, grade: Grade = Grade.B) -> Finding:
    words = findings.Fields(
        grade=grade, as_of=record.now.date(), access=Access.REMOTE, rationale="The register shows it.",
        evidence_ids=[piece.id],
    )  # fmt: skip
    finding = findings.draft(
        record.session, words, author=record.mona, recommendation=record.first,
        clause=record.first.clauses[0], now=record.tick(),
    )  # fmt: skip
    findings.submit(record.session, finding, author=record.mona, now=record.tick())
    record.session.commit()
    return finding


def approve(record: Record, finding: Finding, reviewer: Account | None = None) -> LedgerEntry:
    entry = findings.approve(
        record.session, finding, reviewer=reviewer or record.rafa, harm=NO_HARM, now=record.tick()
    )
    record.session.commit()
    return entry


def attach(record: Record, finding: Finding, author: Account, body: str = "I see C.") -> DissentingNote:
    note = dissent.attach(record.session, finding, body, author=author, now=record.tick())
    record.session.commit()
    return note


def test_a_note_on_a_proposal_is_published_with_it_right_after_its_own_entry(
    record: Record, dana: Account, piece: Evidence
) -> None:
    finding = proposed(record, piece)
    note = attach(record, finding, dana)
    entry = approve(record, finding)

    own = record.session.get_one(LedgerEntry, entry.seq + 1)
    assert (own.kind, own.subject) == (EntryKind.DISSENT_PUBLISHED, f"dissent/{note.key}")
    assert ledger.facts_of(own) | {"content": ""} == {
        "finding": finding.key, "clause": "a", "report": "lower-valley", "recommendations": ["88-a"],
        "content": "",
    }  # fmt: skip
    assert ledger.content_of(own) == {"text": "I see C."}
    assert "Dana" not in own.payload + str(ledger.content_of(own))
    assert (note.state, note.ledger_seq, note.approved_by_id) == (State.ACCEPTED, own.seq, record.rafa.id)
    page = recommendation.page(record.session, record.first, today=record.now.date(), review_months=3)
    assert [one.body for one in page.dissent[finding.id]] == ["I see C."]
    assert list(audit.problems(record.session)) == []


def test_proposer_approver_monitors_and_admins_attach_none(
    record: Record, dana: Account, piece: Evidence, make: Factory
) -> None:
    finding = proposed(record, piece)
    approve(record, finding)
    for who in (
        record.mona, record.rafa, make.account(), make.account(Role.ADMIN),
        make.account(Role.REVIEWER, active=False),
    ):  # fmt: skip
        with pytest.raises(NotAllowed):
            attach(record, finding, who)
    attach(record, finding, dana)


def test_a_draft_a_returned_and_a_withdrawn_finding_take_none(
    record: Record, dana: Account, piece: Evidence
) -> None:
    finding = proposed(record, piece)
    findings.send_back(record.session, finding, reviewer=record.rafa, reason="No.", now=record.tick())
    with pytest.raises(NotAllowed):
        attach(record, finding, dana)
    findings.submit(record.session, finding, author=record.mona, now=record.tick())
    approve(record, finding)
    record.withdraw_finding(finding)
    with pytest.raises(NotAllowed):
        attach(record, finding, dana)


def test_one_note_a_person_and_an_empty_one_is_none(record: Record, dana: Account, piece: Evidence) -> None:
    finding = proposed(record, piece)
    for body in ("", "x" * 4001):
        with pytest.raises(Invalid):
            attach(record, finding, dana, body)
    attach(record, finding, dana)
    with pytest.raises(Conflict, match="already"):
        attach(record, finding, dana, "Once more")
    record.session.rollback()
    approve(record, finding)
    with pytest.raises(Conflict, match="already"):
        attach(record, finding, dana, "Once more")


def test_nobody_publishes_a_note_that_came_after_they_opened_the_page(
    record: Record, dana: Account, piece: Evidence
) -> None:
    finding = proposed(record, piece)
    opened = finding.version
    attach(record, finding, dana)
    with pytest.raises(Conflict):
        findings.approve(
            record.session, finding, reviewer=record.rafa, harm=NO_HARM, seen=opened, now=record.tick()
        )


def test_nobody_attaches_a_note_to_words_they_have_not_seen(
    record: Record, dana: Account, piece: Evidence
) -> None:
    finding = proposed(record, piece)
    opened = finding.version
    findings.send_back(record.session, finding, reviewer=record.rafa, reason="No.", now=record.tick())
    findings.submit(record.session, finding, author=record.mona, now=record.tick())
    with pytest.raises(Conflict):
        dissent.attach(record.session, finding, "I see C.", author=dana, seen=opened, now=record.tick())


def test_the_author_of_a_note_does_not_approve_the_finding_that_it_goes_with(
    record: Record, dana: Account, piece: Evidence
) -> None:
    finding = proposed(record, piece)
    attach(record, finding, dana)
    with pytest.raises(NotAllowed, match="dissenting note"):
        approve(record, finding, dana)
    record.session.rollback()
    assert record.session.get_one(Finding, finding.id, populate_existing=True).state is State.SUBMITTED


def test_a_note_goes_back_with_the_proposal_and_a_new_one_takes_its_place(
    record: Record, dana: Account, piece: Evidence
) -> None:
    finding = proposed(record, piece)
    attach(record, finding, dana, "About the first words")
    findings.send_back(record.session, finding, reviewer=record.rafa, reason="Reword.", now=record.tick())
    findings.submit(record.session, finding, author=record.mona, now=record.tick())
    record.session.commit()
    assert [note.state for note in teamwork.notes_returned(record.session, dana)] == [State.RETURNED]

    attach(record, finding, dana, "About the new words")
    approve(record, finding)

    record.session.expire_all()
    assert [note.body for note in finding.dissent] == ["About the new words"]


def test_on_a_finding_that_stands_a_second_person_releases_it(
    record: Record, dana: Account, piece: Evidence, make: Factory
) -> None:
    finding = proposed(record, piece)
    approve(record, finding)
    note = attach(record, finding, dana)
    assert teamwork.notes_to_release(record.session, dana) == []
    assert [one.id for one in teamwork.notes_to_release(record.session, record.rafa)] == [note.id]
    for who, harm, refusal in (
        (dana, NO_HARM, NotAllowed),
        (record.mona, NO_HARM, NotAllowed),
        (record.rafa, {}, Invalid),
        (record.rafa, {**NO_HARM, "person": "unsure"}, Invalid),
    ):
        with pytest.raises(refusal):
            dissent.release(record.session, note, reviewer=who, harm=harm, now=record.tick())

    entry = dissent.release(record.session, note, reviewer=record.rafa, harm=NO_HARM, now=record.tick())
    record.session.commit()
    assert (entry.kind, note.state) == (EntryKind.DISSENT_PUBLISHED, State.ACCEPTED)
    with pytest.raises(Conflict):
        dissent.release(record.session, note, reviewer=record.rafa, harm=NO_HARM, now=record.tick())
    assert list(audit.problems(record.session)) == []


def test_a_note_is_returned_with_a_reason_or_taken_back(
    record: Record, dana: Account, piece: Evidence
) -> None:
    finding = proposed(record, piece)
    approve(record, finding)
    note = attach(record, finding, dana)
    with pytest.raises(Invalid):
        dissent.send_back(record.session, note, reviewer=record.rafa, reason="", now=record.tick())
    dissent.send_back(record.session, note, reviewer=record.rafa, reason="Names.", now=record.tick())
    with pytest.raises(NotAllowed):
        dissent.take_back(record.session, note, author=record.rafa, now=record.tick())
    dissent.take_back(record.session, note, author=dana, now=record.tick())
    record.session.commit()
    assert record.session.scalars(select(DissentingNote)).all() == []


def test_a_note_on_a_finding_that_stands_no_more_is_not_published(
    record: Record, dana: Account, piece: Evidence
) -> None:
    finding = proposed(record, piece)
    approve(record, finding)
    note = attach(record, finding, dana)
    approve(record, proposed(record, piece, Grade.C))
    record.session.expire_all()
    with pytest.raises(Conflict):
        dissent.release(record.session, note, reviewer=record.rafa, harm=NO_HARM, now=record.tick())
    assert teamwork.notes_to_release(record.session, record.rafa) == []


def test_the_note_stays_in_history_with_a_superseded_and_a_withdrawn_finding(
    record: Record, dana: Account, piece: Evidence
) -> None:
    finding = proposed(record, piece)
    attach(record, finding, dana)
    approve(record, finding)
    newer = proposed(record, piece, Grade.C)
    approve(record, newer)
    record.withdraw_finding(newer)

    page = recommendation.page(record.session, record.first, today=record.now.date(), review_months=3)
    assert page.dissent == {}
    [told] = [change for change in page.history if change.noun == "dissent"]
    assert (told.words("text"), told.clause, told.withdrawn_at) == ("I see C.", "a", None)
    assert list(audit.problems(record.session)) == []


def test_a_published_note_can_be_withdrawn_and_its_words_are_given_no_more(
    record: Record, dana: Account, piece: Evidence, make: Factory
) -> None:
    finding = proposed(record, piece)
    note = attach(record, finding, dana, "SECRET words")
    approve(record, finding)
    with pytest.raises(NotAllowed):
        dissent.withdraw(record.session, note, reviewer=record.mona, reason="Harm.", now=record.tick())
    with pytest.raises(Invalid):
        dissent.withdraw(record.session, note, reviewer=record.rafa, reason="", now=record.tick())
    dissent.withdraw(
        record.session, note, reviewer=record.rafa, reason="It named a place.", now=record.tick()
    )
    record.session.commit()

    page = recommendation.page(record.session, record.first, today=record.now.date(), review_months=3)
    assert page.dissent == {}
    assert "SECRET" not in str(changes.read(record.session, limit=None))
    lines = ledger.public_lines(record.session, origin="test", public_key=b"x" * 32)
    assert "SECRET" not in str(list(lines))
    assert list(audit.problems(record.session)) == []


def test_the_database_itself_keeps_a_published_note_and_its_two_people(
    record: Record, dana: Account, piece: Evidence
) -> None:
    finding = proposed(record, piece)
    note = attach(record, finding, dana)
    statement = text("UPDATE dissenting_note SET approved_by_id = author_id")
    with pytest.raises(DatabaseError):
        record.session.execute(statement)
    record.session.rollback()
    approve(record, finding)
    with pytest.raises(DatabaseError):
        record.session.execute(text("UPDATE dissenting_note SET body = 'All is well.'"))
    record.session.rollback()
    assert record.session.get_one(DissentingNote, note.id, populate_existing=True).body == "I see C."
