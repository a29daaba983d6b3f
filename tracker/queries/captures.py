"""The captures of a piece of evidence."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from tracker import permissions
from tracker.models import Account, Capture, Evidence


def of(session: Session, evidence: Evidence) -> dict[str, list[Capture]]:
    """The captures of each address, the newest first."""
    found: dict[str, list[Capture]] = {}
    rows = select(Capture).where(Capture.evidence_id == evidence.id).options(joinedload(Capture.exhibit))
    for capture in session.scalars(rows.order_by(Capture.requested_at.desc(), Capture.id.desc())):
        found.setdefault(capture.url, []).append(capture)
    return found


def by_key(session: Session, key: str, viewer: Account) -> Capture | None:
    """One capture, if this person may see the evidence that it belongs to."""
    return session.scalars(
        select(Capture).join(Capture.evidence).where(Capture.key == key, permissions.visible_evidence(viewer))
    ).one_or_none()
