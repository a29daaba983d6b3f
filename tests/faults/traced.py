"""Uploads under strace: the calls that one makes, and one of them made to fail or to be the last."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from tracker.config import Config

ROOT = Path(__file__).resolve().parents[2]
WATCHED = {
    "openat", "mkdir", "mkdirat", "write", "pwrite64", "writev", "ftruncate", "fsync", "fdatasync", "rename",
    "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "close", "sendto",
    "recvfrom",
}  # fmt: skip
#: PostgreSQL knows the connections of uploads by it.
NAME = "upload"


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
    def acknowledged(self) -> bool:
        return self.said == "acknowledged"

    @property
    def result(self) -> str:
        if self.status == -9:
            return "killed"
        return "acknowledged" if self.acknowledged else "refused"


class Keeper:
    """The process that runs uploads, each in a child of its own."""

    def __init__(self, config: Config) -> None:
        self.data = config.data_path
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.keeper", str(self.data)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env=environment | {
                "TRACKER_DATABASE_URL": _named(config.sqlalchemy_url),
                "TRACKER_STORAGE_URL": config.storage_url.get_secret_value(),
            },
        )  # fmt: skip

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def begin(self, times: int = 1) -> int:
        """Fork a child that will upload the content so often in one file; its pid. "go" lets it begin."""
        self.tell(str(times))
        return int(self.hear())

    def upload(self, inject: str | None = None) -> Run:
        """One upload under strace."""
        pid, trace = self.begin(), self.data / "trace"
        command = [
            "strace",
            "-p",
            str(pid),
            "-o",
            str(trace),
            "-y",
            "-e",
            f"trace={','.join(sorted(WATCHED))}",
        ]
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

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def _named(url: str) -> str:
    """The same address, with a name by which PostgreSQL knows our connections."""
    if url.startswith("sqlite"):
        return url
    return make_url(url).update_query_dict({"application_name": NAME}).render_as_string(hide_password=False)


def _calls(trace: str) -> Iterator[Call]:
    seen: Counter[str] = Counter()
    for line in trace.splitlines():
        if (found := re.match(r"(\w+)\(", line)) and found[1] in WATCHED:
            seen[found[1]] += 1
            yield Call(found[1], seen[found[1]], line)


@contextmanager
def keeping(config: Config) -> Iterator[Keeper]:
    """A keeper, ended afterwards."""
    made = Keeper(config)
    try:
        yield made
    finally:
        made.end()
