"""Everything that can go wrong between composing a digest and its last answer, and what followers got all the same.

python -m tests.faults.digest_table [--database sqlite|postgresql] [--subscribers 500] [--only WORDS]

Each line is a day of digest_world with a scenario of digest_scenarios. Without --database it is run on both.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

from tests.faults.digest_scenarios import SCENARIOS, play
from tests.faults.digest_world import Children, Row, world
from tracker import logs

_HEAD = ["scenario", "owed to", "accepted", "people", "lost", "doubled", "ambiguous", "same bytes", "uncertain", "refused or left", "s"]  # fmt: skip


def line(row: Row) -> str:
    """A line of the table in Markdown."""
    cells = [
        row.name,
        row.due,
        row.accepted,
        row.people,
        row.lost,
        row.doubled,
        row.ambiguous,
        "yes" if row.same else "NO",
        row.uncertain,
        row.refused,
        f"{row.seconds:.0f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def main(databases: list[str], count: int, only: str) -> list[str]:
    """Print the tables; what is wrong."""
    wrong: list[str] = []
    for database in databases:
        print(f"\n{database}, {count} subscribers:\n")
        print(f"| {' | '.join(_HEAD)} |\n|---|{'--:|' * 6}---|--:|--:|--:|", flush=True)
        total = Row("**all**")
        with closing(Children()) as children, world(database, count, children) as place:
            for scenario in SCENARIOS:
                if scenario.only not in (None, database) or only not in scenario.name:
                    continue
                row = play(place, scenario)
                print(line(row), flush=True)
                for name in (
                    "due",
                    "accepted",
                    "people",
                    "lost",
                    "doubled",
                    "ambiguous",
                    "uncertain",
                    "refused",
                    "seconds",
                ):
                    setattr(total, name, getattr(total, name) + getattr(row, name))
                total.same = total.same and row.same
                wrong += [f"{database}, {row.name}: {what}" for what in row.wrong]
            wrong += [f"{database}: {what}" for what in place.never_told()]
        print(line(total), flush=True)
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", choices=["sqlite", "postgresql"])
    parser.add_argument("--subscribers", type=int, default=500)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    logs.init("critical")  # What fails here is meant to.
    found = main(
        [given.database] if given.database else ["sqlite", "postgresql"], given.subscribers, given.only
    )
    print("\n".join(found) or "\nNothing lost, nothing doubled that was not counted.")
    sys.exit(bool(found))
