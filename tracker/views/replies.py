"""The team's pages about replies of the State: record, edit, look at, decide, withdraw."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from tracker import clock, db, permissions
from tracker.errors import Invalid, Stale
from tracker.forms.finding import DecisionForm, WithdrawalForm
from tracker.forms.reply import ReplyForm
from tracker.forms.stale import differences
from tracker.models import Reply, Report
from tracker.queries import queue
from tracker.services import drafts
from tracker.services import replies as service
from tracker.views import access, attempts, teamwork

blueprint = Blueprint("replies", __name__, url_prefix="/workspace/replies")
Page = str | Response | tuple[str, int]


@blueprint.route("/new", methods=["GET", "POST"])
@access.team
def new() -> Page:
    session = db.session()
    reports = queue.reports(session)
    slug = request.args.get("report") or (reports[0].slug if len(reports) == 1 else None)
    if slug is None:
        return render_template("replies/choose_report.html", reports=reports)
    report = queue.report(session, slug) or abort(404)
    form = _form(report, None)
    if request.method == "POST" and form.validate():
        try:
            return _saved(
                service.draft(session, form.fields(), report=report, author=access.viewer(), now=clock.now())
            )
        except Invalid as error:
            session.rollback()
            form.refuse(error)
    return _form_page(form, report, None)


@blueprint.route("/<key>/edit", methods=["GET", "POST"])
@access.team
def edit(key: str) -> Page:
    session, reply = db.session(), _fetch(key)
    if not permissions.can_edit_reply(access.viewer(), reply):
        abort(403)
    report = queue.report(session, reply.report.slug) or abort(404)
    form = _form(report, reply)
    if request.method == "POST" and form.validate():
        try:
            service.edit(
                session, reply, form.fields(), author=access.viewer(), version=form.version.data or 0,
                now=clock.now(),
            )  # fmt: skip
            return _saved(reply)
        except Stale as error:
            session.rollback()
            fresh = _fetch(key)
            form.version.data = fresh.version
            form.form_errors.append(gettext(error.message))
            return _form_page(form, report, fresh, stale=fresh, status=409)
        except Invalid as error:
            session.rollback()
            form.refuse(error)
            reply = _fetch(key)
    return _form_page(form, report, reply)


@blueprint.get("/<key>")
@access.team
def show(key: str) -> Page:
    return _show_page(_fetch(key), DecisionForm(), WithdrawalForm())


@blueprint.post("/<key>/decision")
@access.reviewers
def decide(key: str) -> Page:
    reply, form = _fetch(key), DecisionForm(request.form)

    def act() -> Any:
        if form.decision.data == "accept":
            entry = service.accept(
                db.session(), reply, reviewer=access.viewer(), seen=form.seen, now=clock.now()
            )
            return gettext("Published as ledger entry %(seq)s.", seq=entry.seq)
        service.send_back(
            db.session(),
            reply,
            reviewer=access.viewer(),
            reason=form.reason.data,
            needs=form.needs.data or (),
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
    reply, form = _fetch(key), WithdrawalForm(request.form)

    def act() -> Any:
        service.withdraw(
            db.session(), reply, reviewer=access.viewer(), reason=form.reason.data, now=clock.now()
        )
        return gettext("Withdrawn.")

    if form.validate() and (notice := attempts.commit(form, act)):
        current_app.extensions["notify"](notice)
        return redirect(url_for("workspace.page"), 303)
    return _show_page(_fetch(key), DecisionForm(), form, 422)


def _form(report: Report, reply: Reply | None) -> ReplyForm:
    form = ReplyForm(request.form or None, data=ReplyForm.values(reply) if reply else None)
    return form.prepare(report.recommendations, queue.public_evidence_of(db.session(), report.id))


def _saved(reply: Reply) -> Response:
    session = db.session()
    session.flush()
    if "review" in request.form:
        session.refresh(reply)
        service.submit(session, reply, author=access.viewer(), now=clock.now())
    session.commit()
    current_app.extensions["notify"](
        gettext("Sent for review.")
        if "review" in request.form
        else gettext("Saved as a draft. Only you can see it.")
    )
    return redirect(url_for("replies.show", key=reply.key), 303)


def _fetch(key: str) -> Reply:
    return queue.reply_by_key(db.session(), key, access.viewer()) or abort(404)


def _form_page(
    form: ReplyForm, report: Report, reply: Reply | None, *, stale: Reply | None = None, status: int = 422
) -> Page:
    compared = None
    if stale is not None:
        theirs = ReplyForm(data=ReplyForm.values(stale))
        theirs.prepare(report.recommendations, queue.public_evidence_of(db.session(), report.id))
        compared = differences(form, theirs)
    page = render_template("replies/form.html", form=form, report=report, reply=reply, differences=compared)
    return page if request.method == "GET" else (page, status)


def _show_page(reply: Reply, form: DecisionForm, withdrawal: WithdrawalForm, status: int = 200) -> Page:
    page = render_template(
        "replies/show.html",
        reply=reply,
        form=form,
        withdrawal=withdrawal,
        activities=queue.activities(db.session(), service.subject(reply)),
        beside=teamwork.beside(reply),
    )
    return page if status == 200 else (page, status)
