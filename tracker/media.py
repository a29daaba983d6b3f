"""What a file is, what it would give away, and pictures made of it: the edge to the examiner.

Hostile files are never parsed in this process. Each call starts `tracker.examiner` as a child: an empty environment, a
session and an empty folder of its own, the file as its standard input, limits on memory, time and files (`sandbox`),
and a clock here that kills it. A child that dies, hangs or answers nonsense makes a sentence, never a traceback.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
from pathlib import Path
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError

from tracker.errors import Invalid, TooMany
from tracker.examiner.refusals import Refusal
from tracker.examiner.traces import MOST_RECORDS, TRACES, Examined, Record, Trace, shown, unique
from tracker.vocabulary import IMAGES, CopyMethod, FileKind

_log = structlog.get_logger()

_ROOT = Path(__file__).resolve().parents[1]
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from tracker.examiner.child import main; main()"
_EXAMINE_SECONDS = 60
_COPY_SECONDS = 300
_LONGEST_ANSWER = 16 * 1024 * 1024
#: How many children this process has at a time: each may take a gigabyte. Others wait for their turn.
_AT_ONCE = threading.BoundedSemaphore(2)
_WAIT_SECONDS, _SHORT_SECONDS = 120, 10
#: How many wait long. Others are sent away soon: a thread must be left that answers everybody else.
_WAITING = threading.BoundedSemaphore(1)

#: How a file that may be shown begins. The child made it, and the child read something hostile.
_BEGINNINGS = {FileKind.JPEG: b"\xff\xd8\xff", FileKind.PNG: b"\x89PNG\r\n\x1a\n", FileKind.PDF: b"%PDF-1."}
_EXAMINED = TypeAdapter(Examined)
_LONGEST_NAME = 120
#: Most file systems end there, in bytes.
_LONGEST_NAME_BYTES = 240
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)")


def examine(path: Path, file_name: str) -> Examined:
    """What the file is, by its name, its content and its structure, and what it would give away.

    Raises Invalid with a sentence for the form's field "file" when it is refused. Never changes the file.
    """
    kind = _kind_by_name(file_name)
    return _examined(_run("examine", kind, path, _EXAMINE_SECONDS), kind)


def problems_of_public_copy(path: Path, kind: FileKind) -> list[Trace]:
    """What is still in a file that somebody offers as a cleaned copy. Raises Invalid as `examine` does."""
    return list(_examined(_run("examine", kind, path, _EXAMINE_SECONDS), kind).warnings)


def make_copy(path: Path, kind: FileKind, into: Path) -> tuple[FileKind, CopyMethod]:
    """Write a copy fit for the public to `into`: what can be seen, and nothing else. See docs/decisions/0006.

    Returns what the copy is (JPEG, PNG or PDF) and how it was made. Raises Invalid; then `into` does not exist.
    """
    if kind not in (*IMAGES, FileKind.PDF):
        raise Invalid(Refusal.NO_COPY.label, "file")
    made = _make("copy", kind, path, into, _COPY_SECONDS)
    return made, CopyMethod.RASTERISED if kind is FileKind.PDF else CopyMethod.PIXELS


def make_preview(path: Path, kind: FileKind, into: Path, *, blurred: bool) -> None:
    """Write a JPEG of at most 1000 × 1000 pixels of a picture, or of a PDF's first page, to `into`.

    `blurred` is for distressing material: grey, and nothing but large shapes is left in the file.
    """
    if kind not in (*IMAGES, FileKind.PDF):
        raise Invalid(Refusal.NO_PREVIEW.label, "file")
    _make("blurred-preview" if blurred else "preview", kind, path, into, _EXAMINE_SECONDS)


def clean_name(file_name: str) -> str:
    """What may be kept of the name of an upload: its last part, in one line, harmless on every system.

    No path, control, direction or unassigned characters, nothing that Windows reads as a device or a shell as an
    option; at most 120 characters, with the ending kept. "file" if nothing is left.
    """
    name = re.split(r"[/\\]", file_name)[-1]
    name = "".join("_" if character in '<>:"|?*' else character for character in shown(name, 10_000))
    # More than a few accents on one letter are a drawing, not a name.
    name = re.sub(r"([\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]{4})[\u0300-\u036f]+", r"\1", name)
    name = name.lstrip(".-~ ").rstrip(". ")
    if _DEVICES.match(name):
        name = "_" + name
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending) > 12:
        stem, ending = name, ""
    if stem.lower().endswith(".warc"):
        stem, ending = stem[:-5], stem[-4:] + "." + ending
    ending = "." + ending if ending else ""
    stem = stem[: _LONGEST_NAME - len(ending)]
    while len((stem + ending).encode()) > _LONGEST_NAME_BYTES:
        stem = stem[:-1]
    return unicodedata.normalize("NFC", stem.rstrip(". ") + ending) or "file"


def _kind_by_name(file_name: str) -> FileKind:
    parts = clean_name(file_name).lower().split(".")
    if len(parts) < 2:
        raise Invalid(Refusal.NO_ENDING.label, "file")
    ending = ".".join(parts[-2:]) if parts[-2:] == ["warc", "gz"] else parts[-1]
    for kind in FileKind:
        if ending in kind.endings:
            return kind
    endings = ", ".join(kind.endings[0] for kind in FileKind)
    raise Invalid(Refusal.ENDING.label, "file", ending=ending[:20], endings=endings)


def _make(action: str, kind: FileKind, path: Path, into: Path, seconds: int) -> FileKind:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(into, flags, 0o600)
    try:
        made = _run(action, kind, path, seconds, descriptor)
        if made not in [result.value for result in _BEGINNINGS]:
            raise _unreadable(action, kind, "made something else")
        result = FileKind(made)  # type: ignore[call-arg]  # A word is found by its value alone.
        with into.open("rb") as file:
            if not file.read(16).startswith(_BEGINNINGS[result]):
                raise _unreadable(action, kind, "made something else")
    except BaseException:
        into.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return result


def _run(action: str, kind: FileKind, path: Path, seconds: int, result: int | None = None) -> Any:
    """Start the child, wait for its answer, and give back what it says is done; Invalid for everything else."""
    _take_turn()
    try:
        with path.open("rb") as file, tempfile.TemporaryDirectory(prefix="tracker-") as folder:
            arguments = [action, kind.value, str(seconds)] + ([] if result is None else [str(result)])
            process = subprocess.Popen(  # noqa: S603 - our own program, and no word of a user's.
                # -I: neither the folder nor the environment may choose what is imported; -B: nothing is written.
                [sys.executable, "-I", "-B", "-X", "utf8", "-c", _START, str(_ROOT), *arguments],
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                cwd=folder,
                start_new_session=True,
                pass_fds=() if result is None else (result,),
            )
            try:
                said = _answer(process, seconds)
            finally:
                # Whatever it started goes with it. It was not reaped yet, so that its number is still its group's.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.stdout.close()  # type: ignore[union-attr]
                process.wait()
    finally:
        _AT_ONCE.release()
    if said is None:
        _log.warning("examiner-late", action=action, kind=kind.value)
        raise Invalid(Refusal.TOO_LONG.label, "file")
    return _done(said, action, kind, process.returncode)


def _take_turn() -> None:
    if _AT_ONCE.acquire(timeout=_SHORT_SECONDS):
        return
    if _WAITING.acquire(blocking=False):
        try:
            if _AT_ONCE.acquire(timeout=_WAIT_SECONDS):
                return
        finally:
            _WAITING.release()
    raise TooMany(Refusal.BUSY.label)


def _answer(process: subprocess.Popen[bytes], seconds: int) -> bytes | None:
    """What the child says until it closes its output and ends; None if time runs out or it says too much."""
    assert process.stdout is not None
    ends = time.monotonic() + seconds
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(said) <= _LONGEST_ANSWER and selector.select(max(0.0, ends - time.monotonic())):
            part = os.read(process.stdout.fileno(), 65536)
            if not part:
                break
            said += part
        else:
            return None
    # Its output is closed as its last act: the end is a moment away, or something is wrong.
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
        if time.monotonic() > ends:
            return None
        time.sleep(0.002)
    return said


def _done(said: bytes, action: str, kind: FileKind, code: int) -> Any:
    if code == -signal.SIGXCPU:
        raise Invalid(Refusal.TOO_LONG.label, "file")
    try:
        answer = json.loads(said)
        if set(answer) == {"done"} and code == 0:
            return answer["done"]
        if set(answer) == {"refused", "values"}:
            refusal = Refusal(answer["refused"])  # type: ignore[call-arg]
            values = {
                str(name): value if type(value) is int else shown(value, 60)
                for name, value in dict(answer["values"]).items()
            }
            if sorted(values) != sorted(re.findall(r"%\((\w+)\)", refusal.label)):
                raise ValueError
            raise Invalid(refusal.label, "file", **values)
        reason = str(answer["failed"])
    except (ValueError, KeyError, TypeError, RecursionError):
        reason = f"ended with {code}"
    raise _unreadable(action, kind, reason)


def _unreadable(action: str, kind: FileKind, reason: str) -> Invalid:
    # The reason is the kind of an error or a number, never what the file says.
    _log.warning("examiner-failed", action=action, kind=kind.value, reason=reason[:40])
    return Invalid(Refusal.UNREADABLE.label, "file")


def _examined(data: Any, kind: FileKind) -> Examined:
    """The child's answer as our own objects: of the right types, bounded and cleaned once more."""
    try:
        examined = _EXAMINED.validate_python(data)
    except ValidationError:
        raise _unreadable("examine", kind, "nonsense") from None
    return Examined(
        kind,
        unique(trace for trace in examined.warnings if trace.what in TRACES),
        examined.pages,
        examined.width,
        examined.height,
        tuple(
            Record(
                shown(record.url, 2000),
                shown(record.type, 40),
                shown(record.date, 40),
                record.digest_ok,
                record.size,
            )
            for record in examined.records[:MOST_RECORDS]
        ),
        examined.records_total,
        examined.records_bad,
    )
