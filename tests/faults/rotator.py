"""`tracker keys rotate` in a process of its own, which kills itself (kill -9) at the point that is named.

python -m tests.faults.rotator POINT
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from tracker import wrapping_keys
from tracker.cli import common
from tracker.cli.keys import rotate
from tracker.services import sealed


def die(*_: Any, **__: Any) -> Any:
    """As a power cut would: no goodbye, no rollback of our own."""
    os.kill(os.getpid(), signal.SIGKILL)


def after_adding() -> None:
    sealed.ensure_canary = die


def after_the_canary() -> None:
    sealed.rewrap = die


def in_a_batch() -> None:
    """Not committed yet."""
    wrap_some = sealed.rewrap

    def some(*words: Any, **named: Any) -> Any:
        step = wrap_some(*words, **named)
        return die() if named["after"] else step

    sealed.rewrap = some


def after_a_batch() -> None:
    """Two batches are committed, one is not begun."""
    wrap_some = sealed.rewrap
    rounds: list[int] = []

    def some(*words: Any, **named: Any) -> Any:
        rounds.append(1)
        return die() if len(rounds) == 3 else wrap_some(*words, **named)

    sealed.rewrap = some


def before_retiring() -> None:
    sealed.retire = die


def before_dropping() -> None:
    wrapping_keys.drop = die


def nowhere() -> None:
    pass


if __name__ == "__main__":
    if sys.argv[1] == "check":
        with common.plain_errors():
            common.check_records_key()
        raise SystemExit(0)
    sealed.BATCH = 20
    globals()[sys.argv[1]]()
    rotate.main(args=[], prog_name="rotate")
