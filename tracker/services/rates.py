"""How many mails may go out now: counters in the database, so that all senders share them.

Unlike the counters of `attempts`, these hold for every minute, wherever it begins: mail servers count like that. The
keys are keyed hashes (`keys.mailer.keyed_hash("rate", "all")`, `…("rate", domain)`), so no domain stands here.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tracker.models import MailRate

_MINUTE = 60


def grant(session: Session, key: str, wanted: int, *, limit_per_minute: int, now: dt.datetime) -> int:
    """Take as many of `wanted` mails as may go out under this key now, and say how many. 0 is no limit.

    Exact also when many ask at once: until the transaction ends, others who ask for this key wait. So ask for several
    keys in sorted order, else two senders wait for each other.
    """
    if limit_per_minute == 0 or wanted <= 0:
        return max(0, wanted)
    lately = _lately(session, key, now)
    # A second counts until its last moment is a minute old.
    since = now.timestamp() - _MINUTE - 1
    gone = sum(count for second, count in lately.items() if int(second) > since)
    granted = max(0, min(wanted, limit_per_minute - gone))
    if granted:
        second = str(int(now.timestamp()))
        lately[second] = lately.get(second, 0) + granted
        _note(session, key, lately)
    return granted


def give_back(session: Session, key: str, count: int, *, granted_at: dt.datetime, now: dt.datetime) -> None:
    """Of what was granted at this moment, so many mails did not go out. Fewer, if it counts no more anyway."""
    if count <= 0:
        return
    lately = _lately(session, key, now)
    second = str(int(granted_at.timestamp()))
    if second in lately:
        lately[second] = max(0, lately[second] - count)
        _note(session, key, lately)


def forget_expired(session: Session, *, now: dt.datetime) -> None:
    """Delete counters of which nothing counts any more."""
    session.execute(delete(MailRate).where(MailRate.asked_at < now - dt.timedelta(seconds=2 * _MINUTE)))


def _lately(session: Session, key: str, now: dt.datetime) -> dict[str, int]:
    """What was granted in each second that may still count. The row is ours until the transaction ends."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    # Written first and read by the same statement: so nobody can come in between, on either database.
    granted: dict[str, int] = session.execute(
        insert(MailRate)
        .values(key=key, granted={}, asked_at=now)
        .on_conflict_do_update(index_elements=[MailRate.key], set_={"asked_at": now})
        .returning(MailRate.granted)
    ).scalar_one()
    moment = now.timestamp()
    # Kept for longer than it counts, since another sender's clock may be a little behind ours. What lies far ahead was
    # noted by a clock that was wrong, or was put back since: it must not stop everything until it comes.
    return {
        second: count
        for second, count in granted.items()
        if count and moment - 2 * _MINUTE < int(second) <= moment + _MINUTE
    }


def _note(session: Session, key: str, lately: dict[str, int]) -> None:
    session.execute(update(MailRate).where(MailRate.key == key).values(granted=lately))
