"""The bytes of exhibits on their way: received with a request, laid on the local disk, handed out, removed."""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog
from flask import Response, abort, current_app, request
from werkzeug.datastructures import CombinedMultiDict, FileStorage

from tracker import clock, db, media, storage, uploads
from tracker.config import Config
from tracker.errors import Invalid, StorageFailed
from tracker.models import Exhibit
from tracker.services import exhibits as service
from tracker.services import fsck
from tracker.views import access
from tracker.vocabulary import N_

_log = structlog.get_logger()


def store() -> storage.Store:
    """Where this app keeps its blobs."""
    found: storage.Store = current_app.extensions["store"]
    return found


def config() -> Config:
    """The settings of this app."""
    found: Config = current_app.extensions["settings"]
    return found


# Coming in.


def typed() -> CombinedMultiDict[str, Any]:
    """The fields of a form that has a file among them."""
    return CombinedMultiDict([request.files, request.form])


@contextmanager
def received() -> Iterator[tuple[storage.Incoming, str]]:
    """The file that came with this request, on the disk, and its harmless name. Gone afterwards if it was not kept."""
    sent: FileStorage | None = request.files.get("file")
    receivers: list[storage.Receiver] = request.receivers  # type: ignore[attr-defined]
    if sent is None or not sent.filename or not receivers:
        raise Invalid(N_("Choose a file."), "file")
    incoming = receivers[0].finish()
    try:
        yield incoming, media.clean_name(sent.filename)
    finally:
        incoming.discard()


def again(path: Path) -> storage.Incoming:
    """What was made here from a file, as if it had been received."""
    with storage.receive(config(), limit=config().exhibit_max_mb * uploads.MB) as receiver:
        with path.open("rb") as file:
            while piece := file.read(uploads.MB):
                receiver.write(piece)
        return receiver.finish()


def check_quota(size: int) -> None:
    """Raise Invalid if this person would store more than one person may in a day."""
    service.check_quota(
        db.session(),
        account=access.viewer(),
        expected=size,
        megabytes=config().exhibit_daily_mb,
        now=clock.now(),
    )


def let_others_write() -> None:
    """Before looking into a file, which takes long: on SQLite an open transaction of a POST keeps all writers waiting."""
    db.session().commit()


# Looked at, and going out.


@contextmanager
def local(exhibit: Exhibit) -> Iterator[tuple[Path, Path]]:
    """The original on the local disk, in a folder of its own that is gone afterwards."""
    incoming = config().incoming_path
    incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=incoming, prefix="look-") as name:
        folder = Path(name)
        store().fetch(exhibit.sha256 or "", folder / "original")
        yield folder / "original", folder


def stored(sha256: str | None, size: int) -> Iterator[bytes]:
    """The bytes of a blob of this size."""
    if sha256 is None:
        abort(404)
    if store().size(sha256) != size:
        raise StorageFailed(
            N_("This file is missing or damaged in the store. The operator has to run: tracker fsck")
        )
    return store().open(sha256)


def attachment(chunks: Iterator[bytes], size: int, name: str) -> Response:
    """A file to keep and not to look at, without a type, in a sandbox."""
    response = Response(chunks, content_type="application/octet-stream")
    response.content_length = size
    names = {"filename": name}
    if not name.isascii():
        # RFC 6266: a header holds ASCII; programs of today read the second one.
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        names = {"filename": plain, "filename*": f"UTF-8''{quote(name, safe='')}"}
    response.headers.set("Content-Disposition", "attachment", **names)
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


def remove(unused: Iterable[str]) -> None:
    """Remove these blobs, unless something else uses them. What fails here is removed by the weekly check."""
    db.session().close()
    for sha256 in unused:
        try:
            with db.writing() as session:
                fsck.remove_unused(session, store(), sha256)
        except StorageFailed as error:
            _log.error("unused-file-not-removed", error=type(error).__name__)
