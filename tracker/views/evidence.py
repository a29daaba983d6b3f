"""The team's pages about evidence: log, edit, look at, decide, withdraw. The public's page is in `reports`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from flask_babel import format_date, gettext
from werkzeug.wrappers import Response

from tracker import clock, consent, db, permissions
from tracker.errors import Invalid, Stale
from tracker.forms.evidence import ErasureForm, EvidenceDecisionForm, EvidenceForm
from tracker.forms.finding import WithdrawalForm
from tracker.forms.stale import differences
from tracker.models import Account, Evidence, Report
from tracker.queries import captures, exhibits, queue
from tracker.queries import teamwork as told
from tracker.services import drafts, erasure, harm
from tracker.services import evidence as service
from tracker.views import access, attempts, blobs, teamwork
from tracker.vocabulary import Detail, State, Visibility

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
    editable = permissions.can_edit_evidence(access.viewer(), evidence)
    if not editable and (request.method == "GET" or evidence.created_by_id != access.viewer().id):
        abort(403)
    report = queue.report(session, _report(evidence).slug) or abort(404)
    form = EvidenceForm(request.form or None, data=EvidenceForm.values(evidence))
    form.prepare(report.recommendations, _colleagues(), _unread(evidence))
    if not editable:
        # Sent for review, or decided, while the author had it open: what was typed is shown and not lost.
        form.validate()
        form.form_errors.append(
            gettext(
                "It was sent for review since you opened it, so nothing can be saved. Copy what you need."
            )
        )
        return _form_page(form, report, evidence, stale=evidence, status=409)
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
    return show_page(_fetch(key))


@blueprint.post("/<key>/decision")
@access.reviewers
def decide(key: str) -> Page:
    evidence, form = _fetch(key), EvidenceDecisionForm(request.form)
    now = clock.now()

    def act() -> Any:
        if form.decision.data == "accept":
            service.accept(
                db.session(),
                evidence,
                reviewer=access.viewer(),
                harm=form.harm(current_app.extensions["keyring"]),
                seen=form.seen,
                now=now,
            )
            if service.waits(evidence, today=now.date()):
                return gettext(
                    "Accepted. It is published on %(day)s.", day=format_date(evidence.not_before, "d MMM y")
                )
            return gettext("Accepted.")
        service.send_back(
            db.session(),
            evidence,
            reviewer=access.viewer(),
            reason=form.reason.data,
            needs=form.needs.data or (),
            seen=form.seen,
            now=now,
        )
        return gettext("Returned to its author.")

    if form.validate() and (notice := attempts.commit(form, act)):
        current_app.extensions["notify"](notice)
        return redirect(url_for("workspace.review"), 303)
    return show_page(_fetch(key), form=form, status=422)


@blueprint.post("/<key>/discard")
@access.team
def discard(key: str) -> Page:
    version = request.form.get("version", 0, int)
    unused = drafts.discard(
        db.session(), _fetch(key), author=access.viewer(), version=version, now=clock.now()
    )
    db.session().commit()
    blobs.remove(unused)
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
    return show_page(_fetch(key), withdrawal=form, status=422)


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


def _unread(evidence: Evidence) -> list[Detail]:
    """The details that the person who is signed in may not read, and so is not asked about."""
    viewer = access.viewer()
    return [one.detail for one in evidence.details if not permissions.can_read_detail(viewer, evidence, one)]


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
    compared = None
    if stale is not None:
        theirs = EvidenceForm(data=EvidenceForm.values(stale))
        theirs.prepare(report.recommendations, _colleagues(), _unread(stale))
        compared = differences(form, theirs)
    page = render_template(
        "evidence/form.html", form=form, report=report, evidence=evidence, differences=compared
    )
    return page if status == 200 else (page, status)


def show_page(
    evidence: Evidence,
    *,
    form: EvidenceDecisionForm | None = None,
    withdrawal: WithdrawalForm | None = None,
    erasure_form: ErasureForm | None = None,
    status: int = 200,
) -> Page:
    """The staff page of a piece, with the forms on it as they were sent; of an erased one its tombstone."""
    if evidence.state is State.ERASED:
        return render_template(
            "evidence/erased.html",
            evidence=evidence,
            erasure=erasure.done_for(db.session(), evidence),
            activities=queue.activities(db.session(), service.subject(evidence)),
        )
    warnings = None
    if (
        permissions.can_review_evidence(access.viewer(), evidence)
        and evidence.visibility is Visibility.PUBLIC
    ):
        warnings = harm.warnings(db.session(), evidence, keys=current_app.extensions["keyring"])
    page = render_template(
        "evidence/show.html",
        evidence=evidence,
        form=form or EvidenceDecisionForm(),
        withdrawal=withdrawal or WithdrawalForm(),
        erasure=erasure.open_for(db.session(), evidence),
        erasure_form=erasure_form or ErasureForm(),
        harm=harm,
        warnings=warnings,
        today=clock.now().date(),
        consent=consent,
        captures=captures.of(db.session(), evidence),
        same_link=exhibits.same_link(db.session(), evidence, access.viewer()),
        resting=queue.resting_on(db.session(), evidence.id),
        activities=told.activities(db.session(), evidence, access.viewer()),
        beside=teamwork.beside(evidence),
    )
    return page if status == 200 else (page, status)
