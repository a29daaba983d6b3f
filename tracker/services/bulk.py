"""Accepting many pieces at once: imported, public, of somebody else, without a person or a file behind them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import permissions
from tracker.errors import Conflict, Invalid, NotAllowed
from tracker.models import Account, Evidence, LedgerEntry
from tracker.queries import queue
from tracker.services import evidence as pieces
from tracker.services import harm as harm_check
from tracker.services import ledger
from tracker.services.harm import Harm
from tracker.vocabulary import N_

MOST = 100


class Refused(Conflict):
    """Nothing was accepted. `keys` name the pieces that were changed or decided since, or that need a look of their own."""

    def __init__(self, message: str, keys: Sequence[str]) -> None:
        self.keys = keys
        super().__init__(message)


def accept_all(
    session: Session, seen: Mapping[str, int], *, reviewer: Account, harm: Harm, now: dt.datetime
) -> list[LedgerEntry]:
    """Accept these pieces, each with its own ledger entry, or none of them.

    `seen` gives for each key the version that the reviewer looked at. Raises Refused, with the keys, if one of them is
    not as it was seen, cannot be accepted this way, or has a warning: those are looked at one by one.
    """
    if not permissions.is_reviewer(reviewer):
        raise NotAllowed(N_("Only reviewers decide about evidence."))
    if not seen:
        raise Invalid(N_("Choose at least one piece."), "chosen")
    if len(seen) > MOST:
        raise Invalid(N_("Choose %(most)s pieces at most."), "chosen", most=MOST)
    if any(harm.answers.get(question) != "no" for question in harm_check.QUESTIONS):
        raise Invalid(
            N_("Together they are accepted only if every answer is No. Decide about the others one by one."), "person"
        )  # fmt: skip
    ledger.lock(session)  # Nothing is decided by others from here on.
    query = select(Evidence).where(Evidence.key.in_(seen), queue.plain(reviewer)).order_by(Evidence.id)
    rows = session.scalars(query.execution_options(populate_existing=True)).all()
    good = [
        row
        for row in rows
        if row.version == seen[row.key] and not harm_check.warnings(session, row, keys=harm.keys)
    ]
    if len(good) != len(seen):
        refused = sorted(set(seen) - {row.key for row in good})
        raise Refused(
            N_("Nothing was accepted. Look at these again, one by one, or leave them out."), refused
        )
    entries = [
        pieces.accept(session, row, reviewer=reviewer, harm=harm, seen=seen[row.key], now=now) for row in good
    ]
    return [entry for entry in entries if entry is not None]
