"""Blobs in a folder of the local disk."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tracker.config import Config
from tracker.errors import StorageMissing
from tracker.storage import files
from tracker.storage.incoming import Incoming


class FolderStore:
    """Blobs as files, readable by their owner only. Links in the folder are never followed."""

    def __init__(self, config: Config) -> None:
        self._root = config.exhibits_path

    def keep(self, incoming: Incoming) -> None:
        try:
            with files.plain():
                incoming.prove()
                self._root.mkdir(mode=0o700, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    (self._root / incoming.sha256[:2]).mkdir(mode=0o700)
                with files.folder(self._root / incoming.sha256[:2]) as folder:
                    self._place(incoming, folder)
                    os.fsync(folder)
                # Somebody else may have made these folders this very moment: always, not only when we made them.
                for place in (self._root, self._root.parent):
                    with files.folder(place, follow=True) as folder:
                        os.fsync(folder)
        except BaseException:
            incoming.discard()
            raise

    def _place(self, incoming: Incoming, folder: int) -> None:
        try:
            os.rename(incoming.path, incoming.sha256, dst_dir_fd=folder)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # The folder lies on another disk: copy beside, then rename there.
            (self._root / "incoming").mkdir(mode=0o700, exist_ok=True)
            beside = Incoming(self._root / "incoming" / secrets.token_hex(16), incoming.sha256, incoming.size)
            try:
                with files.regular(incoming.path) as file:
                    files.copy(files.chunks(file), incoming.sha256, beside.path)
                os.rename(beside.path, incoming.sha256, dst_dir_fd=folder)
            except BaseException:
                beside.discard()
                raise
            incoming.discard()

    def open(self, sha256: str) -> Iterator[bytes]:
        return files.begun(self._read(sha256))

    def _read(self, sha256: str) -> Iterator[bytes]:
        with files.plain(), self._file(sha256) as file:
            yield b""
            yield from files.chunks(file)

    def fetch(self, sha256: str, into: Path) -> None:
        with files.plain():
            files.copy(self.open(sha256), sha256, into)

    def size(self, sha256: str) -> int | None:
        try:
            with files.plain(), self._file(sha256) as file:
                return os.fstat(file.fileno()).st_size
        except StorageMissing:
            return None

    def delete(self, sha256: str) -> None:
        if not files.DIGEST.fullmatch(sha256):
            return
        with (
            files.plain(),
            contextlib.suppress(FileNotFoundError),
            files.folder(self._root / sha256[:2]) as folder,
        ):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(sha256, dir_fd=folder)
            os.fsync(folder)  # Also when it was gone: who removed it may have died before this.

    def names(self) -> Iterator[tuple[str, dt.datetime]]:
        with files.plain():
            yield from self._walk(self._root, "")

    def _walk(self, folder: Path, place: str) -> Iterator[tuple[str, dt.datetime]]:
        for entry in files.entries(folder):
            here = place + entry.name
            if entry.is_dir(follow_symlinks=False):
                if here != "incoming":
                    yield from self._walk(Path(entry.path), f"{here}/")
                continue
            with contextlib.suppress(FileNotFoundError):
                time = files.time(entry)
                yield (files.name if entry.is_file(follow_symlinks=False) else files.foreign)(here), time

    def check(self, sha256: str) -> str:
        return files.hexdigest(self.open(sha256))

    @contextlib.contextmanager
    def _file(self, sha256: str) -> Iterator[BinaryIO]:
        """The blob, open for reading. Neither its folder nor itself may be a link."""
        if not files.DIGEST.fullmatch(sha256):
            raise StorageMissing(files.MISSING)
        try:
            with files.folder(self._root / sha256[:2]) as folder:
                file = files.regular(sha256, folder)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise StorageMissing(files.MISSING) from None
            raise
        with file:
            yield file
