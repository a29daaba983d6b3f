"""A clock that ran ahead by more than a day stops the mails; downtime does not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from tests.factories import Factory
from tracker import clock, create_app, jobs
from tracker.clock import Boot, compare
from tracker.config import Config
from tracker.models import Heartbeat
from tracker.services import sending
from tracker.vocabulary import HoldReason, ReleaseWay, Role

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


def later(boot: Boot, real: dt.timedelta) -> Boot:
    return Boot(boot.id, boot.seconds + real.total_seconds())


@pytest.fixture
def app(config: Config) -> Iterator[Flask]:
    app = create_app(config)
    yield app
    app.extensions["engine"].dispose()


@pytest.mark.parametrize(
    ("wall", "real", "ahead"),
    [
        (HOUR, HOUR, 0 * HOUR),
        (9 * DAY, 9 * DAY, 0 * HOUR),  # Asleep, or not looked at: time passed for both.
        (HOUR + 40 * DAY, HOUR, 40 * DAY),
        (25 * HOUR, HOUR, DAY),
        (-HOUR, HOUR, 0 * HOUR),  # Set back.
    ],
)
def test_how_far_the_clock_ran_ahead(
    now: dt.datetime, wall: dt.timedelta, real: dt.timedelta, ahead: dt.timedelta
) -> None:
    boot = Boot("b", 1000.0)
    _, noted = compare(None, now, boot)

    found, _ = compare(noted, now + wall, later(boot, real))

    assert found == ahead


def test_small_steps_ahead_add_up(now: dt.datetime) -> None:
    boot = Boot("b", 0.0)
    noted: float | None = None
    jumps = []
    for step in range(5):
        ahead, noted = compare(noted, now + step * 10 * HOUR, boot)
        jumps.append(ahead > clock.LEAP)

    assert jumps == [False, False, False, True, False]


def test_a_jump_of_forty_days_holds_all_sending_once_and_says_so(
    app: Flask, session: Session, make: Factory, now: dt.datetime
) -> None:
    boot = Boot("b", 500.0)
    assert not jobs.guard_clock(app, now, boot)

    with capture_logs() as log:
        assert jobs.guard_clock(app, now + 40 * DAY, later(boot, HOUR))
        assert not jobs.guard_clock(app, now + 40 * DAY, later(boot, HOUR))

    assert sending.held(session) is HoldReason.CLOCK
    assert [entry["event"] for entry in log if entry["log_level"] == "error"] == ["clock-jumped-forward"]
    ada = make.account(Role.ADMIN, password_hash="x")
    sending.release(session, account=ada, needed=1, way=ReleaseWay.SEND, now=now)
    session.commit()
    # People have looked: this is the time now.
    assert not jobs.guard_clock(app, now + 40 * DAY + HOUR, later(boot, 2 * HOUR))
    assert sending.held(session) is None


def test_a_restart_of_the_program_forgets_nothing(app: Flask, config: Config, now: dt.datetime) -> None:
    boot = Boot("b", 500.0)
    jobs.guard_clock(app, now, boot)
    other = create_app(config)

    assert jobs.guard_clock(other, now + 2 * DAY, later(boot, HOUR))
    other.extensions["engine"].dispose()


def test_a_machine_that_was_off_is_believed(app: Flask, session: Session, now: dt.datetime) -> None:
    jobs.guard_clock(app, now, Boot("before", 90_000.0))

    assert not jobs.guard_clock(app, now + 9 * DAY, Boot("after", 30.0))
    assert sending.held(session) is None


def test_a_clock_set_back_holds_nothing(app: Flask, session: Session, now: dt.datetime) -> None:
    boot = Boot("b", 500.0)
    jobs.guard_clock(app, now, boot)

    assert not jobs.guard_clock(app, now - HOUR, later(boot, HOUR))
    assert not jobs.guard_clock(app, now + 2 * HOUR, later(boot, 2 * HOUR))


def test_notes_of_long_ago_are_thrown_away(app: Flask, session: Session, now: dt.datetime) -> None:
    jobs.guard_clock(app, now, Boot("first", 1.0))
    jobs.guard_clock(app, now + 100 * DAY, Boot("second", 1.0))

    assert session.scalars(select(Heartbeat.name)).all() == ["clock/second"]


def test_this_machine_says_which_start_it_is() -> None:
    first, second = clock.boot(), clock.boot()

    assert first.id == second.id
    assert len(f"clock/{first.id}") <= 40
    assert 0 < first.seconds <= second.seconds
