"""The journal: a file beside the database, to which lines are only ever added, of what was sent and who left.

It is what notices that an older copy of the database was put back: the database then counts fewer rounds of sending
than the journal. Keep it out of the database's backups. Each line is JSON with the number of its round:

    {"round": 7, "what": "begin", "at": …}    written before anything of the round is claimed, and only then counted
    {"round": 7, "what": "going"}             the database has counted it too: mails may leave from here on
    {"round": 7, "what": "sent", "counts": …} how it ended; missing after a crash
    {"round": 8, "what": "left", "who": …}    somebody left, or was refused by the relay
    {"round": 8, "what": "erased", "who": …}  somebody had everything erased

`who` is a keyed hash that only the mailer can make. No address, no name, no number of a row stands here.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracker.errors import ConfigError

FILE = "journal.jsonl"
GONE = ("left", "erased")
_BLOCK = 65536


@dataclass(frozen=True)
class Line:
    """One line, read back."""

    round: int
    what: str
    values: dict[str, Any]


class Journal:
    """The file while one process holds it: others wait, so that rounds are counted one after another."""

    def __init__(self, path: Path, descriptor: int, *, is_new: bool) -> None:
        self._path, self._descriptor = path, descriptor
        self.is_new = is_new

    def last_round(self) -> int:
        """The highest number so far, 0 in an empty journal."""
        return next((line.round for line in self._backwards()), 0)

    def after(self, number: int) -> list[Line]:
        """The lines of rounds later than this one, in the order of writing."""
        found = []
        # Rounds only ever grow, so the end of the file is all that has to be read.
        for line in self._backwards():
            if line.round <= number:
                break
            found.append(line)
        return found[::-1]

    def append(self, *lines: dict[str, Any]) -> None:
        """Write lines, and come back when they are on the disk."""
        text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines).encode()
        with _plainly(self._path):
            size = os.lseek(self._descriptor, 0, os.SEEK_END)
            if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
                text = (
                    b"\n" + text
                )  # A line was cut off by a crash: it stays as it is, and counts for nothing.
            while text:
                text = text[os.write(self._descriptor, text) :]
            os.fsync(self._descriptor)

    def _backwards(self) -> Iterator[Line]:
        end, rest = os.lseek(self._descriptor, 0, os.SEEK_END), b""
        while end > 0:
            start = max(0, end - _BLOCK)
            pieces = (os.pread(self._descriptor, end - start, start) + rest).split(b"\n")
            # What stands before the first line break may go on in the block before.
            rest = pieces[0] if start else b""
            for piece in reversed(pieces[1:] if start else pieces):
                if (line := _read(piece)) is not None:
                    yield line
            end = start


@contextmanager
def held(folder: Path) -> Iterator[Journal]:
    """Open the journal and keep everybody else out until the end of the block. Raises ConfigError."""
    path = folder / FILE
    with _plainly(path):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        with _plainly(path):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            is_new = os.fstat(descriptor).st_size == 0
            if is_new:
                _keep_name(folder)
        yield Journal(path, descriptor, is_new=is_new)
    finally:
        os.close(descriptor)


@contextmanager
def _plainly(path: Path) -> Iterator[None]:
    """What the disk refuses, as a sentence."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            "The journal %(path)s cannot be written (%(reason)s). Without it nothing is sent.",
            path=path,
            reason=error.strerror,
        ) from None


def problem(folder: Path, rounds: int) -> str | None:
    """What is wrong with the journal, in a sentence for an operator; `rounds` is how many the database counts."""
    path = folder / FILE
    if not path.exists():
        if rounds == 0:
            return None
        return (
            f"The journal {path} is missing, so a restored backup would not be noticed. If you moved it, set "
            "journal_dir; if it is lost, a new one begins with the next mail."
        )
    if not os.access(path, os.R_OK | os.W_OK):
        return f"The journal {path} cannot be written by this user, so the scheduler must run as another one. Else nothing is sent."
    if path.stat().st_mode & 0o077:
        return f"The journal {path} can be read by others. Run: chmod 600 {path}"
    return None


def _read(text: bytes) -> Line | None:
    """A line, or None for what a crash or a disk has left of one."""
    try:
        found = json.loads(text)
        return Line(int(found["round"]), str(found["what"]), found)
    except (ValueError, TypeError, KeyError):
        return None


def _keep_name(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
