"""Throwing away what nobody but its author has seen."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import delete
from sqlalchemy.orm import Session

from tracker import permissions
from tracker.errors import Conflict, NotAllowed
from tracker.models import Account, Erasure, Evidence, Finding, Reply
from tracker.services import activity, comments, states
from tracker.vocabulary import N_


def discard(
    session: Session, row: Evidence | Finding | Reply, *, author: Account, version: int, now: dt.datetime
) -> list[str]:
    """Delete a draft, or a piece that was returned. Raises NotAllowed for anybody but its author, Stale if it changed.

    What colleagues have hung on a piece is not one person's to destroy: then it takes an erasure, and two of them.
    Returns the SHA-256 of every blob that may be used by nothing any more; to be removed after the commit.
    A prepared draft of a finding that somebody took up comes back when its report file is loaded again.
    """
    kind = type(row).__name__.lower()
    may = {
        Evidence: permissions.can_edit_evidence,
        Finding: permissions.can_edit_finding,
        Reply: permissions.can_edit_reply,
    }
    if not may[type(row)](author, row):  # type: ignore[operator]
        raise NotAllowed(
            N_("Only drafts and returned pieces can be discarded, by the person who wrote them.")
        )
    if isinstance(row, Finding) and row.proposed_by_id is None:
        raise NotAllowed(N_("This draft came with a report file and is nobody's. Leave it, or take it up."))
    states.claim_version(session, row, version)
    unused: list[str] = []
    if isinstance(row, Evidence):
        added = [one.uploaded_by_id for one in row.exhibits] + [one.recorded_by_id for one in row.consents]
        if set(added) - {None, author.id}:
            raise Conflict(
                N_(
                    "A colleague has attached a file to this, or recorded a consent. Send it for review again, and ask "
                    "for its erasure there: that takes two people."
                )
            )
        hashes = {exhibit.sha256 for exhibit in row.exhibits}
        hashes |= {copy.sha256 for exhibit in row.exhibits for copy in exhibit.copies}
        unused = sorted(sha256 for sha256 in hashes if sha256)
    activity.record(session, author, f"{kind}-discarded", f"{kind}/{row.key}", now=now)
    comments.forget(session, row)
    if isinstance(row, Evidence):
        # Somebody asked to erase it before it was returned: that is done herewith.
        session.execute(delete(Erasure).where(Erasure.evidence_id == row.id))
    session.delete(row)
    session.flush()
    return unused
