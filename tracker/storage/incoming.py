"""Receiving a file: onto the local disk, counted and hashed on the way."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import io
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tracker.config import Config
from tracker.errors import Conflict, Invalid, NoRoom, StorageFailed, TooLarge
from tracker.storage import files
from tracker.vocabulary import N_

if TYPE_CHECKING:
    from typing_extensions import Buffer

MB = 1024 * 1024
_LOOK_EVERY = 16 * MB
_NAME = re.compile(r"[a-z0-9]{8,32}")


@dataclass(frozen=True)
class Incoming:
    """A file that was received and is not stored yet, on the local disk. `size` is in bytes."""

    path: Path
    sha256: str
    size: int

    def prove(self) -> None:
        """Read it again, because hostile content was open in other programs meanwhile; then make it durable."""
        with files.regular(self.path) as file:
            if (
                files.hexdigest(files.chunks(file)) != self.sha256
                or os.fstat(file.fileno()).st_size != self.size
            ):
                raise StorageFailed(
                    N_("The file changed while it was being stored, so it was not stored. Send it once more.")
                )
            os.fchmod(file.fileno(), 0o600)
            os.utime(file.fileno())
            os.fsync(file.fileno())

    def discard(self) -> None:
        """Remove it, because nobody wants it any more."""
        files.remove(self.path)


class Receiver(io.RawIOBase):
    """A file that is being received: whoever has its bytes writes them into it, and it hashes and counts them.

    Call `finish` when all is there. Closed, left or forgotten without that, it takes its file with it.
    """

    def __init__(self, config: Config, path: Path, limit: int) -> None:
        self.path, self.size = path, 0
        self._config, self._limit, self._look_at = config, limit, _LOOK_EVERY
        self._hash = hashlib.sha256()
        self._fd: int | None = None
        # O_APPEND: what is hashed last also stands last, whoever sought or read in between.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
        try:
            self._fd = os.open(path, flags, 0o600)
        except BaseException:
            super().close()  # Nothing is there, and what is there is somebody else's: nothing to remove.
            raise

    def write(self, data: Buffer, /) -> int:
        """Take some bytes. Raises TooLarge, NoRoom or StorageFailed, and then nothing of the file is left."""
        rest = memoryview(data).cast("B")
        taken = len(rest)
        try:
            if self.size + taken > self._limit:
                raise TooLarge(
                    N_("The file is larger than %(limit)d MB, which is the most this site takes."),
                    limit=self._limit // MB,
                )
            with files.plain():
                while rest:
                    rest = rest[os.write(self.fileno(), rest) :]
            self._hash.update(data)
            self.size += taken
            if self.size >= self._look_at:
                # Others receive at the same time, and not everybody says how much is coming.
                self._look_at += _LOOK_EVERY
                check_room(self._config, 0)
        except BaseException:
            self.discard()
            raise
        return taken

    def finish(self) -> Incoming:
        """All bytes are there: bring them to the disk and let go of the file."""
        try:
            with files.plain():
                os.fsync(self.fileno())
                self._let_go()
        except BaseException:
            self.discard()
            raise
        super().close()
        return Incoming(self.path, self._hash.hexdigest(), self.size)

    def discard(self) -> None:
        """Nobody wants it: close and remove the file."""
        if not self.closed:
            files.remove(self.path)
            with contextlib.suppress(OSError):
                self._let_go()
            super().close()

    def close(self) -> None:
        """The same as `discard`, unless it is finished."""
        self.discard()

    def _let_go(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def fileno(self) -> int:
        if self._fd is None:
            raise ValueError("This file is closed.")
        return self._fd

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, into: Buffer, /) -> int:
        with files.plain():
            return os.readv(self.fileno(), [into])

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return os.lseek(self.fileno(), offset, whence)


def receive(config: Config, *, limit: int, name: str | None = None) -> Receiver:
    """Begin to receive a file of at most `limit` bytes.

    It grows in `incoming_path` under `name` (8 to 32 of a-z and 0-9), so that a progress page can look at its size.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise Invalid(N_("This upload's name is wrong. Load the page again and choose the file once more."))
    path = config.incoming_path / (name or secrets.token_hex(16))
    with files.plain():
        config.incoming_path.mkdir(mode=0o700, exist_ok=True)
        try:
            return Receiver(config, path, limit)
        except FileExistsError:
            raise Conflict(
                N_("This upload has already begun. Load the page again and choose the file once more.")
            ) from None


def check_room(config: Config, expected: int) -> None:
    """Raise NoRoom if `expected` more bytes would leave less of the disk free than `exhibit_free_percent`."""
    places = [config.data_path]
    if config.bucket is None and config.exhibits_path.is_dir():
        places.append(config.exhibits_path)  # It may lie on another disk.
    for place in places:
        with files.plain():
            usage = shutil.disk_usage(place)
        if (usage.free - expected) * 100 < usage.total * config.exhibit_free_percent:
            raise NoRoom(
                N_("The server's disk is nearly full, so it takes no files at the moment. Tell the operator.")
            )


def sweep_incoming(config: Config, *, older_than: dt.timedelta, now: dt.datetime) -> list[str]:
    """Remove what kill -9 or a power cut left half received. Returns the names of what was removed.

    A file that still grows is as young as its last byte.
    """
    swept = []
    with files.plain():
        for folder in (config.incoming_path, config.exhibits_path / "incoming"):
            for entry in files.entries(folder):
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False) or files.time(entry) > now - older_than:
                        continue
                    os.unlink(entry.path)
                    swept.append(files.foreign(entry.name))
    return swept
