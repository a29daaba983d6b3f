"""Who may do what, and the one rule of who may see what.

Predicates are pure: services, views and templates ask the same ones. `visible_evidence` is a SQL condition, applied
by every query, page, feed, count, export and digest; `viewer` None is the public.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, or_, select

from tracker.models import Account, Evidence, EvidenceDetail, EvidenceReader, Finding, Reply
from tracker.vocabulary import EDITABLE, Role, State, Visibility

PUBLIC_EVIDENCE: ColumnElement[bool] = and_(
    Evidence.state == State.ACCEPTED,
    Evidence.visibility == Visibility.PUBLIC,
    Evidence.ledger_seq.is_not(None),
    # Restricted evidence is sealed. Where the row says otherwise, somebody changed it in the database.
    Evidence.sealed.is_(None),
)


def is_team(viewer: Account | None) -> bool:
    """Monitors and reviewers. Admins run the place and see what the public sees."""
    return viewer is not None and viewer.active and viewer.role in (Role.MONITOR, Role.REVIEWER)


def is_reviewer(viewer: Account | None) -> bool:
    """Those who accept evidence and approve findings."""
    return viewer is not None and viewer.active and viewer.role is Role.REVIEWER


def visible_evidence(viewer: Account | None) -> ColumnElement[bool]:
    """The visibility rule, as a condition on `Evidence`.

    The public: accepted, public, and in the ledger. The team: that, and everything submitted or accepted for the
    team. Restricted: its author and the people named. Drafts: their author, until they send them for review.
    """
    if not is_team(viewer):
        return PUBLIC_EVIDENCE
    assert viewer is not None
    mine = Evidence.created_by_id == viewer.id
    named = select(EvidenceReader.account_id).where(
        EvidenceReader.evidence_id == Evidence.id, EvidenceReader.account_id == viewer.id
    )
    shared = Evidence.state.not_in([*EDITABLE])
    return or_(
        mine,
        and_(shared, Evidence.visibility != Visibility.RESTRICTED, Evidence.sealed.is_(None)),
        and_(shared, Evidence.visibility == Visibility.RESTRICTED, named.exists()),
    )


def visible_findings(viewer: Account | None) -> ColumnElement[bool]:
    """The public: approved ones, also superseded and withdrawn, which are history. The team: proposals too.

    Drafts are their author's; drafts that came with a report file belong to nobody yet, so the team sees them.
    """
    published = Finding.state.in_([State.ACCEPTED, State.SUPERSEDED, State.WITHDRAWN])
    if not is_team(viewer):
        return published
    assert viewer is not None
    return or_(
        published,
        Finding.state == State.SUBMITTED,
        Finding.proposed_by_id == viewer.id,
        and_(Finding.state == State.DRAFT, Finding.proposed_by_id.is_(None)),
    )


def visible_replies(viewer: Account | None) -> ColumnElement[bool]:
    """The public: accepted ones. The team: those waiting too; drafts are their author's."""
    published = Reply.state == State.ACCEPTED
    if not is_team(viewer):
        return published
    assert viewer is not None
    return or_(published, Reply.state == State.SUBMITTED, Reply.created_by_id == viewer.id)


def visible(kind: type[Evidence | Finding | Reply], viewer: Account | None) -> ColumnElement[bool]:
    """The rule for evidence, findings or replies, whichever is asked for."""
    if kind is Evidence:
        return visible_evidence(viewer)
    return visible_findings(viewer) if kind is Finding else visible_replies(viewer)


def is_named(viewer: Account, evidence: Evidence) -> bool:
    """Its author, and the people named as its readers: those who see what is restricted in it."""
    named = {evidence.created_by_id, *(reader.account_id for reader in evidence.readers)}
    return is_team(viewer) and viewer.id in named


def can_read_detail(viewer: Account, evidence: Evidence, detail: EvidenceDetail) -> bool:
    """A detail for the team: whoever of the team sees the evidence. A restricted one: its author and those named."""
    if detail.visibility is Visibility.TEAM and evidence.visibility is not Visibility.RESTRICTED:
        return is_team(viewer)
    return is_named(viewer, evidence)


def can_edit_evidence(viewer: Account, evidence: Evidence) -> bool:
    """Drafts and returned pieces, by their author."""
    return is_team(viewer) and evidence.state in EDITABLE and evidence.created_by_id == viewer.id


def can_review_evidence(viewer: Account, evidence: Evidence) -> bool:
    """A reviewer who did not log it."""
    return is_reviewer(viewer) and evidence.state is State.SUBMITTED and evidence.created_by_id != viewer.id


def can_edit_finding(viewer: Account, finding: Finding) -> bool:
    """One's own draft or returned proposal; a draft that came with a report file by anybody of the team."""
    if not is_team(viewer) or finding.state not in EDITABLE:
        return False
    return finding.proposed_by_id in (None, viewer.id)


def can_review_finding(viewer: Account, finding: Finding) -> bool:
    """A reviewer who did not propose it."""
    return is_reviewer(viewer) and finding.state is State.SUBMITTED and finding.proposed_by_id != viewer.id


def can_dissent(viewer: Account, finding: Finding) -> bool:
    """A reviewer who neither proposed nor approved it, while it waits for a decision or stands."""
    return (
        is_reviewer(viewer)
        and finding.state in (State.SUBMITTED, State.ACCEPTED)
        and viewer.id not in (finding.proposed_by_id, finding.approved_by_id)
    )


def can_edit_reply(viewer: Account, reply: Reply) -> bool:
    """Drafts and returned ones, by their author."""
    return is_team(viewer) and reply.state in EDITABLE and reply.created_by_id == viewer.id


def can_review_reply(viewer: Account, reply: Reply) -> bool:
    """A reviewer who did not record it."""
    return is_reviewer(viewer) and reply.state is State.SUBMITTED and reply.created_by_id != viewer.id


def can_attach(viewer: Account, evidence: Evidence) -> bool:
    """Whoever of the team may see it, while it stands. (Whether they may see it, the query has asked.)"""
    return is_team(viewer) and evidence.state not in (State.WITHDRAWN, State.ERASED)
