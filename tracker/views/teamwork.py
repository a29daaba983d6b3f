"""What stands beside a thing on its staff page: who takes care of it, what was remarked, what was changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Blueprint, abort, render_template, request, url_for
from flask_babel import gettext

from tracker import db
from tracker.models import Account, Assignment, Comment, Evidence, FieldChange
from tracker.queries import queue, teamwork
from tracker.queries.teamwork import Row
from tracker.views import access
from tracker.vocabulary import (
    N_,
    Credibility,
    Detail,
    Reliability,
    SourceType,
    Visibility,
    Word,
)

blueprint = Blueprint("teamwork", __name__, url_prefix="/workspace")

#: How many changes stand on the page of a piece of evidence, and on a page of its history.
SHORT, LONG = 10, 50

FIELDS = {
    "title": N_("Title"),
    "summary": N_("Summary for the public"),
    "occurred": N_("When it happened"),
    "place": N_("Where it happened"),
    "publisher": N_("Who says so"),
    "source_type": N_("Type of source"),
    "links": N_("Where it was published"),
    "language": N_("Language of the source"),
    "reliability": N_("The source is"),
    "credibility": N_("The information is"),
    "bearings": N_("What it bears on"),
    "visibility": N_("Who may see this piece"),
    "readers": N_("Who may read it"),
    "not_before": N_("Not public before"),
    "from_person": N_("A person gave it"),
    "remark": N_("Remark on the date or the copy"),
    "team_note": N_("Note for colleagues"),
}
_WORDS: dict[str, type[Word]] = {
    "source_type": SourceType,
    "reliability": Reliability,
    "credibility": Credibility,
    "visibility": Visibility,
}


@dataclass(frozen=True)
class Beside:
    """The parts of a staff page that are the same for evidence, findings and replies."""

    row: Row
    noun: str
    comments: Sequence[Comment]
    unread: bool
    assignment: Assignment | None
    takers: list[Account]
    history: Sequence[FieldChange]
    older: bool


def beside(row: Row) -> Beside:
    """Read what stands beside this thing, for the person who is signed in."""
    session, viewer = db.session(), access.viewer()
    changes: Sequence[FieldChange] = ()
    if isinstance(row, Evidence):
        changes = teamwork.history(session, row, viewer, limit=SHORT + 1)
    return Beside(
        row=row,
        noun=type(row).__name__.lower(),
        comments=teamwork.comments(session, row, viewer),
        unread=teamwork.subject(row) in teamwork.unread(session, viewer),
        assignment=teamwork.assignment(session, row),
        takers=teamwork.takers(session, row),
        history=changes[:SHORT],
        older=len(changes) > SHORT,
    )


def fetch(noun: str, key: str) -> Row:
    """The thing that an address names, if the person who is signed in may see it; else 404, as if there were none."""
    return teamwork.by_subject(db.session(), f"{noun}/{key}", access.viewer()) or abort(404)


def address(row: Row, anchor: str | None = None) -> str:
    """The staff page of a thing."""
    endpoint = {"Evidence": "evidence", "Finding": "findings", "Reply": "replies"}[type(row).__name__]
    return url_for(f"{endpoint}.show", key=row.key, _anchor=anchor)


@blueprint.get("/evidence/<key>/history")
@access.team
def history(key: str) -> str:
    """Every change of a piece of evidence, the newest first, in pages."""
    session, viewer = db.session(), access.viewer()
    evidence = queue.evidence_by_key(session, key, viewer) or abort(404)
    before = request.args.get("before", type=int)
    if before is not None and not 0 < before < 2**31:
        abort(404)
    found = teamwork.history(session, evidence, viewer, before=before, limit=LONG + 1)
    return render_template(
        "workspace/history.html",
        evidence=evidence,
        changes=found[:LONG],
        before=before,
        older=found[LONG - 1].id if len(found) > LONG else None,
    )


@blueprint.app_template_filter("field_name")
def field_name(field: str) -> str:
    """What a field of evidence is called on its form."""
    if not field.startswith("detail-"):
        return str(gettext(FIELDS.get(field, field)))
    name = field.removeprefix("detail-").removesuffix("-visibility")
    label = next((gettext(detail.label) for detail in Detail if detail.value == name), name)
    if field.endswith("-visibility"):
        return str(gettext("%(detail)s: who may see it", detail=label))
    return str(label)


@blueprint.app_template_filter("field_value")
def field_value(value: str, field: str) -> str:
    """A field's text as its history keeps it, with the words of a list in the reader's language."""
    words = Visibility if field.endswith("-visibility") else _WORDS.get(field)
    for word in words or ():
        if word.value == value:
            return str(gettext(word.label))
    return value
