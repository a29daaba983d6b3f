"""The team's pages about dissenting notes: attach one, look at it, release or return it, take it back, withdraw it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from tracker import clock, db, permissions
from tracker.errors import Conflict
from tracker.forms.base import say
from tracker.forms.dissent import DissentForm, NoteDecisionForm
from tracker.forms.finding import WithdrawalForm
from tracker.models import DissentingNote, Finding
from tracker.queries import queue, teamwork
from tracker.services import dissent as service
from tracker.views import access, attempts

blueprint = Blueprint("dissent", __name__, url_prefix="/workspace")
Page = str | Response | tuple[str, int]


@blueprint.route("/findings/<key>/dissent", methods=["GET", "POST"])
@access.reviewers
def attach(key: str) -> Page:
    """Write a note on a proposal, or on a finding that stands."""
    session = db.session()
    finding, form = _finding(key), DissentForm(request.form or None)
    if not permissions.can_dissent(access.viewer(), finding):
        abort(403)
    if request.method == "GET":
        return _form_page(form, finding, 200)

    def act() -> Any:
        seen = form.version.data or 0
        service.attach(session, finding, form.body.data, author=access.viewer(), seen=seen, now=clock.now())
        return True

    try:
        if form.validate() and attempts.commit(form, act):
            current_app.extensions["notify"](gettext("Your note is attached."))
            return redirect(url_for("findings.show", key=key, _anchor="dissent"), 303)
    except Conflict as error:
        session.rollback()
        form.form_errors.append(say(error))
        return _form_page(form, _finding(key), 409)
    return _form_page(form, _finding(key), 422)


@blueprint.get("/dissent/<key>")
@access.team
def show(key: str) -> Page:
    return _show_page(_fetch(key), NoteDecisionForm(), WithdrawalForm())


@blueprint.post("/dissent/<key>/decision")
@access.reviewers
def decide(key: str) -> Page:
    """Release a note on a finding that stands, or return it to its author."""
    note, form = _fetch(key), NoteDecisionForm(request.form)

    def act() -> Any:
        if form.decision.data == "approve":
            entry = service.release(
                db.session(), note, reviewer=access.viewer(), harm=form.answers(), now=clock.now()
            )
            return gettext("Published as ledger entry %(seq)s.", seq=entry.seq)
        service.send_back(
            db.session(), note, reviewer=access.viewer(), reason=form.reason.data, now=clock.now()
        )
        return gettext("Returned to its author.")

    if form.validate() and (notice := attempts.commit(form, act)):
        current_app.extensions["notify"](notice)
        return redirect(url_for("findings.show", key=note.finding.key, _anchor="dissent"), 303)
    return _show_page(_fetch(key), form, WithdrawalForm(), 422)


@blueprint.post("/dissent/<key>/take-back")
@access.reviewers
def take_back(key: str) -> Response:
    note = _fetch(key)
    finding = note.finding
    service.take_back(db.session(), note, author=access.viewer(), now=clock.now())
    db.session().commit()
    current_app.extensions["notify"](gettext("Your note is taken back."))
    return redirect(url_for("findings.show", key=finding.key), 303)


@blueprint.post("/dissent/<key>/withdrawal")
@access.reviewers
def withdraw(key: str) -> Page:
    note, form = _fetch(key), WithdrawalForm(request.form)

    def act() -> Any:
        service.withdraw(
            db.session(), note, reviewer=access.viewer(), reason=form.reason.data, now=clock.now()
        )
        return gettext("Withdrawn.")

    if form.validate() and (notice := attempts.commit(form, act)):
        current_app.extensions["notify"](notice)
        return redirect(url_for("findings.show", key=note.finding.key, _anchor="dissent"), 303)
    return _show_page(_fetch(key), NoteDecisionForm(), form, 422)


def _finding(key: str) -> Finding:
    return queue.finding_by_key(db.session(), key, access.viewer()) or abort(404)


def _fetch(key: str) -> DissentingNote:
    return teamwork.note_by_key(db.session(), key, access.viewer()) or abort(404)


def _form_page(form: DissentForm, finding: Finding, status: int) -> Page:
    # A note speaks about what stands on this page; after a refusal that is the newest text.
    form.version.data = finding.version
    page = render_template("findings/dissent.html", form=form, finding=finding)
    return page if status == 200 else (page, status)


def _show_page(
    note: DissentingNote, form: NoteDecisionForm, withdrawal: WithdrawalForm, status: int = 200
) -> Page:
    page = render_template("findings/note.html", note=note, form=form, withdrawal=withdrawal)
    return page if status == 200 else (page, status)
