"""Findings: proposed by one person, approved by another, never edited after.

A newer finding supersedes the one before, a correction says what was wrong with it, a withdrawal says why. Every one
of these is a ledger entry in the same transaction, and shows how the recommendation's roll-up changed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import permissions
from tracker.errors import Conflict, Invalid, NotAllowed, raise_all
from tracker.models import Account, Citation, Clause, Evidence, Finding, LedgerEntry, Recommendation
from tracker.roll_up import roll_up
from tracker.services import activity, dissent, ledger, states
from tracker.services import harm as harm_check
from tracker.vocabulary import N_, Access, EntryKind, Grade, Need, State

#: What a reviewer answers before anything becomes public.
HARM_QUESTIONS = tuple(harm_check.QUESTIONS)

NEEDS_EVIDENCE = (Grade.A, Grade.B, Grade.C, Grade.E)


@dataclass(frozen=True)
class Fields:
    """What a monitor enters. While it is a draft, all may be missing."""

    grade: Grade | None = None
    as_of: dt.date | None = None
    access: Access | None = None
    rationale: str = ""
    would_change: str = ""
    search_what: str = ""
    search_where: str = ""
    search_languages: str = ""
    search_until: dt.date | None = None
    correction: str = ""
    evidence_ids: Sequence[int] = ()


def draft(
    session: Session,
    fields: Fields,
    *,
    author: Account,
    recommendation: Recommendation,
    clause: Clause | None,
    now: dt.datetime,
) -> Finding:
    """A new draft, seen by its author alone."""
    if not permissions.is_team(author):
        raise NotAllowed(N_("Only monitors and reviewers propose findings."))
    _check_target(recommendation, clause)
    finding = Finding(
        recommendation_id=recommendation.id,
        clause_id=clause.id if clause else None,
        proposed_by_id=author.id,
        created_at=now,
    )
    _fill(finding, fields)
    session.add(finding)
    session.flush()  # The key and id are needed for the activity and for the redirect.
    activity.record(session, author, "finding-drafted", subject(finding), now=now)
    return finding


def edit(
    session: Session, finding: Finding, fields: Fields, *, author: Account, version: int, now: dt.datetime
) -> None:
    """Save on top of `version`. A draft that came with a report file becomes the editor's own."""
    _check_author(author, finding)
    states.claim_version(session, finding, version)
    # Asked again, because the row as it was opened may have been somebody else's by the time of the claim.
    _check_author(author, finding)
    finding.citations.clear()
    session.flush()  # A citation may stand once only, so old ones go before new ones come.
    finding.proposed_by_id = author.id
    _fill(finding, fields)
    session.flush()
    activity.record(session, author, "finding-edited", subject(finding), now=now)


def submit(session: Session, finding: Finding, *, author: Account, now: dt.datetime) -> None:
    """Propose it to the reviewers. Raises Invalid while a rule is broken, so nothing half-made reaches them."""
    _check_author(author, finding)
    check_complete(finding)
    before = current(session, finding.recommendation_id, finding.clause_id)
    if finding.correction and before is None:
        raise Invalid(N_("There is no current finding that this could correct."), "correction")
    states.move(
        session,
        finding,
        State.SUBMITTED,
        submitted_at=now,
        proposed_by_id=author.id,
        replaces_id=before.id if before else None,
        review_reason="",
        needs="",
    )
    activity.record(session, author, "finding-proposed", subject(finding), now=now)


