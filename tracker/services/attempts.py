"""Counters against guessing and flooding, in the database, so that all web processes share them.

Call `hit` in a committed transaction of its own (`with db.writing() as own:`), so that what is refused counts too.
"""

from __future__ import annotations

import datetime as dt
import math

from sqlalchemy import case, delete, literal
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tracker.errors import TooMany
from tracker.models import Attempt, UTCDateTime
from tracker.vocabulary import N_


def hit(session: Session, key: str, *, limit: int, window: dt.timedelta, now: dt.datetime) -> None:
    """Count one attempt. Raises TooMany after `limit` of them in one `window`, which starts with the first.

    `key` is a keyed hash of what is counted. The count is exact also when many arrive at once.
    """
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    ends_at, over = literal(now + window, UTCDateTime()), Attempt.window_ends_at <= now
    statement = (
        insert(Attempt)
        .values(key=key, count=1, window_ends_at=now + window)
        .on_conflict_do_update(
            index_elements=[Attempt.key],
            set_={
                "count": case((over, 1), else_=Attempt.count + 1),
                "window_ends_at": case((over, ends_at), else_=Attempt.window_ends_at),
            },
        )
        .returning(Attempt.count, Attempt.window_ends_at)
    )
    count, window_ends_at = session.execute(statement).one()
    if count > limit:
        minutes = max(1, math.ceil((window_ends_at - now) / dt.timedelta(minutes=1)))
        raise TooMany(
            N_("Too many attempts. Wait %(minutes)d minutes and try again.")
            if minutes > 1
            else N_("Too many attempts. Wait a minute and try again."),
            minutes=minutes,
        )


def forget_expired(session: Session, *, now: dt.datetime) -> None:
    """Delete counters whose window is over. They count no more; this is only tidiness, for the scheduler."""
    session.execute(delete(Attempt).where(Attempt.window_ends_at <= now))
