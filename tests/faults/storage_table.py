"""Every call that an upload makes to the disk fails once, or is its last: what was acknowledged is there and whole.

python -m tests.faults.storage_table [sqlite|postgresql]    all of it, and print the table

An upload is run under strace, which lists its calls. It is then run again for each call and fault, from a fresh start,
with strace making that call fail with EIO or ENOSPC, or killing the process there (kill -9). With PostgreSQL the
process is also killed at each of its messages to the server, and before each answer. The idea is tessera's (transparency-dev/tessera,
integration/fault/posix). What it cannot show is what a power cut does to bytes that were written and not yet brought to
the disk; `order` looks at the list of calls for that.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.faults import keeper
from tests.faults.place import SHA256, STARTS, Place, placed, problems
from tests.faults.traced import Call, Keeper, Run, keeping
from tracker import db
from tracker.config import Config

FAULTS = {"EIO": "error=EIO", "ENOSPC": "error=ENOSPC", "kill -9": "signal=KILL"}


def order(calls: list[Call], place: Place) -> Iterator[str]:
    """What a power cut could lose: calls that stand in the wrong order. Nothing if all is well."""

    def places(pattern: str) -> list[int]:
        return [number for number, call in enumerate(calls) if re.search(pattern, call.line)]

    data, exhibits = place.config.data_path, place.config.exhibits_path.resolve()
    root, store = re.escape(str(data)), re.escape(str(exhibits))
    incoming = rf"\(\d+<({root}|{store})/incoming/"
    written, synced = places(rf"^write{incoming}"), places(rf"^fsync{incoming}")
    renamed = places(rf"^rename\w*\(.*{SHA256}.* = 0$")
    folders = {
        name: places(rf"^fsync\(\d+<{path}>\)")
        for name, path in (("ab", f"{store}/{SHA256[:2]}"), ("exhibits", store), ("data", root))
    }
    answer = places(r"^write\(1<.*acknowledged")
    if not (written and synced and len(renamed) == 1 and len(answer) == 1):
        yield "a step is missing"
        return
    if place.file:
        log = re.escape(f"{place.file}-wal")
        rows = [number for number in places(rf"^pwrite64\(\d+<{log}>") if number < answer[0]]
        rows_synced = [number for number in places(rf"^f(data)?sync\(\d+<{log}>") if number < answer[0]]
    else:
        # Bringing it to the disk is the server's matter.
        rows = rows_synced = [
            number for number in places(r"^sendto\(.*COMMIT") if renamed[0] < number < answer[0]
        ]
    if not max(written) < max(synced) < renamed[0]:
        yield "the bytes are not on the disk before they get their name"
    for name, found in folders.items():
        if not any(renamed[0] < number < min(rows, default=0) for number in found):
            yield f"the folder {name} is not on the disk before the rows"
    if not rows or max(rows) > max(rows_synced, default=0):
        yield "the rows are not on the disk before the answer"


def cases(calls: list[Call]) -> Iterator[tuple[Call, str]]:
    """Each call with each fault; no lack of space where none is needed, and nothing but the end while it talks to a server."""
    for call in calls:
        for fault in FAULTS:
            if fault == "kill -9" or not (
                call.name in ("sendto", "recvfrom")
                or (fault == "ENOSPC" and call.name in ("close", "unlink", "unlinkat"))
            ):
                yield call, fault


def some(calls: list[Call], start: str) -> list[tuple[Call, str]]:
    """Few enough for a test: where order matters most in an upload to an empty place, and every 97th of all others."""
    found: list[tuple[Call, str]] = []
    others: list[tuple[Call, str]] = []
    for call, fault in cases(calls):
        answered = call.name == "write" and "acknowledged" in call.line
        matters = call.name in ("fsync", "rename", "renameat") or answered or "COMMIT" in call.line
        (found if start == "new" and matters and fault != "ENOSPC" else others).append((call, fault))
    return found + others[::97]


def one(made: Keeper, place: Place, start: str, call: Call, fault: str) -> tuple[Run, list[str]]:
    """Run one case: how it went, and what is wrong."""
    before = place.begin(start)
    run = made.upload(f"{call.name}:{FAULTS[fault]}:when={call.number}")
    wrong = list(problems(place, run, start, before))
    if call.name == "unlink" and "half a file left" in wrong:
        wrong.remove("half a file left")  # It could not be removed; that it is swept later was seen.
    hit = run.status == -9 if fault == "kill -9" else any("(INJECTED)" in each.line for each in run.calls)
    return run, wrong if hit else [*wrong, "the fault did not happen"]


def main(database: str = "sqlite") -> None:
    if shutil.which("strace") is None:
        sys.exit("strace is not installed")
    table: dict[str, Counter[str]] = {}
    wrong: list[str] = []
    with fresh(database) as config, placed(config) as place, keeping(config) as made:
        for start in STARTS:
            place.begin(start)
            listed = made.upload()
            wrong += [f"{start}: {problem}" for problem in order(listed.calls, place)]
            for call in listed.calls:
                table.setdefault(call.name, Counter()).update(["calls"])
            for call, fault in cases(listed.calls):
                run, found = one(made, place, start, call, fault)
                fsck_found = sum(problem.startswith("fsck") for problem in found)
                told = [
                    fault,
                    f"{fault} {run.result}",
                    *["fsck"] * fsck_found,
                    *["lost"] * (len(found) - fsck_found),
                ]
                if run.result == "killed" and run.acknowledged:
                    told.append("killed after the answer")
                table[call.name].update(told)
                wrong += [f"{start}, {call.name} {call.number}, {fault}: {problem}" for problem in found]
    print("\n".join(_lines(table)))
    for sentence in wrong:
        print(sentence)
    sys.exit(bool(wrong))


@contextmanager
def fresh(database: str) -> Iterator[Config]:
    """Settings with a migrated, empty database: a file, or on a server that is started for this."""
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tracker-faults-")))
        url = f"sqlite:///{data / 'tracker.db'}"
        if database == "postgresql":
            from tests.conftest import postgresql

            url = f"postgresql://tracker@/postgres?host={stack.enter_context(postgresql())}"
        engine = db.make_engine(url)
        db.upgrade(engine)
        engine.dispose()
        yield keeper.make_config(data / "data", url)


def _lines(table: dict[str, Counter[str]]) -> Iterator[str]:
    """The table in Markdown."""
    yield "| call | how often | EIO: acknowledged, refused | ENOSPC: acknowledged, refused | kill -9: killed (after the answer) | lost or wrong | fsck findings |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    total: Counter[str] = sum(table.values(), Counter())
    for name, counts in [*sorted(table.items()), ("**all**", total)]:
        cells = [name, str(counts["calls"])]
        for fault in ("EIO", "ENOSPC"):
            told = f"{counts[f'{fault} acknowledged']}, {counts[f'{fault} refused']}"
            cells.append(told if counts[fault] else "–")
        cells += [f"{counts['kill -9 killed']} ({counts['killed after the answer']})"]
        cells += [str(counts["lost"]), str(counts["fsck"])]
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main(*sys.argv[1:])
