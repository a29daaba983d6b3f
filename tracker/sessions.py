"""Who is signed in: the cookie, and the row in the database that it points to.

The cookie holds a random token and nothing else; the row holds the token's hash, and neither an IP address nor a
browser's name. Deleting the row signs the person out at once, in every process. Flask's own cookie session is off.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import Any

from flask import Flask, Request, Response, current_app, g, request
from flask.sessions import SessionInterface, SessionMixin

from tracker import clock, db, security
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Account
from tracker.security import Credentials
from tracker.services import sign_ins


class NoCookieSession(SessionInterface):
    """Nothing of ours uses `flask.session`; whatever tries to write to it fails loudly."""

    def open_session(self, app: Flask, request: Request) -> None:
        return None

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Sets no cookie."""


def init_app(app: Flask) -> None:
    """Give the app its way to find who is signed in, and its one-time notices."""
    app.session_interface = NoCookieSession()
    app.config.setdefault("ARGON2_MEMORY_KIB", security.MEMORY_KIB)
    app.extensions["find_viewer"] = find_viewer
    app.extensions["session_hash"] = session_hash
    app.extensions["notify"] = notify
    app.jinja_env.globals["notices"] = notices
    app.after_request(_keep_notice)


def credentials() -> Credentials:
    """How passwords and codes are kept here; the tests lower the cost."""
    keys: Keyring = current_app.extensions["keyring"]
    memory: int = current_app.config["ARGON2_MEMORY_KIB"]
    return Credentials(keys.derive("totp"), keys.derive("recovery"), memory)


# The cookie


def cookie_name(config: Config) -> str:
    """`__Host-` makes browsers refuse the cookie without Secure, with a domain, or from a subdomain."""
    return "__Host-sid" if config.public_url.startswith("https:") else "sid"


def set_cookie(response: Any, token: str) -> None:
    """Hand the token of a new sign-in to the browser. It goes when the browser is closed."""
    config = _config()
    g.session_hash = security.token_hash(token)
    response.set_cookie(
        cookie_name(config),
        token,
        path="/",
        secure=config.public_url.startswith("https:"),
        httponly=True,
        samesite="Lax",
    )


def clear_cookie(response: Any) -> None:
    """Take the cookie away. What signs out is that its row is deleted."""
    config = _config()
    response.delete_cookie(
        cookie_name(config),
        path="/",
        secure=config.public_url.startswith("https:"),
        httponly=True,
        samesite="Lax",
    )


# This request's person


def find_viewer() -> Account | None:
    """The signed-in person of this request, or None. `views.access.guard` asks, for routes that are not public."""
    config, now = _config(), clock.now()
    token = request.cookies.get(cookie_name(config), "")
    if not token:
        return None
    with db.reading(), db.new_session(db.engine()) as own:
        sign_in = sign_ins.find(own, token, idle_minutes=config.session_idle_minutes, now=now)
    if sign_in is None:
        return None
    if sign_ins.is_seen_anew(sign_in, now=now):
        with db.writing() as own:
            sign_ins.touch(own, sign_in.id, now=now)
    session = db.session()
    account = session.get(Account, sign_in.account_id)
    # Ends the transaction: a view that checks a password or counts an attempt must not hold SQLite's write lock.
    session.commit()
    if account is None or not account.active:
        return None
    g.session_hash, g.waiting_notice = sign_in.token_hash, sign_in.notice
    return account


def session_hash() -> str:
    """What form tokens are bound to: the sign-in on pages of the team, nothing on public pages."""
    found: str = g.get("session_hash", "")
    return found


def client_key(purpose: str, now: dt.datetime) -> str:
    """A counter's key for where a request comes from: its network, hashed with a key that changes daily."""
    keys: Keyring = current_app.extensions["keyring"]
    return keys.keyed_hash(
        f"client/{now.astimezone(dt.UTC):%Y-%m-%d}", f"{purpose}/{_network(request.remote_addr)}"
    )


def _network(address: str | None) -> str:
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.ip_network((found, 48), strict=False))
        found = found.ipv4_mapped
    return str(ipaddress.ip_network((found, 24), strict=False))


# One-time notices


def notify(message: str) -> None:
    """Show this sentence once on the next page of the signed-in person, after the redirect."""
    g.notice = message


def notices() -> list[str]:
    """The sentences to show on this page. Asking takes them away."""
    # Only after a redirect: a page rendered by a POST may hold SQLite's write lock, and its own message is on it.
    if not g.get("waiting_notice") or request.method != "GET":
        return []
    with db.writing() as own:
        sign_ins.leave_notice(own, g.session_hash, "")
    return [g.pop("waiting_notice")]


def _keep_notice(response: Response) -> Response:
    message, token_hash = g.pop("notice", None), session_hash()
    if message is not None and token_hash and response.status_code == 303:
        # What the view wanted to keep is committed; anything left open would stand in our way on SQLite.
        db.session().rollback()
        with db.writing() as own:
            sign_ins.leave_notice(own, token_hash, message)
    return response


def _config() -> Config:
    config: Config = current_app.extensions["settings"]
    return config
