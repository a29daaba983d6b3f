"""Digests: what happened to what somebody follows, once for every period, from the ledger alone.

A digest belongs to a person and a local date (`period`, unique) and covers the ledger entries after the last one
they were told about, up to the newest. Ledger positions are handed out in commit order, so nothing falls between two
digests and nothing stands in both. One transaction writes the digest, queues its mail and moves the person's place.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, false, func, or_, select, true, update
from sqlalchemy.orm import Session, selectinload

from tracker.models import Delivery, Digest, LedgerEntry, LedgerTopic, Recommendation, Report, Subscriber
from tracker.services import deliveries, ledger, schedule, subscriptions
from tracker.services.deliveries import Mail
from tracker.vocabulary import DeliveryKind, DeliveryState, EntryKind, Scope, SubscriberState

if TYPE_CHECKING:
    from tracker.keyring import Keyring

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


class Outcome(enum.Enum):
    """What came of a due digest."""

    QUEUED = "queued"
    NOTHING_NEW = "nothing new"


@dataclass(frozen=True)
class Change:
    """One ledger entry as a digest tells it. `content` None: its words were erased to protect somebody."""

    seq: int
    kind: EntryKind
    subject: str
    facts: dict[str, Any]
    content: dict[str, Any] | None
    recommendations: tuple[Recommendation, ...]


@dataclass(frozen=True)
class Section:
    """What happened to one recommendation, or (None) to the report as a whole."""

    recommendation: Recommendation | None
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Part:
    """What happened to one report: corrections first, then its recommendations in their order."""

    report: Report
    corrections: tuple[Change, ...]
    sections: tuple[Section, ...]

    def changes(self) -> Iterable[Change]:
        """All of them, in the order of telling."""
        yield from self.corrections
        for section in self.sections:
            yield from section.changes


@dataclass(frozen=True)
class Letter:
    """All that a digest mail is made of."""

    recipient: str
    name: str  # The Message-ID's part before the @.
    day: dt.date
    from_seq: int
    to_seq: int
    parts: tuple[Part, ...]
    subscriber: Subscriber
    checkpoint: str | None  # The newest signed note.
    manage_token: str
    leave_token: str


@dataclass(frozen=True)
class Prepared:
    """A digest that is composed and not yet anybody's: `keep` makes it so, if nothing has moved meanwhile."""

    subscriber_id: int
    due_at: dt.datetime
    period: str
    from_seq: int
    to_seq: int
    changes: int
    mail: Mail | None  # None: nothing happened.
    next_day: dt.date
    next_due: dt.datetime


def due(session: Session, *, now: dt.datetime) -> Sequence[int]:
    """Whose digest is due, those who have waited longest first."""
    return session.scalars(
        select(Subscriber.id).where(_due(now)).order_by(Subscriber.next_due_at, Subscriber.id)
    ).all()


def owed(session: Session, *, now: dt.datetime) -> tuple[int, int]:
    """How many digests are due, and how many mails wait to be sent. Never to whom."""
    digests = session.scalar(select(func.count()).select_from(Subscriber).where(_due(now)))
    unsent = [DeliveryState.PENDING, DeliveryState.CLAIMED, DeliveryState.DATA_SENT]
    mails = session.scalar(
        select(func.count()).select_from(Delivery).where(Delivery.state.in_(unsent), Delivery.due_at <= now)
    )
    return digests or 0, mails or 0


def generate(
    session: Session,
    subscriber_id: int,
    *,
    keys: Keyring,
    compose: Callable[[Letter], Mail],
    now: dt.datetime,
) -> Outcome | None:
    """Make the digest that is due for one person. None: it is not due any more, or another process made it."""
    prepared = prepare(session, subscriber_id, keys=keys, compose=compose, now=now)
    return keep(session, prepared, keys=keys, now=now) if prepared else None


