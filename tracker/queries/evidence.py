"""Public evidence: what anybody may read, and what remains of a withdrawn piece."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session, joinedload, selectinload

from tracker import permissions
from tracker.errors import NotFound
from tracker.models import Bearing, Citation, Evidence, Finding, Recommendation
from tracker.queries.board import NO_SUCH_PAGE
from tracker.vocabulary import State

_LARGEST_NUMBER = 2**31 - 1

#: A piece that was public once. Its number, the ledger's entries and the public reason stay; its words are gone.
WITHDRAWN: ColumnElement[bool] = and_(
    Evidence.state.in_([State.WITHDRAWN, State.ERASED]),
    Evidence.number.is_not(None),
    Evidence.ledger_seq.is_not(None),
)


def count(session: Session, report_id: int) -> int:
    """How many pieces of public evidence bear on a report, each counted once."""
    bearing = select(Bearing.evidence_id).join(Recommendation).where(Recommendation.report_id == report_id)
    return session.scalars(
        select(func.count())
        .select_from(Evidence)
        .where(permissions.visible_evidence(None), Evidence.id.in_(bearing))
    ).one()


def find(session: Session, number: int) -> Evidence:
    """A piece the public may see, or one that was withdrawn; NotFound for everything else alike."""
    found = None
    if number <= _LARGEST_NUMBER:
        found = session.scalars(
            select(Evidence)
            .where(Evidence.number == number, or_(permissions.visible_evidence(None), WITHDRAWN))
            .options(
                selectinload(Evidence.links),
                selectinload(Evidence.bearings).options(
                    joinedload(Bearing.clause),
                    joinedload(Bearing.recommendation).joinedload(Recommendation.report),
                ),
            )
        ).one_or_none()
    if found is None:
        raise NotFound(NO_SUCH_PAGE)
    return found


def bearing_on(session: Session, recommendation: Recommendation) -> list[Evidence]:
    """The public pieces that bear on a recommendation, the newest first."""
    return list(
        session.scalars(
            select(Evidence)
            .where(permissions.visible_evidence(None), _bears_on(recommendation))
            .options(selectinload(Evidence.links), selectinload(Evidence.bearings).joinedload(Bearing.clause))
            .order_by(Evidence.occurred_on.desc().nulls_last(), Evidence.number.desc())
        )
    )


def withdrawn_from(session: Session, recommendation: Recommendation) -> list[Evidence]:
    """The withdrawn pieces that once bore on a recommendation."""
    return list(
        session.scalars(
            select(Evidence).where(WITHDRAWN, _bears_on(recommendation)).order_by(Evidence.number)
        )
    )


def cited_by(session: Session, findings: Iterable[Finding]) -> dict[int, list[Evidence]]:
    """The public and the withdrawn pieces that each finding cites, by the finding's id."""
    found: dict[int, list[Evidence]] = defaultdict(list)
    for finding_id, evidence in session.execute(
        select(Citation.finding_id, Evidence)
        .join(Citation.evidence)
        .where(
            Citation.finding_id.in_([finding.id for finding in findings]),
            or_(permissions.visible_evidence(None), WITHDRAWN),
        )
        .order_by(Evidence.number)
    ):
        found[finding_id].append(evidence)
    return found


def citing(session: Session, evidence: Evidence) -> list[Finding]:
    """The current findings that rest on a piece of evidence."""
    return list(
        session.scalars(
            select(Finding)
            .join(Finding.citations)
            .where(Citation.evidence_id == evidence.id, Finding.state == State.ACCEPTED)
            .options(
                joinedload(Finding.clause),
                joinedload(Finding.recommendation).joinedload(Recommendation.report),
            )
            .order_by(Finding.recommendation_id, Finding.clause_id)
        )
    )


def _bears_on(recommendation: Recommendation) -> ColumnElement[bool]:
    return (
        select(Bearing.id)
        .where(Bearing.evidence_id == Evidence.id, Bearing.recommendation_id == recommendation.id)
        .exists()
    )
