"""Pages and feeds: what changed, for everything, a report, or one recommendation, by ledger position."""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, jsonify, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import get_locale, gettext

from tracker import clock, db, feeds, pages
from tracker.config import Config
from tracker.errors import TrackerError
from tracker.models import Recommendation, Report
from tracker.queries import board as boards
from tracker.queries import changes
from tracker.queries.changes import EVERYTHING, About, Change
from tracker.views import access, fresh
from tracker.views.parameters import ledger_position
from tracker.vocabulary import N_, Grade

blueprint = Blueprint("changes", __name__)

PAGE_LENGTH = 50
FEED_LENGTH = 100


@blueprint.get("/changes")
@access.anyone
def page() -> Response:
    """Everything that was published, the newest first."""
    session, before = db.session(), ledger_position("before")

    def make() -> ResponseReturnValue:
        found = changes.read(session, before=before, limit=PAGE_LENGTH + 1)
        older = found[PAGE_LENGTH - 1].seq if len(found) > PAGE_LENGTH else None
        return render_template("changes/page.html", changes=found[:PAGE_LENGTH], before=before, older=older)

    return fresh.answer(make, changes.position(session))


@blueprint.get("/changes.atom")
@access.anyone
def atom() -> Response:
    """Everything, as a feed."""
    return _feed(EVERYTHING)


@blueprint.get("/reports/<report>.atom")
@access.anyone
def report_atom(report: str) -> Response:
    """One report, as a feed."""
    return _feed(About(boards.find_report(db.session(), report)))


@blueprint.get("/reports/<report>/<number>.atom")
@access.anyone
def recommendation_atom(report: str, number: str) -> Response:
    """One recommendation, as a feed."""
    found = boards.find_recommendation(db.session(), report, number)
    return _feed(About(found.report, found))


@blueprint.get("/changes.json")
@access.anyone
def json() -> Response:
    """Everything, for programs: each answer says where the ledger stood and how to go on."""
    session = db.session()
    before, after = _window()

    def make() -> ResponseReturnValue:
        found, follows = _read(EVERYTHING, before, after)
        return jsonify(
            position=changes.position(session),
            changes=[_plain(change) for change in found],
            next=_address("changes.json", **follows) if follows else None,
        )

    return fresh.answer(make, changes.position(session))


def _feed(about: About) -> Response:
    session = db.session()
    before, after = _window()

    def make() -> ResponseReturnValue:
        found, follows = _read(about, before, after)
        body = feeds.atom(
            id=tag(_scope_name(about)),
            title=_feed_title(about),
            author=_config().team_name,
            language=str(get_locale()).replace("_", "-"),
            page_url=_scope_page(about),
            self_url=_config().public_url + request.full_path.rstrip("?"),
            next_url=_address(request.endpoint or "", **(request.view_args or {}), **follows)
            if follows
            else None,
            updated=max((change.updated_at for change in found), default=_beginning(about)),
            items=[item(change) for change in found],
        )
        return Response(body, content_type="application/atom+xml; charset=utf-8")

    return fresh.answer(make, changes.last_seq(session, about))


def _read(about: About, before: int | None, after: int | None) -> tuple[list[Change], dict[str, int]]:
    """The changes to show, and the query parameter that goes on from there, if there is more."""
    found = changes.read(db.session(), about, before=before, after=after, limit=FEED_LENGTH + 1)
    shown = found[:FEED_LENGTH]
    if len(found) <= FEED_LENGTH:
        return shown, {}
    return shown, {"after" if after is not None else "before": shown[-1].seq}


def _window() -> tuple[int | None, int | None]:
    before, after = ledger_position("before"), ledger_position("after")
    if before is not None and after is not None:
        raise TrackerError(N_("Ask for the changes before a ledger position or after one, not for both."))
    return before, after


def _config() -> Config:
    config: Config = current_app.extensions["settings"]
    return config


def _address(endpoint: str, **values: Any) -> str:
    return _config().public_url + url_for(endpoint, **values)


def tag(name: str, year: int = 2026) -> str:
    """A name that is never anything else's, for feeds and their entries."""
    # RFC 4151. A year in which this host was ours, and never another: readers know an entry by its id.
    return f"tag:{urlsplit(_config().public_url).hostname},{year}:{name}"


def _beginning(about: About) -> dt.datetime:
    return about.report.created_at.replace(minute=0, second=0, microsecond=0) if about.report else clock.now()


def _scope_name(about: About) -> str:
    if about.recommendation is not None:
        return f"reports/{about.recommendation.report.slug}/{about.recommendation.number}"
    return f"reports/{about.report.slug}" if about.report else "changes"


def _scope_page(about: About) -> str:
    if about.recommendation is not None:
        return _recommendation_page(about.recommendation)
    if about.report is not None:
        return _address("reports.board", report=about.report.slug)
    return _address("changes.page")


