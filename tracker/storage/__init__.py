"""The bytes of exhibits and of public copies, found by their SHA-256 and never changed.

A file is received into `data/incoming` on the local disk, looked at there, then kept: in the folder `data/exhibits` or
in the bucket that `storage_url` names. Both lay a blob under `ab/abcdef…`, the first two characters of its hash and the
hash. `keep` returns when the blob survives kill -9 and a power cut, so write the row after it, and answer after the row.

Only bytes whose hash was reckoned again a moment before get a blob's name. Therefore the same content again simply
takes the place of what is there: it stays one blob, a damaged one is mended, and its time is new, so that `fsck` does
not take it for forgotten before its row is written.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tracker.config import Config
from tracker.storage.bucket import BucketStore
from tracker.storage.folder import FolderStore
from tracker.storage.incoming import Incoming, Receiver, check_room, receive, sweep_incoming

__all__ = [
    "BucketStore", "FolderStore", "Incoming", "Receiver", "Store",
    "check_room", "open_store", "receive", "sweep_incoming",
]  # fmt: skip


class Store(Protocol):
    """Where blobs are. What is no SHA-256 in lower-case hex names no blob. All may raise StorageFailed."""

    def keep(self, incoming: Incoming) -> None:
        """Store it durably. The incoming file is gone afterwards, also if this fails."""

    def open(self, sha256: str) -> Iterator[bytes]:
        """The bytes, at most 1 MB at a time. Raises StorageMissing at once. Close it, or read it to its end."""

    def fetch(self, sha256: str, into: Path) -> None:
        """Copy a blob into a new file. Raises StorageMissing, or StorageFailed if the blob is damaged."""

    def size(self, sha256: str) -> int | None:
        """The size in bytes; none if there is no such blob."""

    def delete(self, sha256: str) -> None:
        """Remove a blob durably. One that is not there is no mistake."""

    def names(self) -> Iterator[tuple[str, dt.datetime]]:
        """Everything that is there: a blob's SHA-256 and when it was kept.

        What is no blob of ours, such as a stray file or a link, comes as "./" and its place.
        """

    def check(self, sha256: str) -> str:
        """The hash that the stored bytes have now: the name's, if they are whole. Raises StorageMissing."""


def open_store(config: Config) -> Store:
    """The store that the settings name."""
    return FolderStore(config) if config.bucket is None else BucketStore(config.bucket)
