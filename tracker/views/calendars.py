"""Calendars that anybody can subscribe to: on which days reviews are due."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from sqlalchemy import ColumnElement

from tracker import calendars, clock, db
from tracker.config import Config
from tracker.models import Recommendation
from tracker.queries import board as boards
from tracker.queries import changes
from tracker.queries.board import Row
from tracker.queries.changes import About
from tracker.views import access, fresh

blueprint = Blueprint("calendars", __name__)


@blueprint.get("/reviews.ics")
@access.anyone
def reviews() -> Response:
    """When the review of each recommendation is due, of all reports."""
    seq = changes.position(db.session())
    return _answer(Recommendation.id.is_not(None), _config().site_name, seq)


@blueprint.get("/reports/<report>/reviews.ics")
@access.anyone
def report_reviews(report: str) -> Response:
    """When the review of each recommendation of one report is due."""
    found = boards.find_report(db.session(), report)
    seq = changes.last_seq(db.session(), About(found))
    return _answer(Recommendation.report_id == found.id, found.short_title, seq)


def _answer(which: ColumnElement[bool], title: str, seq: int) -> Response:
    def make() -> ResponseReturnValue:
        rows = boards.read_rows(
            db.session(), which, today=clock.now().date(), review_months=_config().review_months
        )
        name = gettext("Reviews due: %(title)s", title=title)
        body = calendars.write(_days(rows), name=name, program=_config().site_name)
        return Response(body, content_type=calendars.MEDIA_TYPE)

    # The day of today is in no event, so the answer stays the same until something is published.
    return fresh.answer(make, seq)


def _days(rows: Sequence[Row]) -> list[calendars.Day]:
    host = urlsplit(_config().public_url).hostname
    days = []
    for row in rows:
        place, report, due = row.recommendation, row.recommendation.report, row.timeliness.due_on
        if due is None:
            continue
        title = gettext("Review due: %(reference)s %(title)s", reference=place.reference, title=place.title)
        if report.demonstration:
            title = gettext("[Demonstration] %(title)s", title=title)
        decided = max(finding.approved_at for finding in row.findings.values() if finding.approved_at)
        days.append(
            calendars.Day(
                uid=f"review/{report.slug}/{place.number}@{host}",
                day=due,
                title=title,
                text=gettext(
                    "%(report)s. Last reviewed on %(day)s.",
                    report=report.short_title,
                    day=row.timeliness.reviewed_on,
                ),
                url=_config().public_url
                + url_for("reports.recommendation", report=report.slug, number=place.number),
                # Times that the public sees are never finer than the hour.
                stamp=decided.replace(minute=0, second=0, microsecond=0),
            )
        )
    return days


def _config() -> Config:
    config: Config = current_app.extensions["settings"]
    return config
