"""Asking for a capture of a linked page, after reading what it shows to the other side; trying again; taking back."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, abort, current_app, redirect, render_template, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from tracker import capture, clock, db
from tracker.config import Config
from tracker.forms.base import BaseForm
from tracker.models import Capture, Evidence, EvidenceLink
from tracker.queries import captures as query
from tracker.queries import queue
from tracker.services import captures as service
from tracker.views import access, attempts

blueprint = Blueprint("captures", __name__, url_prefix="/workspace")
Page = str | Response | tuple[str, int]


@blueprint.get("/evidence/<key>/captures/<int:link_id>")
@access.team
def ask(key: str, link_id: int) -> Page:
    evidence, link = _fetch(key, link_id)
    service.check_possible(db.session(), evidence, author=access.viewer(), settings=_settings())
    return _page(evidence, link, BaseForm())


@blueprint.post("/evidence/<key>/captures/<int:link_id>")
@access.team
def begin(key: str, link_id: int) -> Page:
    evidence, link = _fetch(key, link_id)
    form = BaseForm()

    def act() -> Any:
        service.queue(
            db.session(),
            evidence,
            link.url,
            author=access.viewer(),
            settings=_settings(),
            check=capture.check,
            now=clock.now(),
        )
        return gettext("The page will be captured.")

    if notice := attempts.commit(form, act):
        current_app.extensions["notify"](notice)
        return redirect(url_for("evidence.show", key=key), 303)
    return _page(*_fetch(key, link_id), form), 422


@blueprint.post("/captures/<key>/again")
@access.team
def again(key: str) -> Page:
    found = _capture(key)
    service.again(db.session(), found, author=access.viewer(), settings=_settings(), now=clock.now())
    return _back(found, gettext("The page will be captured."))


@blueprint.post("/captures/<key>/cancel")
@access.team
def cancel(key: str) -> Page:
    found = _capture(key)
    evidence = found.evidence
    service.cancel(db.session(), found, author=access.viewer(), now=clock.now())
    return _back(evidence, gettext("The page will not be captured."))


def _page(evidence: Evidence, link: EvidenceLink, form: BaseForm) -> str:
    return render_template(
        "captures/ask.html",
        evidence=evidence,
        link=link,
        form=form,
        host=urlsplit(link.url).hostname or "",
        parameters=service.parameters(link.url),
    )


def _back(row: Capture | Evidence, notice: str) -> Response:
    key = row.evidence.key if isinstance(row, Capture) else row.key
    db.session().commit()
    current_app.extensions["notify"](notice)
    return redirect(url_for("evidence.show", key=key), 303)


def _fetch(key: str, link_id: int) -> tuple[Evidence, EvidenceLink]:
    evidence = queue.evidence_by_key(db.session(), key, access.viewer()) or abort(404)
    return evidence, next((link for link in evidence.links if link.id == link_id), None) or abort(404)


def _capture(key: str) -> Capture:
    return query.by_key(db.session(), key, access.viewer()) or abort(404)


def _settings() -> Config:
    found: Config = current_app.extensions["settings"]
    return found
