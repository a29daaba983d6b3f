"""Pages: the ledger, its checkpoints and timestamps, its proofs, its download, and the program that checks it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from flask import Blueprint, Response, abort, current_app, jsonify, render_template, request
from flask.typing import ResponseReturnValue

from tracker import db, verifier
from tracker.config import Config
from tracker.errors import Invalid, TrackerError
from tracker.forms.base import say
from tracker.keyring import Keyring
from tracker.models import Timestamp
from tracker.queries import changes
from tracker.services import ledger, proofs, timestamps
from tracker.views import access, fresh
from tracker.views.parameters import ledger_position
from tracker.vocabulary import N_

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
    stamp = timestamps.newest(session)

    def make() -> ResponseReturnValue:
        return render_template(
            "ledger/page.html",
            position=position,
            checkpoint=checkpoint,
            stamp=stamp,
            public_key=_public_key().hex(),
            origin=_origin(),
            changes=changes.read(session, limit=20),
        )

    return fresh.answer(make, position, checkpoint.size if checkpoint else 0, stamp.id if stamp else 0)


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

    newest, stamp = ledger.newest_checkpoint(session), timestamps.newest(session)
    return fresh.answer(
        make, changes.position(session), newest.size if newest else 0, stamp.id if stamp else 0
    )


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(64 * 1024):
            yield piece


@blueprint.get("/ledger/proof")
@access.anyone
def proof() -> Response:
    """That `?entry=` stands in the ledger of the newest checkpoint, or of the one at `&size=` entries, as JSON."""
    return _proof(_inclusion)


@blueprint.get("/ledger/proof.tlog-proof")
@access.anyone
def proof_text() -> Response:
    """The same as text, which programs made by others read (C2SP tlog-proof)."""
    return _proof(_inclusion, text=True)


@blueprint.get("/ledger/consistency")
@access.anyone
def consistency() -> Response:
    """That the ledger of the checkpoint `&to=` (the newest) begins with that of the checkpoint `?from=`, as JSON."""
    return _proof(
        lambda: proofs.consistency(db.session(), _number("from"), _optional("to"), public_key=_public_key())
    )


def _inclusion() -> dict[str, Any]:
    return proofs.inclusion(db.session(), _number("entry"), size=_optional("size"), public_key=_public_key())


def _proof(make: Callable[[], dict[str, Any]], *, text: bool = False) -> Response:
    """The proof, or its refusal in a sentence: who asks for this is a program, or a person at a command line."""

    def answer() -> ResponseReturnValue:
        try:
            found = make()
        except TrackerError as error:
            return jsonify(error=say(error)), error.status
        if text:
            return Response(proofs.as_text(found), content_type="text/plain; charset=utf-8")
        return jsonify(found)

    session = db.session()
    newest = ledger.newest_checkpoint(session)
    return fresh.answer(answer, changes.position(session), newest.size if newest else 0)


def _number(name: str) -> int:
    found = _optional(name)
    if found is None:
        raise Invalid(N_("Say which: “%(name)s” is missing in the address."), name, name=name)
    return found


def _optional(name: str) -> int | None:
    if name not in request.args:
        return None
    try:
        found = ledger_position(name)
    except TrackerError as error:
        raise Invalid(error.message, name, **error.values) from None
    if not found:
        raise Invalid(N_("“%(name)s” must be 1 or more: entries are counted from 1."), name, name=name)
    return found


@blueprint.get("/ledger/timestamp/<int:number>.tsr")
@access.anyone
def timestamp(number: int) -> Response:
    """A timestamp as the authority sent it: `openssl ts -verify` checks it."""
    found = db.session().get(Timestamp, number) if number < 2**31 else None
    if found is None:
        abort(404)
    token, name = found.token, f"{found.subject.replace('/', '-')}.tsr"

    def make() -> ResponseReturnValue:
        response = Response(token, content_type="application/timestamp-reply")
        response.headers["Content-Disposition"] = f"attachment; filename={name}"
        return response

    return fresh.answer(make, found.id)


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
