"""Timestamps by an authority that is not us: which are owed, what they are over, and keeping them.

The network stands in `tracker/timestamps.py`; no transaction is open while an authority is asked.
"""

from __future__ import annotations

import datetime as dt
import hashlib

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import verifier
from tracker.errors import NotFound
from tracker.models import Checkpoint, LedgerEntry, Timestamp
from tracker.services import ledger
from tracker.vocabulary import N_

# A day, and an hour in which to try again.
_LATE = dt.timedelta(hours=25)


def due(session: Session, *, now: dt.datetime) -> str | None:
    """What the authority is to be asked for now: the newest checkpoint, once a day. None: nothing."""
    newest = ledger.newest_checkpoint(session)
    if newest is None:
        return None
    last = newest_stamped(session)
    if last is not None and (last.size == newest.size or last.created_at.date() >= now.date()):
        return None
    return f"checkpoint/{newest.size}"


def newest_stamped(session: Session) -> Checkpoint | None:
    """The newest checkpoint that has a timestamp."""
    stamped = select(Timestamp.subject).where(Timestamp.subject.like("checkpoint/%"))
    sizes = [int(subject.partition("/")[2]) for subject in session.scalars(stamped)]
    return session.get(Checkpoint, max(sizes)) if sizes else None


def late(session: Session, *, now: dt.datetime) -> bool:
    """Whether a timestamp has been owed for longer than trying again an hour later can mend."""
    last = newest_stamped(session)
    owed = select(Checkpoint.size).where(Checkpoint.created_at < now - dt.timedelta(hours=2))
    if last is not None:
        if last.created_at >= now - _LATE:
            return False
        owed = owed.where(Checkpoint.size > last.size)
    return session.scalar(owed.limit(1)) is not None


def message(session: Session, subject: str) -> bytes:
    """The bytes that a timestamp of this is over: a checkpoint's note, or what an entry's hash covers."""
    kind, _, number = subject.partition("/")
    if kind == "checkpoint":
        checkpoint = session.get(Checkpoint, int(number))
        if checkpoint is not None:
            return checkpoint.note.encode()
    entry = session.get(LedgerEntry, int(number)) if kind == "entry" else None
    if entry is None:
        raise NotFound(N_("The ledger has no %(subject)s to put a timestamp on."), subject=subject)
    return verifier.entry_bytes(ledger.plain(entry))


def keep(
    session: Session, subject: str, *, token: bytes, authority: str, stamped_at: dt.datetime
) -> Timestamp:
    """Keep a timestamp that the edge has verified."""
    stamp = Timestamp(
        subject=subject,
        digest=hashlib.sha256(message(session, subject)).digest(),
        token=token,
        authority=authority,
        stamped_at=stamped_at,
    )
    session.add(stamp)
    session.flush()
    return stamp


def newest(session: Session) -> Timestamp | None:
    """The timestamp that was kept last."""
    return session.scalars(select(Timestamp).order_by(Timestamp.id.desc()).limit(1)).first()
