"""One tick of the scheduler in a process of its own, which kills itself (kill -9) at the point that is named.

python -m tests.faults.child POINT NOW
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys
import time
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from tracker import config, create_app, dispatch, jobs
from tracker.mailer.relay import Relay
from tracker.models import Digest
from tracker.services import deliveries


def die(*_: Any, **__: Any) -> Any:
    """As a power cut would: no goodbye, no rollback of our own."""
    os.kill(os.getpid(), signal.SIGKILL)


def before_generation_commit() -> None:
    @event.listens_for(Session, "after_flush")
    def look(session: Session, _context: Any) -> None:
        session.info["digest"] = session.info.get("digest") or any(
            isinstance(row, Digest) for row in session.new
        )

    @event.listens_for(Session, "before_commit")
    def end(session: Session) -> None:
        if session.info.get("digest"):
            die()


def after_generation() -> None:
    dispatch.send_due = die  # tick looks it up by its name when it runs.


def after_claim() -> None:
    dispatch.Round._prepare = die  # type: ignore[method-assign]


def before_data_sent() -> None:
    deliveries.data_sent = die


def before_dot() -> None:
    write = Relay._write

    def die_or_write(self: Relay, content: bytes, stage: str, **values: Any) -> None:
        die() if stage == "message" else write(self, content, stage, **values)

    Relay._write = die_or_write  # type: ignore[method-assign]


def after_dot() -> None:
    write = Relay._write

    def write_and_die(self: Relay, content: bytes, stage: str, **values: Any) -> None:
        write(self, content, stage, **values)
        if stage == "message":
            # What has left must be there: a kill would else take it along from the socket's buffer.
            time.sleep(0.5)
            die()

    Relay._write = write_and_die  # type: ignore[method-assign]


def after_250() -> None:
    settle = dispatch.Round._settle

    def die_or_settle(self: dispatch.Round, *arguments: Any) -> None:
        die() if self.unnoted else settle(self, *arguments)

    dispatch.Round._settle = die_or_settle  # type: ignore[method-assign]


def after_commit() -> None:
    jobs.purge = die


def nowhere() -> None:
    pass


if __name__ == "__main__":
    app = create_app(config.load())
    globals()[sys.argv[1]]()
    jobs.tick(app, dt.datetime.fromisoformat(sys.argv[2]))
