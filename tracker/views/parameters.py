"""What addresses may carry after the question mark."""

from __future__ import annotations

from flask import request

from tracker.errors import TrackerError
from tracker.vocabulary import N_

_LARGEST = 2**31 - 1


def ledger_position(name: str) -> int | None:
    """A position in the ledger, or None if the address names none."""
    value = request.args.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise TrackerError(N_("“%(name)s” must be a ledger position: a whole number."), name=name)
    return min(int(value), _LARGEST)