def prepare(
    session: Session,
    subscriber_id: int,
    *,
    keys: Keyring,
    compose: Callable[[Letter], Mail],
    now: dt.datetime,
) -> Prepared | None:
    """Read and compose what is due for one person, and change nothing: composing takes long, and SQLite has one writer.

    After long downtime there is one digest, for the latest date that has come.
    """
    subscriber = session.get(Subscriber, subscriber_id, populate_existing=True)
    if subscriber is None or subscriber.next_local_date is None or subscriber.next_due_at is None:
        return None
    rhythm = subscriptions.rhythm(subscriber)
    day = schedule.latest(subscriber.next_local_date, rhythm, now)
    next_day, next_due = schedule.following(day, rhythm, now)
    period = f"{rhythm.frequency.value}/{day}"
    from_seq, to_seq = subscriber.seen_seq, ledger.position(session)
    parts = read(session, subscriber, from_seq, to_seq)
    changes = sum(1 for part in parts for _ in part.changes())
    mail = None
    if changes:
        mail = compose(_letter(session, subscriber, period, from_seq, to_seq, parts, keys))
    return Prepared(
        subscriber_id, subscriber.next_due_at, period, from_seq, to_seq, changes, mail, next_day, next_due
    )


def keep(session: Session, prepared: Prepared, *, keys: Keyring, now: dt.datetime) -> Outcome | None:
    """Claim the period, write the digest, queue its mail. None: another process was quicker, or the person left.

    Where nothing happened a row says so and no mail is queued.
    """
    told = session.scalar(
        select(Digest.id).where(
            Digest.subscriber_id == prepared.subscriber_id, Digest.period == prepared.period
        )
    )
    claimed = session.execute(
        update(Subscriber)
        .where(
            Subscriber.id == prepared.subscriber_id,
            Subscriber.next_due_at == prepared.due_at,
            Subscriber.seen_seq == prepared.from_seq,
            _due(now),
        )
        .values(
            next_local_date=prepared.next_day,
            next_due_at=prepared.next_due,
            # Somebody who moved their hour has had the digest of this date: what is new waits for the next one.
            seen_seq=prepared.from_seq if told else prepared.to_seq,
        )
        .execution_options(synchronize_session=False)
    )
    if claimed.rowcount != 1 or told:  # type: ignore[attr-defined]
        return None
    subscriber = session.get_one(Subscriber, prepared.subscriber_id, populate_existing=True)
    digest = Digest(
        subscriber=subscriber,
        period=prepared.period,
        from_seq=prepared.from_seq,
        to_seq=prepared.to_seq,
        changes=prepared.changes,
        created_at=now,
    )
    session.add(digest)
    session.flush()
    if prepared.mail is None:
        return Outcome.NOTHING_NEW
    deliveries.enqueue(
        session, subscriber, prepared.mail, kind=DeliveryKind.DIGEST, keys=keys, now=now, digest=digest
    )
    return Outcome.QUEUED


def refresh(
    session: Session,
    delivery: Delivery,
    *,
    keys: Keyring,
    compose: Callable[[Letter], Mail],
    now: dt.datetime,
) -> bool:
    """Compose a claimed digest again if something in it was withdrawn or erased since. False: nothing is left to tell.

    Also where its first copy may have arrived: two copies are the same but for what must not be told again.
    """
    digest = delivery.digest
    if digest is None or taken_back(session, delivery) == (0, 0):
        return True
    parts = read(session, delivery.subscriber, digest.from_seq, digest.to_seq)
    digest.changes = sum(1 for part in parts for _ in part.changes())
    if digest.changes:
        mail = compose(
            _letter(session, delivery.subscriber, digest.period, digest.from_seq, digest.to_seq, parts, keys)
        )
        delivery.message_sealed = keys.seal(mail.content, deliveries.context(mail.message_id))
    else:
        delivery.state, delivery.done_at, delivery.message_sealed = DeliveryState.CANCELLED, now, None
    session.flush()
    return bool(digest.changes)


def taken_back(session: Session, delivery: Delivery) -> tuple[int, int]:
    """The newest withdrawal of something that this digest was to tell, 0 for none; and how many entries were erased."""
    digest = delivery.digest
    if digest is None:
        return 0, 0
    told = LedgerEntry.seq.between(digest.from_seq + 1, digest.to_seq)
    withdrawn = select(func.max(LedgerEntry.seq)).where(
        LedgerEntry.seq > digest.to_seq,
        LedgerEntry.kind.in_(WITHDRAWN),
        LedgerEntry.subject.in_(select(LedgerEntry.subject).where(told)),
    )
    erased = select(func.count()).select_from(LedgerEntry).where(told, ~LedgerEntry.content.has())
    return session.scalar(withdrawn) or 0, session.scalar(erased) or 0


