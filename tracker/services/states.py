"""Moving a row from one state to the next, so that of two people who try at once exactly one succeeds."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, true, update
from sqlalchemy.orm import Session

from tracker import permissions
from tracker.errors import Conflict, NotFound, Stale
from tracker.models import Account, Evidence, Finding, Reply
from tracker.vocabulary import N_, TRANSITIONS, State

Row = Evidence | Finding | Reply


def move(session: Session, row: Row, to: State, *, seen: int | None = None, **values: Any) -> None:
    """Claim the step by an UPDATE that must change exactly one row. Raises Conflict if somebody was quicker.

    `seen` is the version that the person who decides has looked at: nothing else may be decided by their answer.
    """
    session.flush()  # The claim reads the row in the database, so pending edits must stand there.
    kind = type(row)
    allowed = [state for state, following in TRANSITIONS.items() if to in following]
    # What may have to be sealed is written through the row: a bulk UPDATE would leave it in the open.
    written = {name: values.pop(name) for name in getattr(kind, "SEALED", ()) if name in values}
    as_seen = true() if seen is None else kind.version == seen
    claimed = session.execute(
        update(kind)
        .where(kind.id == row.id, kind.state.in_(allowed), as_seen)
        .values(state=to, version=kind.version + 1, **values)
        .execution_options(synchronize_session=False)
    )
    session.refresh(row)
    if claimed.rowcount != 1:  # type: ignore[attr-defined]
        raise Conflict(
            N_(
                "Somebody has decided this meanwhile, or it is no longer in a state that allows it. Look at it again."
            )
        )
    for name, value in written.items():
        setattr(row, name, value)
    session.flush()


def hold(session: Session, evidence: Evidence, *, account: Account | None) -> None:
    """Read it anew, and let nobody decide about it until this transaction ends.

    Whoever hangs something on evidence does this first: it may have been erased, withdrawn or restricted since it was
    read. Raises NotFound if it is gone, or `account` may not see it any more. None: the program itself.
    """
    session.flush()
    visible = true() if account is None else permissions.visible_evidence(account)
    held = select(Evidence).where(Evidence.id == evidence.id, visible).with_for_update(key_share=True)
    if session.scalars(held.execution_options(populate_existing=True)).one_or_none() is None:
        raise NotFound(
            N_("There is no such page. It may have been withdrawn, or the address has a mistake in it.")
        )


def claim_version(session: Session, row: Row, version: int) -> None:
    """Take the right to save on top of `version`. Raises Stale, with the row as it is now, if it has moved on."""
    kind = type(row)
    claimed = session.execute(
        update(kind)
        .where(kind.id == row.id, kind.version == version)
        .values(version=kind.version + 1)
        .execution_options(synchronize_session=False)
    )
    session.refresh(row)
    if claimed.rowcount != 1:  # type: ignore[attr-defined]
        raise Stale(N_("Somebody has saved this since you opened it. Both versions are shown below."), row)
