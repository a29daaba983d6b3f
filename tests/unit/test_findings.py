"""Findings need reasons, evidence and two people; the database refuses what the program would."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import NOT_ENTERED
from tracker.errors import Conflict, Invalid, NotAllowed, Stale
from tracker.models import Account, Clause, Evidence, Finding, LedgerEntry, Recommendation
from tracker.services import audit, evidence, findings, ledger
from tracker.vocabulary import Access, EntryKind, Grade, Role, State

NO_HARM = dict.fromkeys(findings.HARM_QUESTIONS, "no")


@pytest.fixture
def mona(make: Factory) -> Account:
    return make.account(Role.MONITOR, name="Mona")  # type: ignore[no-any-return]


@pytest.fixture
def rafa(make: Factory) -> Account:
    return make.account(Role.REVIEWER, name="Rafa")  # type: ignore[no-any-return]


@pytest.fixture
def recommendation(make: Factory) -> Recommendation:
    return make.report().recommendations[0]  # type: ignore[no-any-return]


@pytest.fixture
def clause(recommendation: Recommendation) -> Clause:
    return recommendation.clauses[0]


@pytest.fixture
def piece(session: Session, make: Factory, recommendation: Recommendation, now: dt.datetime) -> Evidence:
    row = make.evidence(recommendation)
    evidence.publish(session, row, now=now)
    session.commit()
    return row  # type: ignore[no-any-return]


def fields(piece: Evidence | None, **values: Any) -> findings.Fields:
    return findings.Fields(
        **{
            "grade": Grade.B,
            "as_of": dt.date(2026, 9, 2),
            "access": Access.GUIDED,
            "rationale": "Six files were opened. Nobody has been charged.",
            "evidence_ids": [piece.id] if piece else [],
            **values,
        }
    )


@pytest.fixture
def proposal(
    session: Session,
    mona: Account,
    recommendation: Recommendation,
    clause: Clause,
    piece: Evidence,
    now: dt.datetime,
) -> Finding:
    return propose(session, fields(piece), mona, recommendation, clause, now)


def propose(
    session: Session,
    words: findings.Fields,
    author: Account,
    target: Recommendation,
    clause: Clause | None,
    now: dt.datetime,
) -> Finding:
    finding = findings.draft(session, words, author=author, recommendation=target, clause=clause, now=now)
    findings.submit(session, finding, author=author, now=now)
    session.commit()
    return finding


def test_an_approved_finding_is_current_and_stands_in_the_ledger(
    session: Session, proposal: Finding, rafa: Account, recommendation: Recommendation, now: dt.datetime
) -> None:
    entry = findings.approve(session, proposal, reviewer=rafa, harm=NO_HARM, reason="Checked.", now=now)
    session.commit()

    assert proposal.state is State.ACCEPTED
    assert entry.kind is EntryKind.FINDING_PUBLISHED
    facts = ledger.facts_of(entry)
    assert (facts["grade"], facts["previous_grade"], facts["roll_up"], facts["clause"]) == (
        "B",
        None,
        "B",
        "a",
    )
    assert facts["cites"] == [1]
    words = ledger.content_of(entry)
    assert words is not None
    assert words["rationale"].startswith("Six files")
    assert "Mona" not in entry.payload + str(words)
    assert findings.roll_up_of(session, recommendation) is Grade.B
    assert list(audit.problems(session)) == [NOT_ENTERED]


def test_nobody_approves_their_own_proposal(
    session: Session,
    rafa: Account,
    recommendation: Recommendation,
    clause: Clause,
    piece: Evidence,
    now: dt.datetime,
) -> None:
    own = propose(session, fields(piece), rafa, recommendation, clause, now)

    with pytest.raises(NotAllowed, match="yourself"):
        findings.approve(session, own, reviewer=rafa, harm=NO_HARM, now=now)


def test_the_database_itself_refuses_an_approver_who_is_the_proposer(
    session: Session, proposal: Finding, mona: Account
) -> None:
    with pytest.raises(IntegrityError):
        session.execute(
            text("UPDATE finding SET state = 'accepted', approved_by_id = :who WHERE id = :id"),
            {"who": mona.id, "id": proposal.id},
        )


def test_the_database_itself_refuses_an_approval_without_approver(
    session: Session, proposal: Finding
) -> None:
    with pytest.raises(IntegrityError):
        session.execute(text("UPDATE finding SET state = 'accepted' WHERE id = :id"), {"id": proposal.id})


def test_a_monitor_approves_nothing(
    session: Session, proposal: Finding, make: Factory, now: dt.datetime
) -> None:
    other = make.account(Role.MONITOR)

    with pytest.raises(NotAllowed, match="Only reviewers"):
        findings.approve(session, proposal, reviewer=other, harm=NO_HARM, now=now)


def test_approving_twice_is_refused(
    session: Session, proposal: Finding, make: Factory, rafa: Account, now: dt.datetime
) -> None:
    findings.approve(session, proposal, reviewer=rafa, harm=NO_HARM, now=now)
    session.commit()

    with pytest.raises(Conflict):
        findings.approve(session, proposal, reviewer=make.account(Role.REVIEWER), harm=NO_HARM, now=now)


@pytest.mark.parametrize("answer", ["yes", "unsure", ""])
def test_any_answer_but_no_to_a_harm_question_holds_publication(
    answer: str, session: Session, proposal: Finding, rafa: Account, now: dt.datetime
) -> None:
    with pytest.raises(Invalid, match="harm question"):
        findings.approve(session, proposal, reviewer=rafa, harm={**NO_HARM, "source": answer}, now=now)

    assert proposal.state is State.SUBMITTED


SEARCHED = {
    "search_what": "visits",
    "search_where": "Gazette",
    "search_languages": "en",
    "search_until": dt.date(2026, 9, 1),
}


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        ({}, None),
        ({"grade": None}, "Choose a grade"),
        ({"as_of": None}, "day up to which"),
        ({"access": None}, "observed"),
        ({"rationale": ""}, "reasons"),
        ({"grade": Grade.A, "evidence_ids": []}, "Cite at least one"),
        ({"grade": Grade.C, "evidence_ids": []}, "Cite at least one"),
        ({"grade": Grade.E, "evidence_ids": [], **SEARCHED}, "Cite at least one"),
        ({"grade": Grade.D, "evidence_ids": []}, "search log"),
        ({"grade": Grade.V, "evidence_ids": []}, "search log"),
        ({"grade": Grade.D, "evidence_ids": [], **SEARCHED}, None),
        ({"grade": Grade.V, "evidence_ids": [], **SEARCHED}, None),
        ({"grade": Grade.V, "evidence_ids": [], **SEARCHED, "search_until": None}, "Complete the search log"),
        ({"correction": "The date was wrong."}, "no current finding"),
    ],
)
def test_no_finding_is_proposed_without_what_its_grade_needs(
    values: dict[str, Any],
    refused: str | None,
    session: Session,
    mona: Account,
    recommendation: Recommendation,
    clause: Clause,
    piece: Evidence,
    now: dt.datetime,
) -> None:
    if refused is None:
        assert (
            propose(session, fields(piece, **values), mona, recommendation, clause, now).state
            is State.SUBMITTED
        )
        return
    with pytest.raises(Invalid, match=refused):
        propose(session, fields(piece, **values), mona, recommendation, clause, now)


def test_evidence_that_is_not_public_cannot_be_cited(
    session: Session,
    make: Factory,
    mona: Account,
    recommendation: Recommendation,
    clause: Clause,
    now: dt.datetime,
) -> None:
    secret = make.evidence(recommendation)

    with pytest.raises(Invalid, match="accepted public evidence"):
        propose(session, fields(secret), mona, recommendation, clause, now)


def test_a_recommendation_with_clauses_has_no_finding_of_its_own(
    session: Session, mona: Account, recommendation: Recommendation, piece: Evidence, now: dt.datetime
) -> None:
    with pytest.raises(Invalid, match="each of them"):
        propose(session, fields(piece), mona, recommendation, None, now)


def test_a_newer_finding_supersedes_the_old_one(
    session: Session,
    proposal: Finding,
    mona: Account,
    rafa: Account,
    recommendation: Recommendation,
    clause: Clause,
    piece: Evidence,
    now: dt.datetime,
) -> None:
    findings.approve(session, proposal, reviewer=rafa, harm=NO_HARM, now=now)
    session.commit()
    newer = propose(session, fields(piece, grade=Grade.E), mona, recommendation, clause, now)

    entry = findings.approve(session, newer, reviewer=rafa, harm=NO_HARM, now=now)
    session.commit()

    session.refresh(proposal)
    assert (proposal.state, newer.state) == (State.SUPERSEDED, State.ACCEPTED)
    facts = ledger.facts_of(entry)
    assert (facts["previous_grade"], facts["grade"], facts["replaces"]) == ("B", "E", proposal.key)
    assert (facts["previous_roll_up"], facts["roll_up"]) == ("B", "E")
    assert list(audit.problems(session)) == [NOT_ENTERED]


def test_a_proposal_on_a_finding_that_has_changed_since_is_refused(
    session: Session,
    proposal: Finding,
    mona: Account,
    rafa: Account,
    recommendation: Recommendation,
    clause: Clause,
    piece: Evidence,
    now: dt.datetime,
) -> None:
    rival = propose(session, fields(piece, grade=Grade.C), mona, recommendation, clause, now)
    findings.approve(session, proposal, reviewer=rafa, harm=NO_HARM, now=now)
    session.commit()

    with pytest.raises(Conflict, match="Another finding was published"):
        findings.approve(session, rival, reviewer=rafa, harm=NO_HARM, now=now)


def test_a_correction_says_what_was_wrong(
    session: Session,
    proposal: Finding,
    mona: Account,
    rafa: Account,
    recommendation: Recommendation,
    clause: Clause,
    piece: Evidence,
    now: dt.datetime,
) -> None:
    findings.approve(session, proposal, reviewer=rafa, harm=NO_HARM, now=now)
    session.commit()
    right = propose(
        session, fields(piece, correction="Five files, not six."), mona, recommendation, clause, now
    )

    entry = findings.approve(session, right, reviewer=rafa, harm=NO_HARM, now=now)

    assert entry.kind is EntryKind.FINDING_CORRECTED
    words = ledger.content_of(entry)
    assert words is not None
    assert words["correction"] == "Five files, not six."


def test_a_withdrawn_finding_leaves_the_clause_not_assessed(
    session: Session, proposal: Finding, rafa: Account, recommendation: Recommendation, now: dt.datetime
) -> None:
    findings.approve(session, proposal, reviewer=rafa, harm=NO_HARM, now=now)
    session.commit()

    with pytest.raises(Invalid, match="Say why"):
        findings.withdraw(session, proposal, reviewer=rafa, reason="", now=now)
    entry = findings.withdraw(session, proposal, reviewer=rafa, reason="The register was misread.", now=now)
    session.commit()

    assert ledger.facts_of(entry)["roll_up"] is None
    assert ledger.facts_of(entry)["previous_roll_up"] == "B"
    assert findings.roll_up_of(session, recommendation) is None
    assert list(audit.problems(session)) == [NOT_ENTERED]


@pytest.mark.parametrize(
    "change",
    ["rationale = 'Another'", "grade = 'A'", "state = 'draft'", "approved_by_id = NULL", "as_of = NULL"],
)
def test_the_database_itself_refuses_to_edit_a_published_finding(
    change: str, session: Session, proposal: Finding, rafa: Account, now: dt.datetime
) -> None:
    findings.approve(session, proposal, reviewer=rafa, harm=NO_HARM, now=now)
    session.commit()

    with pytest.raises(DatabaseError):
        session.execute(text(f"UPDATE finding SET {change} WHERE id = {proposal.id}"))


@pytest.mark.parametrize("statement", ["DELETE FROM citation", "DELETE FROM finding"])
def test_the_database_itself_refuses_to_delete_a_published_finding_or_its_citations(
    statement: str, session: Session, proposal: Finding, rafa: Account, now: dt.datetime
) -> None:
    findings.approve(session, proposal, reviewer=rafa, harm=NO_HARM, now=now)
    session.commit()

    with pytest.raises(DatabaseError):
        session.execute(text(statement))


def test_a_row_changed_behind_the_programs_back_is_found_by_the_audit(
    session: Session, proposal: Finding, rafa: Account, piece: Evidence, now: dt.datetime
) -> None:
    findings.approve(session, proposal, reviewer=rafa, harm=NO_HARM, now=now)
    session.commit()
    session.execute(text("UPDATE evidence SET summary = 'Nothing happened.'"))
    session.expire_all()

    assert list(audit.problems(session)) == [
        NOT_ENTERED,
        "evidence/1 was changed in the database: “summary” differs from entry 1.",
    ]


def test_a_stale_save_is_refused_and_shows_what_stands_there(
    session: Session,
    mona: Account,
    recommendation: Recommendation,
    clause: Clause,
    piece: Evidence,
    now: dt.datetime,
) -> None:
    finding = findings.draft(
        session, fields(piece), author=mona, recommendation=recommendation, clause=clause, now=now
    )
    session.commit()
    opened = finding.version
    findings.edit(session, finding, fields(piece, rationale="First."), author=mona, version=opened, now=now)
    session.commit()

    with pytest.raises(Stale) as caught:
        findings.edit(
            session, finding, fields(piece, rationale="Second."), author=mona, version=opened, now=now
        )

    assert caught.value.current.rationale == "First."  # type: ignore[attr-defined]


def test_a_draft_from_a_report_file_becomes_the_proposers_own(
    session: Session,
    make: Factory,
    mona: Account,
    rafa: Account,
    recommendation: Recommendation,
    clause: Clause,
    piece: Evidence,
    now: dt.datetime,
) -> None:
    loaded = Finding(
        recommendation=recommendation,
        clause=clause,
        grade=Grade.C,
        as_of=dt.date(2026, 1, 1),
        access=Access.REMOTE,
        rationale="Prepared.",
        created_at=now,
        imported_as="lower-valley/88-a/a",
    )
    findings._fill(loaded, fields(piece))
    session.add(loaded)
    session.commit()

    findings.submit(session, loaded, author=mona, now=now)
    session.commit()

    assert loaded.proposed_by_id == mona.id
    with pytest.raises(NotAllowed):
        findings.edit(session, loaded, fields(piece), author=make.account(), version=loaded.version, now=now)
    assert findings.approve(session, loaded, reviewer=rafa, harm=NO_HARM, now=now).seq == 2


def test_what_is_published_is_in_the_same_transaction_as_its_entry(
    session: Session, proposal: Finding, rafa: Account, now: dt.datetime
) -> None:
    before = ledger.position(session)
    findings.approve(session, proposal, reviewer=rafa, harm=NO_HARM, now=now)

    session.rollback()

    assert ledger.position(session) == before
    assert session.scalars(select(LedgerEntry).where(LedgerEntry.seq > before)).all() == []
    assert proposal.state is State.SUBMITTED
