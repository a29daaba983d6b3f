"""Every error as a page with a sentence. Nothing that was open is committed."""

from __future__ import annotations

import structlog
from flask import Flask, Response, g, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, SecurityError

from tracker.errors import InvalidFile, TrackerError
from tracker.forms.base import say
from tracker.vocabulary import N_

_log = structlog.get_logger()

SENTENCES = {
    400: N_("Your browser sent something this site does not understand."),
    401: N_("You are signed out. Sign in again; then go back and send the form once more."),
    403: N_("Your account may not do this."),
    404: N_("There is no such page. It may have been withdrawn, or the address has a mistake in it."),
    405: N_("This address cannot be used that way."),
    413: N_("What you sent is too large."),
    422: N_("Something you entered needs to be changed."),
    429: N_("Too many attempts. Wait a few minutes and try again."),
    500: N_("Something went wrong on our side. Nothing was changed. It has been noted."),
    503: N_("The database cannot be reached at the moment. Try again in a minute."),
}


def init_app(app: Flask) -> None:
    """Answer errors of every kind."""

    @app.errorhandler(TrackerError)
    def known(error: TrackerError) -> tuple[str, int]:
        problems = error.problems if isinstance(error, InvalidFile) else []
        return _page(error.status, say(error), problems)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response | HTTPException:
        if error.code is None or error.code < 400:
            return error
        if isinstance(error, SecurityError):
            # Asked for under a foreign host name: no page of ours can be addressed from there.
            return app.response_class(gettext(SENTENCES[400]), 400, mimetype="text/plain")
        body, status = _page(error.code)
        response = app.make_response((body, status))
        for name in ("Allow", "Retry-After"):
            for key, value in error.get_headers():
                if key == name:
                    response.headers[name] = value
        return response

    @app.errorhandler(DBAPIError)
    @app.errorhandler(PoolTimeout)
    def database(error: DBAPIError | PoolTimeout) -> ResponseReturnValue:
        # Gone, locked, full, damaged or read-only. What follows is a mistake of the program, not of the database.
        if isinstance(error, (DataError, IntegrityError, NotSupportedError, ProgrammingError)):
            return unknown(error)
        kind = error.orig if isinstance(error, DBAPIError) else error
        _log.error("database-unreachable", route=_route(), error=type(kind).__name__)
        body, status = _page(503)
        return app.make_response((body, status, {"Retry-After": "60"}))

    @app.errorhandler(Exception)
    def unknown(error: Exception) -> tuple[str, int]:
        if app.testing:
            raise error
        # The message could hold what somebody typed, so only its kind and place are logged.
        frames = error.__traceback__
        while frames is not None and frames.tb_next is not None:
            frames = frames.tb_next
        place = f"{frames.tb_frame.f_code.co_filename}:{frames.tb_lineno}" if frames else "?"
        _log.error("unexpected", route=_route(), error=type(error).__name__, place=place)
        return _page(500)


def _route() -> str:
    return str(request.url_rule) if request.url_rule else "none"


def _page(status: int, sentence: str | None = None, problems: list[str] | None = None) -> tuple[str, int]:
    session = g.pop("session", None)
    if session is not None:
        session.rollback()
        session.close()
    if sentence is None:
        sentence = gettext(SENTENCES.get(status, SENTENCES[500 if status >= 500 else 400]))
    return render_template("error.html", status=status, sentence=sentence, problems=problems or []), status
