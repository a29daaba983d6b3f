"""Whether the clock of this machine may be believed: a wrong one would blast mails that are not due."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress

import structlog
from flask import Flask
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker import clock, db
from tracker.models import Heartbeat
from tracker.services import sending
from tracker.vocabulary import HoldReason

_log = structlog.get_logger()

_FORGET_CLOCKS = dt.timedelta(days=90)


def check(app: Flask, now: dt.datetime, boot: clock.Boot | None = None) -> bool:
    """Hold all sending if the clock has jumped forward by more than a day since this machine started. True: it did now.

    Also across restarts of the program. A machine that was off has a clock to be trusted: that is downtime.
    """
    boot = boot or clock.boot()
    with app.app_context(), db.writing() as session:
        row = session.get(Heartbeat, f"clock/{boot.id}", with_for_update=True)
        ahead, noted = clock.compare(float(row.detail) if row and row.detail else None, now, boot)
        if row is None:
            _add_clock(session, boot.id, noted, now)
        else:
            row.at, row.detail = now, repr(noted)
        jumped = ahead > clock.LEAP and sending.hold(session, HoldReason.CLOCK, now=now)
    if jumped:
        _log.error("clock-jumped-forward", hours=round(ahead / dt.timedelta(hours=1)))
    return jumped


def _add_clock(session: Session, name: str, noted: float, now: dt.datetime) -> None:
    # Rows of earlier starts say nothing any more.
    session.execute(
        delete(Heartbeat).where(Heartbeat.name.startswith("clock/"), Heartbeat.at < now - _FORGET_CLOCKS)
    )
    with suppress(IntegrityError), session.begin_nested():
        session.add(Heartbeat(name=f"clock/{name}", at=now, detail=repr(noted)))
