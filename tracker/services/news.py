"""What happened after a place in the ledger, ready to be told: folded, without what was taken back, in order.

Read once for everybody who was told up to the same place; what one person follows is then picked from it in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session, selectinload

from tracker.models import LedgerEntry, LedgerTopic, Recommendation, Report
from tracker.queries.follows import meets
from tracker.services import ledger
from tracker.services.choices import Followed
from tracker.vocabulary import SILENT, EntryKind, Scope

CORRECTED = frozenset({EntryKind.REPORT_CORRECTED, EntryKind.EVIDENCE_CORRECTED, EntryKind.FINDING_CORRECTED, EntryKind.REPLY_CORRECTED})  # fmt: skip
WITHDRAWN = frozenset({EntryKind.EVIDENCE_WITHDRAWN, EntryKind.FINDING_WITHDRAWN, EntryKind.REPLY_WITHDRAWN, EntryKind.DISSENT_WITHDRAWN, EntryKind.EVIDENCE_ERASED})  # fmt: skip
# Within a recommendation: findings, dissent from them, what was taken back, replies, evidence.
_ORDER = {
    EntryKind.FINDING_PUBLISHED: 1,
    EntryKind.DISSENT_PUBLISHED: 2,
    **dict.fromkeys(WITHDRAWN, 3),
    EntryKind.REPLY_PUBLISHED: 4,
    EntryKind.EVIDENCE_PUBLISHED: 5,
}


@dataclass(frozen=True)
class Change:
    """One ledger entry as a digest tells it. `content` None: its words were erased to protect somebody."""

    seq: int
    kind: EntryKind
    subject: str
    facts: dict[str, Any]
    content: dict[str, Any] | None
    report: Report
    recommendations: tuple[Recommendation, ...]  # In the order of the report; none: the report as a whole.

    @property
    def is_correction(self) -> bool:
        """Whether it stands first, and travels to whoever was told what it corrects."""
        return self.kind in CORRECTED


@dataclass(frozen=True)
class Told:
    """A change at its place in a digest: under one recommendation, under the whole report, or among corrections."""

    change: Change
    place: Recommendation | None
    extra: bool = False  # Not followed: told because this person was told what it corrects.


@dataclass(frozen=True)
class News:
    """What happened after `from_seq` up to `to_seq`."""

    from_seq: int
    to_seq: int
    changes: tuple[Change, ...]

    @cached_property
    def by_seq(self) -> dict[int, Change]:
        """The changes by their entries."""
        return {change.seq: change for change in self.changes}


def read(session: Session, from_seq: int, to_seq: int) -> News:
    """Everything that is to be told between two places.

    What was withdrawn later is left out whatever `to_seq` says; what was corrected within, its correction replaces.
    """
    query = (
        select(LedgerEntry)
        .where(LedgerEntry.seq > from_seq, LedgerEntry.seq <= to_seq, LedgerEntry.kind.not_in(SILENT))
        .options(selectinload(LedgerEntry.content), selectinload(LedgerEntry.topics))
        .order_by(LedgerEntry.seq)
    )
    entries = [entry for entry in session.scalars(query) if entry.topics]
    facts = _folded(entries)
    kept = _still_told(session, [entry for entry in entries if entry.seq in facts], from_seq, to_seq)
    numbers = {topic.recommendation_id for entry in kept for topic in entry.topics}
    known = {
        one.id: one
        for one in session.scalars(
            select(Recommendation)
            .where(Recommendation.id.in_(numbers))
            .options(selectinload(Recommendation.clauses), selectinload(Recommendation.themes))
        )
    }
    reports = {one.id: one for one in session.scalars(select(Report))}
    changes = []
    for entry in kept:
        about = [known[topic.recommendation_id] for topic in entry.topics if topic.recommendation_id in known]
        changes.append(
            Change(
                entry.seq,
                entry.kind,
                entry.subject,
                facts[entry.seq],
                ledger.content_of(entry),
                reports[entry.topics[0].report_id],
                tuple(sorted(about, key=lambda one: one.position)),
            )
        )
    return News(from_seq, to_seq, tuple(changes))


def pick(news: News, wishes: Sequence[Followed], extra: Sequence[Change] = ()) -> tuple[Told, ...]:
    """What of it somebody with these wishes is told, in the order of telling, each once.

    `extra` are corrections of what they were told, whether they follow it or not.
    """
    found = [change for change in news.changes if any(meets(change, wish) for wish in wishes)]
    seqs = {change.seq for change in found}
    more = [change for change in extra if change.seq not in seqs]
    single = {wish.recommendation_id for wish in wishes if wish.scope is Scope.RECOMMENDATION}
    only_single = all(wish.scope is Scope.RECOMMENDATION for wish in wishes)
    told = [Told(change, _place(change, single if only_single else set())) for change in found]
    told += [Told(change, _place(change, set()), extra=True) for change in more]
    return tuple(sorted(told, key=telling_order))


def telling_order(told: Told) -> tuple[int, ...]:
    """By report; corrections first; then recommendations in their order; then by what it is."""
    change, place = told.change, told.place
    correction = change.is_correction
    return (
        change.report.id,
        0 if correction else 1,
        0 if correction or place is None else 1 + place.position,
        0 if correction else _ORDER.get(change.kind, 0),
        change.seq,
    )


def corrects(change: Change) -> tuple[str, ...]:
    """The subjects that a correction or a withdrawal puts right."""
    replaced = change.facts.get("replaces")
    return (change.subject, f"finding/{replaced}") if replaced else (change.subject,)


def _place(change: Change, single: set[int | None]) -> Recommendation | None:
    # Told once: at the first recommendation it is about, of those this person follows.
    return next((one for one in change.recommendations if not single or one.id in single), None)


def _folded(entries: Sequence[LedgerEntry]) -> dict[int, dict[str, Any]]:
    """The facts of each entry by `seq`; of findings that followed one another only the last, from where it began.

    A reader who was never told of the first one hears "not assessed, now B", not "was C, now B". Dissent from one that
    stands no more goes with it.
    """
    facts: dict[int, dict[str, Any]] = {}
    findings: dict[str, int] = {}
    dissent: dict[str, list[int]] = {}
    for entry in entries:
        own = ledger.facts_of(entry)
        if entry.kind in (EntryKind.FINDING_PUBLISHED, EntryKind.FINDING_CORRECTED):
            older = findings.pop(str(own.get("replaces")), None)
            if older is not None:
                before = facts.pop(older)
                own |= {name: before.get(name) for name in ("previous_grade", "previous_roll_up")}
            findings[str(own.get("key"))] = entry.seq
            for note in dissent.pop(str(own.get("replaces")), []):
                del facts[note]
        if entry.kind is EntryKind.DISSENT_PUBLISHED:
            dissent.setdefault(str(own.get("finding")), []).append(entry.seq)
        facts[entry.seq] = own
    return facts


def _still_told(
    session: Session, entries: Sequence[LedgerEntry], from_seq: int, to_seq: int
) -> list[LedgerEntry]:
    """The entries without those that a later withdrawal or correction took back."""
    taken_back: dict[str, int] = {}
    later = session.execute(
        select(LedgerEntry.seq, LedgerEntry.subject).where(
            LedgerEntry.seq > from_seq,
            or_(
                LedgerEntry.kind.in_(WITHDRAWN),
                and_(LedgerEntry.kind.in_(CORRECTED), LedgerEntry.seq <= to_seq),
            ),
        )
    )
    for seq, subject in later:
        taken_back[subject] = max(seq, taken_back.get(subject, 0))
    return [
        entry
        for entry in entries
        if max(taken_back.get(subject, 0) for subject in _rests_on(entry)) <= entry.seq
    ]


def _rests_on(entry: LedgerEntry) -> tuple[str, ...]:
    """What an entry is about; dissent is about a finding, without which nobody would understand it."""
    if entry.kind is EntryKind.DISSENT_PUBLISHED:
        return entry.subject, f"finding/{ledger.facts_of(entry).get('finding')}"
    return (entry.subject,)


def is_news(session: Session, from_seq: int, to_seq: int) -> bool:
    """Whether anything at all was published in between that a digest could tell."""
    told = select(LedgerTopic.seq).where(LedgerTopic.seq > from_seq, LedgerTopic.seq <= to_seq).limit(1)
    return session.scalar(told) is not None
