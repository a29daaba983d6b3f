"""Public copies: made from an original or uploaded, looked at, released, withdrawn, discarded; and the public's file."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Response, abort, current_app, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response as Answer

from tracker import clock, db, media, storage, uploads
from tracker.errors import Invalid, StorageMissing, TooLarge
from tracker.examiner.traces import TRACES
from tracker.forms.exhibit import CleanedCopyForm, CopyForm, ReleaseForm
from tracker.forms.finding import WithdrawalForm
from tracker.models import Exhibit, PublicCopy
from tracker.queries import exhibits as query
from tracker.services import copies as service
from tracker.services import exhibits as originals
from tracker.services import harm
from tracker.views import access, attempts, blobs, exhibits
from tracker.views.exhibits import Page
from tracker.vocabulary import IMAGES, N_, CopyMethod, FileKind, Visibility

blueprint = Blueprint("copies", __name__)
# A file larger than this is read whole once in so many seconds, however often the public asks for it: asking costs
# nothing, and reading it from a bucket costs a download.
_LARGE, _WHOLE_FOR = 8 * uploads.MB, 60
_found_whole: dict[str, float] = {}


@blueprint.post("/workspace/exhibits/<key>/copies")
@access.team
def make(key: str) -> Page:
    """Make a public copy from the original: a picture from its pixels, a PDF from pictures of its pages."""
    exhibit, form = exhibits.find(key), CopyForm(request.form)
    if not form.validate():
        return exhibits.show_page(exhibit, form=form)

    def act() -> PublicCopy:
        originals.check_allowed(exhibit.evidence, account=access.viewer())
        # The original is laid beside it meanwhile.
        storage.check_room(blobs.config(), exhibit.size)
        blobs.let_others_write()
        with blobs.local(exhibit) as (path, folder):
            kind, method = media.make_copy(path, exhibit.kind, folder / "copy")
            incoming = blobs.again(folder / "copy")
        return _prepare(key, incoming, kind, method, form)

    return _copied(exhibit, attempts.commit(form, act), form, CleanedCopyForm())


@blueprint.post("/workspace/exhibits/<key>/cleaned")
@access.team
@uploads.takes_file
def cleaned(key: str) -> Page:
    """Take a public copy that somebody cleaned by hand. Pictures and PDFs are rebuilt all the same."""
    exhibit, form = exhibits.find(key), CleanedCopyForm(blobs.typed())
    if not form.validate():
        return exhibits.show_page(exhibit, cleaned=form)

    def act() -> PublicCopy:
        originals.check_allowed(exhibit.evidence, account=access.viewer())
        with blobs.received() as (incoming, name):
            blobs.check_quota(incoming.size)
            blobs.let_others_write()
            examined = media.examine(incoming.path, name)
            kind = examined.kind
            if kind in exhibits.PREVIEWED:
                rebuilt = incoming.path.with_name(incoming.path.name + ".copy")
                try:
                    kind, _method = media.make_copy(incoming.path, kind, rebuilt)
                    incoming = blobs.again(rebuilt)
                finally:
                    rebuilt.unlink(missing_ok=True)
            elif examined.warnings:
                found = sorted({gettext(TRACES[trace.what]) for trace in examined.warnings})
                raise Invalid(
                    N_(
                        "This still holds what a public copy must not: %(found)s. Clean it and upload it again."
                    ),
                    "file",
                    found=", ".join(found),
                )
            return _prepare(key, incoming, kind, CopyMethod.CLEANED, form)

    return _copied(exhibit, attempts.commit(form, act), CopyForm(), form)


@blueprint.get("/workspace/copies/<key>/file")
@access.team
def look(key: str) -> Answer:
    """A public copy, released or not, as the public sees or would see it."""
    found = query.copy_by_key(db.session(), key, access.viewer()) or abort(404)
    return _copy_response(found)


@blueprint.route("/workspace/copies/<key>/release", methods=["GET", "POST"])
@access.reviewers
def release(key: str) -> Page:
    """Release a copy that was made after its evidence was accepted, after the questions about harm."""
    found = query.copy_by_key(db.session(), key, access.viewer()) or abort(404)
    form, keys = ReleaseForm(request.form or None), current_app.extensions["keyring"]

    def act() -> str:
        service.release(
            db.session(),
            found,
            reviewer=access.viewer(),
            seen=form.seen.data,
            harm=form.harm(keys),
            now=clock.now(),
        )
        return str(gettext("Released."))

    if request.method == "POST" and form.validate() and (notice := attempts.commit(form, act)):
        current_app.extensions["notify"](notice)
        return redirect(url_for("exhibits.show", key=found.exhibit.key), 303)
    found = query.copy_by_key(db.session(), key, access.viewer()) or abort(404)
    evidence = found.exhibit.evidence
    public = evidence.visibility is Visibility.PUBLIC
    page = render_template(
        "exhibits/release.html",
        copy=found,
        form=form,
        harm=harm,
        public=public,
        warnings=harm.warnings(db.session(), evidence, keys=keys) if public else [],
        images=IMAGES,
    )
    return page if request.method == "GET" else (page, 422)


@blueprint.post("/workspace/copies/<key>/withdrawal")
@access.reviewers
def withdraw(key: str) -> Page:
    found = query.copy_by_key(db.session(), key, access.viewer()) or abort(404)
    form = WithdrawalForm(request.form)

    def act() -> Any:
        service.withdraw(
            db.session(), found, reviewer=access.viewer(), reason=form.reason.data, now=clock.now()
        )
        return gettext("Withdrawn.")

    if form.validate() and (notice := attempts.commit(form, act)):
        current_app.extensions["notify"](notice)
        return redirect(url_for("exhibits.show", key=found.exhibit.key), 303)
    return exhibits.show_page(exhibits.find(found.exhibit.key), withdrawal=form, withdrawn_copy=key)


@blueprint.post("/workspace/copies/<key>/discard")
@access.team
def discard(key: str) -> Page:
    found = query.copy_by_key(db.session(), key, access.viewer()) or abort(404)
    exhibit = found.exhibit
    unused = service.discard(db.session(), found, account=access.viewer(), now=clock.now())
    db.session().commit()
    blobs.remove(unused)
    current_app.extensions["notify"](gettext("Discarded."))
    return redirect(url_for("exhibits.show", key=exhibit.key), 303)


@blueprint.errorhandler(TooLarge)
def too_large(error: TooLarge) -> Page:
    """Say it at the field where the file was chosen. The rest of the form was never read."""
    db.session().rollback()
    form = CleanedCopyForm()
    form.refuse(Invalid(error.message, "file", **error.values))
    page = exhibits.show_page(exhibits.find((request.view_args or {})["key"]), cleaned=form)
    return (page[0], 413) if isinstance(page, tuple) else page


@blueprint.get("/evidence/<int:number>/files/<key>")
@access.anyone
def file(number: int, key: str) -> Answer:
    """A released public copy of public evidence. A damaged one is not served."""
    found = query.public_copy(db.session(), number, key) or abort(404)
    assert found.sha256 is not None
    if found.sha256 in request.if_none_match:
        response: Answer = Response(status=304)
    else:
        response = _copy_response(found)
    if response.status_code != 410:
        response.set_etag(found.sha256)
        response.headers["Cache-Control"] = "public, no-cache"
    return response


def _copy_response(copy: PublicCopy) -> Answer:
    assert copy.sha256 is not None
    name = f"{copy.key}.{copy.kind.endings[0]}"
    if _damaged(copy):
        body = render_template("exhibits/damaged.html")
        return Response(body, 410, headers={"Cache-Control": "no-store"})
    if copy.kind in IMAGES:
        response = Response(blobs.stored(copy.sha256, copy.size), content_type=copy.kind.media_type)
        response.content_length = copy.size
        response.headers["Content-Disposition"] = "inline"
        return response
    return blobs.attachment(blobs.stored(copy.sha256, copy.size), copy.size, name)


def _damaged(copy: PublicCopy) -> bool:
    """Whether its bytes are still those that were released; noted where they are not."""
    if copy.damaged_at is not None:
        return True
    moment, sha256 = time.monotonic(), copy.sha256 or ""
    if moment - _found_whole.get(sha256, -_WHOLE_FOR) < _WHOLE_FOR:
        return False
    try:
        whole = blobs.store().check(sha256) == sha256
    except StorageMissing:
        whole = False
    if whole and copy.size > _LARGE:
        for old in [name for name, at in _found_whole.copy().items() if moment - at >= _WHOLE_FOR]:
            _found_whole.pop(old, None)
        _found_whole[sha256] = moment
    if not whole:
        with db.writing() as session:
            originals.note_damage(session, copy.id, now=clock.now())
    return not whole


def _prepare(
    key: str, incoming: storage.Incoming, kind: FileKind, method: CopyMethod, form: CopyForm
) -> PublicCopy:
    try:
        # What is made here takes as much as what is uploaded, and counts for the same limits.
        blobs.check_quota(incoming.size)
        storage.check_room(blobs.config(), incoming.size)
        blobs.let_others_write()
        blobs.store().keep(incoming)
        return service.prepare(
            db.session(), exhibits.find(key), incoming, kind, method,
            description=form.description.data, account=access.viewer(), store=blobs.store(), now=clock.now(),
        )  # fmt: skip
    finally:
        incoming.discard()


def _copied(exhibit: Exhibit, made: PublicCopy | None, form: CopyForm, cleaned: CleanedCopyForm) -> Page:
    if made is None:
        return exhibits.show_page(exhibits.find(exhibit.key), form=form, cleaned=cleaned)
    current_app.extensions["notify"](gettext("The public copy is made. Another person releases it."))
    return redirect(url_for("exhibits.show", key=exhibit.key), 303)
