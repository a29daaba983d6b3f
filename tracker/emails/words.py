"""The words of mails: grades, dates, rhythms, and one change as both parts of a digest show it."""

from __future__ import annotations

import datetime as dt
import re
import textwrap
from dataclasses import dataclass, field, replace
from typing import TypeVar

from babel.dates import format_date, get_day_names
from flask_babel import get_locale, gettext

from tracker import pages
from tracker.models import Recommendation
from tracker.services.news import CORRECTED, WITHDRAWN, Change
from tracker.services.schedule import Rhythm
from tracker.vocabulary import Access, Direction, Frequency, Grade, Position, Word

_SENTENCE = re.compile(r"(?<=[.!?。؟۔])\s+")

W = TypeVar("W", bound=Word)


@dataclass(frozen=True)
class Item:
    """One change, in words, as both parts show it."""

    tag: str
    strong: bool  # Corrections and withdrawals are marked.
    about: str  # Where it stands apart from its recommendation: "88(a) Release people held without charge".
    title: str
    url: str
    graded: bool = False
    gone: bool = False  # A finding that was withdrawn: only what it said.
    was: Grade | None = None
    now: Grade | None = None
    as_of: str = ""
    words: list[tuple[str, str]] = field(default_factory=list)  # (who says it, what)
    notes: list[tuple[str, ...]] = field(default_factory=list)  # Each part has its own direction.


def rhythm_words(rhythm: Rhythm) -> str:
    """ "every Monday at 07:00 (Europe/Zurich)"."""
    hour = f"{rhythm.hour:02}:00"
    zone = rhythm.timezone.replace("_", " ")
    if rhythm.frequency is Frequency.IMMEDIATE:
        return str(gettext("as it happens, at most once an hour"))
    if rhythm.frequency is Frequency.DAILY:
        return str(gettext("every day at %(hour)s (%(zone)s)", hour=hour, zone=zone))
    if rhythm.frequency is Frequency.WEEKLY:
        day = get_day_names("wide", locale=get_locale())[rhythm.weekday]
        return str(gettext("every %(weekday)s at %(hour)s (%(zone)s)", weekday=day, hour=hour, zone=zone))
    if rhythm.month_day > 28:
        text = gettext("on day %(day)s of every month, or its last day, at %(hour)s (%(zone)s)", day=rhythm.month_day, hour=hour, zone=zone)  # fmt: skip
    else:
        text = gettext("on day %(day)s of every month at %(hour)s (%(zone)s)", day=rhythm.month_day, hour=hour, zone=zone)  # fmt: skip
    return str(text)


def item(change: Change, under: Recommendation | None, base_url: str) -> Item:
    """A change in words. `under` is the recommendation in whose section it stands, if it stands in one."""
    facts, content = change.facts, change.content or {}
    place = under or (change.recommendations[0] if change.recommendations else None)
    about = f"{place.reference} {place.title}" if place and under is None else ""
    page = f"{base_url}/reports/{change.report.slug}"
    url = f"{page}/{place.number}" if place else page
    strong = change.kind in CORRECTED or change.kind in WITHDRAWN
    tag = gettext(change.kind.label)
    words: list[tuple[str, str]] = []
    if change.content is None:
        words.append(("", gettext("This was removed to protect somebody.")))
    if change.kind in CORRECTED and content.get("correction"):
        words.append((gettext("What was wrong:"), two_sentences(content.get("correction"))))
    if change.kind in WITHDRAWN:
        words.append((gettext("Why:"), two_sentences(content.get("reason"))))
    noun = change.kind.value.partition("-")[0]
    if noun == "finding":
        return _finding(change, place, Item(tag, strong, about, _clause(place, facts), url, words=words))
    if noun == "evidence":
        number = facts.get("number")
        title = _line(content.get("title"), 300)
        found = Item(f"{tag} [{number}]", strong, about, title, f"{base_url}/evidence/{number}", words=words)
        if change.kind not in WITHDRAWN:
            found.notes.append((_line(content.get("publisher"), 200), _partial(facts)))
            found.notes.append(_bearings(facts, change.recommendations))
        return found
    if noun == "dissent":
        words.append(("", two_sentences(content.get("text"))))
        return Item(tag, strong, about, _clause(place, facts), url, words=words)
    if noun == "reply":
        found = Item(tag, strong, about, _word(Position, facts.get("position")), url, words=words)
        if change.kind not in WITHDRAWN and change.content is not None:
            words.append(("", two_sentences(content.get("summary"))))
            found.notes.append((_line(content.get("author"), 200), _partial(facts)))
            if len(change.recommendations) > 1:
                references = ", ".join(one.reference for one in change.recommendations)
                found.notes.append((gettext("About: %(references)s", references=references),))
        return found
    changes = content.get("changes") or []
    words.extend(("", two_sentences(pages.was_and_is(one))) for one in changes[:5])
    return Item(tag, strong, about, _line(content.get("title"), 300), url, words=words)


