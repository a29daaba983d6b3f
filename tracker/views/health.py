"""Addresses for machines: /health, /robots.txt, /.well-known/security.txt."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import Blueprint, Response, abort, current_app, jsonify, url_for
from sqlalchemy.exc import SQLAlchemyError

from tracker import clock, db
from tracker.config import Config
from tracker.models import Heartbeat
from tracker.queries import changes
from tracker.views import access

blueprint = Blueprint("health", __name__)

#: The scheduler ticks several times a minute; one that was silent for so long has stopped.
SILENCE = dt.timedelta(minutes=5)


@blueprint.get("/health")
@access.anyone
def health() -> Response:
    """200 while everything works; 503 if the database cannot be read or the scheduler has stopped.

    For monitoring. Nothing here is secret, and nothing says who uses the site.
    """
    found: dict[str, Any] = {"status": "ok", "database": "ok", "ledger_position": None}
    scheduler: dict[str, Any] = {"status": "never seen", "heartbeat_age_seconds": None}
    try:
        session = db.session()
        found["ledger_position"] = changes.position(session)
        beat = session.get(Heartbeat, "scheduler")
    except SQLAlchemyError:
        found["database"] = "unreachable"
        scheduler["status"] = "unknown"
        beat = None
    if beat is not None:
        age = clock.now() - beat.at
        scheduler["heartbeat_age_seconds"] = max(0, int(age.total_seconds()))
        scheduler["status"] = "ok" if age <= SILENCE else "silent"
    if scheduler["status"] != "ok" or found["database"] != "ok":
        found["status"] = "degraded"
    response = jsonify(**found, scheduler=scheduler)
    response.status_code = 200 if found["status"] == "ok" else 503
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/robots.txt")
@access.anyone
def robots() -> Response:
    """Search engines may read every public page; pages with a personal link in their address are not theirs."""
    hidden = ("/follow/", "/unsubscribe/", "/sign-in", "/workspace", "/review")
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in hidden), "Allow: /"]
    return Response("\n".join(lines) + "\n", content_type="text/plain; charset=utf-8")


@blueprint.get("/.well-known/security.txt")
@access.anyone
def security() -> Response:
    """Whom to tell about a security hole (RFC 9116), if the operator has said so."""
    config: Config = current_app.extensions["settings"]
    if not config.security_contact:
        abort(404)
    # Less than a year ahead, as the standard asks, and the same all day.
    expires = (clock.now() + dt.timedelta(days=180)).strftime("%Y-%m-%dT00:00:00Z")
    lines = [
        f"Contact: {config.security_contact}",
        f"Expires: {expires}",
        "Preferred-Languages: en",
        f"Canonical: {config.public_url}{url_for('health.security')}",
    ]
    return Response("\n".join(lines) + "\n", content_type="text/plain; charset=utf-8")
