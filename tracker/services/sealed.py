"""The keys that wrap the keys of records: noticing that one is lost, and wrapping every record anew with another.

A canary is a known text closed with a wrapping key. It is opened at every start: a key file that was lost, mixed up
or made anew is noticed before anybody writes something that nobody can read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker.models import Canary, RecordKey
from tracker.models.sealing import Vault, wait_for_sealing, wrapping_context

BATCH = 200
_TEXT = b"This text opens, so the key is here."
_CONTEXT = "tracker/v1|canary|sealed"


class Keys(Vault, Protocol):
    """What the services here need of the keyring."""

    def knows(self, kid: str) -> bool:
        """Whether the file holds this wrapping key now."""


def ensure_canary(session: Session, keys: Vault) -> None:
    """See to it that the active wrapping key has its canary."""
    kid, sealed = keys.wrap(_TEXT, _CONTEXT)
    if session.get(Canary, kid) is None:
        try:
            with session.begin_nested():
                session.add(Canary(kid=kid, sealed=sealed))
        except IntegrityError:
            pass  # Another start was quicker: then its canary stands.


def problems(session: Session, keys: Keys) -> list[str]:
    """Which wrapping keys that the database needs are missing or wrong, in sentences for an operator."""
    found = []
    for canary in session.scalars(select(Canary).order_by(Canary.kid)):
        try:
            good = keys.unwrap(canary.kid, canary.sealed, _CONTEXT) == _TEXT
        except ValueError:
            good = False
        if not good:
            found.append(
                f"The wrapping key {canary.kid} is missing from records.keys, or is another one: what it closed cannot "
                "be read. Restore keys/records.keys from your backup."
            )
    named = select(RecordKey.kid).where(RecordKey.wrapped.is_not(None)).distinct()
    for kid in sorted(session.scalars(named.where(RecordKey.kid.not_in(select(Canary.kid))))):
        if not keys.knows(kid):
            found.append(
                f"Records are closed with the wrapping key {kid}, which records.keys does not hold. Restore it from "
                "your backup."
            )
    return found


def waiting(session: Session, *, active: str) -> int:
    """How many records are still wrapped with another key than the active one. Erased ones need none."""
    return session.scalar(select(func.count()).select_from(RecordKey).where(*_older(active))) or 0


@dataclass(frozen=True)
class Step:
    """What one batch did: `count` records were looked at, `last` is where the next batch goes on from.

    `broken`: evidence whose wrapped key does not open, because somebody altered it. It is left as it is.
    """

    count: int
    last: int
    broken: tuple[int, ...]


def rewrap(session: Session, keys: Vault, *, active: str, after: int = 0) -> Step:
    """Wrap the next records after this evidence's id anew with the active key. Commit, and call it for the rest."""
    batch = session.execute(
        select(RecordKey.evidence_id, RecordKey.name, RecordKey.kid, RecordKey.wrapped)
        .where(RecordKey.evidence_id > after, *_older(active))
        .order_by(RecordKey.evidence_id)
        .limit(BATCH)
    ).all()
    broken = []
    for owner, name, old, wrapped in batch:
        context = wrapping_context(name)
        try:
            kid, anew = keys.wrap(keys.unwrap(old, wrapped or b"", context), context)
        except ValueError:
            broken.append(owner)
            continue
        # Only if nobody destroyed it meanwhile: an erased record must not come back.
        session.execute(
            update(RecordKey)
            .where(RecordKey.evidence_id == owner, RecordKey.kid == old, RecordKey.wrapped.is_not(None))
            .values(kid=kid, wrapped=anew)
            .execution_options(synchronize_session=False)
        )
    return Step(len(batch), batch[-1].evidence_id if batch else after, tuple(broken))


def retire(session: Session, *, active: str) -> bool:
    """Whether no record needs an older key any more; then their canaries go. Commit before you drop the keys.

    Waits for everybody who is just making a key for a record: they may have read the file before the new key came.
    Whoever begins later reads it anew, so nothing is wrapped with an older key from then on.
    """
    wait_for_sealing(session)
    if waiting(session, active=active):
        return False
    session.execute(delete(Canary).where(Canary.kid != active))
    return True


def _older(active: str) -> tuple[Any, ...]:
    return RecordKey.kid != active, RecordKey.wrapped.is_not(None)
