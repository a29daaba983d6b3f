"""Counters against guessing are exact, end by themselves, and say how long to wait."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tracker import db
from tracker.errors import TooMany
from tracker.models import Attempt
from tracker.services import attempts

QUARTER = dt.timedelta(minutes=15)


def hit(session: Session, now: dt.datetime, key: str = "k", limit: int = 3) -> None:
    attempts.hit(session, key, limit=limit, window=QUARTER, now=now)


def test_the_attempt_after_the_limit_is_refused_with_how_long_to_wait(
    session: Session, now: dt.datetime
) -> None:
    for _ in range(3):
        hit(session, now)
    with pytest.raises(TooMany, match="Wait 15 minutes"):
        hit(session, now)
    with pytest.raises(TooMany, match="Wait 5 minutes"):
        hit(session, now + dt.timedelta(minutes=10))
    with pytest.raises(TooMany, match="Wait a minute"):
        hit(session, now + dt.timedelta(minutes=14, seconds=30))


def test_when_the_window_is_over_counting_starts_anew(session: Session, now: dt.datetime) -> None:
    for _ in range(3):
        hit(session, now)
    later = now + QUARTER
    for _ in range(3):
        hit(session, later)
    with pytest.raises(TooMany):
        hit(session, later)


def test_one_counter_does_not_touch_another(session: Session, now: dt.datetime) -> None:
    for _ in range(3):
        hit(session, now)
    hit(session, now, key="other")


def test_many_at_once_are_counted_exactly(engine: Engine, now: dt.datetime) -> None:
    passed: list[bool] = []

    def guess() -> None:
        for _ in range(5):
            try:
                with db.new_session(engine) as own, own.begin():
                    hit(own, now, limit=12)
            except TooMany:
                continue
            passed.append(True)

    threads = [threading.Thread(target=guess) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 12


def test_counters_that_are_over_are_forgotten(session: Session, now: dt.datetime) -> None:
    hit(session, now, key="old")
    hit(session, now + QUARTER, key="new")
    attempts.forget_expired(session, now=now + QUARTER)
    assert list(session.scalars(select(Attempt.key))) == ["new"]
