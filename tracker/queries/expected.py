"""How many mails somebody would get: counted from what happened, not guessed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from tracker.queries import follows as followed
from tracker.queries.follows import AnyFollow

LOOKED_BACK = dt.timedelta(days=180)
# A ledger that is younger than this says too little about a month.
_LEAST = dt.timedelta(days=30)
_MONTH = dt.timedelta(days=365.25 / 12)


def per_month(
    session: Session,
    follows: Sequence[AnyFollow],
    period_of: Callable[[dt.datetime], str],
    *,
    now: dt.datetime,
) -> float:
    """How many messages a month these follows would have brought in the last 180 days, or since the ledger began.

    `period_of` names the turn in which something that happened then would have been told: each turn is one message.
    """
    begun = followed.beginning(session)
    if begun is None:
        return 0.0
    span = min(LOOKED_BACK, max(_LEAST, now - begun))
    happened = followed.hours(session, follows, since=now - span)
    return len({period_of(moment) for moment in happened}) * (_MONTH / span)
