"""Sources by their pseudonyms. A pseudonym is seen by whom made it, and by those who see evidence that comes from it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, false, or_, select
from sqlalchemy.orm import Session, joinedload, selectinload

from tracker import permissions
from tracker.models import Account, Evidence, Source, SourceRecord, evidence_source


def visible(viewer: Account) -> ColumnElement[bool]:
    """The rule, as a condition on `Source`. A reviewer sees also what waits for a second person to erase it."""
    if not permissions.is_team(viewer):
        return false()
    of_what_they_see = (
        select(evidence_source.c.source_id)
        .join(Evidence, Evidence.id == evidence_source.c.evidence_id)
        .where(permissions.visible_evidence(viewer))
    )
    waiting = and_(Source.erasure_asked_at.is_not(None), Source.erased_at.is_(None))
    return or_(
        Source.created_by_id == viewer.id,
        Source.id.in_(of_what_they_see),
        waiting if permissions.is_reviewer(viewer) else false(),
    )


def everything(session: Session, viewer: Account) -> Sequence[Source]:
    """The sources that this person sees, the newest first."""
    return session.scalars(
        select(Source)
        .where(visible(viewer))
        .options(joinedload(Source.created_by), joinedload(Source.erasure_asked_by))
        .order_by(Source.id.desc())
    ).all()


def by_pseudonym(session: Session, pseudonym: str, viewer: Account) -> Source | None:
    """One source that this person sees; None if there is none or they do not."""
    return session.scalars(
        select(Source)
        .where(Source.pseudonym == spelled(pseudonym), visible(viewer))
        .options(
            selectinload(Source.records).joinedload(SourceRecord.custodian),
            selectinload(Source.records).joinedload(SourceRecord.recorded_by),
            selectinload(Source.words),
        )
    ).one_or_none()


def evidence_of(session: Session, source: Source, viewer: Account) -> Sequence[Evidence]:
    """What comes from a source, as far as this person sees it."""
    return session.scalars(
        select(Evidence)
        .join(evidence_source, evidence_source.c.evidence_id == Evidence.id)
        .where(evidence_source.c.source_id == source.id, permissions.visible_evidence(viewer))
        .order_by(Evidence.id.desc())
    ).all()


def spelled(pseudonym: str) -> str:
    """A pseudonym as it is stored, however it was typed: "s7f3k", "S-7F3K"."""
    letters = "".join(pseudonym.upper().split()).replace("-", "").removeprefix("S")
    return f"S-{letters.replace('O', '0').replace('I', '1').replace('L', '1')}"
