"""Conditional answers: whoever holds a page that is still true gets 304 instead of the page again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache

from flask import Response, current_app, make_response, request
from flask.typing import ResponseReturnValue
from flask_babel import get_locale

from tracker.config import ROOT, Config


def answer(make: Callable[[], ResponseReturnValue], *parts: object) -> Response:
    """The answer of `make`, or 304 if the reader already has what these parts stand for.

    The parts are the last ledger entry that touched the page and, where the page counts days, today's date.
    """
    config: Config = current_app.extensions["settings"]
    settings = (config.site_name, config.team_name, config.public_url, config.review_months)
    seen = repr((program_version(), settings, str(get_locale()), request.full_path, parts))
    response = Response()
    response.set_etag(hashlib.sha256(seen.encode()).hexdigest()[:32], weak=True)
    response.make_conditional(request)
    if response.status_code != 304:
        etag = response.headers["ETag"]
        response = make_response(make())
        response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "public, no-cache"
    return response


@lru_cache
def program_version() -> str:
    """A hash over the program's own files, so that a new version never answers 304 for an old one's page."""
    digest = hashlib.sha256()
    for folder, pattern in (("tracker", "**/*.py"), ("templates", "**/*"), ("tracker/static", "*.css")):
        for path in sorted((ROOT / folder).glob(pattern)):
            if path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
