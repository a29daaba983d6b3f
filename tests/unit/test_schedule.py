"""A digest is due once per local date, never before its hour, whatever the clocks do."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.services import schedule
from tracker.services.schedule import Rhythm
from tracker.vocabulary import Frequency

ODD_ZONES = [
    "UTC",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Europe/Berlin",
    "America/Havana",
    "Asia/Beirut",
    "Pacific/Kiritimati",
    "Asia/Urumqi",
    "Antarctica/Troll",
]


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


rhythms = st.builds(
    Rhythm,
    frequency=st.sampled_from(Frequency),
    weekday=st.integers(0, 6),
    month_day=st.integers(1, 31),
    hour=st.integers(0, 23),
    timezone=st.sampled_from(ODD_ZONES) | st.sampled_from(schedule.timezones()),
)
moments = st.integers(0, 28 * 366 * 24 * 60).map(
    lambda minutes: utc("2009-01-01") + dt.timedelta(minutes=minutes)
)


def daily(zone: str, hour: int) -> Rhythm:
    return Rhythm(Frequency.DAILY, 0, 1, hour, zone)


@pytest.mark.parametrize(
    ("zone", "day", "hour", "due"),
    [
        # The hour happens twice: the first of the two.
        ("Europe/Berlin", "2026-10-25", 2, "2026-10-25T00:00"),
        # The hour does not happen: the first moment after it.
        ("Europe/Berlin", "2026-03-29", 2, "2026-03-29T01:00"),
        # Midnight does not happen: cron would skip the day.
        ("America/Santiago", "2026-09-06", 0, "2026-09-06T04:00"),
        # Clocks that move by half an hour.
        ("Australia/Lord_Howe", "2026-10-04", 2, "2026-10-03T15:30"),
        ("Australia/Lord_Howe", "2026-04-05", 1, "2026-04-04T14:00"),
        # Ramadan: an hour back and forth within the year.
        ("Africa/Casablanca", "2026-02-15", 2, "2026-02-15T01:00"),
        ("Africa/Casablanca", "2026-03-22", 2, "2026-03-22T02:00"),
        ("Asia/Kathmandu", "2026-11-22", 7, "2026-11-22T01:15"),
        # The 30th of December 2011 did not happen there at all.
        ("Pacific/Apia", "2011-12-30", 7, "2011-12-30T10:00"),
        ("Pacific/Apia", "2011-12-31", 0, "2011-12-30T10:00"),
    ],
)
def test_hours_that_clocks_skip_or_repeat(zone: str, day: str, hour: int, due: str) -> None:
    assert schedule.instant(dt.date.fromisoformat(day), daily(zone, hour)) == utc(due)


def test_a_day_that_a_month_does_not_have_is_its_last_one() -> None:
    rhythm = Rhythm(Frequency.MONTHLY, 0, 31, 7, "UTC")
    days = [dt.date(2027, 12, 31)]
    for _ in range(4):
        days.append(schedule.next_date(days[-1], rhythm))

    assert [day.isoformat() for day in days[1:]] == ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30"]


def test_a_zone_that_no_longer_exists_is_read_as_utc() -> None:
    assert schedule.instant(dt.date(2026, 11, 22), daily("Mars/Olympus", 7)) == utc("2026-11-22T07:00")
    assert schedule.zone("../../etc/passwd").key == "UTC"


def test_after_long_downtime_one_date_stands_for_all() -> None:
    rhythm = daily("Europe/Berlin", 7)

    assert schedule.latest(dt.date(2026, 11, 1), rhythm, utc("2026-11-10T06:00")) == dt.date(2026, 11, 10)
    assert schedule.latest(dt.date(2026, 11, 1), rhythm, utc("2026-11-10T05:59")) == dt.date(2026, 11, 9)


@given(rhythms, moments)
def test_the_next_digest_lies_ahead_and_not_before_its_local_hour(rhythm: Rhythm, now: dt.datetime) -> None:
    day, due = schedule.first(rhythm, now)

    assert due > now
    local = due.astimezone(schedule.zone(rhythm.timezone)).replace(tzinfo=None)
    assert local >= dt.datetime.combine(day, dt.time(rhythm.hour))
    # At most a day of clocks put forward later.
    assert local - dt.datetime.combine(day, dt.time(rhythm.hour)) <= dt.timedelta(days=1)
    assert due - now <= dt.timedelta(days={"daily": 2, "weekly": 8, "monthly": 32}[rhythm.frequency.value])


@given(rhythms, moments)
def test_dates_only_grow_and_moments_never_go_back(rhythm: Rhythm, now: dt.datetime) -> None:
    day, due = schedule.first(rhythm, now)
    for _ in range(14):
        later = schedule.next_date(day, rhythm)
        assert later > day
        assert schedule.instant(later, rhythm) >= due
        day, due = later, schedule.instant(later, rhythm)


@given(st.sampled_from(ODD_ZONES), st.integers(0, 23), st.integers(2009, 2036))
def test_a_year_of_ticks_meets_every_local_date_exactly_once(zone: str, hour: int, year: int) -> None:
    rhythm = daily(zone, hour)
    now = utc(f"{year}-01-01T00:00")
    day, due = schedule.first(rhythm, now)
    met = []
    while due < utc(f"{year}-12-31T00:00"):
        now = due
        met.append(schedule.latest(day, rhythm, now))
        day, due = schedule.following(met[-1], rhythm, now)
        assert due > now

    assert len(met) == len(set(met))
    gaps = {(later - earlier).days for earlier, later in itertools.pairwise(met)}
    # Where a whole day did not happen, its digest and the next day's are one.
    assert gaps == {1} or (zone == "Pacific/Apia" and year == 2011 and gaps == {1, 2})
