"""Pages: which digests were sent, for everybody; and the outbox, for those who run the place."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path

from flask import Blueprint, abort, current_app, render_template, request

from tracker import db
from tracker.config import Config
from tracker.queries import digests
from tracker.views import access

blueprint = Blueprint("digests", __name__)

_NAME = re.compile(r"[0-9a-f]{32}")
_MOST_SHOWN = 200
_HEADERS = ("From", "To", "Subject", "Date", "Message-ID", "List-Unsubscribe", "List-Unsubscribe-Post")


@dataclass(frozen=True)
class Mail:
    """One file of the outbox."""

    name: str
    written_at: dt.datetime
    headers: list[tuple[str, str]]
    text: str

    def header(self, name: str) -> str:
        """What a header says, or nothing."""
        return dict(self.headers).get(name, "")


@blueprint.get("/digests")
@access.anyone
def page() -> str:
    """Past issues: ledger ranges and round numbers, nobody's name. With a number and a code: what that digest said."""
    session = db.session()
    number, code = request.args.get("number", ""), _plain(request.args.get("code", ""))
    asked = bool(number or code)
    digest = None
    if number.isascii() and number.isdigit() and len(number) < 10 and code.isascii():
        digest = digests.by_code(session, int(number), code)
    return render_template(
        "digests/page.html",
        issues=digests.past(session),
        asked=asked,
        number=number[:20],
        code=request.args.get("code", "")[:20],
        digest=digest,
        words=digests.text_of(session, digest) if digest else "",
    )


@blueprint.get("/outbox")
@access.admins
def outbox() -> str:
    """The mails that lie in the outbox folder, newest first."""
    config = _config()
    files = sorted(_files(config.outbox_path), key=lambda found: found[1], reverse=True)
    return render_template(
        "digests/outbox.html",
        mails=[_read(path) for path, _ in files[:_MOST_SHOWN]],
        total=len(files),
        by_smtp=bool(config.smtp_url.get_secret_value()),
    )


@blueprint.get("/outbox/<name>")
@access.admins
def outbox_mail(name: str) -> str:
    """One mail: its headers and its text part."""
    path = _config().outbox_path / f"{name}.eml"
    if not _NAME.fullmatch(name) or not path.is_file():
        abort(404)
    return render_template("digests/mail.html", mail=_read(path))


def _plain(code: str) -> str:
    """A code as people type it: letters that are read wrongly are forgiven (Crockford's base 32)."""
    letters = "".join(code.upper().split()).replace("-", "").translate(str.maketrans("OIL", "011"))
    return f"{letters[:4]}-{letters[4:8]}"


def _files(folder: Path) -> list[tuple[Path, float]]:
    if not folder.is_dir():
        return []
    found = []
    for path in folder.glob("*.eml"):
        try:
            if _NAME.fullmatch(path.stem):
                found.append((path, path.stat().st_mtime))
        except FileNotFoundError:  # Somebody is tidying up.
            continue
    return found


def _read(path: Path) -> Mail:
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    body = message.get_body(("plain",))
    return Mail(
        path.stem,
        dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC),
        [(name, str(message[name])) for name in _HEADERS if message[name]],
        body.get_content() if body else "",
    )


def _config() -> Config:
    found: Config = current_app.extensions["settings"]
    return found
