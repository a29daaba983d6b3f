"""temporary: the operator branch brings the real one"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.models import Issue
from tracker.vocabulary import HoldReason, IssueState


def open_issue(session: Session, *, config_hold: str, now: dt.datetime) -> Issue:
    """The issue of this hour."""
    hour = now.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
    found = session.scalars(select(Issue).where(Issue.hour == hour)).one_or_none()
    if found is None:
        found = Issue(hour=hour)
        if config_hold != "no":
            found.state, found.held_because = IssueState.HELD, HoldReason.CONFIGURED
        session.add(found)
        session.flush()
    return found


def note_refusal(session: Session, issue: Issue, *, now: dt.datetime) -> bool:
    """Five in a row hold it."""
    session.refresh(issue, with_for_update=True)
    issue.refused_in_a_row += 1
    if issue.refused_in_a_row >= 5:
        issue.state, issue.held_because = IssueState.HELD, HoldReason.REFUSED
        return True
    return False


def note_success(session: Session, issue: Issue) -> None:
    """Not in a row any more."""
    session.refresh(issue)
    issue.refused_in_a_row = 0
