"""The roll-up follows the published rule, and timeliness counts days as the method page says."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.roll_up import roll_up
from tracker.timeliness import Timeliness, add_months, timeliness
from tracker.vocabulary import Grade

A, B, C, D, E, V = Grade
TODAY = dt.date(2026, 11, 22)


@pytest.mark.parametrize(
    ("grades", "shown"),
    [
        ([], None),
        ([None, None], None),
        ([A, A, None], A),
        ([A, C], B),
        ([B, D], B),
        ([A, V], B),
        ([A, A, E], E),
        ([D, None, D], D),
        ([V], V),
        ([V, D], C),
        ([C, D, V], C),
        ([C], C),
    ],
)
def test_the_grade_of_a_recommendation_comes_from_its_clauses(
    grades: list[Grade | None], shown: Grade | None
) -> None:
    assert roll_up(grades) is shown


def published_rule(grades: list[Grade | None]) -> Grade | None:
    """The method page, line by line: the first that applies decides."""
    assessed = [grade for grade in grades if grade is not None]
    lines = [
        (not assessed, None),
        (any(grade is E for grade in assessed), E),
        (all(grade is A for grade in assessed), A),
        (any(grade in (A, B) for grade in assessed), B),
        (all(grade is D for grade in assessed), D),
        (all(grade is V for grade in assessed), V),
        (True, C),
    ]
    return next(grade for applies, grade in lines if applies)


@given(st.lists(st.sampled_from([None, *Grade]), max_size=12))
def test_the_roll_up_is_the_published_rule(grades: list[Grade | None]) -> None:
    assert roll_up(grades) is published_rule(grades)


@given(st.lists(st.sampled_from([None, *Grade]), max_size=8), st.randoms())
def test_neither_the_order_of_clauses_nor_unassessed_ones_change_the_grade(
    grades: list[Grade | None], dice
) -> None:  # type: ignore[no-untyped-def]
    shuffled = [*grades, None]
    dice.shuffle(shuffled)

    assert roll_up(shuffled) is roll_up(grades)


def test_before_the_first_finding_nothing_is_reviewed_and_nothing_is_overdue() -> None:
    assert timeliness([], months=3, today=TODAY) == Timeliness(None, None, False)


def test_the_newest_review_is_shown_and_the_oldest_decides_what_is_due() -> None:
    found = timeliness([dt.date(2026, 11, 1), dt.date(2026, 6, 1)], months=3, today=TODAY)

    assert found == Timeliness(dt.date(2026, 11, 1), dt.date(2026, 9, 1), True)


def test_a_review_is_overdue_from_the_day_after_it_was_due() -> None:
    reviewed = [dt.date(2026, 8, 22)]

    assert not timeliness(reviewed, months=3, today=TODAY).overdue
    assert timeliness(reviewed, months=3, today=TODAY + dt.timedelta(days=1)).overdue


@pytest.mark.parametrize(
    ("day", "months", "later"),
    [
        (dt.date(2026, 11, 30), 3, dt.date(2027, 2, 28)),
        (dt.date(2027, 11, 30), 3, dt.date(2028, 2, 29)),
        (dt.date(2026, 12, 15), 1, dt.date(2027, 1, 15)),
        (dt.date(2026, 1, 31), 12, dt.date(2027, 1, 31)),
    ],
)
def test_months_end_where_months_end(day: dt.date, months: int, later: dt.date) -> None:
    assert add_months(day, months) == later
