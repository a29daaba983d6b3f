"""What changed: the ledger's entries as pages, feeds and digests read them.

Something withdrawn keeps its entries, which cannot be rewritten, but nobody is shown its words again.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session, aliased, joinedload

from tracker.models import Finding, LedgerEntry, LedgerHead, LedgerTopic, Recommendation, Report
from tracker.queries.withheld import Withheld
from tracker.vocabulary import (
    SILENT,
    WITHDRAWALS,
    Direction,
    EntryKind,
    Grade,
    Position,
    Precision,
    State,
    Word,
)

W = TypeVar("W", bound=Word)

CORRECTIONS = (EntryKind.EVIDENCE_CORRECTED, EntryKind.REPLY_CORRECTED)
# Made once: making one takes longer than asking the database with it.
_WRONG = aliased(Finding)


@dataclass(frozen=True)
class About:
    """What a list of changes is about: everything, a report, or one recommendation.

    A recommendation's changes include those of its report as a whole, such as its being entered.
    """

    report: Report | None = None
    recommendation: Recommendation | None = None

    def topics(self) -> ColumnElement[bool] | None:
        """The condition on LedgerTopic, or None for everything."""
        if self.report is None:
            return None
        condition = LedgerTopic.report_id == self.report.id
        if self.recommendation is not None:
            own = LedgerTopic.recommendation_id == self.recommendation.id
            condition &= or_(own, LedgerTopic.recommendation_id.is_(None))
        return condition


EVERYTHING = About()


@dataclass(frozen=True)
class Change:
    """One ledger entry, ready to be told. `content` is None if it was erased or has been withdrawn since."""

    seq: int
    recorded_at: dt.datetime
    kind: EntryKind
    subject: str
    hash: str
    previous_hash: str
    report: Report
    recommendations: list[Recommendation]
    facts: dict[str, Any]
    content: dict[str, Any] | None
    withdrawn_at: dt.datetime | None  # When a later entry withdrew what this one published.
    corrected_at: dt.datetime | None  # When a later entry corrected it.

    @property
    def noun(self) -> str:
        """ "evidence", "finding", "dissent", "reply" or "report"."""
        return self.subject.partition("/")[0]

    @property
    def is_withdrawal(self) -> bool:
        return self.kind in WITHDRAWALS

    @property
    def is_correction(self) -> bool:
        return str(self.kind.value).endswith("-corrected")

    @property
    def updated_at(self) -> dt.datetime:
        """When what this entry may be told as last changed: a feed's reader then replaces its copy."""
        return max(filter(None, (self.recorded_at, self.withdrawn_at, self.corrected_at)))

    @property
    def number(self) -> int | None:
        """The number of the evidence."""
        number = self.facts.get("number")
        return number if isinstance(number, int) else None

    @property
    def clause(self) -> str | None:
        """The label of the clause that a finding, or dissent from it, is about."""
        return self.facts.get("clause")

    @property
    def grade(self) -> Grade | None:
        """The grade after this entry; none after a withdrawal."""
        return None if self.is_withdrawal else _word(Grade, self.facts.get("grade"))

    @property
    def previous_grade(self) -> Grade | None:
        return _word(Grade, self.facts.get("grade" if self.is_withdrawal else "previous_grade"))

    @property
    def roll_up(self) -> Grade | None:
        return _word(Grade, self.facts.get("roll_up"))

    @property
    def previous_roll_up(self) -> Grade | None:
        return _word(Grade, self.facts.get("previous_roll_up"))

    @property
    def as_of(self) -> dt.date | None:
        """The day up to which a finding looked."""
        return _date(self.facts.get("as_of"))

    @property
    def position(self) -> Position | None:
        """What those addressed say, in a reply."""
        return _word(Position, self.facts.get("position"))

    @property
    def date(self) -> dt.date | None:
        """When the thing happened or was said, as exact as `precision` says."""
        return _date(self.facts.get("date"))

    @property
    def precision(self) -> Precision:
        return _word(Precision, self.facts.get("precision")) or Precision.DAY

    @property
    def directions(self) -> list[tuple[str, str | None, Direction]]:
        """How evidence bears: recommendation number, clause label or None, direction."""
        found = []
        for item in self.facts.get("directions") or []:
            direction = _word(Direction, item.get("direction"))
            if direction is not None:
                found.append((str(item.get("recommendation")), item.get("clause"), direction))
        return found

    @property
    def cites(self) -> list[int]:
        """The numbers of the evidence a finding rests on."""
        return [number for number in self.facts.get("cites") or [] if isinstance(number, int) and number > 0]

    def words(self, name: str) -> str:
        """One of the texts this entry published, "" where there is none to show."""
        value = (self.content or {}).get(name)
        return value if isinstance(value, str) else ""


def position(session: Session) -> int:
    """The newest `seq`, 0 while the ledger is empty."""
    return session.execute(select(LedgerHead.seq).where(LedgerHead.id == 1)).scalar_one()


def last_seq(session: Session, about: About = EVERYTHING) -> int:
    """The newest entry that touched it: what an ETag is made of."""
    topics = about.topics()
    if topics is None:
        return position(session)
    return session.execute(select(func.max(LedgerTopic.seq)).where(topics)).scalar_one() or 0


