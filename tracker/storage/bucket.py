"""Blobs in a bucket of an S3-compatible object store, by obstore. No other module knows obstore."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracker.config import Bucket
from tracker.errors import StorageFailed, StorageMissing
from tracker.storage import files
from tracker.storage.incoming import Incoming
from tracker.vocabulary import N_

MB = 1024 * 1024
#: An upload or download goes piece by piece; 5 MB is the smallest piece that S3 allows.
PIECE = 5 * MB
#: How long the object store may take to answer one request. A piece must get through within it.
ANSWER = dt.timedelta(seconds=60)


class BucketStore:
    """Blobs as objects in an S3-compatible store.

    obstore starts threads at its first use, and a child that is forked after that hangs in it and takes its parent
    along. So its client is made at the first use, and a forked child is refused before it touches anything.
    """

    _process: int | None = None  # Of all stores: the process in which obstore was first used.

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._made: Any = None

    def keep(self, incoming: Incoming) -> None:
        try:
            with files.plain():
                incoming.prove()
            with _reached() as obstore:
                # Not mode="create": it holds the whole file in memory, and servers other than Amazon's lack it.
                obstore.put(
                    self._client(),
                    self._key(incoming.sha256),
                    incoming.path,
                    chunk_size=PIECE,
                    max_concurrency=2,
                )
            if self.size(incoming.sha256) != incoming.size:
                raise StorageFailed(files.DAMAGED)
        finally:
            incoming.discard()

    def open(self, sha256: str) -> Iterator[bytes]:
        return files.begun(self._read(sha256))

    def _read(self, sha256: str) -> Iterator[bytes]:
        size = self.size(sha256)
        if size is None:
            raise StorageMissing(files.MISSING)
        yield b""
        # Piece by piece, because the time limit of one request would end a download by somebody with a slow line.
        for start in range(0, size, PIECE):
            with _reached() as obstore, _found():
                piece = memoryview(
                    obstore.get_range(
                        self._client(), self._key(sha256), start=start, end=min(start + PIECE, size)
                    )
                )
            for place in range(0, len(piece), files.CHUNK):
                yield piece[place : place + files.CHUNK].tobytes()

    def fetch(self, sha256: str, into: Path) -> None:
        with files.plain():
            files.copy(self.open(sha256), sha256, into)

    def size(self, sha256: str) -> int | None:
        if not files.DIGEST.fullmatch(sha256):
            return None
        try:
            with _reached() as obstore, _found():
                return int(obstore.head(self._client(), self._key(sha256))["size"])
        except StorageMissing:
            return None

    def delete(self, sha256: str) -> None:
        if files.DIGEST.fullmatch(sha256):
            with _reached() as obstore, contextlib.suppress(FileNotFoundError):
                obstore.delete(self._client(), self._key(sha256))

    def names(self) -> Iterator[tuple[str, dt.datetime]]:
        prefix = f"{self._bucket.prefix}/" if self._bucket.prefix else ""
        with _reached() as obstore:
            for batch in obstore.list(self._client(), self._bucket.prefix or None, chunk_size=1000):
                for item in batch:
                    yield files.name(item["path"].removeprefix(prefix)), item["last_modified"]

    def check(self, sha256: str) -> str:
        return files.hexdigest(self.open(sha256))

    def _key(self, sha256: str) -> str:
        return "/".join(part for part in (self._bucket.prefix, sha256[:2], sha256) if part)

    def _client(self) -> Any:
        BucketStore._process = BucketStore._process or os.getpid()
        if BucketStore._process != os.getpid():
            raise RuntimeError(
                "The object store was used before this process was forked. Start it afresh instead."
            )
        if self._made is None:
            from obstore.store import S3Store

            bucket = self._bucket
            credential = {"access_key_id": bucket.key, "secret_access_key": bucket.secret}
            # Everything that AWS_… variables would change unasked is said here. Keys handed over by a function
            # are not joined by AWS_SESSION_TOKEN.
            self._made = S3Store(
                bucket.name,
                credential_provider=lambda: {**credential, "token": None, "expires_at": None},  # type: ignore[arg-type]
                endpoint=bucket.endpoint,
                aws_endpoint_url_s3=bucket.endpoint,
                region=bucket.region,
                virtual_hosted_style_request=False,
                skip_signature=False,
                unsigned_payload=False,  # The hash of each piece is signed with it, so the server checks it.
                disable_bulk_delete=True,
                client_options={
                    "allow_http": bucket.endpoint.startswith("http:"),
                    "connect_timeout": dt.timedelta(seconds=5),
                    "timeout": ANSWER,
                },
                retry_config={"max_retries": 3, "retry_timeout": dt.timedelta(seconds=20)},
            )
        return self._made


@contextlib.contextmanager
def _reached() -> Iterator[Any]:
    """obstore, whose errors become sentences: its own hold addresses and what the server said."""
    import obstore
    from obstore.exceptions import BaseError, InvalidPathError, PermissionDeniedError, UnauthenticatedError

    try:
        yield obstore
    except (PermissionDeniedError, UnauthenticatedError):
        raise StorageFailed(
            N_("The object store refuses the tracker's key. Tell the operator to check storage_url.")
        ) from None
    except InvalidPathError:
        raise StorageFailed(
            N_(
                "Somebody put an object into the bucket whose name has “..” or “//” in it. Tell the operator to remove it."
            )
        ) from None
    except FileNotFoundError:
        raise StorageFailed(
            N_("The object store has no such bucket. Tell the operator to check storage_url.")
        ) from None
    except (BaseError, OSError):
        raise StorageFailed(
            N_(
                "The object store cannot be reached at the moment. Try again in a minute, or tell the operator."
            )
        ) from None


@contextlib.contextmanager
def _found() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise StorageMissing(files.MISSING) from None
