"""What a set of follows matches in the ledger: for digests, feeds, the preview, and the estimate at sign-up.

Everything but a search is a condition in SQL. A search is done here, over words that may still be shown: SQLite and
PostgreSQL fold letters differently, and an entry's stored text also holds the names of its fields.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from sqlalchemy import ColumnElement, and_, false, func, or_, select, true
from sqlalchemy.orm import Session

from tracker.models import LedgerEntry, LedgerTopic, Recommendation, Report, Theme, recommendation_theme
from tracker.queries import changes
from tracker.queries.changes import Change
from tracker.vocabulary import SILENT, Scope

# A search looks at so many of the newest changes at most, so that a feed of rare words costs nobody much.
_SEARCHED = 2000
_CHUNK = 200


class AnyFollow(Protocol):
    """One thing that is followed."""

    @property
    def scope(self) -> Scope: ...
    @property
    def report_id(self) -> int | None: ...
    @property
    def recommendation_id(self) -> int | None: ...
    @property
    def value(self) -> str: ...


class Tellable(Protocol):
    """A change, as pages and digests have it."""

    @property
    def report(self) -> Report: ...
    @property
    def recommendations(self) -> Sequence[Recommendation]: ...
    @property
    def content(self) -> dict[str, Any] | None: ...


def topics(follows: Iterable[AnyFollow]) -> ColumnElement[bool]:
    """The condition on `LedgerTopic` for all that is not a search."""
    conditions: list[ColumnElement[bool]] = []
    for follow in follows:
        if follow.scope is Scope.EVERYTHING:
            return true()
        if follow.scope is Scope.REPORT:
            conditions.append(LedgerTopic.report_id == follow.report_id)
        elif follow.scope is Scope.RECOMMENDATION:
            conditions.append(LedgerTopic.recommendation_id == follow.recommendation_id)
        elif follow.scope is Scope.THEME:
            of_theme = (
                select(recommendation_theme.c.recommendation_id)
                .join(Theme, Theme.id == recommendation_theme.c.theme_id)
                .where(Theme.slug == follow.value)
            )
            conditions.append(LedgerTopic.recommendation_id.in_(of_theme))
        elif follow.scope is Scope.COUNTRY:
            conditions.append(
                LedgerTopic.report_id.in_(select(Report.id).where(Report.country == follow.value))
            )
    return or_(false(), *conditions)


def searches(follows: Iterable[AnyFollow]) -> list[str]:
    """The saved searches among them."""
    return [follow.value for follow in follows if follow.scope is Scope.SEARCH]


def meets(change: Tellable, follow: AnyFollow) -> bool:
    """Whether a change is about what is followed. The same rule as `topics`, for changes that are read already."""
    if follow.scope is Scope.EVERYTHING:
        return True
    if follow.scope is Scope.REPORT:
        return change.report.id == follow.report_id
    if follow.scope is Scope.RECOMMENDATION:
        return any(one.id == follow.recommendation_id for one in change.recommendations)
    if follow.scope is Scope.THEME:
        return any(theme.slug == follow.value for one in change.recommendations for theme in one.themes)
    if follow.scope is Scope.COUNTRY:
        return change.report.country == follow.value
    return holds(follow.value, words(change))


def holds(search: str, everything: str) -> bool:
    """Whether every word of the search stands somewhere in these words."""
    looked_for = folded(search).split()
    return bool(looked_for) and all(word in everything for word in looked_for)


def words(change: Tellable) -> str:
    """What a search looks through, folded: the words that a change published, and what it is about."""
    texts = [change.report.title, change.report.short_title, change.report.country]
    for one in change.recommendations:
        texts += [one.reference, one.title, one.text]
    return folded(" ".join([*texts, *_strings(change.content or {})]))


def folded(text: str) -> str:
    """Text as searches compare it: the case and the width of letters do not count."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def read(
    session: Session, follows: Sequence[AnyFollow], *, before: int | None = None, limit: int
) -> list[Change]:
    """The newest changes that these follows match, before a ledger position, the newest first."""
    if not searches(follows):
        return changes.at(session, session.scalars(_seqs(follows, before).limit(limit)))
    own = set(session.scalars(_seqs(follows, before).limit(limit)))
    found: list[Change] = []
    looked_at = 0
    while len(found) < limit and looked_at < _SEARCHED:
        chunk = changes.read(session, before=before, limit=_CHUNK)
        for change in chunk:
            if change.seq in own or any(meets(change, one) for one in follows):
                found.append(change)
        looked_at += len(chunk)
        if len(chunk) < _CHUNK:
            break
        before = chunk[-1].seq
    return found[:limit]


def position(session: Session, follows: Sequence[AnyFollow]) -> int:
    """A ledger position that moves whenever something new may match: what an ETag is made of."""
    if searches(follows):
        return changes.position(session)
    return session.scalar(select(func.max(LedgerTopic.seq)).where(topics(follows))) or 0


def hours(session: Session, follows: Sequence[AnyFollow], *, since: dt.datetime) -> list[dt.datetime]:
    """The hours since then in which something happened that these follows match."""
    if searches(follows):
        found = {
            change.recorded_at
            for change in read(session, follows, limit=_SEARCHED)
            if change.recorded_at >= since
        }
        return sorted(found)
    told = and_(
        LedgerEntry.recorded_at >= since,
        LedgerEntry.kind.not_in(SILENT),
        LedgerEntry.seq.in_(select(LedgerTopic.seq).where(topics(follows))),
    )
    query = select(LedgerEntry.recorded_at).where(told).distinct().order_by(LedgerEntry.recorded_at)
    return list(session.scalars(query))


def beginning(session: Session) -> dt.datetime | None:
    """When the first entry was recorded."""
    return session.scalar(select(func.min(LedgerEntry.recorded_at)))


def _seqs(follows: Sequence[AnyFollow], before: int | None) -> Any:
    query = select(LedgerEntry.seq).where(
        LedgerEntry.kind.not_in(SILENT),
        LedgerEntry.seq.in_(select(LedgerTopic.seq).where(topics(follows))),
    )
    if before is not None:
        query = query.where(LedgerEntry.seq < before)
    return query.order_by(LedgerEntry.seq.desc())


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)