def _recommendation_page(found: Recommendation, **values: Any) -> str:
    return _address("reports.recommendation", report=found.report.slug, number=found.number, **values)


def _feed_title(about: About) -> str:
    if about.recommendation is not None:
        found = about.recommendation
        title = f"{found.report.short_title}, {found.reference}: {found.title}"
    elif about.report is not None:
        title = about.report.short_title
    else:
        title = gettext("All changes")
    if about.report is not None:
        title = _marked(title, about.report)
    return f"{title} – {_config().site_name}"


def _marked(title: str, report: Report) -> str:
    """Invented material says so in every reader."""
    return str(gettext("[Demonstration] %(title)s", title=title)) if report.demonstration else title


def address_of(change: Change) -> str:
    """Where a change can be read in full."""
    if change.noun == "evidence" and change.number is not None:
        return _address("reports.evidence", number=change.number)
    if len(change.recommendations) == 1:
        return _recommendation_page(change.recommendations[0], _anchor=f"entry-{change.seq}")
    return _address("reports.board", report=change.report.slug)


def item(change: Change) -> feeds.Item:
    """A change as an entry of a feed."""
    categories = [(change.kind.value, gettext(change.kind.label))]
    if change.report.demonstration:
        categories.append(("demonstration", gettext("Demonstration: invented")))
    return feeds.Item(
        id=tag(f"ledger/{change.seq}"),
        title=_marked(headline(change), change.report),
        url=address_of(change),
        published=change.recorded_at,
        updated=change.updated_at,
        text=story(change),
        categories=categories,
    )


def headline(change: Change) -> str:
    """A change in one line of plain text."""
    references = ", ".join(found.reference for found in change.recommendations)
    place = f"{change.report.short_title}, {references}" if references else change.report.short_title
    what = gettext(change.kind.label)
    if change.withdrawn_at is not None:
        return str(gettext("%(what)s, withdrawn since (%(place)s)", what=what, place=place))
    if change.noun == "finding":
        if change.clause:
            place = gettext("%(place)s, clause %(label)s", place=place, label=change.clause)
        return f"{place}: {what}, {_step(change.previous_grade, change.grade)}"
    if change.noun == "dissent" and change.clause:
        place = gettext("%(place)s, clause %(label)s", place=place, label=change.clause)
    if change.noun == "reply" and change.position is not None:
        return f"{place}: {what}, {gettext(change.position.label)}"
    title = change.words("title")
    return f"{place}: {what}, {title}" if title else f"{place}: {what}"


def story(change: Change) -> str:
    """What a change says, in paragraphs of plain text."""
    if change.withdrawn_at is not None:
        return str(gettext("This was withdrawn later, and its text is no longer shown."))
    if change.content is None:
        return str(gettext("The text of this entry was removed to protect somebody."))
    parts = [change.words("correction")]
    if change.is_withdrawal:
        parts.append(change.words("reason"))
    elif change.noun == "finding":
        parts += [change.words("rationale"), change.words("reason")]
    elif change.noun == "dissent":
        parts.append(change.words("text"))
    else:
        parts.append(change.words("summary"))
        parts += [pages.was_and_is(one) for one in change.content.get("changes") or []]
    if change.roll_up != change.previous_roll_up:
        parts.append(
            gettext(
                "The recommendation as a whole: %(step)s.",
                step=_step(change.previous_roll_up, change.roll_up),
            )
        )
    return "\n\n".join(part for part in parts if part)


def _step(old: Grade | None, new: Grade | None) -> str:
    if old is new:
        return str(gettext("%(grade)s, unchanged", grade=_graded(new)))
    return str(gettext("%(old)s to %(new)s", old=_graded(old), new=_graded(new)))


def _graded(grade: Grade | None) -> str:
    return str(gettext(grade.label) if grade else gettext("Not yet assessed"))


def _plain(change: Change) -> dict[str, Any]:
    """A change as JSON. Words of something withdrawn are not told again; the hashed facts stay in the ledger."""
    facts = {
        name: value
        for name, value in change.facts.items()
        if name not in ("report", "recommendations", "content")
    }
    return {
        "seq": change.seq,
        "recorded_at": change.recorded_at.strftime("%Y-%m-%dT%H:00:00Z"),
        "kind": change.kind.value,
        "subject": change.subject,
        "report": change.report.slug,
        "demonstration": change.report.demonstration,
        "recommendations": [found.number for found in change.recommendations],
        "withdrawn": change.withdrawn_at is not None,
        "corrected": change.corrected_at is not None,
        **({} if change.withdrawn_at is not None else facts),
        "content": change.content,
        "url": address_of(change),
    }