def approve(
    session: Session,
    finding: Finding,
    *,
    reviewer: Account,
    harm: Mapping[str, str],
    reason: str = "",
    seen: int | None = None,
    now: dt.datetime,
) -> LedgerEntry:
    """Publish it: the old finding is superseded, the roll-up follows, one ledger entry says so. The dissenting notes
    that were attached to the proposal are published with it, each with an entry of its own.

    `harm` answers each of HARM_QUESTIONS with "no"; any other answer holds publication. `seen` is the version that
    the reviewer looked at. Raises NotAllowed for the proposer, Conflict if it was decided or changed since, or if the
    current finding is no longer the one it was proposed on.
    """
    _check_reviewer(reviewer, finding)
    if any(harm.get(question) != "no" for question in HARM_QUESTIONS):
        raise Invalid(
            N_(
                "It is not published while a harm question is answered with anything but No. Return it with a reason."
            ),
            "harm",
        )
    ledger.lock(session)  # From here on nothing else is published or withdrawn, so what is current stays so.
    session.refresh(finding)
    for citation in finding.citations:
        session.refresh(citation.evidence)
    check_complete(finding)
    before = current(session, finding.recommendation_id, finding.clause_id)
    if (before.id if before else None) != finding.replaces_id and finding.state is State.SUBMITTED:
        raise Conflict(
            N_(
                "Another finding was published since this was proposed. Return it, so that the proposer can look at it "
                "beside the new one."
            )
        )
    roll_up_before = roll_up_of(session, finding.recommendation)
    grade_before = before.grade if before else None
    if before is not None:
        states.move(session, before, State.SUPERSEDED)
    states.move(
        session,
        finding,
        State.ACCEPTED,
        seen=seen,
        approved_by_id=reviewer.id,
        approved_at=now,
        review_reason=reason,
        harm_check=dict(harm),
    )
    activity.record(session, reviewer, "finding-approved", subject(finding), now=now, reason=reason)
    entry = ledger.append(
        session,
        EntryKind.FINDING_CORRECTED if finding.correction else EntryKind.FINDING_PUBLISHED,
        subject=subject(finding),
        report=finding.recommendation.report,
        recommendations=[finding.recommendation],
        facts={
            **facts(finding),
            "previous_grade": grade_before.value if grade_before else None,
            **_roll_ups(roll_up_before, roll_up_of(session, finding.recommendation)),
        },
        content=content(finding),
        now=now,
    )
    finding.ledger_seq = entry.seq
    for note in dissent.waiting(session, finding):
        dissent.publish(session, note, reviewer=reviewer, now=now)
    return entry


def send_back(
    session: Session,
    finding: Finding,
    *,
    reviewer: Account,
    reason: str,
    needs: Sequence[Need] = (),
    seen: int | None = None,
    now: dt.datetime,
) -> None:
    """Return it to the proposer with a reason, which only the team sees. The public page stays as it is.

    Dissenting notes speak about the proposal as it stood, so they go back to their authors too.
    """
    _check_reviewer(reviewer, finding)
    if not reason:
        raise Invalid(N_("Say why you return it."), "reason")
    states.move(
        session, finding, State.RETURNED, seen=seen, review_reason=reason, needs=activity.listed(needs)
    )
    dissent.give_back(session, finding)
    given = activity.with_needs(reason, needs)
    activity.record(session, reviewer, "finding-returned", subject(finding), now=now, reason=given)


def withdraw(
    session: Session, finding: Finding, *, reviewer: Account, reason: str, now: dt.datetime
) -> LedgerEntry:
    """Take a published finding away and say why. What it graded is then not assessed, until a new one is made."""
    if not permissions.is_reviewer(reviewer):
        raise NotAllowed(N_("Only reviewers withdraw findings."))
    if not reason:
        raise Invalid(N_("Say why it is withdrawn. The reason is public."), "reason")
    ledger.lock(session)
    roll_up_before = roll_up_of(session, finding.recommendation)
    states.move(
        session,
        finding,
        State.WITHDRAWN,
        withdrawn_by_id=reviewer.id,
        withdrawn_at=now,
        withdrawal_reason=reason,
    )
    activity.record(session, reviewer, "finding-withdrawn", subject(finding), now=now, reason=reason)
    entry = ledger.append(
        session,
        EntryKind.FINDING_WITHDRAWN,
        subject=subject(finding),
        report=finding.recommendation.report,
        recommendations=[finding.recommendation],
        facts={
            "key": finding.key,
            "clause": finding.clause.label if finding.clause else None,
            "grade": finding.grade.value if finding.grade else None,
            **_roll_ups(roll_up_before, roll_up_of(session, finding.recommendation)),
        },
        content={"reason": reason},
        now=now,
    )
    finding.ledger_seq = entry.seq
    return entry


def current(session: Session, recommendation_id: int, clause_id: int | None) -> Finding | None:
    """The finding that stands for a clause, or for a recommendation without clauses."""
    target = Finding.clause_id.is_(None) if clause_id is None else Finding.clause_id == clause_id
    return session.scalars(
        select(Finding).where(
            Finding.recommendation_id == recommendation_id, target, Finding.state == State.ACCEPTED
        )
    ).one_or_none()


def roll_up_of(session: Session, recommendation: Recommendation) -> Grade | None:
    """The grade the recommendation shows now."""
    query = select(Finding.clause_id, Finding.grade).where(
        Finding.recommendation_id == recommendation.id, Finding.state == State.ACCEPTED
    )
    found = {row.clause_id: row.grade for row in session.execute(query)}
    if not recommendation.clauses:
        return found.get(None)
    return roll_up([found.get(clause.id) for clause in recommendation.clauses])


