"""Proofs from the ledger's Merkle tree: that an entry stands in it, and that it only ever grew.

Proofs lead to published checkpoints only, because a root that nobody signed proves nothing. How they are checked
stands in `tracker/verifier.py`.
"""

from __future__ import annotations

import base64
from typing import Any

from sqlalchemy.orm import Session

from tracker import verifier
from tracker.errors import Invalid, NotFound
from tracker.models import Checkpoint, LedgerEntry
from tracker.services import ledger
from tracker.vocabulary import N_


def inclusion(session: Session, seq: int, *, size: int | None = None, public_key: bytes) -> dict[str, Any]:
    """That entry `seq` stands in the ledger of the checkpoint at `size` entries (the newest one): RFC 6962 §2.1.1."""
    entry = session.get(LedgerEntry, seq)
    if entry is None:
        raise NotFound(N_("There is no entry %(seq)s in the ledger."), seq=seq)
    checkpoint = _checkpoint(session, size)
    if checkpoint.size < seq and size is None:
        raise NotFound(
            N_("Entry %(seq)s is newer than the newest checkpoint. The next one is taken within a day."),
            seq=seq,
        )
    if checkpoint.size < seq:
        raise Invalid(
            N_("At that checkpoint the ledger had %(size)s entries: entry %(seq)s came later."),
            size=size,
            seq=seq,
        )
    leaves = list(ledger.leaf_hashes(session, checkpoint.size))
    return {
        "format": verifier.INCLUSION,
        "public_key": public_key.hex(),
        "entry": ledger.plain(entry),
        "index": seq - 1,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "proof": [node.hex() for node in verifier.inclusion_proof(leaves, seq - 1)],
        "checkpoint": checkpoint.note,
    }


def consistency(
    session: Session, old_size: int, new_size: int | None = None, *, public_key: bytes
) -> dict[str, Any]:
    """That the ledger of the newer checkpoint (the newest one) begins with that of the older: RFC 6962 §2.1.2."""
    old, new = _checkpoint(session, old_size), _checkpoint(session, new_size)
    if old.size > new.size:
        raise Invalid(N_("The older checkpoint comes first: it cannot have more entries than the newer one."))
    leaves = list(ledger.leaf_hashes(session, new.size))
    return {
        "format": verifier.CONSISTENCY,
        "public_key": public_key.hex(),
        "old": _end(old),
        "new": _end(new),
        "proof": [node.hex() for node in verifier.consistency_proof(leaves, old.size)],
    }


def as_text(proof: dict[str, Any]) -> str:
    """A proof of inclusion as C2SP tlog-proof writes it, for programs made by others."""
    nodes = "".join(base64.b64encode(bytes.fromhex(node)).decode() + "\n" for node in proof["proof"])
    return f"c2sp.org/tlog-proof@v1\nindex {proof['index']}\n{nodes}\n{proof['checkpoint']}"


def _checkpoint(session: Session, size: int | None) -> Checkpoint:
    found = ledger.newest_checkpoint(session) if size is None else session.get(Checkpoint, size)
    if found is None and size is None:
        raise NotFound(N_("There is no checkpoint yet. The first one is taken within a day."))
    if found is None:
        raise NotFound(
            N_("No checkpoint was taken at %(size)s entries. The ledger’s download lists those that were."),
            size=size,
        )
    return found


def _end(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"size": checkpoint.size, "root": checkpoint.root.hex(), "checkpoint": checkpoint.note}
