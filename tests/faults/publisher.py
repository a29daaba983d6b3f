"""A process that publishes, and may be made to kill itself (kill -9) on the way.

python -m tests.faults.publisher accept REVIEWER EVIDENCE…
python -m tests.faults.publisher POINT REVIEWER FINDING
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from tests.published import HARMLESS, NO_HARM
from tracker import config, db, keyring
from tracker.models import Account, Evidence, Finding, LedgerContent, LedgerEntry
from tracker.services import evidence, findings

NOW = dt.datetime(2026, 11, 22, 12, 30, tzinfo=dt.UTC)


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str) -> None:
    if point == "before-the-entry":
        event.listen(LedgerEntry, "before_insert", die)
    elif point == "after-the-entry":
        event.listen(LedgerEntry, "after_insert", die)
    elif point == "after-the-words":
        event.listen(LedgerContent, "after_insert", die)
    elif point == "before-the-commit":
        event.listen(Session, "before_commit", lambda session: session.flush() or die())
    elif point == "after-the-commit":
        event.listen(Session, "after_commit", die)


if __name__ == "__main__":
    act, reviewer_id, *ids = sys.argv[1:]
    settings = config.load()
    engine = db.make_engine(settings.sqlalchemy_url, keyring.load(settings.keys_path))
    arm(act)
    for number in map(int, ids):
        with db.new_session(engine) as session:
            reviewer = session.get_one(Account, int(reviewer_id))
            if act == "accept":
                evidence.accept(
                    session, session.get_one(Evidence, number), reviewer=reviewer, harm=HARMLESS, now=NOW
                )
            else:
                finding = session.get_one(Finding, number)
                findings.approve(session, finding, reviewer=reviewer, harm=NO_HARM, now=NOW)
            session.commit()