def _finding(change: Change, place: Recommendation | None, found: Item) -> Item:
    facts, content = change.facts, change.content or {}
    withdrawn = change.kind in WITHDRAWN
    was, now = _word_of(Grade, facts.get("previous_grade")), _word_of(Grade, facts.get("grade"))
    if withdrawn:
        was, now = now, None
    if not withdrawn and change.content is not None:
        found.words.append(("", two_sentences(content.get("rationale"))))
        found.words.append((gettext("Reviewer:"), two_sentences(content.get("reason"))))
    if (access := _word_of(Access, facts.get("access"))) and not withdrawn:
        found.notes.append((gettext(access.label),))
    before, after = _word_of(Grade, facts.get("previous_roll_up")), _word_of(Grade, facts.get("roll_up"))
    if place and facts.get("clause") and before is not after:
        as_a_whole = gettext(
            "%(reference)s as a whole: was %(before)s, now %(after)s",
            reference=place.reference,
            before=grade_words(before),
            after=grade_words(after),
        )
        found.notes.append((as_a_whole,))
    return replace(
        found,
        graded=True,
        gone=withdrawn,
        was=was,
        now=now,
        as_of=_iso(facts.get("as_of")),
        words=[pair for pair in found.words if pair[1]],
    )


def grade_words(grade: Grade | None) -> str:
    """ "[B] Partially implemented"."""
    return f"[{grade.mark}] {gettext(grade.label)}" if grade else f"[–] {gettext('Not yet assessed')}"


def two_sentences(value: object) -> str:
    """The first two sentences of what somebody wrote, in one line, never longer than a short paragraph. "…": it goes on."""
    sentences = _SENTENCE.split(_line(value, 100_000))
    return _line(" ".join(sentences[:2]) + (" …" if len(sentences) > 2 else ""), 420)


def _line(value: object, most: int) -> str:
    text = " ".join(str(value or "").split())
    if len(text) <= most:
        return text
    return text[:most].rpartition(" ")[0] + "…" if " " in text[:most] else text[:most] + "…"


def _clause(place: Recommendation | None, facts: dict[str, object]) -> str:
    label = facts.get("clause")
    if not label:
        return ""
    titles = {clause.label: clause.title for clause in place.clauses} if place else {}
    named = gettext("Clause %(label)s", label=label)
    return f"{named}: {titles[str(label)]}" if titles.get(str(label)) else named


def _bearings(facts: dict[str, object], recommendations: tuple[Recommendation, ...]) -> tuple[str, ...]:
    references = {recommendation.number: recommendation.reference for recommendation in recommendations}
    lines = []
    directions = facts.get("directions")
    for bearing in directions if isinstance(directions, list) else []:
        direction = _word(Direction, bearing.get("direction"))
        number = bearing.get("recommendation")
        where = references.get(number, str(number or ""))
        if label := bearing.get("clause"):
            where = gettext("%(reference)s, clause %(label)s", reference=where, label=label)
        lines.append(f"{direction}: {where}")
    return ("; ".join(lines),)


def wrap(text: str, indent: int = 0, width: int = 72) -> str:
    """Lines of readable length for the text part; addresses stay whole."""
    space = " " * indent
    return "\n".join(
        textwrap.wrap(
            text,
            width,
            initial_indent=space,
            subsequent_indent=space,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _word_of(kind: type[W], value: object) -> W | None:
    return next((word for word in kind if word.value == value), None)


def _word(kind: type[Word], value: object) -> str:
    word = _word_of(kind, value)
    return gettext(word.label) if word else ""


def day_words(day: dt.date) -> str:
    """ "23 November 2026"."""
    return str(format_date(day, "d MMMM y", locale=get_locale()))


def _iso(value: object) -> str:
    try:
        return day_words(dt.date.fromisoformat(str(value)))
    except ValueError:
        return ""


def _partial(facts: dict[str, object]) -> str:
    try:
        day = dt.date.fromisoformat(str(facts.get("date")))
    except ValueError:
        return ""
    precision = facts.get("precision")
    if precision == "year":
        return str(day.year)
    if precision == "month":
        return str(format_date(day, "MMMM y", locale=get_locale()))
    return gettext("about %(date)s", date=day_words(day)) if precision == "about" else day_words(day)
