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
    frequency=st.sampled_from([Frequency.DAILY, Frequency.WEEKLY, Frequency.MONTHLY]),
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


# Turns, as the composer of digests asks for them


every_rhythm = st.builds(
    Rhythm,
    frequency=st.sampled_from(Frequency),
    weekday=st.integers(0, 6),
    month_day=st.integers(1, 31),
    hour=st.integers(0, 23),
    timezone=st.sampled_from(ODD_ZONES) | st.sampled_from(schedule.timezones()),
)
pauses = st.lists(st.integers(1, 40 * 24 * 60), min_size=1, max_size=12)


def as_it_happens() -> Rhythm:
    return Rhythm(Frequency.IMMEDIATE, 0, 1, 7, "Asia/Kathmandu")


def test_as_it_happens_is_every_full_hour_of_utc_wherever_somebody_lives() -> None:
    slot = schedule.first_slot(as_it_happens(), utc("2026-11-23T06:30"))

    assert slot == schedule.Slot(dt.date(2026, 11, 23), utc("2026-11-23T07:00"), "immediate/2026-11-23T07")
    assert schedule.first_slot(as_it_happens(), utc("2026-11-23T23:00")).period == "immediate/2026-11-24T00"
    assert (
        schedule.next_slot(slot, as_it_happens(), utc("2026-11-23T07:00:20")).period
        == "immediate/2026-11-23T08"
    )


def test_after_a_night_of_downtime_one_hour_stands_for_all_of_them() -> None:
    slot = schedule.due_slot(
        utc("2026-11-23T07:00"), dt.date(2026, 11, 23), as_it_happens(), utc("2026-11-24T05:59")
    )

    assert slot.period == "immediate/2026-11-24T05"
    assert schedule.next_slot(slot, as_it_happens(), utc("2026-11-24T05:59")).due_at == utc(
        "2026-11-24T06:00"
    )


def test_a_clock_that_goes_back_an_hour_names_no_turn_twice() -> None:
    slot = schedule.due_slot(
        utc("2026-11-23T08:00"), dt.date(2026, 11, 23), as_it_happens(), utc("2026-11-23T07:10")
    )
    assert slot.period == "immediate/2026-11-23T08"
    assert (
        schedule.next_slot(slot, as_it_happens(), utc("2026-11-23T07:10")).period == "immediate/2026-11-23T09"
    )


def test_periods_are_named_by_the_rhythm_and_the_local_date() -> None:
    weekly = Rhythm(Frequency.WEEKLY, 0, 1, 7, "Pacific/Kiritimati")

    slot = schedule.first_slot(weekly, utc("2026-11-22T12:00"))

    # Monday seven o'clock there is still Sunday in UTC.
    assert slot == schedule.Slot(dt.date(2026, 11, 23), utc("2026-11-22T17:00"), "weekly/2026-11-23")


@pytest.mark.parametrize(
    ("zone", "day", "ends"),
    [
        ("America/Santiago", "2026-09-05", "2026-09-06T04:00"),  # The midnight after it does not happen.
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-04T13:00"),
        ("Pacific/Apia", "2011-12-29", "2011-12-30T10:00"),  # Nor does the day after it.
        ("Asia/Kathmandu", "2026-11-22", "2026-11-22T18:15"),
    ],
)
def test_a_pause_ends_with_its_last_day_by_the_persons_own_clock(zone: str, day: str, ends: str) -> None:
    assert schedule.end_of_day(dt.date.fromisoformat(day), zone) == utc(ends)


@given(every_rhythm, moments, pauses)
def test_turns_only_grow_and_none_comes_twice_however_late_somebody_looks(
    rhythm: Rhythm, now: dt.datetime, later: list[int]
) -> None:
    noted = schedule.first_slot(rhythm, now)
    assert noted.due_at > now
    met: list[schedule.Slot] = []
    for minutes in later:
        now = max(now, noted.due_at) + dt.timedelta(minutes=minutes - 1)
        slot = schedule.due_slot(noted.due_at, noted.day, rhythm, now)
        assert noted.due_at <= slot.due_at <= now
        met.append(slot)
        noted = schedule.next_slot(slot, rhythm, now)
        assert noted.due_at > now
        assert noted.due_at > slot.due_at

    assert len({slot.period for slot in met}) == len(met)
    for earlier, after in itertools.pairwise(met):
        assert after.due_at > earlier.due_at
        assert (
            after.day >= earlier.day if rhythm.frequency is Frequency.IMMEDIATE else after.day > earlier.day
        )


@given(every_rhythm, moments)
def test_no_turn_comes_before_its_local_hour_or_on_another_day_than_was_chosen(
    rhythm: Rhythm, now: dt.datetime
) -> None:
    slot = schedule.first_slot(rhythm, now)
    for _ in range(6):
        if rhythm.frequency is Frequency.IMMEDIATE:
            assert (slot.due_at.minute, slot.due_at.second) == (0, 0)
        else:
            local = slot.due_at.astimezone(schedule.zone(rhythm.timezone)).replace(tzinfo=None)
            assert local >= dt.datetime.combine(slot.day, dt.time(rhythm.hour))
        if rhythm.frequency is Frequency.WEEKLY:
            assert slot.day.weekday() == rhythm.weekday
        if rhythm.frequency is Frequency.MONTHLY:
            last = (slot.day + dt.timedelta(days=1)).month != slot.day.month
            assert slot.day.day == rhythm.month_day or (last and slot.day.day < rhythm.month_day)
        slot = schedule.next_slot(slot, rhythm, slot.due_at)