def read(
    session: Session,
    about: About = EVERYTHING,
    *,
    before: int | None = None,
    after: int | None = None,
    limit: int | None,
) -> list[Change]:
    """Entries, the newest first; with `after` those that followed that position, the oldest first."""
    query = select(LedgerEntry).where(LedgerEntry.kind.not_in(SILENT))
    query = query.options(joinedload(LedgerEntry.content))
    topics = about.topics()
    if topics is not None:
        query = query.where(LedgerEntry.seq.in_(select(LedgerTopic.seq).where(topics)))
    if before is not None:
        query = query.where(LedgerEntry.seq < before)
    if after is not None:
        query = query.where(LedgerEntry.seq > after)
    query = query.order_by(LedgerEntry.seq if after is not None else LedgerEntry.seq.desc()).limit(limit)
    return _told(session, session.scalars(query).all())


def at(session: Session, seqs: Iterable[int]) -> list[Change]:
    """The entries at these positions, the newest first."""
    query = select(LedgerEntry).where(LedgerEntry.seq.in_(list(seqs))).order_by(LedgerEntry.seq.desc())
    return _told(session, session.scalars(query.options(joinedload(LedgerEntry.content))).all())


def about_subject(session: Session, subject: str) -> list[Change]:
    """Every entry about one thing, the newest first."""
    query = select(LedgerEntry).where(LedgerEntry.subject == subject, LedgerEntry.kind.not_in(SILENT))
    query = query.order_by(LedgerEntry.seq.desc())
    return _told(session, session.scalars(query.options(joinedload(LedgerEntry.content))).all())


def _told(session: Session, entries: Sequence[LedgerEntry]) -> list[Change]:
    if not entries:
        return []
    topics = _topics(session, [entry.seq for entry in entries])
    subjects = {entry.subject for entry in entries}
    withdrawn = _later(session, LedgerEntry.subject.in_(subjects), WITHDRAWALS)
    corrected = _later(session, LedgerEntry.subject.in_(subjects), CORRECTIONS)
    corrected |= _corrected_findings(session, subjects)
    withheld = Withheld(session)
    changes = []
    for entry in entries:
        report, recommendations = topics[entry.seq]
        withdrawn_at = _after(entry, withdrawn)
        facts: dict[str, Any] = json.loads(entry.payload)
        words: dict[str, Any] | None = None
        if withdrawn_at is None and entry.content is not None:
            words = withheld.without_copies(entry.subject, facts, json.loads(entry.content.content))
        changes.append(
            Change(
                seq=entry.seq,
                recorded_at=entry.recorded_at,
                kind=entry.kind,
                subject=entry.subject,
                hash=entry.hash,
                previous_hash=entry.previous_hash,
                report=report,
                recommendations=recommendations,
                facts=facts,
                content=words,
                withdrawn_at=withdrawn_at,
                corrected_at=_after(entry, corrected),
            )
        )
    return changes


def _topics(session: Session, seqs: list[int]) -> dict[int, tuple[Report, list[Recommendation]]]:
    reports: dict[int, Report] = {}
    recommendations: dict[int, list[Recommendation]] = defaultdict(list)
    for seq, report, recommendation in session.execute(
        select(LedgerTopic.seq, Report, Recommendation)
        .join(Report, Report.id == LedgerTopic.report_id)
        .outerjoin(Recommendation, Recommendation.id == LedgerTopic.recommendation_id)
        .where(LedgerTopic.seq.in_(seqs))
        .order_by(LedgerTopic.seq, Recommendation.position)
    ):
        reports[seq] = report
        if recommendation is not None:
            recommendations[seq].append(recommendation)
    return {seq: (report, recommendations[seq]) for seq, report in reports.items()}


def _later(
    session: Session, subjects: ColumnElement[bool], kinds: Iterable[EntryKind]
) -> dict[str, tuple[int, dt.datetime]]:
    """The newest entry of these kinds per subject: its position and time."""
    return {
        subject: (seq, recorded_at)
        for subject, seq, recorded_at in session.execute(
            select(LedgerEntry.subject, LedgerEntry.seq, LedgerEntry.recorded_at)
            .where(subjects, LedgerEntry.kind.in_(list(kinds)))
            .order_by(LedgerEntry.seq)
        )
    }


def _corrected_findings(session: Session, subjects: set[str]) -> dict[str, tuple[int, dt.datetime]]:
    """A finding is corrected by another one, which names it as the one it replaces."""
    keys = [subject.removeprefix("finding/") for subject in subjects if subject.startswith("finding/")]
    if not keys:
        return {}
    return {
        f"finding/{key}": (seq, recorded_at)
        for key, seq, recorded_at in session.execute(
            select(_WRONG.key, LedgerEntry.seq, LedgerEntry.recorded_at)
            .join(Finding, Finding.replaces_id == _WRONG.id)
            .join(LedgerEntry, LedgerEntry.subject == "finding/" + Finding.key)
            .where(
                _WRONG.key.in_(keys),
                Finding.state.in_([State.ACCEPTED, State.SUPERSEDED, State.WITHDRAWN]),
                LedgerEntry.kind == EntryKind.FINDING_CORRECTED,
            )
        )
    }


def _after(entry: LedgerEntry, later: dict[str, tuple[int, dt.datetime]]) -> dt.datetime | None:
    seq, recorded_at = later.get(entry.subject, (0, None))
    return recorded_at if seq > entry.seq else None


def _word(words: type[W], value: object) -> W | None:
    return next((word for word in words if word.value == value), None)


def _date(value: Any) -> dt.date | None:
    try:
        return dt.date.fromisoformat(value)
    except (TypeError, ValueError):
        return None
