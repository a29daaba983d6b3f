"""The team's pages about exhibits: attach, look, download, copy, release, withdraw; and the public's file."""

from __future__ import annotations

import tempfile
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, abort, current_app, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.datastructures import CombinedMultiDict, FileStorage
from werkzeug.wrappers import Response as Answer

from tracker import clock, db, media, permissions, storage, uploads
from tracker.config import Config
from tracker.errors import Invalid, StorageFailed, StorageMissing, TooLarge
from tracker.examiner.traces import TRACES
from tracker.forms.base import BaseForm
from tracker.forms.exhibit import CleanedCopyForm, CopyForm, ReleaseForm, UploadForm
from tracker.forms.finding import WithdrawalForm
from tracker.models import Evidence, Exhibit, PublicCopy
from tracker.queries import exhibits as query
from tracker.queries import queue
from tracker.services import copies, harm
from tracker.services import exhibits as service
from tracker.views import access, attempts, blobs
from tracker.vocabulary import IMAGES, N_, CopyMethod, CustodyAction, FileKind, Visibility

blueprint = Blueprint("exhibits", __name__, url_prefix="/workspace")
Page = str | Answer | tuple[str, int]
_PREVIEWED = (*IMAGES, FileKind.PDF)
# A file larger than this is read whole once in so many seconds, however often the public asks for it: asking costs
# nothing, and reading it from a bucket costs a download.
_LARGE, _WHOLE_FOR = 8 * uploads.MB, 60
_found_whole: dict[str, float] = {}


