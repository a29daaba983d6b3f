"""Every call that an upload makes to the disk fails once, or is its last: what was acknowledged is there and whole.

python -m tests.faults.storage_table [DATABASE_URL]    all of it, with a fresh SQLite database, or an empty PostgreSQL one

An upload is run under strace, which lists its calls. It is then run again for each call and fault, from a fresh start,
with strace making that call fail with EIO or ENOSPC, or killing the process there (kill -9). With PostgreSQL the
process is also killed at each of its messages to the server. The idea is tessera's (transparency-dev/tessera,
integration/fault/posix). What it cannot show is what a power cut does to bytes that were written and not yet brought to
the disk; `order` looks at the list of calls for that.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, delete, select, text
from sqlalchemy.orm import Session

from tests.faults import keeper
from tracker import clock, db, fsck, keyring, storage
from tracker.config import Config
from tracker.models import Blob, CustodyLine, Exhibit, PrivateCommitment
from tracker.services.fsck import GRACE
from tracker.vocabulary import CustodyAction

ROOT = Path(__file__).resolve().parents[2]
WATCHED = {
    "openat", "mkdir", "mkdirat", "write", "pwrite64", "writev", "ftruncate", "fsync", "fdatasync", "rename",
    "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "close", "sendto",
}  # fmt: skip
FAULTS = {"EIO": "error=EIO", "ENOSPC": "error=ENOSPC", "kill -9": "signal=KILL"}
#: What there is before the upload. In the last case exhibits lie on another disk.
STARTS = ("new", "again", "damaged", "elsewhere")
SHA256 = hashlib.sha256(keeper.CONTENT).hexdigest()


@dataclass(frozen=True)
class Call:
    """The `number`th call of this `name` (from 1), and its line as strace shows it."""

    name: str
    number: int
    line: str


@dataclass(frozen=True)
class Run:
    """What became of one upload: what it said, how its process ended, and the calls it made."""

    said: str
    status: int
    calls: list[Call]

    @property
    def result(self) -> str:
        if self.status == -9:
            return "killed"
        return "acknowledged" if self.said == "acknowledged" else "refused"


class Keeper:
    """The process that runs uploads, each in a child of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.keeper"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def upload(self, data: Path, inject: str | None = None) -> Run:
        """One upload into this folder under strace."""
        self.tell(str(data))
        pid, trace = self.hear(), data / "trace"
        command = ["strace", "-p", pid, "-o", str(trace), "-y", "-e", f"trace={','.join(sorted(WATCHED))}"]
        if inject:
            command += ["-e", f"inject={inject}"]
        strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert strace.stderr is not None
        attached = strace.stderr.readline()
        self.tell("go")
        said = ""
        while not (line := self.hear()).startswith("ended "):
            said = line
        strace.wait(20)
        strace.stderr.close()
        if "attached" not in attached:
            raise OSError(attached.strip())
        return Run(said, int(line.removeprefix("ended ")), list(_calls(trace.read_text(errors="replace"))))


def _calls(trace: str) -> Iterator[Call]:
    seen: Counter[str] = Counter()
    for line in trace.splitlines():
        if (found := re.match(r"(\w+)\(", line)) and found[1] in WATCHED:
            seen[found[1]] += 1
            yield Call(found[1], seen[found[1]], line)


@contextmanager
def keeping() -> Iterator[Keeper]:
    """A keeper, ended afterwards."""
    made = Keeper()
    try:
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


@contextmanager
def started(start: str) -> Iterator[Path]:
    """A data folder as `start` says, removed afterwards."""
    data = Path(tempfile.mkdtemp(prefix="tracker-faults-"))
    elsewhere = None
    try:
        config = keeper.make_config(data)
        keeper.prepare(config)
        config.incoming_path.mkdir(mode=0o700)
        if start == "elsewhere":
            elsewhere = Path(tempfile.mkdtemp(prefix="tracker-faults-", dir="/dev/shm"))
            config.exhibits_path.symlink_to(elsewhere)
        if start in ("again", "damaged"):
            keeper.upload(config)
        if start == "damaged":
            _blob(data).write_bytes(keeper.CONTENT[:-1] + b"?")
        yield data
    finally:
        shutil.rmtree(data)
        if elsewhere:
            shutil.rmtree(elsewhere)


def _blob(data: Path) -> Path:
    return data / "exhibits" / SHA256[:2] / SHA256


def _half(data: Path) -> list[Path]:
    return [*data.glob("incoming/*"), *data.glob("exhibits/incoming/*")]


