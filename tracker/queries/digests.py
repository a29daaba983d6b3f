"""Past digests, told so that nobody can be counted or recognised."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker.models import Digest

_FEW = 10


@dataclass(frozen=True)
class Day:
    """The digests for one date: the widest ledger range among them, and about how many there were."""

    day: dt.date
    first_seq: int
    last_seq: int
    about: int | None  # None: fewer than ten.


def past(session: Session, *, limit: int = 100) -> Sequence[Day]:
    """The last dates that had digests, newest first."""
    # The last ten characters of "weekly/2026-11-23".
    day = func.substr(Digest.period, func.length(Digest.period) - 9)
    rows = session.execute(
        select(day, func.min(Digest.from_seq), func.max(Digest.to_seq), func.count())
        .where(Digest.changes > 0)
        .group_by(day)
        .order_by(day.desc())
        .limit(limit)
    )
    return [
        Day(dt.date.fromisoformat(date), first + 1, last, _rounded(count))
        for date, first, last, count in rows
    ]


def _rounded(count: int) -> int | None:
    if count < _FEW:
        return None
    step = 10 ** (len(str(count)) - 1)
    return int(count // step * step)