@blueprint.route("/evidence/<key>/exhibits/new", methods=["GET", "POST"])
@access.team
@uploads.takes_file
def new(key: str) -> Page:
    evidence = _evidence(key)
    service.check_allowed(evidence, account=access.viewer())
    form = UploadForm(_typed() if request.method == "POST" else None)
    if request.method == "GET" or not form.validate():
        return _upload_page(evidence, form)

    def act() -> Exhibit:
        with _received() as (incoming, name):
            _check_quota(incoming.size)
            _let_others_write()
            examined = media.examine(incoming.path, name)
            _store().keep(incoming)
            return service.attach(
                db.session(),
                _evidence(key),
                incoming,
                examined,
                name=name,
                distressing=form.distressing.data,
                account=access.viewer(),
                store=_store(),
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
    config = _config()
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
    return _show_page(_exhibit(key))


@blueprint.get("/exhibits/<key>/original")
@access.team
def original(key: str) -> Answer:
    """The original bytes, to keep and not to look at: an attachment without a type, in a sandbox."""
    exhibit = _exhibit(key)
    if exhibit.damaged_at is not None:
        raise StorageFailed(
            N_("The bytes of this file are no longer those that were attached, so they are not handed out.")
        )
    response = _attachment(_bytes(exhibit.sha256, exhibit.size), exhibit.size, exhibit.name)
    _log(exhibit, CustodyAction.DOWNLOADED)
    return response


@blueprint.get("/exhibits/<key>/preview.jpg")
@access.team
def preview(key: str) -> Answer:
    """A small picture of it; grey and blurred, unless it was asked for as it is, which the custody log notes."""
    exhibit = _exhibit(key)
    if exhibit.kind not in _PREVIEWED:
        abort(404)
    shown = request.args.get("shown") == "1" or not exhibit.distressing
    with _local(exhibit) as (path, folder):
        made = folder / "preview"
        media.make_preview(path, exhibit.kind, made, blurred=not shown)
        content = made.read_bytes()
    if shown:
        _log(exhibit, CustodyAction.VIEWED)
    return Response(content, content_type="image/jpeg", headers={"Content-Disposition": "inline"})


@blueprint.post("/exhibits/<key>/copies")
@access.team
def copy(key: str) -> Page:
    """Make a public copy from the original: a picture from its pixels, a PDF from pictures of its pages."""
    exhibit, form = _exhibit(key), CopyForm(request.form)
    if not form.validate():
        return _show_page(exhibit, form=form)

    def act() -> PublicCopy:
        service.check_allowed(exhibit.evidence, account=access.viewer())
        _let_others_write()
        with _local(exhibit) as (path, folder):
            kind, method = media.make_copy(path, exhibit.kind, folder / "copy")
            incoming = _again(folder / "copy")
        return _prepare(key, incoming, kind, method, form)

    return _copied(exhibit, attempts.commit(form, act), form, CleanedCopyForm())


@blueprint.post("/exhibits/<key>/cleaned")
@access.team
@uploads.takes_file
def cleaned(key: str) -> Page:
    """Take a public copy that somebody cleaned by hand. Pictures and PDFs are rebuilt all the same."""
    exhibit, form = _exhibit(key), CleanedCopyForm(_typed())
    if not form.validate():
        return _show_page(exhibit, cleaned=form)

    def act() -> PublicCopy:
        service.check_allowed(exhibit.evidence, account=access.viewer())
        with _received() as (incoming, name):
            _check_quota(incoming.size)
            _let_others_write()
            examined = media.examine(incoming.path, name)
            kind = examined.kind
            if kind in _PREVIEWED:
                rebuilt = incoming.path.with_name(incoming.path.name + ".copy")
                try:
                    kind, _method = media.make_copy(incoming.path, kind, rebuilt)
                    incoming = _again(rebuilt)
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


@blueprint.get("/copies/<key>/file")
@access.team
def copy_file(key: str) -> Answer:
    """A public copy, released or not, as the public sees or would see it."""
    found = query.copy_by_key(db.session(), key, access.viewer()) or abort(404)
    return _copy_response(found)


@blueprint.route("/copies/<key>/release", methods=["GET", "POST"])
@access.reviewers
def release(key: str) -> Page:
    """Release a copy that was made after its evidence was accepted, after the questions about harm."""
    found = query.copy_by_key(db.session(), key, access.viewer()) or abort(404)
    form, keys = ReleaseForm(request.form or None), current_app.extensions["keyring"]

    def act() -> str:
        copies.release(
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


@blueprint.post("/copies/<key>/withdrawal")
@access.reviewers
def withdraw(key: str) -> Page:
    found = query.copy_by_key(db.session(), key, access.viewer()) or abort(404)
    form = WithdrawalForm(request.form)

    def act() -> Any:
        copies.withdraw(
            db.session(), found, reviewer=access.viewer(), reason=form.reason.data, now=clock.now()
        )
        return gettext("Withdrawn.")

    if form.validate() and (notice := attempts.commit(form, act)):
        current_app.extensions["notify"](notice)
        return redirect(url_for("exhibits.show", key=found.exhibit.key), 303)
    return _show_page(_exhibit(found.exhibit.key), withdrawal=form, withdrawn_copy=key)


@blueprint.post("/copies/<key>/discard")
@access.team
def discard(key: str) -> Page:
    found = query.copy_by_key(db.session(), key, access.viewer()) or abort(404)
    exhibit = found.exhibit
    unused = copies.discard(db.session(), found, account=access.viewer(), now=clock.now())
    db.session().commit()
    blobs.remove(unused)
    current_app.extensions["notify"](gettext("Discarded."))
    return redirect(url_for("exhibits.show", key=exhibit.key), 303)


@blueprint.errorhandler(TooLarge)
def too_large(error: TooLarge) -> Page:
    """Say it at the field where the file was chosen. The rest of the form was never read."""
    db.session().rollback()
    key = (request.view_args or {})["key"]
    refusal = Invalid(error.message, "file", **error.values)
    if request.endpoint == "exhibits.new":
        form: BaseForm = UploadForm()
        form.refuse(refusal)
        return render_template(
            "exhibits/new.html", evidence=_evidence(key), form=form, upload=uploads.new_name(),
            limit=_config().exhibit_max_mb, kinds=FileKind,
        ), 413  # fmt: skip
    form = CleanedCopyForm()
    form.refuse(refusal)
    page = _show_page(_exhibit(key), cleaned=form)
    return (page[0], 413) if isinstance(page, tuple) else page


public = Blueprint("copies", __name__)


@public.get("/evidence/<int:number>/files/<key>")
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
        response = Response(_bytes(copy.sha256, copy.size), content_type=copy.kind.media_type)
        response.content_length = copy.size
        response.headers["Content-Disposition"] = "inline"
        return response
    return _attachment(_bytes(copy.sha256, copy.size), copy.size, name)


def _damaged(copy: PublicCopy) -> bool:
    """Whether its bytes are still those that were released; noted where they are not."""
    if copy.damaged_at is not None:
        return True
    moment, sha256 = time.monotonic(), copy.sha256 or ""
    if moment - _found_whole.get(sha256, -_WHOLE_FOR) < _WHOLE_FOR:
        return False
    try:
        whole = _store().check(sha256) == sha256
    except StorageMissing:
        whole = False
    if whole and copy.size > _LARGE:
        for old in [name for name, at in _found_whole.copy().items() if moment - at >= _WHOLE_FOR]:
            _found_whole.pop(old, None)
        _found_whole[sha256] = moment
    if not whole:
        with db.writing() as session:
            service.note_damage(session, copy.id, now=clock.now())
    return not whole


def _bytes(sha256: str | None, size: int) -> Iterator[bytes]:
    if sha256 is None:
        abort(404)
    if _store().size(sha256) != size:
        raise StorageFailed(
            N_("This file is missing or damaged in the store. The operator has to run: tracker fsck")
        )
    return _store().open(sha256)


def _attachment(chunks: Iterator[bytes], size: int, name: str) -> Response:
    response = Response(chunks, content_type="application/octet-stream")
    response.content_length = size
    names = {"filename": name}
    if not name.isascii():
        # RFC 6266: a header holds ASCII; programs of today read the second one.
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        names = {"filename": plain, "filename*": f"UTF-8''{quote(name, safe='')}"}
    response.headers.set("Content-Disposition", "attachment", **names)
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


@contextmanager
def _received() -> Iterator[tuple[storage.Incoming, str]]:
    """The file that came with this request, on the disk, and its harmless name. Gone afterwards if it was not kept."""
    sent: FileStorage | None = request.files.get("file")
    receivers: list[storage.Receiver] = request.receivers  # type: ignore[attr-defined]
    if sent is None or not sent.filename or not receivers:
        raise Invalid(N_("Choose a file."), "file")
    incoming = receivers[0].finish()
    try:
        yield incoming, media.clean_name(sent.filename)
    finally:
        incoming.discard()


@contextmanager
def _local(exhibit: Exhibit) -> Iterator[tuple[Path, Path]]:
    """The original on the local disk, in a folder of its own that is gone afterwards."""
    config = _config()
    config.incoming_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=config.incoming_path, prefix="look-") as name:
        folder = Path(name)
        _store().fetch(exhibit.sha256 or "", folder / "original")
        yield folder / "original", folder


def _again(path: Path) -> storage.Incoming:
    with storage.receive(_config(), limit=_config().exhibit_max_mb * uploads.MB) as receiver:
        with path.open("rb") as file:
            while piece := file.read(uploads.MB):
                receiver.write(piece)
        return receiver.finish()


def _prepare(
    key: str, incoming: storage.Incoming, kind: FileKind, method: CopyMethod, form: CopyForm
) -> PublicCopy:
    try:
        _let_others_write()
        _store().keep(incoming)
        return copies.prepare(
            db.session(), _exhibit(key), incoming, kind, method,
            description=form.description.data, account=access.viewer(), store=_store(), now=clock.now(),
        )  # fmt: skip
    finally:
        incoming.discard()


def _copied(exhibit: Exhibit, made: PublicCopy | None, form: CopyForm, cleaned: CleanedCopyForm) -> Page:
    if made is None:
        return _show_page(_exhibit(exhibit.key), form=form, cleaned=cleaned)
    current_app.extensions["notify"](gettext("The public copy is made. Another person releases it."))
    return redirect(url_for("exhibits.show", key=exhibit.key), 303)


def _let_others_write() -> None:
    # Looking into a file takes long, and on SQLite an open transaction of a POST keeps every other writer waiting.
    db.session().commit()


def _check_quota(size: int) -> None:
    service.check_quota(
        db.session(),
        account=access.viewer(),
        expected=size,
        megabytes=_config().exhibit_daily_mb,
        now=clock.now(),
    )


def _log(exhibit: Exhibit, action: CustodyAction) -> None:
    """Committed before a byte leaves, also from a page that otherwise only reads."""
    with db.writing() as session:
        service.log_look(session, exhibit, action, account=access.viewer(), now=clock.now())


def _typed() -> CombinedMultiDict[str, Any]:
    return CombinedMultiDict([request.files, request.form])


def _store() -> storage.Store:
    found: storage.Store = current_app.extensions["store"]
    return found


def _config() -> Config:
    found: Config = current_app.extensions["settings"]
    return found


def _evidence(key: str) -> Evidence:
    return queue.evidence_by_key(db.session(), key, access.viewer()) or abort(404)


def _exhibit(key: str) -> Exhibit:
    return query.by_key(db.session(), key, access.viewer()) or abort(404)


def _upload_page(evidence: Evidence, form: UploadForm) -> Page:
    page = render_template(
        "exhibits/new.html",
        evidence=evidence,
        form=form,
        upload=uploads.new_name(),
        limit=_config().exhibit_max_mb,
        kinds=FileKind,
    )
    return page if request.method == "GET" else (page, 422)


def _show_page(
    exhibit: Exhibit,
    *,
    form: CopyForm | None = None,
    cleaned: CleanedCopyForm | None = None,
    withdrawal: WithdrawalForm | None = None,
    withdrawn_copy: str = "",
) -> Page:
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
        can_preview=exhibit.kind in _PREVIEWED,
        images=IMAGES,
        shown=request.args.get("shown") == "1" or not exhibit.distressing,
    )
    return page if request.method == "GET" else (page, 422)
