"""What somebody wants to hear about, when, in which language, and how much a mail may say: plain data, checked.

Choices travel as JSON: sealed from the public form to the mailer, and open in a row until they are confirmed. Whatever
comes back from there is checked again, because who has the web process can seal what they like.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import text
from tracker.errors import Invalid, raise_all
from tracker.models import Follow, Recommendation, Report, Subscriber, Theme
from tracker.queries.follows import AnyFollow
from tracker.services import schedule
from tracker.services.schedule import Rhythm
from tracker.vocabulary import N_, Disclosure, Frequency, Scope, Word

SHORTEST_SEARCH, LONGEST_SEARCH = 2, 200

W = TypeVar("W", bound=Word)


class Followed(NamedTuple):
    """One thing that somebody follows. `value`: a theme's slug, a country's name, the words of a search."""

    scope: Scope
    report_id: int | None = None
    recommendation_id: int | None = None
    value: str = ""


EVERYTHING = (Followed(Scope.EVERYTHING),)


@dataclass(frozen=True)
class Choices:
    """What, when, in which language, and how much a mail may say."""

    rhythm: Rhythm
    follows: tuple[Followed, ...] = EVERYTHING
    language: str = "en"
    disclosure: Disclosure = Disclosure.FULL


def follow_key(follows: Iterable[AnyFollow]) -> str:
    """SHA-256 over what is followed, in one order: those who follow the same share what is composed.

    Migration 0009 computes it in the same way.
    """
    found = [[one.scope.value, one.report_id, one.recommendation_id, one.value] for one in follows]
    return hashlib.sha256(json.dumps(sorted(found, key=json.dumps)).encode()).hexdigest()


def tidy(follows: Iterable[Followed]) -> tuple[Followed, ...]:
    """Each once, in one order. Whoever follows everything follows nothing besides."""
    found = set(follows)
    if EVERYTHING[0] in found:
        return EVERYTHING
    order = list(Scope)
    return tuple(
        sorted(
            found,
            key=lambda one: (
                order.index(one.scope), one.report_id or 0, one.recommendation_id or 0, one.value
            ),
        )
    )  # fmt: skip


def check(session: Session, choices: Choices) -> None:
    """Refuse choices that follow nothing, or something that is not there."""
    if not choices.follows:
        raise Invalid(N_("Choose at least one thing to follow."), "what")
    mistakes = []
    for follow in choices.follows:
        try:
            _check_one(session, follow)
        except Invalid as mistake:
            mistakes.append(mistake)
    raise_all(mistakes)


def search_words(value: str) -> str:
    """The words of a search as they are stored. Raises Invalid."""
    value = " ".join(text.clean(value, field="search", lines=False).split())
    if not SHORTEST_SEARCH <= len(value) <= LONGEST_SEARCH:
        raise Invalid(
            N_("Write between %(least)s and %(most)s characters to search for."),
            "search",
            least=SHORTEST_SEARCH,
            most=LONGEST_SEARCH,
        )
    return value


def _check_one(session: Session, follow: Followed) -> None:
    gone: Invalid | None = None
    if follow.scope is Scope.REPORT and session.get(Report, follow.report_id or 0) is None:
        gone = Invalid(N_("This report is not there any more. Choose another."), "reports")
    elif (
        follow.scope is Scope.RECOMMENDATION
        and session.get(Recommendation, follow.recommendation_id or 0) is None
    ):
        gone = Invalid(N_("This recommendation is not there any more. Choose another."), "recommendations")
    elif follow.scope is Scope.THEME and follow.value not in {theme.slug for theme in themes(session)}:
        gone = Invalid(N_("This theme is not there any more. Choose another."), "themes")
    elif follow.scope is Scope.COUNTRY and follow.value not in countries(session):
        gone = Invalid(N_("There is no report about this country. Choose another."), "countries")
    elif follow.scope is Scope.SEARCH and search_words(follow.value) != follow.value:
        gone = Invalid(N_("Write these words without line breaks."), "search")
    if gone is not None:
        raise gone


def themes(session: Session) -> Sequence[Theme]:
    """The themes that can be followed, by name."""
    return session.scalars(select(Theme).order_by(Theme.name)).all()


def countries(session: Session) -> Sequence[str]:
    """The countries that reports are about, by name."""
    return session.scalars(select(Report.country).distinct().order_by(Report.country)).all()


def rows(choices: Choices) -> list[Follow]:
    """The follows as rows."""
    return [Follow(**one._asdict()) for one in choices.follows]


def rhythm_of(subscriber: Subscriber) -> Rhythm:
    """When this person wants digests."""
    return Rhythm(
        subscriber.frequency, subscriber.weekday, subscriber.month_day, subscriber.hour, subscriber.timezone
    )


def current(subscriber: Subscriber) -> Choices:
    """What this person has chosen now."""
    follows = tidy(
        Followed(one.scope, one.report_id, one.recommendation_id, one.value) for one in subscriber.follows
    )
    return Choices(rhythm_of(subscriber), follows, subscriber.language, subscriber.disclosure)


def plain(choices: Choices) -> dict[str, Any]:
    """Choices as JSON takes them."""
    rhythm = choices.rhythm
    return {
        "frequency": rhythm.frequency.value,
        "weekday": rhythm.weekday,
        "month_day": rhythm.month_day,
        "hour": rhythm.hour,
        "timezone": rhythm.timezone,
        "language": choices.language,
        "disclosure": choices.disclosure.value,
        "follows": [
            [one.scope.value, one.report_id, one.recommendation_id, one.value] for one in choices.follows
        ],
    }


def from_plain(found: dict[str, Any]) -> Choices:
    """Choices again. Raises ValueError, KeyError or TypeError if it is anything else."""
    rhythm = Rhythm(
        _word(Frequency, found["frequency"]),
        _number(found["weekday"], 0, 6),
        _number(found["month_day"], 1, 31),
        _number(found["hour"], 0, 23),
        str(found["timezone"]),
    )
    if rhythm.timezone not in schedule.timezones():
        raise ValueError("This is no time zone.")
    language = str(found.get("language", "en"))
    if not (language.isascii() and language.replace("-", "").isalnum() and len(language) <= 35):
        raise ValueError("This is no language.")
    disclosure = _word(Disclosure, found.get("disclosure", Disclosure.FULL.value))
    return Choices(rhythm, tidy(_follows(found)), language, disclosure)


def _follows(found: dict[str, Any]) -> list[Followed]:
    if "follows" in found:
        return [
            Followed(_word(Scope, scope), _key(report), _key(recommendation), str(value))
            for scope, report, recommendation, value in found["follows"]
        ]
    # Asked before 0009: one scope.
    scope = _word(Scope, found["scope"])
    if scope is Scope.RECOMMENDATION:
        return [Followed(scope, None, _key(number)) for number in found["recommendations"]]
    return [Followed(scope, _key(found["report"]) if scope is Scope.REPORT else None)]


def _word(kind: type[W], value: object) -> W:
    return kind(value)  # type: ignore[arg-type, call-arg]


def _number(value: object, least: int, most: int) -> int:
    if not isinstance(value, int) or not least <= value <= most:
        raise ValueError("This number cannot be.")
    return value


def _key(value: object) -> int | None:
    return None if value is None else _number(value, 1, 2**31 - 1)
