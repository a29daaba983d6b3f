"""The team's pages about evidence: log, edit, look at, decide, withdraw. The public's page is in `reports`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from tracker import clock, db, permissions
from tracker.errors import Invalid, Stale
from tracker.forms.evidence import EvidenceForm
from tracker.forms.finding import DecisionForm, WithdrawalForm
from tracker.models import Account, Evidence, Report
from tracker.queries import queue
from tracker.services import drafts
from tracker.services import evidence as service
from tracker.views import access, attempts

blueprint = Blueprint("evidence", __name__, url_prefix="/workspace/evidence")
Page = str | Response | tuple[str, int]


@blueprint.route("/new", methods=["GET", "POST"])
@access.team
def new() -> Page:
    session = db.session()
    reports = queue.reports(session)
    slug = request.args.get("report") or (reports[0].slug if len(reports) == 1 else None)
    if slug is None:
        return render_template("evidence/choose_report.html", reports=reports)
    report = queue.report(session, slug) or abort(404)
    form = EvidenceForm(request.form or None).prepare(report.recommendations, _colleagues())
    if request.method == "GET":
        _preselect(form, report)
    elif form.validate():
        try:
            evidence = service.draft(session, form.fields(), author=access.viewer(), now=clock.now())
            return _saved(evidence)
        except Invalid as error:
            session.rollback()
            form.refuse(error)
    return _form_page(form, report, None)


@blueprint.route("/<key>/edit", methods=["GET", "POST"])
@access.team
def edit(key: str) -> Page:
    session = db.session()
    evidence = _fetch(key)
    if not permissions.can_edit_evidence(access.viewer(), evidence):
        abort(403)
    report = queue.report(session, _report(evidence).slug) or abort(404)
    form = EvidenceForm(request.form or None, data=EvidenceForm.values(evidence))
    form.prepare(report.recommendations, _colleagues())
    if request.method == "POST" and form.validate():
        try:
            service.edit(
                session, evidence, form.fields(), author=access.viewer(), version=form.version.data or 0,
                now=clock.now(),
            )  # fmt: skip
            return _saved(evidence)
        except Stale as error:
            session.rollback()
            fresh = _fetch(key)
            form.version.data = fresh.version
            form.form_errors.append(gettext(error.message))
            return _form_page(form, report, fresh, stale=fresh, status=409)
        except Invalid as error:
            session.rollback()
            form.refuse(error)
    return _form_page(form, report, evidence)


@blueprint.get("/<key>")
@access.team
def show(key: str) -> Page:
    return _show_page(_fetch(key), DecisionForm(), WithdrawalForm())


@blueprint.post("/<key>/decision")
@access.reviewers
def decide(key: str) -> Page:
    evidence, form = _fetch(key), DecisionForm(request.form)

    def act() -> Any:
        if form.decision.data == "accept":
            service.accept(db.session(), evidence, reviewer=access.viewer(), seen=form.seen, now=clock.now())
            return gettext("Accepted.")
        service.send_back(
            db.session(),
            evidence,
            reviewer=access.viewer(),
            reason=form.reason.data,
            seen=form.seen,
            now=clock.now(),
        )
        return gettext("Returned to its author.")

    if form.validate() and (notice := attempts.commit(form, act)):
        current_app.extensions["notify"](notice)
        return redirect(url_for("workspace.review"), 303)
    return _show_page(_fetch(key), form, WithdrawalForm(), 422)


@blueprint.post("/<key>/discard")
@access.team
def discard(key: str) -> Page:
    version = request.form.get("version", 0, int)
    drafts.discard(db.session(), _fetch(key), author=access.viewer(), version=version, now=clock.now())
    db.session().commit()
    current_app.extensions["notify"](gettext("Discarded."))
    return redirect(url_for("workspace.page"), 303)


@blueprint.post("/<key>/withdrawal")
@access.reviewers
def withdraw(key: str) -> Page:
    evidence, form = _fetch(key), WithdrawalForm(request.form)

    def act() -> Any:
        service.withdraw(
            db.session(), evidence, reviewer=access.viewer(), reason=form.reason.data, now=clock.now()
        )
        return gettext("Withdrawn.")

    if form.validate() and (notice := attempts.commit(form, act)):
        current_app.extensions["notify"](notice)
        return redirect(url_for("evidence.show", key=key), 303)
    return _show_page(_fetch(key), DecisionForm(), form, 422)


def _saved(evidence: Evidence) -> Response:
    """Send it on for review if that button was pressed; commit; go to its page."""
    session = db.session()
    session.flush()
    if "review" in request.form:
        session.refresh(evidence)
        service.submit(session, evidence, author=access.viewer(), now=clock.now())
    session.commit()
    current_app.extensions["notify"](
        gettext("Sent for review.")
        if "review" in request.form
        else gettext("Saved as a draft. Only you can see it.")
    )
    return redirect(url_for("evidence.show", key=evidence.key), 303)


def _fetch(key: str) -> Evidence:
    return queue.evidence_by_key(db.session(), key, access.viewer()) or abort(404)


def _colleagues() -> list[Account]:
    """Whom the author can name as readers. Authors read their own pieces anyway."""
    return [person for person in queue.team(db.session()) if person.id != access.viewer().id]


def _report(evidence: Evidence) -> Report:
    if evidence.bearings:
        return evidence.bearings[0].recommendation.report
    slug = request.args.get("report", "")
    found = queue.report(db.session(), slug) if slug else next(iter(queue.reports(db.session())), None)
    return found or abort(404)


def _preselect(form: EvidenceForm, report: Report) -> None:
    number = request.args.get("recommendation")
    form.opened = next((one.id for one in report.recommendations if one.number == number), None)


def _form_page(
    form: EvidenceForm,
    report: Report,
    evidence: Evidence | None,
    *,
    stale: Evidence | None = None,
    status: int = 422,
) -> Page:
    if request.method == "GET":
        status = 200
    theirs = EvidenceForm(data=EvidenceForm.values(stale)) if stale else None
    page = render_template("evidence/form.html", form=form, report=report, evidence=evidence, theirs=theirs)
    return page if status == 200 else (page, status)


def _show_page(evidence: Evidence, form: DecisionForm, withdrawal: WithdrawalForm, status: int = 200) -> Page:
    page = render_template(
        "evidence/show.html",
        evidence=evidence,
        form=form,
        withdrawal=withdrawal,
        resting=queue.resting_on(db.session(), evidence.id),
        activities=queue.activities(db.session(), service.subject(evidence)),
    )
    return page if status == 200 else (page, status)
