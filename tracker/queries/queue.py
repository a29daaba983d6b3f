"""What waits for somebody of the team, and the choices that their forms offer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.orm import Session, joinedload, selectinload

from tracker import permissions
from tracker.models import (
    Account,
    Activity,
    Assignment,
    Bearing,
    Citation,
    Evidence,
    EvidenceReader,
    Finding,
    Recommendation,
    Reply,
    ReplyTarget,
    Report,
)
from tracker.timeliness import add_months
from tracker.vocabulary import EDITABLE, Role, SourceType, State, Visibility

Row = Evidence | Finding | Reply


@dataclass(frozen=True)
class Queue:
    """Everything on somebody's table, each list oldest first.

    What is assigned to them stands there and nowhere else; what is stale stands among their own things too.
    """

    assigned: list[Row]
    returned: list[Evidence | Finding | Reply]
    drafts: list[Evidence | Finding | Reply]
    unclaimed: list[Finding]
    to_review: list[Evidence | Finding | Reply]
    waiting: list[Evidence | Finding | Reply]
    stale: list[Row]


def queue(session: Session, viewer: Account, *, stale_before: dt.datetime) -> Queue:
    """What waits for `viewer`, and what of theirs waits for others. Untouched since `stale_before`: going stale."""
    mine = [*_evidence(session, viewer, Evidence.created_by_id == viewer.id), *_own(session, viewer)]
    unclaimed = list(
        session.scalars(
            _findings()
            .where(Finding.state == State.DRAFT, Finding.proposed_by_id.is_(None))
            .order_by(Finding.recommendation_id, Finding.clause_id)
        )
    )
    review = to_review(session, viewer)
    given = set(session.scalars(select(Assignment.subject).where(Assignment.account_id == viewer.id)))
    # Only what they can take: an assignment lapses while the thing is somebody else's turn, or hidden from them.
    turn = [row for row in mine if row.state in EDITABLE]
    assigned = [row for row in [*turn, *review, *unclaimed] if subject(row) in given]

    def others(rows: Sequence[Row]) -> list[Any]:
        return [row for row in rows if subject(row) not in given]

    return Queue(
        assigned=assigned,
        returned=others([row for row in turn if row.state is State.RETURNED]),
        drafts=others([row for row in turn if row.state is State.DRAFT]),
        unclaimed=others(unclaimed),
        to_review=others(review),
        waiting=[row for row in mine if row.state is State.SUBMITTED],
        stale=_stale(session, turn, stale_before),
    )


def subject(row: Row) -> str:
    """How comments, assignments and the team's activity name a thing: "evidence/7h2k…"."""
    return f"{type(row).__name__.lower()}/{row.key}"


def _stale(session: Session, rows: Sequence[Row], before: dt.datetime) -> list[Row]:
    query = (
        select(Activity.subject, func.max(Activity.at).label("at"))
        .where(Activity.subject.in_([subject(row) for row in rows]))
        .group_by(Activity.subject)
    )
    touched = {found.subject: found.at for found in session.execute(query)}
    last = {row: touched.get(subject(row), row.created_at) for row in rows}
    return sorted((row for row in rows if last[row] < before), key=lambda row: last[row])


def to_review(session: Session, viewer: Account) -> list[Evidence | Finding | Reply]:
    """Submitted by others and visible to this reviewer, the longest waiting first."""
    if not permissions.is_reviewer(viewer):
        return []
    rows: list[Evidence | Finding | Reply] = [
        *_evidence(session, viewer, Evidence.state == State.SUBMITTED, Evidence.created_by_id != viewer.id),
        *session.scalars(
            _findings().where(Finding.state == State.SUBMITTED, Finding.proposed_by_id != viewer.id)
        ),
        *session.scalars(_replies().where(Reply.state == State.SUBMITTED, Reply.created_by_id != viewer.id)),
    ]
    return sorted(rows, key=lambda row: row.submitted_at or row.created_at)


