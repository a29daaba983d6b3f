"""Comments: what somebody of the team remarks about a piece of evidence, a proposal or a reply. Never public."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import delete
from sqlalchemy.orm import Session

from tracker.errors import Conflict, Invalid, NotFound
from tracker.models import Account, Assignment, Comment, Evidence
from tracker.queries import teamwork
from tracker.queries.teamwork import Row
from tracker.services import activity
from tracker.vocabulary import N_, State

LONGEST = 4000


def add(session: Session, row: Row, body: str, *, author: Account, now: dt.datetime) -> Comment:
    """Write a comment. It is never edited and never deleted, unless what it is about is.

    On evidence it hangs on the record's own key, so that it is sealed while the evidence is restricted.
    """
    # Held until we commit, so that it is neither restricted nor erased while this is written beside it.
    held = session.get(type(row), row.id, populate_existing=True, with_for_update={"read": True})
    if held is None or not teamwork.may_see(session, row, author):
        raise NotFound(
            N_("There is no such page. It may have been withdrawn, or the address has a mistake in it.")
        )
    if row.state is State.ERASED:
        raise Conflict(N_("This evidence was erased. Nothing more can be written to it."))
    if not body:
        raise Invalid(N_("Write something, or leave the page."), "body")
    if len(body) > LONGEST:
        raise Invalid(
            N_("Shorten this to %(most)s characters; it has %(length)s."),
            "body",
            most=LONGEST,
            length=len(body),
        )
    comment = Comment(
        subject=teamwork.subject(row),
        evidence_id=row.id if isinstance(row, Evidence) else None,
        author_id=author.id,
        written_at=now,
        body=body,
    )
    session.add(comment)
    session.flush()
    return comment


def mark_read(session: Session, row: Row, *, reader: Account, now: dt.datetime) -> None:
    """Note that somebody has read the comments up to now, so that their queue tells them of later ones only."""
    if not teamwork.may_see(session, row, reader):
        raise NotFound(
            N_("There is no such page. It may have been withdrawn, or the address has a mistake in it.")
        )
    noun = type(row).__name__.lower()
    activity.record(session, reader, f"{noun}-comments-read", teamwork.subject(row), now=now)


def forget(session: Session, row: Row) -> None:
    """Delete the comments and the assignment of something that is discarded or erased."""
    subject = teamwork.subject(row)
    session.execute(delete(Comment).where(Comment.subject == subject))
    session.execute(delete(Assignment).where(Assignment.subject == subject))