def problems(data: Path, run: Run, start: str, before: int) -> Iterator[str]:
    """What an upload left that it must not leave; nothing if all is well. `before` is how many rows there were."""
    config = keeper.make_config(data)
    store = storage.open_store(config)
    rows = keeper.rows(config)
    names = [name for name, _ in store.names()]
    whole = SHA256 in names and store.check(SHA256) == SHA256
    if run.result == "acknowledged" and not (whole and len(rows) == before + 1):
        yield "lost"
    if len(rows) > before and not whole:
        yield "row without its blob"
    if any(name != SHA256 for name in names):
        yield "something else in the store"
    if SHA256 in names and not whole and not (start == "damaged" and len(rows) == before):
        yield "wrong bytes under a blob's name"
    if start == "again" and not whole:
        yield "an older blob was harmed"
    if run.result == "refused" and run.status != 3 and not run.said.startswith("refused "):
        yield f"no sentence (status {run.status})"
    if run.result != "killed" and _half(data):
        yield "half a file left"
    storage.sweep_incoming(config, older_than=timedelta(), now=clock.now() + timedelta(seconds=1))
    if _half(data):
        yield "half a file that is not swept"
    keeper.upload(config)
    if store.check(SHA256) != SHA256:
        yield "the next upload of the same file failed"


def order(calls: list[Call], data: Path) -> Iterator[str]:
    """What a power cut could lose: calls that stand in the wrong order. Nothing if all is well."""

    def places(pattern: str) -> list[int]:
        return [place for place, call in enumerate(calls) if re.search(pattern, call.line)]

    root, store = re.escape(str(data)), re.escape(str((data / "exhibits").resolve()))
    incoming = rf"\(\d+<({root}|{store})/incoming/"
    written, synced = places(rf"^write{incoming}"), places(rf"^fsync{incoming}")
    renamed = places(rf"^rename\w*\(.*{SHA256}.* = 0$")
    folders = {
        name: places(rf"^fsync\(\d+<{path}>\)")
        for name, path in (("ab", f"{store}/{SHA256[:2]}"), ("exhibits", store), ("data", root))
    }
    row = places(rf"^(pwrite64|write)\(\d+<{root}/rows\.db")
    row_synced = places(rf"^f(data)?sync\(\d+<{root}/rows\.db")
    answer = places(r"^write\(1<.*acknowledged")
    if not (written and synced and len(renamed) == 1 and row and row_synced and len(answer) == 1):
        yield "a step is missing"
        return
    if not max(written) < max(synced) < renamed[0]:
        yield "the bytes are not on the disk before they get their name"
    for name, found in folders.items():
        if not any(renamed[0] < place < row[0] for place in found):
            yield f"the folder {name} is not on the disk before the row"
    if not max(row_synced) < answer[0]:
        yield "the row is not on the disk before the answer"


def cases(calls: list[Call]) -> Iterator[tuple[Call, str]]:
    """Each call with each fault; no lack of space where none is needed."""
    for call in calls:
        for fault in FAULTS:
            if fault != "ENOSPC" or call.name not in ("close", "unlink", "unlinkat"):
                yield call, fault


def one(made: Keeper, start: str, call: Call, fault: str) -> tuple[str, list[str]]:
    """Run one case: how it ended, and what is wrong."""
    with started(start) as data:
        before = len(keeper.rows(keeper.make_config(data)))
        run = made.upload(data, f"{call.name}:{FAULTS[fault]}:when={call.number}")
        wrong = list(problems(data, run, start, before))
        if call.name == "unlink" and "half a file left" in wrong:
            wrong.remove("half a file left")  # It could not be removed; that it is swept later was seen.
        hit = run.status == -9 if fault == "kill -9" else any("(INJECTED)" in each.line for each in run.calls)
        return run.result, wrong if hit else [*wrong, "the fault did not happen"]


def main() -> None:
    table: dict[tuple[str, str], Counter[str]] = {}
    wrong: list[str] = []
    with keeping() as made:
        for start in STARTS:
            with started(start) as data:
                listed = made.upload(data)
                wrong += [f"{start}: {problem}" for problem in order(listed.calls, data)]
            for call, fault in cases(listed.calls):
                result, found = one(made, start, call, fault)
                counts = table.setdefault((call.name, fault), Counter())
                counts.update(["injected", result, *(["wrong"] if found else [])])
                wrong += [f"{start}, {call.name} {call.number}, {fault}: {problem}" for problem in found]
    print("| call | fault | injected | acknowledged | refused | killed | lost or wrong |")
    print("|---|---|--:|--:|--:|--:|--:|")
    columns = ("injected", "acknowledged", "refused", "killed", "wrong")
    for (name, fault), counts in sorted(table.items()):
        print(f"| {name} | {fault} | {' | '.join(str(counts[column]) for column in columns)} |")
    total: Counter[str] = sum(table.values(), Counter())
    print(f"| **all** | | {' | '.join(str(total[column]) for column in columns)} |")
    for sentence in wrong:
        print(sentence)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
