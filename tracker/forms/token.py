"""The hidden token that every form carries: proof that a POST comes from a page of ours.

Stateless, so that public pages set no cookie. For a signed-in person it is bound to their session; for everybody
else to nothing but time, which is enough, because they have no rights that another site could borrow.
Why not Flask-WTF's: docs/decisions/0002-form-tokens.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from flask import current_app, g, request
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from tracker.errors import TrackerError
from tracker.vocabulary import N_

View = TypeVar("View", bound=Callable[..., object])

FIELD = "form_token"
_DAY = 24 * 3600


class TokenRefused(TrackerError):
    """A POST without its token, or from another site."""

    status = 400


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.extensions["keyring"].derive("form-token"))


def _bound_to() -> str:
    session_hash: str = current_app.extensions["session_hash"]()
    return session_hash


def make() -> str:
    """A token for a form on the page being rendered."""
    if "form_token" not in g:
        g.form_token = _serializer().dumps(_bound_to())
    token: str = g.form_token
    return token


def check() -> None:
    """Before every POST: raise TokenRefused unless token and origin are ours."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    view = current_app.view_functions.get(request.endpoint or "")
    if view is None or getattr(view, "tokenless", False):
        return
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise TokenRefused(
            N_("This form was sent from another website. Open the page here and send it again.")
        )
    origin = request.headers.get("Origin", "null")
    if origin != "null" and urlsplit(origin).netloc != request.host:
        raise TokenRefused(
            N_("This form was sent from another website. Open the page here and send it again.")
        )
    try:
        bound = _serializer().loads(request.form.get(FIELD, ""), max_age=30 * _DAY)
    except SignatureExpired:
        raise TokenRefused(N_("This page is too old. Go back, reload it and send the form again.")) from None
    except BadSignature:
        raise TokenRefused(
            N_(
                "The form's security token is missing or wrong. Go back, reload the page and send the form again."
            )
        ) from None
    if bound != _bound_to():
        raise TokenRefused(
            N_(
                "You signed in or out since this page was opened. Go back, reload the page and send the form again."
            )
        )


def tokenless(view: View) -> View:
    """Exempt a route from the token: only RFC 8058 one-click leaving, whose link is the proof."""
    view.tokenless = True  # type: ignore[attr-defined]
    return view
