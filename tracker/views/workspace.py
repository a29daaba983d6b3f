"""What waits for the person who is signed in, and what waits for any reviewer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from flask_babel import ngettext
from werkzeug.wrappers import Response

from tracker import clock, db
from tracker.config import Config
from tracker.forms.bulk import BulkForm
from tracker.queries import queue, teamwork
from tracker.services import bulk, harm
from tracker.views import access, attempts
from tracker.views.teamwork import fetch

blueprint = Blueprint("workspace", __name__)
Page = str | Response | tuple[str, int]


@blueprint.get("/workspace")
@access.team
def page() -> str:
    session, viewer, now = db.session(), access.viewer(), clock.now()
    config: Config = current_app.extensions["settings"]
    stale_before = now - dt.timedelta(days=config.stale_days)
    remarks = teamwork.unread(session, viewer)
    return render_template(
        "workspace/page.html",
        now=now,
        queue=queue.queue(session, viewer, stale_before=stale_before),
        remarks=[(fetch(*subject.split("/")), comments) for subject, comments in remarks.items()],
        notes=teamwork.notes_to_release(session, viewer),
        notes_returned=teamwork.notes_returned(session, viewer),
        captures=teamwork.failed_captures(session, viewer, since=stale_before),
        damaged=teamwork.damaged_exhibits(session, viewer),
        second=_second(),
        shaken=queue.shaken(session),
        due=queue.reviews_due(session, months=config.review_months, today=now.date()),
    )


@blueprint.get("/review")
@access.reviewers
def review() -> str:
    session = db.session()
    return render_template(
        "workspace/review.html",
        now=clock.now(),
        rows=queue.to_review(session, access.viewer()),
        second=_second(),
        imported=len(queue.imported(session, access.viewer(), limit=bulk.MOST)),
    )


@blueprint.route("/workspace/review/bulk", methods=["GET", "POST"])
@access.reviewers
def bulk_review() -> Page:
    """Accept imported public evidence, many pieces with one harm check."""
    session, form = db.session(), BulkForm(request.form or None)
    if request.method == "GET":
        return _bulk_page(form, 200)

    def act() -> str:
        entries = bulk.accept_all(
            session,
            form.seen(),
            reviewer=access.viewer(),
            harm=form.harm(current_app.extensions["keyring"]),
            now=clock.now(),
        )
        return str(ngettext("One piece is public now.", "%(num)s pieces are public now.", len(entries)))

    try:
        if form.validate() and (notice := attempts.commit(form, act)):
            current_app.extensions["notify"](notice)
            return redirect(url_for("workspace.review"), 303)
    except bulk.Refused as error:
        session.rollback()
        return _bulk_page(form, 409, refused=error.keys)
    return _bulk_page(form, 422)


def _second() -> dict[str, Sequence[Any]]:
    """What else needs a second person: copies to release, and erasures to confirm."""
    session, viewer = db.session(), access.viewer()
    return {
        "copies": teamwork.copies_to_release(session, viewer),
        "erasures": teamwork.erasures_to_confirm(session, viewer),
        "sources": teamwork.sources_to_erase(session, viewer),
    }


def _bulk_page(form: BulkForm, status: int, refused: Sequence[str] = ()) -> Page:
    session, viewer = db.session(), access.viewer()
    rows, keys = queue.imported(session, viewer, limit=bulk.MOST), current_app.extensions["keyring"]
    again = [queue.evidence_by_key(session, key, viewer) for key in refused]
    page = render_template(
        "workspace/bulk.html",
        form=form.prepare(rows),
        rows=rows,
        # What was refused is to be looked at again before it is ticked again.
        ticked=set(form.seen()) - set(refused),
        warned={row.key: len(harm.warnings(session, row, keys=keys)) for row in rows},
        refused=[row for row in again if row is not None] if refused else [],
        gone=again.count(None),
    )
    return page if status == 200 else (page, status)
