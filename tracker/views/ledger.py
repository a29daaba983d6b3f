"""Pages: the ledger, its newest checkpoint, its download, and the program that checks it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from flask import Blueprint, Response, current_app, render_template
from flask.typing import ResponseReturnValue

from tracker import db, verifier
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.queries import changes
from tracker.services import ledger
from tracker.views import access, fresh
from tracker.views.parameters import ledger_position

blueprint = Blueprint("ledger", __name__)

_IN_MEMORY = 8 * 1024 * 1024


def _origin() -> str:
    config: Config = current_app.extensions["settings"]
    return config.ledger_origin


def _public_key() -> bytes:
    keys: Keyring = current_app.extensions["keyring"]
    return keys.ledger_public_key


@blueprint.get("/ledger")
@access.anyone
def page() -> Response:
    """What the ledger is, where it stands, and how to check it without us."""
    session = db.session()
    position, checkpoint = changes.position(session), ledger.newest_checkpoint(session)

    def make() -> ResponseReturnValue:
        return render_template(
            "ledger/page.html",
            position=position,
            checkpoint=checkpoint,
            public_key=_public_key().hex(),
            origin=_origin(),
            changes=changes.read(session, limit=20),
        )

    return fresh.answer(make, position, checkpoint.size if checkpoint else 0)


@blueprint.get("/ledger/checkpoint")
@access.anyone
def checkpoint() -> Response:
    """The newest checkpoint, verbatim."""
    found = ledger.newest_checkpoint(db.session())
    if found is None:
        text = "There is no checkpoint yet.\n"
        return Response(text, 404, content_type="text/plain; charset=utf-8")
    note = found.note
    return fresh.answer(lambda: Response(note, content_type="text/plain; charset=utf-8"), found.size)


@blueprint.get("/ledger/entries")
@access.anyone
def entries() -> Response:
    """The whole ledger as JSON lines; with `?after=` only the entries that followed that position."""
    session, after = db.session(), ledger_position("after")

    def make() -> ResponseReturnValue:
        # Written to a file first, so that a slow reader holds no connection to the database.
        file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - `_pieces` closes it.
        for line in ledger.public_lines(session, origin=_origin(), public_key=_public_key(), after=after):
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        size = file.tell()
        file.seek(0)
        response = Response(_pieces(file), content_type="application/jsonl; charset=utf-8")
        response.call_on_close(file.close)
        response.content_length = size
        response.headers["Content-Disposition"] = 'attachment; filename="ledger.jsonl"'
        return response

    newest = ledger.newest_checkpoint(session)
    return fresh.answer(make, changes.position(session), newest.size if newest else 0)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(64 * 1024):
            yield piece


@blueprint.get("/ledger/verifier.py")
@access.anyone
def verifier_py() -> Response:
    """The program that checks a downloaded ledger, in one file."""
    program = Path(verifier.__file__).read_bytes()

    def make() -> ResponseReturnValue:
        response = Response(program, content_type="text/x-python; charset=utf-8")
        response.headers["Content-Disposition"] = "attachment; filename=verifier.py"
        return response

    return fresh.answer(make)