def read(session: Session, subscriber: Subscriber, from_seq: int, to_seq: int) -> tuple[Part, ...]:
    """What happened after `from_seq` up to `to_seq` to what this person follows.

    What was withdrawn later is left out whatever `to_seq` says; what was corrected within, its correction replaces.
    """
    follows = _followed(subscriber)
    entries = session.scalars(
        select(LedgerEntry)
        .where(
            LedgerEntry.seq > from_seq,
            LedgerEntry.seq <= to_seq,
            LedgerEntry.seq.in_(select(LedgerTopic.seq).where(LedgerTopic.seq > from_seq, follows)),
        )
        .options(selectinload(LedgerEntry.content), selectinload(LedgerEntry.topics))
        .order_by(LedgerEntry.seq)
    ).all()
    if not entries:
        return ()
    reports = {report.id: report for report in session.scalars(select(Report).order_by(Report.id))}
    touched = select(LedgerTopic.recommendation_id).where(
        LedgerTopic.seq > from_seq, LedgerTopic.seq <= to_seq
    )
    known = {
        recommendation.id: recommendation
        for recommendation in session.scalars(
            select(Recommendation)
            .where(Recommendation.id.in_(touched))
            .options(selectinload(Recommendation.clauses))
            .order_by(Recommendation.report_id, Recommendation.position)
        )
    }
    mine = {follow.recommendation_id for follow in subscriber.follows if follow.scope is Scope.RECOMMENDATION}
    places: dict[int, dict[int | None, list[Change]]] = {}
    corrections: dict[int, list[Change]] = {}
    folded = _folded(entries)
    for entry in _still_told(session, [one for one in entries if one.seq in folded], from_seq, to_seq):
        about = {topic.recommendation_id for topic in entry.topics}
        change = Change(
            entry.seq,
            entry.kind,
            entry.subject,
            folded[entry.seq],
            ledger.content_of(entry),
            tuple(recommendation for number, recommendation in known.items() if number in about),
        )
        report_id = entry.topics[0].report_id
        if entry.kind in CORRECTED:
            corrections.setdefault(report_id, []).append(change)
            continue
        # Told once: at the first recommendation it is about, of those this person follows.
        place = next((number for number in known if number in about and (not mine or number in mine)), None)
        places.setdefault(report_id, {}).setdefault(place, []).append(change)
    return tuple(
        Part(
            report,
            tuple(corrections.get(report_id, ())),
            tuple(
                Section(known[place] if place else None, tuple(sorted(changes, key=_telling_order)))
                for place in (None, *known)
                if (changes := places.get(report_id, {}).get(place))
            ),
        )
        for report_id, report in reports.items()
        if report_id in places or report_id in corrections
    )


def _due(now: dt.datetime) -> ColumnElement[bool]:
    return and_(Subscriber.state == SubscriberState.CONFIRMED, Subscriber.next_due_at <= now)


def _letter(
    session: Session,
    subscriber: Subscriber,
    period: str,
    from_seq: int,
    to_seq: int,
    parts: tuple[Part, ...],
    keys: Keyring,
) -> Letter:
    checkpoint = ledger.newest_checkpoint(session)
    return Letter(
        recipient=subscriptions.address(subscriber, keys),
        name=keys.keyed_hash("message", f"{subscriber.key}/{period}")[:32],
        day=dt.date.fromisoformat(period.partition("/")[2]),
        from_seq=from_seq,
        to_seq=to_seq,
        parts=parts,
        subscriber=subscriber,
        checkpoint=checkpoint.note if checkpoint else None,
        manage_token=subscriptions.manage_token(subscriber, keys),
        leave_token=subscriptions.leave_token(subscriber, keys),
    )


def _followed(subscriber: Subscriber) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = []
    for follow in subscriber.follows:
        if follow.scope is Scope.EVERYTHING:
            return true()
        if follow.scope is Scope.REPORT:
            conditions.append(LedgerTopic.report_id == follow.report_id)
    single = [
        follow.recommendation_id for follow in subscriber.follows if follow.scope is Scope.RECOMMENDATION
    ]
    if single:
        conditions.append(LedgerTopic.recommendation_id.in_(single))
    return or_(false(), *conditions)


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
) -> Iterable[LedgerEntry]:
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


def _telling_order(change: Change) -> tuple[int, int]:
    return _ORDER.get(change.kind, 0), change.seq