def facts(finding: Finding) -> dict[str, Any]:
    """What the ledger keeps of it for good."""
    return {
        "key": finding.key,
        "clause": finding.clause.label if finding.clause else None,
        "grade": finding.grade.value if finding.grade else None,
        "as_of": finding.as_of.isoformat() if finding.as_of else None,
        "access": finding.access.value if finding.access else None,
        "cites": sorted(citation.evidence.number or 0 for citation in finding.citations),
        "replaces": finding.replaces.key if finding.replaces else None,
    }


def content(finding: Finding) -> dict[str, Any]:
    """The words that are published, and can be erased."""
    search = None
    if finding.search_what:
        search = {
            "what": finding.search_what,
            "where": finding.search_where,
            "languages": finding.search_languages,
            "until": finding.search_until.isoformat() if finding.search_until else None,
        }
    return {
        "rationale": finding.rationale,
        "would_change": finding.would_change,
        "reason": finding.review_reason,
        "correction": finding.correction,
        "search": search,
    }


def subject(finding: Finding) -> str:
    """How the ledger and the team's activity name it."""
    return f"finding/{finding.key}"


def check_complete(finding: Finding) -> None:
    """Raise Invalid where rule 1 is broken: no finding without reason and evidence."""
    required = [
        ("grade", finding.grade, N_("Choose a grade.")),
        ("as_of", finding.as_of, N_("Enter the day up to which this holds.")),
        ("access", finding.access, N_("Choose what could be observed.")),
        ("rationale", finding.rationale, N_("Write the reasons. No finding is made without them.")),
    ]
    raise_all([Invalid(sentence, name) for name, value, sentence in required if not value])
    for citation in finding.citations:
        if not is_citable(citation.evidence):
            raise Invalid(
                N_("Cite accepted public evidence only. “%(title)s” is not, or was withdrawn."),
                "evidence_ids",
                title=citation.evidence.title,
            )
    if finding.grade in NEEDS_EVIDENCE and not finding.citations:
        raise Invalid(N_("Cite at least one accepted piece of evidence for this grade."), "evidence_ids")
    searched = (finding.search_what, finding.search_where, finding.search_languages, finding.search_until)
    if any(searched) and not all(searched):
        raise Invalid(
            N_("Complete the search log: what was looked for, where, in which languages, and until when."),
            "search_what",
        )
    if not finding.citations and not all(searched):
        raise Invalid(
            N_(
                "Cite evidence, or fill in the search log: what was looked for, where, in which languages, until when."
            ),
            "search_what",
        )


def is_citable(evidence: Evidence) -> bool:
    """A public finding rests on evidence that the public can look at."""
    return evidence.state is State.ACCEPTED and evidence.number is not None


def _fill(finding: Finding, fields: Fields) -> None:
    for name in (
        "grade", "as_of", "access", "rationale", "would_change", "search_what", "search_where",
        "search_languages", "search_until", "correction",
    ):  # fmt: skip
        setattr(finding, name, getattr(fields, name))
    finding.citations = [
        Citation(evidence_id=evidence_id) for evidence_id in dict.fromkeys(fields.evidence_ids)
    ]


def _check_target(recommendation: Recommendation, clause: Clause | None) -> None:
    if clause is None and recommendation.clauses:
        raise Invalid(N_("This recommendation has clauses: a finding is made for each of them."), "targets")
    if clause is not None and clause.recommendation_id != recommendation.id:
        raise Invalid(N_("This clause belongs to another recommendation."), "targets")


def _check_author(author: Account, finding: Finding) -> None:
    if not permissions.can_edit_finding(author, finding):
        raise NotAllowed(
            N_("Only drafts and returned proposals can be changed, by the person who proposed them.")
        )


def _check_reviewer(reviewer: Account, finding: Finding) -> None:
    if not permissions.is_reviewer(reviewer):
        raise NotAllowed(N_("Only reviewers decide about findings."))
    if finding.proposed_by_id == reviewer.id:
        raise NotAllowed(N_("You proposed this finding yourself. Another reviewer must look at it."))
    if finding.state is not State.SUBMITTED:
        raise Conflict(
            N_(
                "Somebody has decided this meanwhile, or it is no longer in a state that allows it. Look at it again."
            )
        )


def _roll_ups(before: Grade | None, after: Grade | None) -> dict[str, str | None]:
    return {
        "previous_roll_up": before.value if before else None,
        "roll_up": after.value if after else None,
    }


def targets(recommendation: Recommendation) -> Iterable[Clause | None]:
    """What findings are made for: each clause, or the recommendation itself where it has none."""
    return list(recommendation.clauses) or [None]
