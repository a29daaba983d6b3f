"""The clock: APScheduler as a metronome, never as a memory.

What is owed stands in our tables, so a beat that is missed or comes twice does no harm. A separate pulse shows that
the scheduler's own thread is alive, which it does not always stay: if it stops for 90 seconds, or one tick hangs for
longer than any mail may take, the process ends with a clear line, and its supervisor starts it anew.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from flask import Flask

from tracker import clock, create_app, fsck, jobs
from tracker.config import Config
from tracker.errors import TrackerError

_log = structlog.get_logger()

_TICK_SECONDS = 20
_NO_PULSE_SECONDS = 90
# One mail may wait ten minutes for the relay's last answer, and some steps before it a minute each.
_HANGING_SECONDS = 20 * 60
_EXIT = 70  # EX_SOFTWARE


class Clockwork:
    """The jobs on their metronome, with the pulse that the watchdog feels."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._stopping = threading.Event()
        self._pulse = self._progress = time.monotonic()
        # Beats that are left out while a long tick runs are no news.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = BackgroundScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1}
        )
        for job, seconds in (
            (self._tick, _TICK_SECONDS),
            (self._beat, _TICK_SECONDS),
            (self._checkpoint, 3600),
            (self._fsck, 3600),
        ):
            self._scheduler.add_job(job, "interval", seconds=seconds, next_run_time=clock.now())

    def start(self, exit_process: Callable[[int], Any] = os._exit) -> None:
        """Start the beats and the watchdog in threads of their own."""
        self._scheduler.start()
        threading.Thread(target=self._watch, args=(exit_process,), name="watchdog", daemon=True).start()

    def shutdown(self, wait: bool = True) -> None:
        """End after the current item, and wait for that."""
        self._stopping.set()
        self._scheduler.shutdown(wait=wait)

    def alive(self) -> bool:
        """Whether the beats come and the tick moves on."""
        now = time.monotonic()
        return now - self._pulse < _NO_PULSE_SECONDS and now - self._progress < _HANGING_SECONDS

    def _tick(self) -> None:
        self._progress = time.monotonic()
        self._guard_clock()
        jobs.tick(self._app, clock.now(), stopping=self._move_on)
        self._progress = time.monotonic()

    def _guard_clock(self) -> None:
        # Before the tick itself: what is composed by a wrong clock cannot be called back.
        try:
            jobs.guard_clock(self._app, clock.now())
        except Exception as error:  # noqa: BLE001 - a database that does not answer stops the tick by itself.
            _log.error("clock-not-checked", error=type(error).__name__)

    def _move_on(self) -> bool:
        # Asked between two items: so the tick is not hanging.
        self._progress = time.monotonic()
        return self._stopping.is_set()

    def _beat(self) -> None:
        self._pulse = time.monotonic()
        self._guard_clock()  # A long round of sending asks whether it is held; the next tick may be far.
        try:
            jobs.heartbeat(self._app, clock.now())
        except Exception as error:  # noqa: BLE001 - the next beat comes in 20 seconds.
            _log.error("heartbeat-failed", error=type(error).__name__)

    def _checkpoint(self) -> None:
        # In this order: the checkpoint then covers the day's root, and the timestamp the checkpoint.
        for job in (jobs.seal_days, jobs.daily_checkpoint, jobs.daily_timestamp):
            try:
                job(self._app, clock.now())
            except Exception as error:  # noqa: BLE001 - the next try comes in an hour.
                reason = str(error) if isinstance(error, TrackerError) else ""
                _log.error("daily-job-failed", job=job.__name__, error=type(error).__name__, reason=reason)

    def _fsck(self) -> None:
        # A job of its own, because reading every exhibit can take hours.
        try:
            fsck.weekly(self._app, clock.now(), stopping=self._stopping.is_set)
        except Exception as error:  # noqa: BLE001 - it is taken up again when its lease is over.
            reason = str(error) if isinstance(error, TrackerError) else ""
            _log.error("fsck-failed", error=type(error).__name__, reason=reason)

    def _watch(self, exit_process: Callable[[int], Any]) -> None:
        while not self._stopping.wait(5):
            if not self.alive():
                _log.error("scheduler-thread-stopped", seconds=_NO_PULSE_SECONDS)
                exit_process(_EXIT)
                return


def start_background(config: Config) -> Clockwork:
    """Start the clock beside something else, as `tracker run` does. Call `shutdown()` on what it returns."""
    clockwork = Clockwork(create_app(config))
    clockwork.start()
    return clockwork


def run_forever(config: Config) -> None:
    """Be the clock until SIGTERM or SIGINT; then finish the current item."""
    ends = {signal.SIGTERM, signal.SIGINT}
    # Held back in all threads and asked for here. A handler that sets an Event would hang for ever if it ran while
    # this thread was just about to wait for that Event.
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    clockwork = Clockwork(create_app(config))
    clockwork.start()
    _log.info("scheduler-started")
    signal.sigwait(ends)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ends)  # A second Ctrl+C does not wait for the current item.
    clockwork.shutdown()
    _log.info("scheduler-stopped")
