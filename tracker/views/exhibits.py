"""The team's pages about exhibits: attach a file, look at it, download it. `views/copies.py` has the public copies."""

from __future__ import annotations

from flask import Blueprint, Response, abort, current_app, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response as Answer

from tracker import clock, db, media, permissions, uploads
from tracker.errors import Invalid, StorageFailed, TooLarge
from tracker.examiner.traces import TRACES
from tracker.forms.exhibit import CleanedCopyForm, CopyForm, UploadForm
from tracker.forms.finding import WithdrawalForm
from tracker.models import Evidence, Exhibit
from tracker.queries import exhibits as query
from tracker.queries import queue
from tracker.services import exhibits as service
from tracker.views import access, attempts, blobs
from tracker.vocabulary import IMAGES, N_, CustodyAction, FileKind

blueprint = Blueprint("exhibits", __name__, url_prefix="/workspace")
Page = str | Answer | tuple[str, int]
#: Of these a small picture can be shown, and a public copy be made.
PREVIEWED = (*IMAGES, FileKind.PDF)


@blueprint.route("/evidence/<key>/exhibits/new", methods=["GET", "POST"])
@access.team
@uploads.takes_file
def new(key: str) -> Page:
    evidence = _evidence(key)
    service.check_allowed(evidence, account=access.viewer())
    form = UploadForm(blobs.typed() if request.method == "POST" else None)
    if request.method == "GET" or not form.validate():
        return _upload_page(evidence, form)

    def act() -> Exhibit:
        with blobs.received() as (incoming, name):
            blobs.check_quota(incoming.size)
            blobs.let_others_write()
            examined = media.examine(incoming.path, name)
            blobs.store().keep(incoming)
            return service.attach(
                db.session(),
                _evidence(key),
                incoming,
                examined,
                name=name,
                distressing=form.distressing.data,
                account=access.viewer(),
                store=blobs.store(),
                now=clock.now(),
            )

    exhibit = attempts.commit(form, act)
    if exhibit is None:
        return _upload_page(_evidence(key), form)
    current_app.extensions["notify"](gettext("Attached."))
    return redirect(url_for("exhibits.show", key=exhibit.key), 303)


@blueprint.get("/evidence/<key>/exhibits/progress/<upload>")
@access.team
def progress(key: str, upload: str) -> Page:
    """How much of an upload has arrived. It asks again by itself every two seconds."""
    evidence = _evidence(key)
    config = blobs.config()
    # By its whole name, which nobody can guess: a beginning would tell of what others upload.
    found = sorted(config.incoming_path.glob(f"{upload}*")) if uploads.NAME.fullmatch(upload) else []
    received, expected = None, None
    if found and found[0].name[16:].isdigit():
        try:
            received, expected = found[0].stat().st_size, int(found[0].name[16:])
        except FileNotFoundError:
            received = None  # It was finished between the two looks.
    return render_template("exhibits/progress.html", evidence=evidence, received=received, expected=expected)


@blueprint.get("/exhibits/<key>")
@access.team
def show(key: str) -> Page:
    return show_page(find(key))


@blueprint.get("/exhibits/<key>/original")
@access.team
def original(key: str) -> Answer:
    """The original bytes, to keep and not to look at: an attachment without a type, in a sandbox."""
    exhibit = find(key)
    if exhibit.damaged_at is not None:
        raise StorageFailed(
            N_("The bytes of this file are no longer those that were attached, so they are not handed out.")
        )
    response = blobs.attachment(blobs.stored(exhibit.sha256, exhibit.size), exhibit.size, exhibit.name)
    _log(exhibit, CustodyAction.DOWNLOADED)
    return response


@blueprint.get("/exhibits/<key>/preview.jpg")
@access.team
def preview(key: str) -> Answer:
    """A small picture of it; grey and blurred, unless it was asked for as it is, which the custody log notes."""
    exhibit = find(key)
    if exhibit.kind not in PREVIEWED:
        abort(404)
    shown = request.args.get("shown") == "1" or not exhibit.distressing
    with blobs.local(exhibit) as (path, folder):
        made = folder / "preview"
        media.make_preview(path, exhibit.kind, made, blurred=not shown)
        content = made.read_bytes()
    if shown:
        _log(exhibit, CustodyAction.VIEWED)
    return Response(content, content_type="image/jpeg", headers={"Content-Disposition": "inline"})


@blueprint.errorhandler(TooLarge)
def too_large(error: TooLarge) -> Page:
    """Say it at the field where the file was chosen. The rest of the form was never read."""
    db.session().rollback()
    form = UploadForm()
    form.refuse(Invalid(error.message, "file", **error.values))
    page = _upload_page(_evidence((request.view_args or {})["key"]), form)
    return (page[0], 413) if isinstance(page, tuple) else page


def _log(exhibit: Exhibit, action: CustodyAction) -> None:
    """Committed before a byte leaves, also from a page that otherwise only reads."""
    with db.writing() as session:
        service.log_look(session, exhibit, action, account=access.viewer(), now=clock.now())


def _evidence(key: str) -> Evidence:
    return queue.evidence_by_key(db.session(), key, access.viewer()) or abort(404)


def find(key: str) -> Exhibit:
    """The exhibit of this name, if the viewer may see it; else the page ends with 404."""
    return query.by_key(db.session(), key, access.viewer()) or abort(404)


def _upload_page(evidence: Evidence, form: UploadForm) -> Page:
    page = render_template(
        "exhibits/new.html",
        evidence=evidence,
        form=form,
        upload=uploads.new_name(),
        limit=blobs.config().exhibit_max_mb,
        kinds=FileKind,
    )
    return page if request.method == "GET" else (page, 422)


def show_page(
    exhibit: Exhibit,
    *,
    form: CopyForm | None = None,
    cleaned: CleanedCopyForm | None = None,
    withdrawal: WithdrawalForm | None = None,
    withdrawn_copy: str = "",
) -> Page:
    """The page of an exhibit, with the forms as they were filled in."""
    viewer = access.viewer()
    page = render_template(
        "exhibits/show.html",
        exhibit=exhibit,
        found=service.findings(exhibit),
        trace_words=TRACES,
        form=form or CopyForm(),
        cleaned=cleaned or CleanedCopyForm(),
        withdrawal=withdrawal or WithdrawalForm(),
        withdrawn_copy=withdrawn_copy,
        same=query.same_file(db.session(), exhibit, viewer),
        may_attach=permissions.can_attach(viewer, exhibit.evidence),
        can_preview=exhibit.kind in PREVIEWED,
        images=IMAGES,
        shown=request.args.get("shown") == "1" or not exhibit.distressing,
    )
    return page if request.method == "GET" else (page, 422)
