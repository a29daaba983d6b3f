"""`make bench`: measure the program and print one table. Only the ratios travel from one machine to another."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from tests.benchmarks import digests, exhibits, pages, publishing, record, world
from tests.benchmarks.measure import HEAD, Case, measure


def starting() -> list[Case]:
    """The command line as a whole process."""
    return [
        Case("python -c pass", "1 process", lambda: _run("-c", "pass")),
        Case("tracker --help", "1 process", lambda: _run("-m", "tracker", "--help")),
    ]


def _run(*words: str) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-url", help="an empty database to measure on, instead of a SQLite file")
    parser.add_argument(
        "--rounds", type=int, default=5, help="each figure is the median of so many (default: 5)"
    )
    options = parser.parse_args()
    started, rounds = time.perf_counter(), options.rounds
    few = max(3, rounds // 2)
    print(f"{HEAD}\n{'-' * len(HEAD)}", end="")
    measure("Starting", starting(), rounds=rounds)
    with world.make(options.database_url) as made:
        measure("Loading a report", publishing.loading(made), rounds=rounds)
        for size in (1_000, 10_000):
            record.grow(made, size)
            measure(f"A ledger of {size:,} entries", record.cases(made), rounds=rounds)
        pages.prepare(made)
        measure("Pages in process, each rendered anew", pages.cases(made), rounds=rounds)
        measure("Publishing", publishing.approving(made), rounds=rounds)
        measure("Digests", digests.cases(made), rounds=few)
        measure("Receiving a file", exhibits.receiving(made), rounds=rounds)
        measure("Looking into files, in a child process", exhibits.looking(made), rounds=few)
        measure("Reading evidence", exhibits.reading(made), rounds=rounds)
    print(f"\nEach figure is the median of {rounds} rounds taken in turn ({few} for digests and files).")
    print("Ratio: to the group's first line, or to the newest line above it that starts with sqlite3.")
    print(f"The whole run took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main()
