"""When a digest is due: local dates and hours in one's own time zone, and the instants that they are.

Cron triggers skip or repeat runs where clocks change, so this is our own arithmetic. A digest belongs to a local
date. An hour that the clocks skip becomes the first moment after the gap; an hour that happens twice is its first
occurrence; day 31 is the last day of a shorter month. "As it happens" means every full hour, which no clock change
touches: those hours are UTC's.

A `Slot` is one such turn: what the composer of digests asks for. The functions on dates below are what it is made of.
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
_HOUR = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Rhythm:
    """How often, on which day, at which hour, and by whose clock."""

    frequency: Frequency
    weekday: int  # 0 Monday to 6 Sunday; used when weekly.
    month_day: int  # 1 to 31; used when monthly.
    hour: int
    timezone: str


@dataclass(frozen=True)
class Slot:
    """One turn of a rhythm: the date it is for, the moment it is due, and the name that makes it happen once."""

    day: dt.date
    due_at: dt.datetime
    period: str  # "weekly/2026-11-23", "immediate/2026-11-23T07".


def first_slot(rhythm: Rhythm, now: dt.datetime) -> Slot:
    """The first turn that is still to come."""
    if rhythm.frequency is Frequency.IMMEDIATE:
        return _hourly(_full_hour(now) + _HOUR)
    return _dated(rhythm, *first(rhythm, now))


def due_slot(next_due_at: dt.datetime, next_local_date: dt.date, rhythm: Rhythm, now: dt.datetime) -> Slot:
    """The latest turn that has come since the one that was noted: after long downtime one digest stands for all."""
    if rhythm.frequency is Frequency.IMMEDIATE:
        return _hourly(max(_full_hour(now), _full_hour(next_due_at)))
    day = latest(next_local_date, rhythm, now)
    return _dated(rhythm, day, instant(day, rhythm))


def next_slot(after: Slot, rhythm: Rhythm, now: dt.datetime) -> Slot:
    """The first turn later than `after` that is still to come."""
    if rhythm.frequency is Frequency.IMMEDIATE:
        return _hourly(max(_full_hour(after.due_at), _full_hour(now)) + _HOUR)
    return _dated(rhythm, *following(after.day, rhythm, now))


def end_of_day(day: dt.date, timezone: str) -> dt.datetime:
    """The moment at which this date is over by that clock."""
    return instant(day + dt.timedelta(days=1), Rhythm(Frequency.DAILY, 0, 1, 0, timezone))


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
    if rhythm.frequency in (Frequency.DAILY, Frequency.IMMEDIATE):
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


def _hourly(hour: dt.datetime) -> Slot:
    return Slot(hour.date(), hour, f"{Frequency.IMMEDIATE.value}/{hour:%Y-%m-%dT%H}")


def _dated(rhythm: Rhythm, day: dt.date, due_at: dt.datetime) -> Slot:
    return Slot(day, due_at, f"{rhythm.frequency.value}/{day}")


def _full_hour(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)


def _in_month(year: int, month: int, day: int) -> dt.date:
    return dt.date(year, month, min(day, calendar.monthrange(year, month)[1]))
