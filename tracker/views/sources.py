"""The team's pages about sources: pseudonyms, entering who is behind one, and what comes from them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from tracker import clock, db
from tracker.config import Config
from tracker.errors import Invalid
from tracker.forms.source import IdentityForm, LinkForm
from tracker.models import Evidence, Source
from tracker.queries import queue
from tracker.queries import sources as query
from tracker.services import custodians
from tracker.services import sources as service
from tracker.views import access, attempts
from tracker.vocabulary import N_

blueprint = Blueprint("sources", __name__, url_prefix="/workspace")
Page = str | Response | tuple[str, int]


@blueprint.get("/sources")
@access.team
def everything() -> Page:
    return render_template("sources/list.html", sources=query.everything(db.session(), access.viewer()))


@blueprint.post("/sources")
@access.team
def make() -> Page:
    source = service.create(db.session(), author=access.viewer(), now=clock.now())
    db.session().commit()
    return redirect(url_for("sources.show", pseudonym=source.pseudonym), 303)


@blueprint.get("/sources/<pseudonym>")
@access.team
def show(pseudonym: str) -> Page:
    return _show_page(_fetch(pseudonym), IdentityForm())


@blueprint.post("/sources/<pseudonym>/identity")
@access.team
def seal(pseudonym: str) -> Page:
    source, form = _fetch(pseudonym), IdentityForm(request.form)
    settings: Config = current_app.extensions["settings"]

    def act() -> int:
        return service.record_identity(
            db.session(),
            source,
            form.identity(),
            words=form.names(),
            keys=current_app.extensions["keyring"],
            custodians_needed=settings.custodians_needed,
            author=access.viewer(),
            now=clock.now(),
        )

    if form.validate() and (version := attempts.commit(form, act)):
        current_app.extensions["notify"](
            gettext("Sealed as version %(version)s. Only custodians can open it.", version=version)
        )
        return redirect(url_for("sources.show", pseudonym=source.pseudonym), 303)
    return _show_page(_fetch(pseudonym), form, 422)


@blueprint.post("/sources/<pseudonym>/names")
@access.team
def forget_names(pseudonym: str) -> Page:
    source = _fetch(pseudonym)
    service.forget_words(db.session(), source, author=access.viewer(), now=clock.now())
    return _done(gettext("No name of this source is watched any more."), source)


@blueprint.post("/sources/<pseudonym>/erasure")
@access.team
def ask_erasure(pseudonym: str) -> Page:
    source = _fetch(pseudonym)
    service.ask_erasure(db.session(), source, account=access.viewer(), now=clock.now())
    return _done(gettext("Asked for. It is erased when another person, a reviewer, confirms it."), source)


@blueprint.post("/sources/<pseudonym>/erasure/refusal")
@access.team
def refuse_erasure(pseudonym: str) -> Page:
    source = _fetch(pseudonym)
    service.refuse_erasure(db.session(), source, account=access.viewer(), now=clock.now())
    return _done(gettext("Nothing is erased."), None)


@blueprint.post("/sources/<pseudonym>/erasure/confirmation")
@access.reviewers
def confirm_erasure(pseudonym: str) -> Page:
    source = _fetch(pseudonym)
    service.confirm_erasure(db.session(), source, reviewer=access.viewer(), now=clock.now())
    return _done(gettext("Erased for good: %(name)s.", name=source.pseudonym), None)


@blueprint.route("/evidence/<key>/sources", methods=["GET", "POST"])
@access.team
def of_evidence(key: str) -> Page:
    evidence, form = _evidence(key), LinkForm(request.form or None)
    if request.method == "GET":
        return _link_page(evidence, form)
    if form.validate() and attempts.commit(form, lambda: _link(evidence, form.pseudonym.data)):
        current_app.extensions["notify"](gettext("Linked."))
        return redirect(url_for("sources.of_evidence", key=key), 303)
    return _link_page(_evidence(key), form, 422)


@blueprint.post("/evidence/<key>/sources/new")
@access.team
def new_for_evidence(key: str) -> Page:
    evidence, form = _evidence(key), LinkForm(request.form or None)

    def act() -> Source:
        source = service.create(db.session(), author=access.viewer(), now=clock.now())
        service.link(db.session(), evidence, source, account=access.viewer(), now=clock.now())
        return source

    if source := attempts.commit(form, act):
        current_app.extensions["notify"](gettext("Linked."))
        return redirect(url_for("sources.show", pseudonym=source.pseudonym), 303)
    return _link_page(_evidence(key), form, 422)


@blueprint.post("/evidence/<key>/sources/<pseudonym>/unlink")
@access.team
def unlink(key: str, pseudonym: str) -> Page:
    evidence, source = _evidence(key), _fetch(pseudonym)
    service.unlink(db.session(), evidence, source, account=access.viewer(), now=clock.now())
    db.session().commit()
    current_app.extensions["notify"](gettext("%(name)s is not linked any more.", name=source.pseudonym))
    return redirect(url_for("sources.of_evidence", key=key), 303)


def _link(evidence: Evidence, pseudonym: str) -> bool:
    source = query.by_pseudonym(db.session(), pseudonym, access.viewer())
    if source is None:
        raise Invalid(N_("There is no such source, or you do not see it."), "pseudonym")
    service.link(db.session(), evidence, source, account=access.viewer(), now=clock.now())
    return True


def _done(notice: str, source: Source | None) -> Response:
    db.session().commit()
    current_app.extensions["notify"](notice)
    if source is None:  # This person may not see it any more.
        return redirect(url_for("sources.everything"), 303)
    return redirect(url_for("sources.show", pseudonym=source.pseudonym), 303)


def _fetch(pseudonym: str) -> Source:
    return query.by_pseudonym(db.session(), pseudonym, access.viewer()) or abort(404)


def _evidence(key: str) -> Evidence:
    return queue.evidence_by_key(db.session(), key, access.viewer()) or abort(404)


def _show_page(source: Source, form: IdentityForm, status: int = 200) -> Page:
    settings: Config = current_app.extensions["settings"]
    versions: dict[int, list[Any]] = {}
    for record in source.records:
        versions.setdefault(record.version, []).append(record)
    page = render_template(
        "sources/show.html",
        source=source,
        form=form,
        versions=versions,
        custodians=custodians.active(db.session()),
        needed=settings.custodians_needed,
        fingerprint=custodians.spoken,
        pieces=query.evidence_of(db.session(), source, access.viewer()),
        activities=queue.activities(db.session(), service.subject(source)),
    )
    return page if status == 200 else (page, status)


def _link_page(evidence: Evidence, form: LinkForm, status: int = 200) -> Page:
    page = render_template("sources/link.html", evidence=evidence, form=form)
    return page if status == 200 else (page, status)
