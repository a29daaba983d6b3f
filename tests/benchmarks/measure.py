"""Cases measured in turn (A B C A B C …), so that a busy neighbour disturbs all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import Engine, event

ENOUGH = 0.03  # Seconds in which one round of a quick case is repeated.
COLUMNS = "{:<42} {:<34} {:>9} {:>19} {:>11} {:>8} {:>5}"
HEAD = COLUMNS.format("what", "size", "ms", "min - max", "per second", "ratio", "SQL")


@dataclass
class Case:
    """Something to measure. The first case of a group is the baseline, unless `against` names another."""

    what: str
    size: str
    call: Callable[[], object]
    before: Callable[[], object] | None = None  # Not timed; makes ready for one round.
    calls: int | None = None  # Per round; None for as many as fit.
    of: int = 1  # How many things one call does, for the rate.
    against: str = ""


class Statements:
    """Counts what SQLAlchemy sends to the database."""

    def __init__(self) -> None:
        self.count = 0
        event.listen(Engine, "before_cursor_execute", self._note)

    def _note(self, *_: Any) -> None:
        self.count += 1


STATEMENTS = Statements()


def measure(title: str, cases: Sequence[Case], *, rounds: int) -> None:
    """Warm every case up once, measure all of them round by round, and print a line for each."""
    print(f"\n{title}")
    times: dict[str, list[float]] = {case.what: [] for case in cases}
    statements: dict[str, int] = {}
    for case in cases:
        _ready(case)
        STATEMENTS.count = 0
        took = _timed(case, 1)
        statements[case.what] = STATEMENTS.count
        if case.calls is None:
            case.calls = 1 if case.before else max(1, min(1000, round(ENOUGH / took)))
    for _ in range(rounds):
        for case in cases:
            _ready(case)
            times[case.what].append(_timed(case, case.calls or 1))
    for case in cases:
        own, other = times[case.what], times[case.against or cases[0].what]
        found = median(own)
        ratio = median(mine / base for mine, base in zip(own, other, strict=True))
        print(
            COLUMNS.format(
                case.what, case.size, _ms(found), f"{_ms(min(own))} - {_ms(max(own))}", f"{case.of / found:,.0f}",
                "1" if own is other else f"{ratio:,.2f}", statements[case.what] or "",
            ), flush=True,
        )  # fmt: skip


def _ready(case: Case) -> None:
    if case.before is not None:
        case.before()


def _timed(case: Case, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        case.call()
    return (time.perf_counter() - start) / calls


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.3f}" if seconds < 0.01 else f"{seconds * 1000:,.1f}"
