"""The clock beats, notices when it no longer does, and one failure stops nothing else."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from tests.factories import Factory
from tests.mail import Events, follower
from tracker import create_app, jobs, mailer, scheduler
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Checkpoint, Digest, Heartbeat
from tracker.services import digests

DAY = dt.timedelta(days=1)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def app(config: Config) -> Iterator[Flask]:
    app = create_app(config)
    yield app
    app.extensions["engine"].dispose()


def wait_for(happened: Callable[[], bool]) -> bool:
    end = time.monotonic() + 15
    while not happened() and time.monotonic() < end:
        time.sleep(0.05)
    return happened()


def test_it_ticks_at_once_shows_its_heartbeat_and_stops_cleanly(app: Flask, session: Session) -> None:
    clockwork = scheduler.Clockwork(app)
    clockwork.start(exit_process=lambda code: pytest.fail(f"exit {code}"))

    def beats() -> bool:
        session.rollback()
        return session.get(Heartbeat, "scheduler", populate_existing=True) is not None

    assert wait_for(beats)
    clockwork.shutdown()
    assert clockwork.alive()


def test_a_dead_thread_ends_the_process(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_NO_PULSE_SECONDS", 0)
    left, codes = threading.Event(), []
    clockwork = scheduler.Clockwork(app)

    clockwork.start(exit_process=lambda code: (codes.append(code), left.set()))

    assert left.wait(15)
    clockwork.shutdown()
    assert codes == [70]


def test_the_scheduler_counts_as_dead_after_ninety_seconds_without_a_beat(app: Flask) -> None:
    clockwork = scheduler.Clockwork(app)

    clockwork._pulse = time.monotonic() - 89
    assert clockwork.alive()
    clockwork._pulse = time.monotonic() - 91
    assert not clockwork.alive()


def test_when_the_metronome_itself_dies_the_process_leaves_with_a_line_for_its_supervisor(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "_NO_PULSE_SECONDS", 1)
    left, codes = threading.Event(), []
    clockwork = scheduler.Clockwork(app)

    with capture_logs() as log:
        clockwork.start(exit_process=lambda code: (codes.append(code), left.set()))
        clockwork._scheduler.pause()  # What it does when its thread is gone: nothing.
        assert left.wait(30)

    assert codes == [70]
    assert [entry["event"] for entry in log if entry["log_level"] == "error"] == ["scheduler-thread-stopped"]
    clockwork.shutdown()


def test_the_clock_is_checked_before_the_first_mail_of_a_tick(
    app: Flask, session: Session, now: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(jobs, "guard_clock", lambda *_: done.append("clock"))
    monkeypatch.setattr(jobs, "tick", lambda *_, **__: done.append("tick"))
    monkeypatch.setattr(jobs, "heartbeat", lambda *_: done.append("beat"))
    clockwork = scheduler.Clockwork(app)

    clockwork._tick()
    clockwork._beat()

    assert done == ["clock", "tick", "clock", "beat"]


def test_sigterm_ends_the_process_that_is_the_clock(config: Config) -> None:
    environment = {
        "TRACKER_DATA_DIR": str(config.data_dir),
        "TRACKER_DATABASE_URL": config.sqlalchemy_url,
        "PATH": os.environ["PATH"],
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "tracker", "scheduler"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    assert "scheduler-started" in child.stderr.readline()
    child.send_signal(signal.SIGTERM)

    try:
        _, rest = child.communicate(timeout=30)
    finally:
        child.kill()
    assert (child.returncode, "scheduler-stopped" in rest) == (0, True)


def test_one_persons_failure_does_not_stop_the_others(
    app: Flask,
    session: Session,
    make: Factory,
    keys: Keyring,
    config: Config,
    now: dt.datetime,
) -> None:
    report = make.report()
    broken = follower(session, keys, config, now)
    follower(session, keys, config, now, "other@arvenia.example")
    Events(session, report, now).finding()
    broken.address_sealed = b"harmed"
    session.commit()

    with capture_logs() as log:
        done = jobs.tick(app, now + DAY)

    assert (done["failed"], done["sent"]) == (1, 1)
    assert session.scalar(select(func.count()).select_from(Digest)) == 1
    assert [entry for entry in log if entry["event"] == "digest-failed"] == [
        {"event": "digest-failed", "log_level": "error", "subscriber": broken.id, "error": "ValueError"}
    ]


def test_one_parts_failure_does_not_stop_the_rest(
    app: Flask, now: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    done = []
    monkeypatch.setattr(digests, "due", fail)
    monkeypatch.setattr(mailer, "transport", fail)
    monkeypatch.setattr(jobs.subscriptions, "forget_expired", lambda *_, **__: done.append("forgotten"))

    assert jobs.tick(app, now)["failed"] == 2
    assert done == ["forgotten"]


def test_stopping_ends_after_the_current_item(
    app: Flask, session: Session, make: Factory, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    report = make.report()
    for number in range(3):
        follower(session, keys, config, now, f"r{number}@arvenia.example")
    Events(session, report, now).finding()
    asked = iter([False, True, True, True])

    assert jobs.tick(app, now + DAY, stopping=lambda: next(asked))["queued"] == 1
    assert jobs.tick(app, now + DAY)["sent"] == 3


def test_a_checkpoint_is_signed_once_a_day_and_only_for_something_new(
    app: Flask, session: Session, make: Factory, now: dt.datetime
) -> None:
    assert not jobs.daily_checkpoint(app, now)
    events = Events(session, make.report(), now)
    events.evidence(1)

    assert jobs.daily_checkpoint(app, now)
    events.evidence(2)
    assert not jobs.daily_checkpoint(app, now + dt.timedelta(hours=1))
    assert jobs.daily_checkpoint(app, now + DAY)
    assert not jobs.daily_checkpoint(app, now + 2 * DAY)
    session.rollback()
    assert session.scalars(select(Checkpoint.size).order_by(Checkpoint.size)).all() == [1, 2]


def test_the_heartbeat_moves_on(app: Flask, session: Session, now: dt.datetime) -> None:
    jobs.heartbeat(app, now)
    jobs.heartbeat(app, now + DAY)

    row = session.get(Heartbeat, "scheduler")
    assert row is not None
    assert row.at == now + DAY
