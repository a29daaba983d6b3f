"""What waits for the person who is signed in, and what waits for any reviewer."""

from __future__ import annotations

from flask import Blueprint, current_app, render_template

from tracker import clock, db
from tracker.queries import queue
from tracker.views import access

blueprint = Blueprint("workspace", __name__)


@blueprint.get("/workspace")
@access.team
def page() -> str:
    session, now = db.session(), clock.now()
    months = current_app.extensions["settings"].review_months
    return render_template(
        "workspace/page.html",
        queue=queue.queue(session, access.viewer()),
        shaken=queue.shaken(session),
        due=queue.reviews_due(session, months=months, today=now.date()),
    )


@blueprint.get("/review")
@access.reviewers
def review() -> str:
    return render_template("workspace/review.html", rows=queue.to_review(db.session(), access.viewer()))
