"""Files on the local disk: opened without following links, hashed piece by piece, with errors that are sentences."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tracker.errors import NoRoom, StorageFailed, StorageMissing
from tracker.vocabulary import N_

CHUNK = 1024 * 1024
DIGEST = re.compile(r"[0-9a-f]{64}")
MISSING = N_("This file is not in the store.")
DAMAGED = N_("This file is damaged in the store: its bytes are not those that were received.")


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """An error of the disk becomes a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise NoRoom(
                N_("The server's disk is full, so the file was not stored. Tell the operator.")
            ) from None
        raise StorageFailed(
            N_(
                "The server's disk cannot store or read the file (%(code)s). What was stored before is untouched. Tell the operator."
            ),
            code=errno.errorcode.get(error.errno or 0, type(error).__name__),
        ) from None


@contextlib.contextmanager
def folder(path: Path, *, follow: bool = False) -> Iterator[int]:
    """A folder's descriptor: to bring it to the disk, and to name what is in it without walking its path again."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | (0 if follow else os.O_NOFOLLOW))
    try:
        yield fd
    finally:
        os.close(fd)


def regular(path: Path | str, folder: int | None = None) -> BinaryIO:
    """Open a file for reading; never a link, and never what could block."""
    file = os.fdopen(
        os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder), "rb", buffering=0
    )
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise StorageMissing(MISSING)
    return file


def copy(chunks: Iterator[bytes], sha256: str, into: Path) -> None:
    """Write a new file that is whole and durable, or none."""
    digest = hashlib.sha256()
    fd = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != sha256:
            raise StorageFailed(DAMAGED)
    except BaseException:
        remove(into)
        raise


def remove(path: Path) -> None:
    """Remove a file that nobody wants any more. What cannot be removed now, `sweep_incoming` removes later."""
    with contextlib.suppress(OSError):
        path.unlink()


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file, at most 1 MB at a time."""
    while chunk := file.read(CHUNK):
        yield chunk


def begun(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Run a generator to its first yield, so that what is missing is said now and not in the middle of an answer."""
    next(chunks)
    return chunks


def hexdigest(chunks: Iterator[bytes]) -> str:
    """The SHA-256 of it all, in lower-case hex."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def name(place: str) -> str:
    """The SHA-256 of the blob that lies at this place; the place, begun with "./", if no blob of ours lies there."""
    folder, _, name = place.partition("/")
    return name if DIGEST.fullmatch(name) and folder == name[:2] else foreign(place)


def foreign(place: str) -> str:
    """What is no blob, by its place: text that is no SHA-256 and can be printed, whatever bytes the name has."""
    return f"./{place}".encode("utf-8", "backslashreplace").decode()


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; nothing if there is no such folder."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def time(entry: os.DirEntry[str]) -> dt.datetime:
    """When it was last written."""
    return dt.datetime.fromtimestamp(entry.stat(follow_symlinks=False).st_mtime, dt.UTC)
