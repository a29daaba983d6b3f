"""Removing bytes that nothing uses any more, after the rows that used them are gone."""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from flask import current_app

from tracker import db, storage
from tracker.errors import StorageFailed
from tracker.services import fsck

_log = structlog.get_logger()


def remove(unused: Iterable[str]) -> None:
    """Remove these blobs, unless something else uses them. What fails here is removed by the weekly check."""
    db.session().close()
    store: storage.Store = current_app.extensions["store"]
    for sha256 in unused:
        try:
            with db.writing() as session:
                fsck.remove_unused(session, store, sha256)
        except StorageFailed as error:
            _log.error("unused-file-not-removed", error=type(error).__name__)
