"""The team's pages about consent: recording what a person agreed to, and that they took it back."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from tracker import clock, db
from tracker.errors import Invalid
from tracker.forms.source import ConsentEndForm, ConsentForm
from tracker.models import Consent, Evidence
from tracker.queries import queue
from tracker.queries import sources as query
from tracker.services import consents as service
from tracker.views import access, attempts
from tracker.vocabulary import N_, Precision, State

blueprint = Blueprint("consents", __name__, url_prefix="/workspace/evidence")
Page = str | Response | tuple[str, int]


@blueprint.route("/<key>/consents/new", methods=["GET", "POST"])
@access.team
def new(key: str) -> Page:
    evidence = _evidence(key)
    only = evidence.sources[0].pseudonym if len(evidence.sources) == 1 else ""
    form = ConsentForm(request.form or None, data={"pseudonym": only})

    def act() -> Consent:
        source_id = None
        if form.pseudonym.data:
            source = query.by_pseudonym(db.session(), form.pseudonym.data, access.viewer())
            if source is None:
                raise Invalid(N_("There is no such source, or you do not see it."), "pseudonym")
            source_id = source.id
        return service.record(
            db.session(), evidence, form.fields(source_id), author=access.viewer(), now=clock.now()
        )

    was = evidence.state
    if request.method == "POST" and form.validate() and attempts.commit(form, act):
        return _done(evidence, gettext("Recorded."), withdrawn=evidence.state is not was)
    page = render_template("sources/consent.html", evidence=evidence, form=form)
    return page if request.method == "GET" else (page, 422)


@blueprint.route("/<key>/consents/<consent>/withdrawal", methods=["GET", "POST"])
@access.team
def withdraw(key: str, consent: str) -> Page:
    line = _line(_evidence(key), consent)
    form = ConsentEndForm(request.form or None, data={"withdrawn_on": (clock.now().date(), Precision.DAY)})

    def act() -> Any:
        if form.withdrawn_on.data is None:
            raise Invalid(N_("Enter the day on which they took it back."), "withdrawn_on")
        on, _ = form.withdrawn_on.data
        return (service.withdraw(db.session(), line, account=access.viewer(), on=on, now=clock.now()),)

    if request.method == "POST" and form.validate() and (done := attempts.commit(form, act)):
        return _done(line.evidence, gettext("The consent is withdrawn."), withdrawn=done[0])
    line = _line(_evidence(key), consent)
    public = line.evidence.state is State.ACCEPTED and line.evidence.ledger_seq is not None
    page = render_template(
        "sources/withdrawal.html", evidence=line.evidence, line=line, form=form, public=public
    )
    return page if request.method == "GET" else (page, 422)


def _done(evidence: Evidence, notice: str, *, withdrawn: bool) -> Response:
    if withdrawn:
        notice += " " + gettext("The evidence was public and has been taken back everywhere.")
    current_app.extensions["notify"](notice)
    return redirect(url_for("evidence.show", key=evidence.key, _anchor="consent"), 303)


def _evidence(key: str) -> Evidence:
    return queue.evidence_by_key(db.session(), key, access.viewer()) or abort(404)


def _line(evidence: Evidence, key: str) -> Consent:
    return next((line for line in evidence.consents if line.key == key), None) or abort(404)