def plain(reviewer: Account) -> ColumnElement[bool]:
    """What a reviewer may accept together with others: imported for the public, logged by somebody else, without a
    person as its source, and without files."""
    return and_(
        Evidence.state == State.SUBMITTED,
        Evidence.visibility == Visibility.PUBLIC,
        Evidence.imported_as.is_not(None),
        Evidence.created_by_id.is_not(None),
        Evidence.created_by_id != reviewer.id,
        Evidence.from_person.is_(False),
        Evidence.source_type != SourceType.TESTIMONY,
        ~Evidence.sources.any(),
        ~Evidence.consents.any(),
        ~Evidence.exhibits.any(),
    )


def imported(session: Session, reviewer: Account, *, limit: int) -> Sequence[Evidence]:
    """The pieces that this reviewer may accept together, the longest waiting first."""
    return session.scalars(
        select(Evidence)
        .where(plain(reviewer))
        .options(
            selectinload(Evidence.links),
            selectinload(Evidence.details),
            selectinload(Evidence.exhibits),
            selectinload(Evidence.bearings).options(
                joinedload(Bearing.clause), joinedload(Bearing.recommendation)
            ),
        )
        .order_by(Evidence.submitted_at, Evidence.id)
        .limit(limit)
    ).all()


def evidence_by_key(session: Session, key: str, viewer: Account) -> Evidence | None:
    """One piece that this person may see, whatever its state; None if there is none or they may not."""
    return session.scalars(
        select(Evidence)
        .where(Evidence.key == key, permissions.visible_evidence(viewer))
        .options(
            selectinload(Evidence.links),
            selectinload(Evidence.bearings)
            .joinedload(Bearing.recommendation)
            .joinedload(Recommendation.report),
            selectinload(Evidence.bearings).joinedload(Bearing.clause),
            selectinload(Evidence.readers).joinedload(EvidenceReader.account),
        )
    ).one_or_none()


def finding_by_key(session: Session, key: str, viewer: Account) -> Finding | None:
    """One finding or proposal that this person may see."""
    return session.scalars(
        _findings().where(Finding.key == key, permissions.visible_findings(viewer))
    ).one_or_none()


def reply_by_key(session: Session, key: str, viewer: Account) -> Reply | None:
    """One reply that this person may see."""
    return session.scalars(
        _replies().where(Reply.key == key, permissions.visible_replies(viewer))
    ).one_or_none()


def reports(session: Session) -> Sequence[Report]:
    """All reports, the newest first."""
    return session.scalars(select(Report).order_by(Report.published_on.desc(), Report.id)).all()


def report(session: Session, slug: str) -> Report | None:
    """A report with its recommendations and clauses."""
    return session.scalars(
        select(Report)
        .where(Report.slug == slug)
        .options(
            selectinload(Report.recommendations).selectinload(Recommendation.clauses),
            selectinload(Report.addressees),
        )
    ).one_or_none()


def recommendation(session: Session, slug: str, number: str) -> Recommendation | None:
    """A recommendation with its clauses and report."""
    return session.scalars(
        select(Recommendation)
        .join(Report)
        .where(Report.slug == slug, Recommendation.number == number)
        .options(selectinload(Recommendation.clauses), joinedload(Recommendation.report))
    ).one_or_none()


def citable_evidence(session: Session, recommendation_id: int) -> Sequence[Evidence]:
    """Public evidence that bears on a recommendation or on one of its clauses, the newest event first."""
    return session.scalars(
        select(Evidence)
        .where(
            permissions.PUBLIC_EVIDENCE,
            Evidence.id.in_(
                select(Bearing.evidence_id).where(Bearing.recommendation_id == recommendation_id)
            ),
        )
        .options(selectinload(Evidence.bearings).joinedload(Bearing.clause))
        .order_by(Evidence.occurred_on.desc(), Evidence.number.desc())
    ).all()


def public_evidence_of(session: Session, report_id: int) -> Sequence[Evidence]:
    """Public evidence of a whole report, by number."""
    return session.scalars(
        select(Evidence)
        .where(
            permissions.PUBLIC_EVIDENCE,
            Evidence.id.in_(
                select(Bearing.evidence_id).join(Recommendation).where(Recommendation.report_id == report_id)
            ),
        )
        .order_by(Evidence.number)
    ).all()


