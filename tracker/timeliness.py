"""How fresh a recommendation's findings are: when last reviewed, when the next review is due, overdue."""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Timeliness:
    """Both dates are None while no first review has been made."""

    reviewed_on: dt.date | None
    due_on: dt.date | None
    overdue: bool


def timeliness(reviewed: Sequence[dt.date], *, months: int, today: dt.date) -> Timeliness:
    """`reviewed` holds the day of review of every current finding, one per assessed clause.

    The newest is when the recommendation was last reviewed. The oldest decides when the next review is due, so
    that one fresh clause does not hide a stale one. Overdue begins the day after the due date.
    """
    if not reviewed:
        return Timeliness(None, None, False)
    due = add_months(min(reviewed), months)
    return Timeliness(max(reviewed), due, due < today)


def add_months(day: dt.date, months: int) -> dt.date:
    """The same day some months later, or the last of that month where it is shorter."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return dt.date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
