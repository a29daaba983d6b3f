"""Whatever is changed behind the program's back in a table that pages read, the audit finds it."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import NO_HARM, Record
from tracker.services import audit, dissent
from tracker.vocabulary import Grade, Role


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    """One of everything: two pieces, a finding that superseded another, a withdrawn one, replies."""
    found = Record(session, make, now)
    clause = found.first.clauses[0]
    piece, other = found.evidence(found.first, clause), found.evidence(found.second)
    found.finding(found.first, clause, Grade.C, piece)
    stands = found.finding(found.first, clause, Grade.B, piece)
    dana = make.account(Role.REVIEWER)
    for body in ("I see C.", "Withdrawn words"):
        author = dana if body == "I see C." else make.account(Role.REVIEWER)
        note = dissent.attach(session, stands, body, author=author, now=found.tick())
        dissent.release(session, note, reviewer=found.rafa, harm=NO_HARM, now=found.tick())
    dissent.withdraw(session, note, reviewer=found.rafa, reason="It named a place.", now=found.tick())
    session.commit()
    found.withdraw_finding(found.finding(found.second, None, Grade.C, other))
    found.withdraw(found.evidence(found.third))
    found.reply(found.first, found.second)
    found.reply()
    return found


def test_an_untouched_record_has_no_problems(record: Record) -> None:
    assert list(audit.problems(record.session)) == []


TRIGGERS = (
    "finding_no_edit",
    "finding_no_delete",
    "citation_no_insert",
    "citation_no_update",
    "citation_no_delete",
    "dissenting_note_no_edit",
)


def without_triggers(session: Session) -> None:
    """As somebody would who owns the database."""
    if session.get_bind().dialect.name == "sqlite":
        for name in TRIGGERS:
            session.execute(text(f"DROP TRIGGER {name}"))
        session.execute(text("PRAGMA defer_foreign_keys = ON"))
    else:
        session.execute(text("ALTER TABLE finding DISABLE TRIGGER USER"))
        session.execute(text("ALTER TABLE citation DISABLE TRIGGER USER"))
        session.execute(text("ALTER TABLE dissenting_note DISABLE TRIGGER USER"))


@pytest.mark.parametrize(
    ("statement", "subject"),
    [
        ("UPDATE report SET title = 'Another'", "report/"),
        ("UPDATE report SET url = 'https://elsewhere.example/'", "report/"),
        ("UPDATE report SET demonstration = FALSE", "report/"),
        ("UPDATE addressee SET name = 'Nobody' WHERE slug = 'government'", "report/"),
        ("UPDATE addressee SET chapeau = 'It is not recommended that' WHERE slug = 'government'", "report/"),
        ("UPDATE recommendation SET text = 'Do nothing;' WHERE number = '88-b'", "report/"),
        ("UPDATE recommendation SET title = 'Do nothing' WHERE number = '88-b'", "report/"),
        ("UPDATE recommendation SET reference = '99' WHERE number = '88-b'", "report/"),
        ("UPDATE recommendation SET review_months = 60 WHERE number = '88-b'", "report/"),
        (
            "UPDATE recommendation SET addressee_id = (SELECT id FROM addressee WHERE slug = 'business')",
            "report/",
        ),
        ("UPDATE recommendation SET position = 9 WHERE number = '88-a'", "report/"),
        ("UPDATE clause SET text = 'Release' WHERE label = 'a'", "report/"),
        ("UPDATE clause SET title = 'Keep' WHERE label = 'a'", "report/"),
        ("UPDATE evidence SET title = 'Another' WHERE number = 1", "evidence/1"),
        ("UPDATE evidence SET occurred_on = '2020-01-01' WHERE number = 1", "evidence/1"),
        ("UPDATE evidence SET reliability = 'A' WHERE number = 1", "evidence/1"),
        ("UPDATE evidence SET visibility = 'team' WHERE number = 1", "evidence/1"),
        ("UPDATE evidence SET state = 'draft' WHERE number = 1", "evidence/1"),
        ("UPDATE evidence SET number = NULL WHERE number = 1", "evidence/"),
        ("UPDATE evidence SET number = 7 WHERE number = 1", "evidence/"),
        ("UPDATE evidence SET withdrawal_reason = 'It was true.' WHERE number = 3", "evidence/3"),
        ("UPDATE evidence SET state = 'accepted' WHERE number = 3", "evidence/3"),
        ("UPDATE evidence_link SET url = 'https://elsewhere.example/' WHERE evidence_id = 1", "evidence/1"),
        ("DELETE FROM evidence_link WHERE evidence_id = 1", "evidence/1"),
        ("UPDATE bearing SET direction = 'regress' WHERE evidence_id = 1", "evidence/1"),
        ("UPDATE bearing SET clause_id = NULL WHERE evidence_id = 1", "evidence/1"),
        ("UPDATE bearing SET recommendation_id = 3 WHERE evidence_id = 2", "evidence/2"),
        ("UPDATE finding SET grade = 'A' WHERE state = 'accepted'", "finding/"),
        ("UPDATE finding SET rationale = 'Because.' WHERE state = 'superseded'", "finding/"),
        ("UPDATE finding SET review_reason = 'Because.' WHERE state = 'accepted'", "finding/"),
        ("UPDATE finding SET recommendation_id = 3, clause_id = NULL WHERE state = 'accepted'", "finding/"),
        ("UPDATE finding SET replaces_id = NULL WHERE state = 'accepted'", "finding/"),
        ("UPDATE finding SET withdrawal_reason = 'None.' WHERE state = 'withdrawn'", "finding/"),
        ("UPDATE finding SET state = 'superseded' WHERE state = 'accepted'", "finding/"),
        ("UPDATE finding SET state = 'draft' WHERE state = 'accepted'", "finding/"),
        ("UPDATE finding SET approved_at = '2020-01-01' WHERE state = 'accepted'", "finding/"),
        ("UPDATE finding SET ledger_seq = 1 WHERE state = 'accepted'", "finding/"),
        ("DELETE FROM citation", "finding/"),
        ("INSERT INTO citation SELECT id, 2 FROM finding WHERE state = 'accepted'", "finding/"),
        ("UPDATE dissenting_note SET body = 'I agree.' WHERE state = 'accepted'", "dissent/"),
        ("UPDATE dissenting_note SET state = 'submitted' WHERE state = 'accepted'", "dissent/"),
        ("UPDATE dissenting_note SET state = 'accepted' WHERE state = 'withdrawn'", "dissent/"),
        ("UPDATE dissenting_note SET ledger_seq = 1 WHERE state = 'accepted'", "dissent/"),
        ("UPDATE dissenting_note SET finding_id = 1 WHERE state = 'accepted'", "dissent/"),
        ("DELETE FROM dissenting_note WHERE state = 'accepted'", "dissent/"),
        ("UPDATE reply SET position = 'accepts'", "reply/"),
        ("UPDATE reply SET source_url = 'https://elsewhere.example/'", "reply/"),
        ("UPDATE reply SET state = 'returned'", "reply/"),
        ("UPDATE quotation SET text = 'We agree.'", "reply/"),
        ("DELETE FROM quotation", "reply/"),
        ("DELETE FROM reply_target", "reply/"),
        ("UPDATE reply_target SET recommendation_id = 3 WHERE recommendation_id = 1", "reply/"),
        ("DELETE FROM ledger_topic WHERE seq = 2", "Entry 2"),
        ("UPDATE ledger_topic SET recommendation_id = 3 WHERE seq = 2", "Entry 2"),
    ],
)
def test_every_change_is_found_and_named(statement: str, subject: str, record: Record) -> None:
    without_triggers(record.session)
    changed = record.session.execute(text(statement))
    assert changed.rowcount > 0  # type: ignore[attr-defined]
    record.session.expire_all()

    found = list(audit.problems(record.session))

    assert found, "nobody noticed"
    assert any(problem.startswith(subject) for problem in found), found


def test_what_was_never_published_is_found_when_it_is_made_public(record: Record, make: Factory) -> None:
    make.evidence(record.first, created_by_id=record.mona.id)
    record.session.execute(
        text("UPDATE evidence SET state = 'accepted', ledger_seq = 2 WHERE number IS NULL")
    )
    record.session.expire_all()

    assert list(audit.problems(record.session)) == [
        "evidence/None is shown in public and has no ledger entry."
    ]