def team(session: Session) -> Sequence[Account]:
    """Active monitors and reviewers, by name."""
    return session.scalars(
        select(Account)
        .where(Account.active, Account.role.in_([Role.MONITOR, Role.REVIEWER]))
        .order_by(Account.name, Account.id)
    ).all()


def activities(session: Session, subject: str) -> Sequence[Activity]:
    """What was done to one thing, the newest first."""
    return session.scalars(
        select(Activity)
        .where(Activity.subject == subject)
        .options(joinedload(Activity.account))
        .order_by(Activity.id.desc())
    ).all()


@dataclass(frozen=True)
class Due:
    """A finding that stands, and when it is to be looked at again."""

    finding: Finding
    due_on: dt.date
    overdue: bool


def reviews_due(session: Session, *, months: int, today: dt.date) -> list[Due]:
    """Findings whose next review is overdue or falls into the coming thirty days, the most urgent first."""
    found = []
    for finding in session.scalars(_findings().where(Finding.state == State.ACCEPTED)):
        recommendation = finding.recommendation
        own = recommendation.review_months or recommendation.report.review_months or months
        assert finding.approved_at is not None
        due_on = add_months(finding.approved_at.date(), own)
        if due_on <= today + dt.timedelta(days=30):
            found.append(Due(finding, due_on, due_on < today))
    return sorted(found, key=lambda due: due.due_on)


def shaken(session: Session) -> Sequence[Finding]:
    """Findings that stand and cite evidence which was withdrawn since."""
    gone = (
        select(Citation.finding_id).join(Evidence).where(Evidence.state.in_([State.WITHDRAWN, State.ERASED]))
    )
    return session.scalars(
        _findings().where(Finding.state == State.ACCEPTED, Finding.id.in_(gone)).order_by(Finding.id)
    ).all()


def resting_on(session: Session, evidence_id: int) -> Sequence[Finding]:
    """Findings that stand and cite this piece: what a withdrawal would shake."""
    cites = select(Citation.finding_id).where(Citation.evidence_id == evidence_id)
    return session.scalars(
        _findings().where(Finding.state == State.ACCEPTED, Finding.id.in_(cites)).order_by(Finding.id)
    ).all()


def _evidence(session: Session, viewer: Account, *conditions: object) -> list[Evidence | Finding | Reply]:
    return list(
        session.scalars(
            select(Evidence)
            .where(
                permissions.visible_evidence(viewer),
                Evidence.state.in_([*EDITABLE, State.SUBMITTED]),
                *conditions,  # type: ignore[arg-type]
            )
            .options(
                joinedload(Evidence.created_by),
                selectinload(Evidence.bearings).joinedload(Bearing.recommendation),
            )
            .order_by(Evidence.id)
        )
    )


def _own(session: Session, viewer: Account) -> list[Evidence | Finding | Reply]:
    unfinished = [*EDITABLE, State.SUBMITTED]
    return [
        *session.scalars(
            _findings()
            .where(Finding.proposed_by_id == viewer.id, Finding.state.in_(unfinished))
            .order_by(Finding.id)
        ),
        *session.scalars(
            _replies().where(Reply.created_by_id == viewer.id, Reply.state.in_(unfinished)).order_by(Reply.id)
        ),
    ]


def _findings() -> Select[Finding]:
    return select(Finding).options(
        joinedload(Finding.recommendation).joinedload(Recommendation.report),
        joinedload(Finding.recommendation).selectinload(Recommendation.clauses),
        joinedload(Finding.clause),
        joinedload(Finding.proposed_by),
        joinedload(Finding.replaces),
        selectinload(Finding.citations)
        .joinedload(Citation.evidence)
        .selectinload(Evidence.bearings)
        .joinedload(Bearing.clause),
    )


def _replies() -> Select[Reply]:
    return select(Reply).options(
        joinedload(Reply.report),
        joinedload(Reply.created_by),
        joinedload(Reply.evidence),
        selectinload(Reply.quotations),
        selectinload(Reply.targets).joinedload(ReplyTarget.recommendation),
    )
