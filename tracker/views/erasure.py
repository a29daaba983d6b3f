"""Erasing evidence: one person of the team asks for it, another confirms or refuses."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, abort, current_app, redirect, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from tracker import clock, db
from tracker.forms.evidence import ErasureForm
from tracker.models import Erasure, Evidence
from tracker.queries import queue
from tracker.services import erasure as service
from tracker.views import access, attempts, blobs
from tracker.views import evidence as page

blueprint = Blueprint("erasure", __name__, url_prefix="/workspace/evidence")


@blueprint.post("/<key>/erasure")
@access.team
def ask(key: str) -> page.Page:
    evidence, form = _fetch(key), ErasureForm(request.form)

    def act() -> Erasure:
        return service.request(
            db.session(), evidence, reason=form.reason.data, account=access.viewer(), now=clock.now()
        )

    if form.validate() and attempts.commit(form, act):
        return _back(key, gettext("Another reviewer has to confirm it. Nothing is erased yet."))
    return page.show_page(_fetch(key), erasure_form=form, status=422)


@blueprint.post("/<key>/erasure/refusal")
@access.team
def refuse(key: str) -> Response:
    service.refuse(db.session(), _open(_fetch(key)), account=access.viewer(), now=clock.now())
    db.session().commit()
    return _back(key, gettext("It is not erased."))


@blueprint.post("/<key>/erasure/confirmation")
@access.reviewers
def confirm(key: str) -> page.Page:
    evidence = _fetch(key)
    if "sure" not in request.form:
        form = ErasureForm()
        form.form_errors.append(gettext("Tick the box to confirm that it is to be erased for good."))
        return page.show_page(evidence, erasure_form=form, status=422)
    unused = service.confirm(db.session(), _open(evidence), account=access.viewer(), now=clock.now())
    db.session().commit()
    blobs.remove(unused)
    db.wipe_log(db.engine())
    return _back(key, gettext("Erased for good."))


def _fetch(key: str) -> Evidence:
    return queue.evidence_by_key(db.session(), key, access.viewer()) or abort(404)


def _open(evidence: Evidence) -> Erasure:
    return service.open_for(db.session(), evidence) or abort(404)


def _back(key: str, notice: str) -> Response:
    notify: Callable[[str], None] = current_app.extensions["notify"]
    notify(notice)
    return redirect(url_for("evidence.show", key=key), 303)
