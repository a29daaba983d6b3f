"""One tick of the scheduler in a process of its own, which kills itself (kill -9) at the point that is named.

python -m tests.faults.child POINT NOW
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import smtplib
import sys
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from tracker import config, create_app, jobs
from tracker.models import Digest
from tracker.services import deliveries

DOT = b".\r\n"


def die(*_: Any, **__: Any) -> Any:
    """As a power cut would: no goodbye, no rollback of our own."""
    os.kill(os.getpid(), signal.SIGKILL)


def before_generation_commit() -> None:
    @event.listens_for(Session, "before_commit")
    def look(session: Session) -> None:
        if any(isinstance(row, Digest) for row in session):
            die()


def after_generation() -> None:
    jobs.send_due = die  # tick looks it up by its name when it runs.


def after_claim() -> None:
    deliveries.wanted = die


def before_data_sent() -> None:
    deliveries.data_sent = die


def before_dot() -> None:
    send = smtplib.SMTP.send
    smtplib.SMTP.send = lambda self, data: die() if data == DOT else send(self, data)  # type: ignore[method-assign]


def after_dot() -> None:
    send = smtplib.SMTP.send

    def send_and_die(self: smtplib.SMTP, data: Any) -> None:
        send(self, data)
        if data == DOT:
            die()

    smtplib.SMTP.send = send_and_die  # type: ignore[method-assign]


def after_250() -> None:
    deliveries.sent = die


def after_commit() -> None:
    jobs.purge = die


def nowhere() -> None:
    pass


if __name__ == "__main__":
    app = create_app(config.load())
    globals()[sys.argv[1]]()
    jobs.tick(app, dt.datetime.fromisoformat(sys.argv[2]))
