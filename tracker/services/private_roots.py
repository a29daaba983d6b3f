"""The sealed root of the day: that we held something on that day can be proven later, and is not told before.

Whatever is accepted for the team only, and every exhibit, leaves a commitment: a hash over a random salt and the
content. After midnight one ledger entry takes a Merkle root over the day's commitments, every day, also where there
were none, filled up with random ones: so it tells neither what there is nor how much. `disclose` opens one of them.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from tracker import verifier
from tracker.errors import NotFound
from tracker.models import LedgerEntry, PrivateCommitment
from tracker.services import ledger, proofs
from tracker.vocabulary import N_, EntryKind

# A day's leaves are filled up to a multiple of this, so that their number tells little.
PADDED_TO = 64


def commit(
    session: Session, subject: str, content: bytes | dict[str, Any] | str, *, now: dt.datetime
) -> PrivateCommitment:
    """Note that we hold this. `content`: bytes, what canonical JSON can say, or the hex SHA-256 of bytes hashed before.

    To prove it later somebody needs the same bytes (`canonical` of a dict): only their hash is kept, under a salt.
    """
    salt = secrets.token_hex(32)
    commitment = PrivateCommitment(
        day=now.astimezone(dt.UTC).date(),
        subject=subject,
        salt=salt,
        leaf=verifier.commitment(salt, digest(content)),
    )
    session.add(commitment)
    session.flush()
    return commitment


def digest(content: bytes | dict[str, Any] | str) -> str:
    """The hex SHA-256 that a commitment is over."""
    if isinstance(content, str):
        if len(bytes.fromhex(content)) != 32:
            raise ValueError("A text must be the SHA-256 of the content, in hex.")
        return content.lower()
    data = content if isinstance(content, bytes) else ledger.canonical(content).encode()
    return hashlib.sha256(data).hexdigest()


def forget(session: Session, subject: str) -> None:
    """Destroy the salts: what was sealed under this name can never be proven again, and the roots still verify."""
    session.execute(
        update(PrivateCommitment).where(PrivateCommitment.subject == subject).values(subject="", salt="")
    )


def next_day(session: Session, *, now: dt.datetime) -> dt.date | None:
    """The earliest day that is over and has no root yet, or None. There are roots since the ledger has entries."""
    newest = session.scalar(
        select(func.max(LedgerEntry.subject)).where(LedgerEntry.kind == EntryKind.PRIVATE_ROOT)
    )
    if newest is not None:
        day = dt.date.fromisoformat(newest.partition("/")[2]) + dt.timedelta(days=1)
    else:
        begun = session.scalar(select(func.min(LedgerEntry.recorded_at)))
        if begun is None:
            return None
        waiting = session.scalar(select(func.min(PrivateCommitment.day)))
        yesterday = now.astimezone(dt.UTC).date() - dt.timedelta(days=1)
        # A ledger that is older than this feature starts with yesterday.
        day = max(begun.date(), yesterday)
        day = min(waiting, day) if waiting else day
    return day if day < now.astimezone(dt.UTC).date() else None


def publish_day(session: Session, *, day: dt.date, now: dt.datetime) -> LedgerEntry | None:
    """Append the day's root, once. None: it exists, or the day is not over.

    It covers every commitment up to that day which no root covers yet, so that one whose transaction ended after
    midnight goes into the next root instead of none.
    """
    ledger.lock(session)
    subject = f"private-root/{day}"
    exists = session.scalar(select(LedgerEntry.seq).where(LedgerEntry.subject == subject))
    if exists or day >= now.astimezone(dt.UTC).date():
        return None
    waiting = list(
        session.scalars(
            select(PrivateCommitment).where(
                PrivateCommitment.ledger_seq.is_(None), PrivateCommitment.day <= day
            )
        )
    )
    for _ in range(PADDED_TO - len(waiting) % PADDED_TO):
        waiting.append(PrivateCommitment(day=day, subject="", salt="", leaf=secrets.token_hex(32)))
    entry = ledger.append(
        session,
        EntryKind.PRIVATE_ROOT,
        subject=subject,
        report=None,
        facts={"root": _root(waiting).hex(), "leaves": len(waiting)},
        content={},
        now=now,
    )
    for commitment in waiting:
        commitment.ledger_seq = entry.seq
    session.add_all(waiting)
    session.flush()
    return entry


def disclose(session: Session, subject: str, *, public_key: bytes) -> dict[str, Any]:
    """The proof that opens the newest sealed commitment under this name. It tells nothing about any other."""
    commitment = session.scalars(
        select(PrivateCommitment)
        .where(PrivateCommitment.subject == subject, PrivateCommitment.ledger_seq.is_not(None))
        .order_by(PrivateCommitment.id.desc())
        .limit(1)
    ).first()
    if commitment is None or commitment.ledger_seq is None or not subject:
        raise NotFound(
            N_("Nothing sealed is called %(subject)s. What was accepted today is sealed after midnight UTC."),
            subject=subject,
        )
    leaves = sorted(
        session.scalars(
            select(PrivateCommitment.leaf).where(PrivateCommitment.ledger_seq == commitment.ledger_seq)
        )
    )
    index = leaves.index(commitment.leaf)
    path = verifier.inclusion_proof(_hashed(leaves), index)
    return {
        "format": verifier.DISCLOSED,
        "salt": commitment.salt,
        "leaf": commitment.leaf,
        "index": index,
        "proof": [node.hex() for node in path],
        "inclusion": proofs.inclusion(session, commitment.ledger_seq, public_key=public_key),
    }


def _root(commitments: list[PrivateCommitment]) -> bytes:
    return verifier.tree_root(_hashed(sorted(commitment.leaf for commitment in commitments)))


def _hashed(leaves: list[str]) -> list[bytes]:
    return [verifier.hash_leaf(bytes.fromhex(leaf)) for leaf in leaves]
