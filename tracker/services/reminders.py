"""Reminders to the team: once a week what is new for somebody, each thing once.

A mail holds references of public recommendations, counts and links: nothing that is not published, whoever reads it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker.models import Account, Heartbeat, Recommendation, Reminder
from tracker.queries import board, queue
from tracker.queries.board import Row
from tracker.vocabulary import Role

AHEAD = dt.timedelta(days=30)
_HOUR = 7  # On Mondays, UTC.
_KEEP = dt.timedelta(days=400)
_WEEK = "reminders"


@dataclass(frozen=True)
class Letter:
    """What one person is told. `subjects` are the things in it, which are not told again."""

    account: Account
    week: dt.date
    overdue: tuple[Row, ...]
    due: tuple[Row, ...]
    to_review: int
    returned: int
    subjects: tuple[str, ...]

    @property
    def period(self) -> str:
        """ "reminder/2026-11-23": once for each person."""
        return f"reminder/{self.week}"


def week(now: dt.datetime) -> dt.date:
    """The last Monday whose seventh hour (UTC) has come."""
    moment = now.astimezone(dt.UTC) - dt.timedelta(hours=_HOUR)
    return moment.date() - dt.timedelta(days=moment.weekday())


def is_due(session: Session, *, now: dt.datetime) -> bool:
    """Whether this week's reminders are still to be taken: a look that changes nothing."""
    row = session.get(Heartbeat, _WEEK)
    return row is None or row.detail != week(now).isoformat()


def begin_week(session: Session, *, now: dt.datetime) -> dt.date | None:
    """Take this week's reminders, as the only process that does. None: that was done, or this is the first start."""
    this = week(now)
    row = session.get(Heartbeat, _WEEK, with_for_update=True)
    if row is None:
        # On the first start nobody is reminded in the middle of a week.
        with suppress(IntegrityError), session.begin_nested():
            session.add(Heartbeat(name=_WEEK, at=now, detail=this.isoformat()))
        return None
    if row.detail and dt.date.fromisoformat(row.detail) >= this:
        return None
    row.at, row.detail = now, this.isoformat()
    session.flush()
    return this


def whom(session: Session) -> Sequence[Account]:
    """Monitors and reviewers who can sign in and want reminders."""
    return session.scalars(
        select(Account)
        .where(
            Account.active,
            Account.reminders,
            Account.password_hash.is_not(None),
            Account.role.in_([Role.MONITOR, Role.REVIEWER]),
        )
        .order_by(Account.id)
    ).all()


def choose(session: Session, account: Account, *, wanted: bool) -> None:
    """Somebody wants reminders, or none any more."""
    account.reminders = wanted
    session.flush()


def rows(session: Session, *, review_months: int, now: dt.datetime) -> list[Row]:
    """The recommendations whose review is overdue or due within thirty days, the same for everybody."""
    today = now.astimezone(dt.UTC).date()
    every = board.read_rows(session, Recommendation.id.is_not(None), today=today, review_months=review_months)
    return [row for row in every if row.timeliness.due_on and row.timeliness.due_on <= today + AHEAD]


def letter(session: Session, account: Account, rows: Sequence[Row], *, week: dt.date) -> Letter | None:
    """What is new for this person; None: nothing is."""
    known = set(session.scalars(select(Reminder.subject).where(Reminder.account_id == account.id)))
    new_rows = {subject(row): row for row in rows if subject(row) not in known}
    mine = queue.queue(session, account, stale_before=account.created_at)
    review = [f"review/{queue.subject(row)}" for row in queue.to_review(session, account)]
    returned = [f"returned/{queue.subject(row)}" for row in mine.returned]
    new_review, new_returned = ([one for one in found if one not in known] for found in (review, returned))
    subjects = (*new_rows, *new_review, *new_returned)
    if not subjects:
        return None
    return Letter(
        account,
        week,
        overdue=tuple(row for row in new_rows.values() if row.timeliness.overdue),
        due=tuple(row for row in new_rows.values() if not row.timeliness.overdue),
        to_review=len(new_review),
        returned=len(new_returned),
        subjects=subjects,
    )


def told(session: Session, letter: Letter, *, now: dt.datetime) -> None:
    """Note the things of a letter, so that each is told once."""
    session.add_all(Reminder(account_id=letter.account.id, subject=one, at=now) for one in letter.subjects)
    session.flush()


def subject(row: Row) -> str:
    """ "overdue/12/2026-09-30": a thing to be reminded of; a new date is a new thing."""
    kind = "overdue" if row.timeliness.overdue else "due"
    return f"{kind}/{row.recommendation.id}/{row.timeliness.due_on}"


def forget_expired(session: Session, *, now: dt.datetime) -> None:
    """Things of long ago."""
    session.execute(delete(Reminder).where(Reminder.at < now - _KEEP))
