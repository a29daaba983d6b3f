"""What the team says and agrees about one thing: its comments, who takes care of it, its history, notes of dissent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session, aliased, joinedload

from tracker import permissions
from tracker.models import (
    Account,
    Activity,
    Assignment,
    Capture,
    Comment,
    DissentingNote,
    Erasure,
    Evidence,
    Exhibit,
    FieldChange,
    Finding,
    PublicCopy,
    Recommendation,
    Reply,
    Source,
)
from tracker.queries import queue
from tracker.queries.queue import Row, subject
from tracker.vocabulary import CaptureState, State, Visibility

__all__ = ["Row", "subject"]  # So that services need not know where the queue is.

# Made once: making one takes longer than asking the database with it.
_own_comment = aliased(Comment)
_later = aliased(Capture)


def by_subject(session: Session, name: str, viewer: Account) -> Row | None:
    """The thing that is called so, if this person may see it."""
    noun, _, key = name.partition("/")
    if noun == "evidence":
        return queue.evidence_by_key(session, key, viewer)
    if noun == "finding":
        return queue.finding_by_key(session, key, viewer)
    return queue.reply_by_key(session, key, viewer) if noun == "reply" else None


def may_see(session: Session, row: Row, viewer: Account) -> bool:
    """Whether this person of the team may see it."""
    kind = type(row)
    found = session.scalar(select(kind.id).where(kind.id == row.id, permissions.visible(kind, viewer)))
    return permissions.is_team(viewer) and found is not None


def comments(session: Session, row: Row, viewer: Account | None = None) -> Sequence[Comment]:
    """What was remarked about it, the newest last; for a `viewer` without what was said among others only."""
    query = select(Comment).where(Comment.subject == subject(row)).options(joinedload(Comment.author))
    if viewer is not None and (since := opened_at(session, row, viewer)) is not None:
        query = query.where(or_(Comment.written_at > since, Comment.author_id == viewer.id))
    return session.scalars(query.order_by(Comment.id)).all()


def activities(session: Session, evidence: Evidence, viewer: Account) -> Sequence[Activity]:
    """What was done to a piece, the newest first, with the reasons; what was said among others only is left out."""
    since = opened_at(session, evidence, viewer)
    found = queue.activities(session, subject(evidence))
    return [one for one in found if since is None or one.at > since or one.account_id == viewer.id]


def opened_at(session: Session, row: Row, viewer: Account) -> dt.datetime | None:
    """When a piece that was restricted was opened to more people, for whoever is not named in it; else None.

    What was said about it before was said among those who were named, and often tells why it was restricted.
    """
    if not isinstance(row, Evidence) or permissions.is_named(viewer, row):
        return None
    lines = session.scalars(
        select(FieldChange)
        .where(FieldChange.evidence_id == row.id, FieldChange.field == "visibility")
        .order_by(FieldChange.id.desc())
    )
    return next((line.changed_at for line in lines if line.was == Visibility.RESTRICTED.value), None)


def unread(session: Session, viewer: Account) -> dict[str, list[Comment]]:
    """Comments of others since the viewer's last own act there, the newest last, by what they are about.

    On what the viewer wrote, and where they commented themselves; only on what they may see.
    """
    mine = or_(
        *(
            Comment.subject.in_(select(noun + kind.key).where(author == viewer.id))
            for noun, kind, author in (
                ("evidence/", Evidence, Evidence.created_by_id),
                ("finding/", Finding, Finding.proposed_by_id),
                ("reply/", Reply, Reply.created_by_id),
            )
        ),
        Comment.subject.in_(select(_own_comment.subject).where(_own_comment.author_id == viewer.id)),
    )
    acted = select(Activity.id).where(
        Activity.subject == Comment.subject,
        Activity.account_id == viewer.id,
        Activity.at >= Comment.written_at,
    )
    answered = select(_own_comment.id).where(
        _own_comment.subject == Comment.subject,
        _own_comment.author_id == viewer.id,
        _own_comment.id > Comment.id,
    )
    seen = or_(
        *(
            Comment.subject.in_(select(noun + kind.key).where(permissions.visible(kind, viewer)))
            for noun, kind in (("evidence/", Evidence), ("finding/", Finding), ("reply/", Reply))
        )
    )
    found: dict[str, list[Comment]] = {}
    for comment in session.scalars(
        select(Comment)
        .where(Comment.author_id != viewer.id, mine, seen, ~acted.exists(), ~answered.exists())
        .options(joinedload(Comment.author))
        .order_by(Comment.id)
    ):
        found.setdefault(comment.subject, []).append(comment)
    return found


def failed_captures(session: Session, viewer: Account, *, since: dt.datetime) -> Sequence[Capture]:
    """Captures that the viewer asked for and that failed since then, and that nobody has asked for again."""
    again = select(_later.id).where(_later.evidence_id == Capture.evidence_id, _later.id > Capture.id)
    return session.scalars(
        select(Capture)
        .join(Capture.evidence)
        .where(
            Capture.requested_by_id == viewer.id,
            Capture.state == CaptureState.FAILED,
            Capture.finished_at >= since,
            ~again.exists(),
            permissions.visible_evidence(viewer),
        )
        .options(joinedload(Capture.evidence))
        .order_by(Capture.id)
    ).all()


def damaged_exhibits(session: Session, viewer: Account) -> Sequence[Exhibit]:
    """Files whose bytes are missing or differ, of evidence that the viewer logged or to which they uploaded them."""
    return session.scalars(
        select(Exhibit)
        .join(Exhibit.evidence)
        .where(
            Exhibit.damaged_at.is_not(None),
            Exhibit.erased_at.is_(None),
            or_(Exhibit.uploaded_by_id == viewer.id, Evidence.created_by_id == viewer.id),
            permissions.visible_evidence(viewer),
        )
        .options(joinedload(Exhibit.evidence))
        .order_by(Exhibit.id)
    ).all()


def copies_to_release(session: Session, viewer: Account) -> Sequence[PublicCopy]:
    """Public copies that others made after the evidence was accepted, for this reviewer to release."""
    if not permissions.is_reviewer(viewer):
        return []
    return session.scalars(
        select(PublicCopy)
        .join(PublicCopy.exhibit)
        .join(Exhibit.evidence)
        .where(
            PublicCopy.made_by_id != viewer.id,
            PublicCopy.sha256.is_not(None),
            PublicCopy.released_at.is_(None),
            PublicCopy.withdrawn_at.is_(None),
            Evidence.state == State.ACCEPTED,
            Evidence.visibility == Visibility.PUBLIC,
            permissions.visible_evidence(viewer),
        )
        .options(joinedload(PublicCopy.exhibit).joinedload(Exhibit.evidence), joinedload(PublicCopy.made_by))
        .order_by(PublicCopy.id)
    ).all()


def erasures_to_confirm(session: Session, viewer: Account) -> Sequence[Erasure]:
    """Erasures of evidence for which others asked, for this reviewer to confirm or refuse."""
    if not permissions.is_reviewer(viewer):
        return []
    return session.scalars(
        select(Erasure)
        .join(Erasure.evidence)
        .where(
            Erasure.requested_by_id != viewer.id,
            Erasure.done_at.is_(None),
            Erasure.refused_at.is_(None),
            permissions.visible_evidence(viewer),
        )
        .options(joinedload(Erasure.evidence), joinedload(Erasure.requested_by))
        .order_by(Erasure.id)
    ).all()


def sources_to_erase(session: Session, viewer: Account) -> Sequence[Source]:
    """Sources that others asked to erase, for this reviewer to confirm or refuse."""
    if not permissions.is_reviewer(viewer):
        return []
    return session.scalars(
        select(Source)
        .where(
            Source.erasure_asked_at.is_not(None),
            Source.erased_at.is_(None),
            Source.erasure_asked_by_id != viewer.id,
        )
        .options(joinedload(Source.erasure_asked_by))
        .order_by(Source.id)
    ).all()


def assignment(session: Session, row: Row) -> Assignment | None:
    """Who takes care of it next, if that was agreed."""
    return session.scalars(
        select(Assignment)
        .where(Assignment.subject == subject(row))
        .options(joinedload(Assignment.account), joinedload(Assignment.assigned_by))
        .execution_options(populate_existing=True)
    ).one_or_none()


def can_take(session: Session, row: Row, person: Account) -> bool:
    """Whether this person could do what is to be done with it: review it, or finish it."""
    may = {
        Evidence: (permissions.can_review_evidence, permissions.can_edit_evidence),
        Finding: (permissions.can_review_finding, permissions.can_edit_finding),
        Reply: (permissions.can_review_reply, permissions.can_edit_reply),
    }
    able = any(ask(person, row) for ask in may[type(row)])  # type: ignore[operator]
    return able and may_see(session, row, person)


def takers(session: Session, row: Row) -> list[Account]:
    """Everybody to whom it could be assigned, by name."""
    if row.state not in (State.DRAFT, State.RETURNED, State.SUBMITTED):
        return []
    return [person for person in queue.team(session) if can_take(session, row, person)]


def history(
    session: Session, evidence: Evidence, viewer: Account, *, before: int | None = None, limit: int
) -> Sequence[FieldChange]:
    """What was changed, the newest first; what the viewer may not see is left out as if it were not there."""
    query = (
        select(FieldChange)
        .where(FieldChange.evidence_id == evidence.id)
        .options(joinedload(FieldChange.account))
        .order_by(FieldChange.id.desc())
        .limit(limit)
    )
    if not permissions.is_named(viewer, evidence):
        query = query.where(FieldChange.restricted.is_(False))
    if before is not None:
        query = query.where(FieldChange.id < before)
    return session.scalars(query).all()


def note_by_key(session: Session, key: str, viewer: Account) -> DissentingNote | None:
    """A dissenting note on a finding that this person may see."""
    return session.scalars(
        _notes()
        .join(Finding, Finding.id == DissentingNote.finding_id)
        .where(DissentingNote.key == key, permissions.visible_findings(viewer))
    ).one_or_none()


def notes_to_release(session: Session, viewer: Account) -> Sequence[DissentingNote]:
    """Notes of others on findings that stand, for this reviewer to release."""
    if not permissions.is_reviewer(viewer):
        return []
    return session.scalars(
        _notes()
        .join(Finding, Finding.id == DissentingNote.finding_id)
        .where(
            DissentingNote.state == State.SUBMITTED,
            DissentingNote.author_id != viewer.id,
            Finding.state == State.ACCEPTED,
        )
        .order_by(DissentingNote.id)
    ).all()


def notes_returned(session: Session, viewer: Account) -> Sequence[DissentingNote]:
    """The viewer's own notes that came back, on findings that they may still see."""
    return session.scalars(
        _notes()
        .join(Finding, Finding.id == DissentingNote.finding_id)
        .where(
            DissentingNote.state == State.RETURNED,
            DissentingNote.author_id == viewer.id,
            Finding.state.in_([State.SUBMITTED, State.ACCEPTED]),
        )
        .order_by(DissentingNote.id)
    ).all()


def _notes() -> Select[DissentingNote]:
    return select(DissentingNote).options(
        joinedload(DissentingNote.author),
        joinedload(DissentingNote.finding).options(
            joinedload(Finding.clause),
            joinedload(Finding.recommendation).joinedload(Recommendation.report),
        ),
    )
