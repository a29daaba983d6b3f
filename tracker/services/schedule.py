"""When a digest is due: local dates and hours in one's own time zone, and the instants that they are.

Cron triggers skip or repeat runs where clocks change, so this is our own arithmetic. A digest belongs to a local
date. An hour that the clocks skip becomes the first moment after the gap; an hour that happens twice is its first
occurrence; day 31 is the last day of a shorter month.
"""

from __future__ import annotations

import calendar
import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from tracker.vocabulary import Frequency

_REGIONS = (
    "Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific",
)  # fmt: skip
_SECOND = dt.timedelta(seconds=1)


@dataclass(frozen=True)
class Rhythm:
    """How often, on which day, at which hour, and by whose clock."""

    frequency: Frequency
    weekday: int  # 0 Monday to 6 Sunday; used when weekly.
    month_day: int  # 1 to 31; used when monthly.
    hour: int
    timezone: str


@lru_cache
def timezones() -> tuple[str, ...]:
    """The names that people can choose: UTC and every "Region/City", in order."""
    return ("UTC", *sorted(name for name in available_timezones() if name.split("/")[0] in _REGIONS))


def zone(name: str) -> ZoneInfo:
    """The time zone of that name; UTC if the name has left the time zone database."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def instant(day: dt.date, rhythm: Rhythm) -> dt.datetime:
    """The moment, in UTC, at which a digest for this local date is due: never before the local hour."""
    local = dt.datetime.combine(day, dt.time(rhythm.hour), zone(rhythm.timezone))
    earlier, later = local.utcoffset(), local.replace(fold=1).utcoffset()
    assert earlier is not None
    assert later is not None
    found = local.astimezone(dt.UTC)
    if earlier >= later:
        return found
    # The hour does not exist: the clocks went forward between the two readings of it. Find that second.
    low, high = found - (later - earlier) - _SECOND, found
    while high - low > _SECOND:
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        if middle.astimezone(local.tzinfo).utcoffset() == earlier:
            low = middle
        else:
            high = middle
    return high


def next_date(after: dt.date, rhythm: Rhythm) -> dt.date:
    """The first local date later than `after` that a digest is for."""
    if rhythm.frequency is Frequency.DAILY:
        return after + dt.timedelta(days=1)
    if rhythm.frequency is Frequency.WEEKLY:
        return after + dt.timedelta(days=(rhythm.weekday - after.weekday() - 1) % 7 + 1)
    day = _in_month(after.year, after.month, rhythm.month_day)
    if day > after:
        return day
    return _in_month(after.year + after.month // 12, after.month % 12 + 1, rhythm.month_day)


def first(rhythm: Rhythm, now: dt.datetime) -> tuple[dt.date, dt.datetime]:
    """The first date whose moment is still to come, and that moment."""
    today = now.astimezone(zone(rhythm.timezone)).date()
    # Two days back, because clocks that skip a whole day make yesterday's moment a later one.
    return following(today - dt.timedelta(days=2), rhythm, now)


def following(day: dt.date, rhythm: Rhythm, now: dt.datetime) -> tuple[dt.date, dt.datetime]:
    """The first date after `day` whose moment is still to come, and that moment."""
    while True:
        day = next_date(day, rhythm)
        if (due := instant(day, rhythm)) > now:
            return day, due


def latest(day: dt.date, rhythm: Rhythm, now: dt.datetime) -> dt.date:
    """The last date from `day` on whose moment has come: after long downtime one digest stands for all of them."""
    while instant(later := next_date(day, rhythm), rhythm) <= now:
        day = later
    return day


def _in_month(year: int, month: int, day: int) -> dt.date:
    return dt.date(year, month, min(day, calendar.monthrange(year, month)[1]))
