"""Giving a thing to somebody, taking it oneself, and taking the assignment away."""

from __future__ import annotations

from flask import Blueprint, abort, current_app, redirect, request
from flask_babel import gettext
from werkzeug.wrappers import Response

from tracker import clock, db
from tracker.queries import queue
from tracker.services import assignments as service
from tracker.views import access, teamwork

blueprint = Blueprint("assignments", __name__, url_prefix="/workspace/assignments")


@blueprint.post("/<noun>/<key>")
@access.team
def assign(noun: str, key: str) -> Response:
    """Give it to the person named in the form."""
    session, row = db.session(), teamwork.fetch(noun, key)
    asked = request.form.get("account", "")
    to = next((person for person in queue.team(session) if person.key == asked), None) or abort(404)
    service.assign(session, row, to, by=access.viewer(), now=clock.now())
    session.commit()
    current_app.extensions["notify"](gettext("Assigned to %(name)s.", name=to.name))
    return redirect(teamwork.address(row), 303)


@blueprint.post("/<noun>/<key>/release")
@access.team
def release(noun: str, key: str) -> Response:
    """It is nobody's again."""
    row = teamwork.fetch(noun, key)
    service.release(db.session(), row, by=access.viewer(), now=clock.now())
    db.session().commit()
    current_app.extensions["notify"](gettext("Assigned to nobody."))
    return redirect(teamwork.address(row), 303)
