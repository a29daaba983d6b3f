"""The team's pages about findings: propose, edit, look at side by side, approve or return, withdraw."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from tracker import clock, db, permissions, words_diff
from tracker.errors import Invalid, Stale
from tracker.forms.finding import FindingForm, HarmDecisionForm, WithdrawalForm
from tracker.forms.stale import differences
from tracker.models import Clause, Finding, Recommendation
from tracker.queries import queue
from tracker.services import drafts
from tracker.services import findings as service
from tracker.views import access, attempts, teamwork
from tracker.vocabulary import N_, State

blueprint = Blueprint("findings", __name__, url_prefix="/workspace/findings")
Page = str | Response | tuple[str, int]
#: Once public, a finding is shown beside the one that it replaced, whatever stands there now.
_PUBLISHED = (State.ACCEPTED, State.SUPERSEDED, State.WITHDRAWN)


@blueprint.route("/new", methods=["GET", "POST"])
@access.team
def new() -> Page:
    session = db.session()
    if "/" not in request.args.get("recommendation", ""):
        reports = [queue.report(session, report.slug) for report in queue.reports(session)]
        return render_template("findings/choose.html", reports=reports)
    slug, number = request.args["recommendation"].split("/", 1)
    recommendation = queue.recommendation(session, slug, number) or abort(404)
    evidence = queue.citable_evidence(session, recommendation.id)
    correcting = _corrected(recommendation)
    form = FindingForm(request.form or None, data=FindingForm.values(correcting) if correcting else None)
    form.prepare(recommendation.clauses, evidence)
    if request.method == "GET":
        form.targets.data = _asked_clauses(recommendation, correcting)
    elif form.validate():
        chosen = form.targets.data or []
        clauses: list[Clause | None] = [clause for clause in recommendation.clauses if clause.id in chosen]
        try:
            if correcting is not None and not form.correction.data:
                raise Invalid(N_("Say what was wrong with the finding that stands."), "correction")
            if recommendation.clauses and not clauses:
                raise Invalid(N_("Choose at least one clause."), "targets")
            proposals = [
                service.draft(
                    session, form.fields(), author=access.viewer(), recommendation=recommendation, clause=clause,
                    now=clock.now(),
                )
                for clause in clauses or [None]
            ]  # fmt: skip
            return _saved(proposals)
        except Invalid as error:
            session.rollback()
            form.refuse(error)
    return _form_page(form, recommendation, None, correcting=correcting)


@blueprint.route("/<key>/edit", methods=["GET", "POST"])
@access.team
def edit(key: str) -> Page:
    session, finding = db.session(), _fetch(key)
    if not permissions.can_edit_finding(access.viewer(), finding):
        abort(403)
    evidence = queue.citable_evidence(session, finding.recommendation_id)
    form = FindingForm(request.form or None, data=FindingForm.values(finding))
    form.prepare([], evidence)
    if request.method == "POST" and form.validate():
        try:
            service.edit(
                session, finding, form.fields(), author=access.viewer(), version=form.version.data or 0,
                now=clock.now(),
            )  # fmt: skip
            return _saved([finding])
        except Stale as error:
            session.rollback()
            fresh = _fetch(key)
            form.version.data = fresh.version
            form.form_errors.append(gettext(error.message))
            return _form_page(form, fresh.recommendation, fresh, stale=fresh, status=409)
        except Invalid as error:
            session.rollback()
            form.refuse(error)
            finding = _fetch(key)
    return _form_page(form, finding.recommendation, finding)


@blueprint.get("/<key>")
@access.team
def show(key: str) -> Page:
    return _show_page(_fetch(key), HarmDecisionForm(), WithdrawalForm())


@blueprint.post("/<key>/decision")
@access.reviewers
def decide(key: str) -> Page:
    finding, form = _fetch(key), HarmDecisionForm(request.form)

    def act() -> Any:
        if form.decision.data == "approve":
            entry = service.approve(
                db.session(),
                finding,
                reviewer=access.viewer(),
                harm=form.answers(),
                reason=form.reason.data,
                seen=form.seen,
                now=clock.now(),
            )
            return gettext("Published as ledger entry %(seq)s.", seq=entry.seq)
        service.send_back(
            db.session(),
            finding,
            reviewer=access.viewer(),
            reason=form.reason.data,
            needs=form.needs.data or (),
            seen=form.seen,
            now=clock.now(),
        )
        return gettext("Returned to the proposer.")

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
    finding, form = _fetch(key), WithdrawalForm(request.form)

    def act() -> Any:
        service.withdraw(
            db.session(), finding, reviewer=access.viewer(), reason=form.reason.data, now=clock.now()
        )
        return gettext("Withdrawn.")

    if form.validate() and (notice := attempts.commit(form, act)):
        current_app.extensions["notify"](notice)
        return redirect(url_for("findings.show", key=key), 303)
    return _show_page(_fetch(key), HarmDecisionForm(), form, 422)


def _saved(proposals: list[Finding]) -> Response:
    """Propose them if that button was pressed; commit; go on."""
    session = db.session()
    session.flush()
    if "review" in request.form:
        for finding in proposals:
            session.refresh(finding)
            service.submit(session, finding, author=access.viewer(), now=clock.now())
    session.commit()
    if "review" in request.form:
        notice = gettext("Proposed. Another person decides about it.")
    else:
        notice = gettext("Saved as a draft. Only you can see it.")
    current_app.extensions["notify"](notice)
    if len(proposals) == 1:
        return redirect(url_for("findings.show", key=proposals[0].key), 303)
    return redirect(url_for("workspace.page"), 303)


def _fetch(key: str) -> Finding:
    return queue.finding_by_key(db.session(), key, access.viewer()) or abort(404)


def _corrected(recommendation: Recommendation) -> Finding | None:
    """The current finding that a correction is written for, if the address names one."""
    key = request.args.get("correct")
    if not key:
        return None
    finding = _fetch(key)
    if finding.recommendation_id != recommendation.id or finding.state is not State.ACCEPTED:
        abort(404)
    return finding


def _asked_clauses(recommendation: Recommendation, correcting: Finding | None) -> list[int]:
    if correcting is not None:
        return [correcting.clause_id] if correcting.clause_id else []
    label = request.args.get("clause")
    return [clause.id for clause in recommendation.clauses if clause.label == label]


def _form_page(
    form: FindingForm,
    recommendation: Recommendation,
    finding: Finding | None,
    *,
    correcting: Finding | None = None,
    stale: Finding | None = None,
    status: int = 422,
) -> Page:
    session = db.session()
    evidence = queue.citable_evidence(session, recommendation.id)
    compared = None
    if stale is not None:
        theirs = FindingForm(data=FindingForm.values(stale)).prepare([], evidence)
        compared = differences(form, theirs)
    page = render_template(
        "findings/form.html",
        form=form,
        recommendation=recommendation,
        finding=finding,
        clause=finding.clause if finding else None,
        correcting=correcting,
        differences=compared,
        evidence=evidence,
        standing=_standing(recommendation),
    )
    return page if request.method == "GET" else (page, status)


def _standing(recommendation: Recommendation) -> list[tuple[Clause | None, Finding | None]]:
    session = db.session()
    return [
        (clause, service.current(session, recommendation.id, clause.id if clause else None))
        for clause in service.targets(recommendation)
    ]


def _show_page(
    finding: Finding, form: HarmDecisionForm, withdrawal: WithdrawalForm, status: int = 200
) -> Page:
    session = db.session()
    now_standing = service.current(session, finding.recommendation_id, finding.clause_id)
    before = finding.replaces if finding.state in _PUBLISHED else now_standing
    cited = {citation.evidence_id for citation in finding.citations}
    page = render_template(
        "findings/show.html",
        finding=finding,
        before=before,
        changes=words_diff.compare(before.rationale if before else "", finding.rationale),
        uncited=[
            piece
            for piece in queue.citable_evidence(session, finding.recommendation_id)
            if piece.id not in cited
        ],
        form=form,
        withdrawal=withdrawal,
        activities=queue.activities(session, service.subject(finding)),
        beside=teamwork.beside(finding),
    )
    return page if status == 200 else (page, status)
