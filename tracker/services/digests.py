"""Digests: what happened to what somebody follows, once for every period, from the ledger alone.

A digest belongs to a period ("weekly/2026-11-23") and covers the ledger entries after the last one its readers were
told about, up to the newest. Ledger positions are handed out in commit order, so nothing falls between two digests and
nothing stands in both. People who follow the same, in the same rhythm, language and detail, and were told up to the
same place, are a group: their digest is drafted once, and `keep` gives each of them a delivery and moves their place
on, in one transaction. docs/decisions/0009-shared-digests.md.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import ColumnElement, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker.errors import Conflict
from tracker.models import (
    Delivery,
    Digest,
    DigestEntry,
    Follow,
    Issue,
    LedgerContent,
    LedgerEntry,
    Piece,
    Recommendation,
    Report,
    Subscriber,
    Theme,
)
from tracker.queries import board
from tracker.services import deliveries, ledger, news, schedule
from tracker.services.choices import Followed
from tracker.services.news import Change, News, Told
from tracker.services.schedule import Rhythm, Slot
from tracker.vocabulary import (
    N_,
    Channel,
    DeliveryKind,
    DeliveryState,
    Disclosure,
    Frequency,
    IssueState,
    Scope,
    SubscriberState,
)

if TYPE_CHECKING:
    from tracker.keyring import Keyring

#: Gmail cuts off what is longer.
MOST_BYTES = 102_000
#: Kept free for headers, the person's links and the line that counts what did not fit.
_RESERVE = 4_000
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
#: States of a delivery whose reader has, or may have, read it.
TOLD = (DeliveryState.SENT, DeliveryState.DATA_SENT, DeliveryState.UNCERTAIN, DeliveryState.COLLECTED)
_GROUPED = (
    "channel",
    "follow_key",
    "frequency",
    "weekday",
    "month_day",
    "hour",
    "timezone",
    "language",
    "disclosure",
    "seen_seq",
    "next_local_date",
    "next_due_at",
)


@dataclass(frozen=True)
class Rendered:
    """A part of a mail, as `Piece` stores it."""

    text: bytes
    html: bytes


@dataclass(frozen=True)
class Names:
    """What somebody follows, by name."""

    everything: bool
    reports: tuple[str, ...]
    recommendations: int
    themes: tuple[str, ...]
    countries: tuple[str, ...]
    searches: tuple[str, ...]


@dataclass(frozen=True)
class Overdue:
    """A recommendation whose review should have been made by now."""

    reference: str
    title: str
    slug: str  # Of its report.
    number: str
    due_on: dt.date


@dataclass(frozen=True)
class Facts:
    """What a digest is, apart from what it tells."""

    number: int  # Of its issue.
    code: str
    frequency: Frequency
    language: str
    disclosure: Disclosure
    day: dt.date
    from_seq: int
    to_seq: int


class Composer(Protocol):
    """Puts digests into words, part by part."""

    def head(self, facts: Facts, told: Sequence[Told]) -> Rendered:
        """What it is, and a summary of what it tells."""

    def report(self, facts: Facts, report: Report, *, corrections: bool) -> Rendered:
        """The heading of a report's part, or of the corrections in it."""

    def place(self, facts: Facts, report: Report, place: Recommendation | None) -> Rendered:
        """The heading above what happened to one recommendation, or to the report as a whole."""

    def item(self, facts: Facts, told: Told) -> Rendered:
        """One change."""

    def more(self, facts: Facts, left: int) -> Rendered:
        """That so many more changes did not fit."""

    def foot(self, facts: Facts, checkpoint: str | None, overdue: Sequence[Overdue]) -> Rendered:
        """Reviews overdue, and whether it is really from us."""

    def own(self, facts: Facts, rhythm: Rhythm, followed: Names) -> Rendered:
        """Why the person gets this, and their links: raw, with places for them."""


@dataclass(frozen=True)
class Group:
    """People whose next digest is the same. `only` and `without` narrow it to some of them."""

    like: dict[str, Any]
    example: int  # The id of one of them.
    count: int
    only: int | None = None
    without: tuple[int, ...] = ()

    @property
    def rhythm(self) -> Rhythm:
        """When they want digests."""
        like = self.like
        return Rhythm(like["frequency"], like["weekday"], like["month_day"], like["hour"], like["timezone"])


@dataclass(frozen=True)
class Part:
    """A rendered piece, and the entry it tells."""

    rendered: Rendered
    entry_seq: int | None = None
    raw: bool = False


@dataclass(frozen=True)
class Draft:
    """What a group is to get, and when they get the next one. No parts: nothing happened."""

    group: Group
    slot: Slot
    following: Slot
    to_seq: int
    told: tuple[Told, ...] = ()
    facts: Facts | None = None
    content_key: str = ""
    parts: tuple[Part, ...] = ()


@dataclass
class Desk:
    """What is read and rendered once for a whole round of composing."""

    to_seq: int
    news: dict[int, News] = field(default_factory=dict)
    wishes: dict[str, tuple[Followed, ...]] = field(default_factory=dict)
    rendered: dict[tuple[Any, ...], Rendered] = field(default_factory=dict)
    overdue: dict[tuple[dt.date, int], tuple[tuple[int, Overdue], ...]] = field(default_factory=dict)
    pieces: dict[str, int] = field(default_factory=dict)


def due(session: Session, *, now: dt.datetime) -> list[Group]:
    """Whose digest is due, in groups; those who have waited longest first.

    Who was told something that is corrected since, and would not hear of it by what they follow now, is a group of
    their own.
    """
    columns = [getattr(Subscriber, name) for name in _GROUPED]
    apart = _told_wrong(session, now)
    groups = [
        Group(
            {name: getattr(row, name) for name in _GROUPED},
            row.example,
            row.people,
            without=tuple(sorted(apart)),
        )
        for row in session.execute(
            select(*columns, func.min(Subscriber.id).label("example"), func.count().label("people"))
            .where(_due(now), Subscriber.id.not_in(apart))
            .group_by(*columns)
            .order_by(Subscriber.next_due_at, func.min(Subscriber.id))
        )
    ]
    for number in sorted(apart):
        row = session.execute(select(*columns).where(Subscriber.id == number)).one()
        groups.append(Group({name: getattr(row, name) for name in _GROUPED}, number, 1, only=number))
    return groups


def owed(session: Session, *, now: dt.datetime) -> tuple[int, int]:
    """How many digests are due, and how many mails wait to be sent. Never to whom."""
    digests = session.scalar(select(func.count()).select_from(Subscriber).where(_due(now)))
    unsent = [DeliveryState.PENDING, DeliveryState.CLAIMED, DeliveryState.DATA_SENT]
    mails = session.scalar(
        select(func.count()).select_from(Delivery).where(Delivery.state.in_(unsent), Delivery.due_at <= now)
    )
    return digests or 0, mails or 0


def plan(session: Session, group: Group, desk: Desk, *, now: dt.datetime) -> Draft:
    """What a group is to be told. Reads only."""
    like = group.like
    slot = schedule.due_slot(like["next_due_at"], like["next_local_date"], group.rhythm, now)
    following = schedule.next_slot(slot, group.rhythm, now)
    happened = _news(session, desk, like["seen_seq"])
    extra: Sequence[Change] = ()
    if group.only is not None:
        extra = _corrections_for(session, group.only, happened)
    told = news.pick(happened, _wishes(session, desk, group), extra)
    return Draft(group, slot, following, desk.to_seq, told)


def write(
    session: Session, draft: Draft, desk: Desk, composer: Composer, *, issue: int, review_months: int
) -> Draft:
    """Put what is to be told into words. Reads only: composing takes long, and SQLite has one writer."""
    like, group = draft.group.like, draft.group
    facts = _facts(draft, issue)
    followed = _followed(session, _wishes(session, desk, group))
    newest = ledger.newest_checkpoint(session)
    parts = _parts(facts, draft.told, desk, composer)
    checkpoint = newest.note if newest else None
    overdue = _overdue(session, draft, facts, desk, review_months)
    if facts.disclosure is not Disclosure.NOTICE:
        foot = _render(desk, ("foot", facts, overdue), lambda: composer.foot(facts, checkpoint, overdue))
        parts.append(Part(foot))
    own = _render(
        desk, ("own", facts, group.rhythm, followed), lambda: composer.own(facts, group.rhythm, followed)
    )
    key = _key(facts, [*_told_key(draft.told), like["follow_key"], repr(group.rhythm)])
    return Draft(
        group,
        draft.slot,
        draft.following,
        draft.to_seq,
        draft.told,
        facts,
        key,
        (*parts, Part(own, raw=True)),
    )


def keep(
    session: Session,
    draft: Draft,
    desk: Desk,
    *,
    keys: Keyring,
    domain: str,
    now: dt.datetime,
    jitter: dt.timedelta = dt.timedelta(0),
    most: int = 1000,
) -> tuple[int, bool]:
    """Give up to `most` of the group their delivery, and move their place on: (how many, whether some are left).

    Whom another process was quicker with, or who left or changed anything meanwhile, is not in the group any more.
    Where nothing happened all of them are moved on at once and nobody gets anything. Raises Conflict if the draft's issue
    takes no more digests: write it for another one.
    """
    moved = {
        "next_local_date": draft.following.day,
        "next_due_at": draft.following.due_at,
    }
    belongs = and_(*_members(draft.group), _due(now))
    if not draft.told:
        _update(session, belongs, **moved, seen_seq=draft.to_seq)
        return 0, False
    # Somebody who moved their hour has had the digest of this period: what is new waits for the next one.
    had = select(Delivery.id).where(
        Delivery.subscriber_id == Subscriber.id, Delivery.period == draft.slot.period
    )
    _update(session, and_(belongs, had.exists()), **moved)
    members = session.execute(
        select(Subscriber.id, Subscriber.key)
        .where(belongs)
        .order_by(Subscriber.id)
        .limit(most)
        # PostgreSQL passes over whom another process is writing to. SQLite has one writer at a time anyway.
        .with_for_update(skip_locked=True, of=Subscriber)
    ).all()
    if not members:
        return 0, False
    assert draft.facts is not None
    digest_id = _digest_row(session, draft, desk, now)
    collected = draft.group.like["channel"] is Channel.MAILBOX
    session.execute(
        insert(Delivery),
        [
            {
                "kind": DeliveryKind.DIGEST,
                "subscriber_id": member.id,
                "period": draft.slot.period,
                "digest_id": digest_id,
                "issue_id": draft.facts.number,
                "from_seq": draft.group.like["seen_seq"],
                "message_id": deliveries.message_id(f"{member.key}/{draft.slot.period}", domain, keys),
                "state": DeliveryState.COLLECTED if collected else DeliveryState.PENDING,
                "created_at": now,
                # Random, so that the moment tells nothing about what somebody chose.
                "due_at": now + jitter * random.random(),  # noqa: S311 - noise, not a secret.
                "done_at": now if collected else None,
            }
            for member in members
        ],
    )
    _update(session, Subscriber.id.in_([member.id for member in members]), **moved, seen_seq=draft.to_seq)
    return len(members), len(members) == most


@dataclass(frozen=True)
class Body:
    """A digest's parts joined: all but the headers and the person's own links."""

    facts: Facts
    pieces: tuple[int, ...]
    text: bytes
    html: bytes
    own: Rendered


def body(session: Session, digest_id: int) -> Body:
    """What everybody's copy of it has in common."""
    digest = session.get_one(Digest, digest_id, populate_existing=True)
    rows = {
        row.id: row
        for row in session.execute(
            select(Piece.id, Piece.raw, Piece.text, Piece.html).where(Piece.id.in_(digest.pieces))
        )
    }
    shared = [rows[number] for number in digest.pieces if not rows[number].raw]
    own = rows[digest.pieces[-1]]
    return Body(
        facts_of(digest),
        tuple(digest.pieces),
        b"".join(row.text for row in shared),
        b"".join(row.html for row in shared),
        Rendered(own.text, own.html),
    )


def facts_of(digest: Digest) -> Facts:
    """What a stored digest is."""
    return Facts(
        digest.issue_id,
        digest.code,
        digest.frequency,
        digest.language,
        digest.disclosure,
        digest.day,
        digest.from_seq,
        digest.to_seq,
    )


def refresh(session: Session, digest_id: int, composer: Composer, *, now: dt.datetime) -> bool:
    """Compose a digest again if something in it was withdrawn or erased since. False: nothing is left to tell, and
    what waited to be sent of it is cancelled.

    Also where a first copy may have arrived: two copies are the same but for what must not be told again.
    """
    digest = session.get_one(Digest, digest_id, populate_existing=True)
    position = ledger.position(session)
    stored = {
        row.seq: row
        for row in session.execute(
            select(DigestEntry.seq, DigestEntry.place_id, DigestEntry.extra).where(
                DigestEntry.digest_id == digest_id
            )
        )
    }
    if digest.composed_seq == position and _words_left(session, digest_id) == len(stored):
        return digest.changes > 0
    # From here on one process at a time; the other finds it done.
    session.execute(select(Digest.id).where(Digest.id == digest_id).with_for_update())
    changes = news.read(session, digest.from_seq, digest.to_seq).by_seq
    gone = [seq for seq in stored if seq not in changes or changes[seq].content is None]
    if gone and digest.pieces:
        told = tuple(
            sorted(
                (_told_again(changes[seq], row) for seq, row in stored.items() if seq in changes),
                key=news.telling_order,
            )
        )
        desk = Desk(digest.to_seq)
        parts = _parts(facts_of(digest), told, desk, composer) if told else []
        # Its foot and the person's own part say nothing of what was withdrawn.
        tail = digest.pieces[-1:] if digest.disclosure is Disclosure.NOTICE else digest.pieces[-2:]
        digest.pieces = [*_piece_ids(session, desk, parts), *tail]
        digest.changes = len(told)
        session.execute(
            delete(DigestEntry).where(DigestEntry.digest_id == digest_id, DigestEntry.seq.in_(gone))
        )
        # Whatever was sent of it before was another message.
        waiting = and_(
            Delivery.digest_id == digest_id,
            Delivery.state.in_([DeliveryState.PENDING, DeliveryState.CLAIMED]),
        )
        values: dict[str, Any] = {"sent_sha256": None, "message_sealed": None}
        if not told:
            values |= {"state": DeliveryState.CANCELLED, "done_at": now, "lease_owner": None}
        session.execute(
            update(Delivery).where(waiting).values(**values).execution_options(synchronize_session=False)
        )
    digest.composed_seq = position
    session.flush()
    return digest.changes > 0


def standing(session: Session, digest_ids: Collection[int]) -> dict[int, tuple[int, ...]]:
    """Of these digests, those in which nothing was withdrawn or erased since they were composed: their pieces."""
    told = select(func.count()).where(DigestEntry.digest_id == Digest.id).correlate(Digest).scalar_subquery()
    left = (
        select(func.count())
        .select_from(DigestEntry)
        .join(LedgerContent, LedgerContent.seq == DigestEntry.seq)
        .where(DigestEntry.digest_id == Digest.id)
        .correlate(Digest)
        .scalar_subquery()
    )
    rows = session.execute(
        select(Digest.id, Digest.pieces).where(
            Digest.id.in_(digest_ids), Digest.composed_seq == ledger.position(session), told == left
        )
    )
    return {row.id: tuple(row.pieces) for row in rows}


def _told_again(change: Change, row: Any) -> Told:
    place = next((one for one in change.recommendations if one.id == row.place_id), None)
    return Told(change, place, extra=row.extra)


def _words_left(session: Session, digest_id: int) -> int:
    found = session.scalar(
        select(func.count())
        .select_from(DigestEntry)
        .join(LedgerContent, LedgerContent.seq == DigestEntry.seq)
        .where(DigestEntry.digest_id == digest_id)
    )
    return found or 0


def _due(now: dt.datetime) -> ColumnElement[bool]:
    return and_(Subscriber.state == SubscriberState.CONFIRMED, Subscriber.next_due_at <= now)


def _members(group: Group) -> list[ColumnElement[bool]]:
    conditions = [getattr(Subscriber, name) == value for name, value in group.like.items()]
    if group.only is not None:
        conditions.append(Subscriber.id == group.only)
    elif group.without:
        conditions.append(Subscriber.id.not_in(group.without))
    return conditions


def _update(session: Session, condition: ColumnElement[bool], **values: Any) -> None:
    session.execute(
        update(Subscriber).where(condition).values(**values).execution_options(synchronize_session=False)
    )


def _news(session: Session, desk: Desk, from_seq: int) -> News:
    if from_seq not in desk.news:
        desk.news[from_seq] = news.read(session, from_seq, desk.to_seq)
    return desk.news[from_seq]


def _wishes(session: Session, desk: Desk, group: Group) -> tuple[Followed, ...]:
    key = group.like["follow_key"]
    if key not in desk.wishes:
        rows = session.scalars(
            select(Follow).where(Follow.subscriber_id == group.example).order_by(Follow.id)
        )
        desk.wishes[key] = tuple(
            Followed(row.scope, row.report_id, row.recommendation_id, row.value) for row in rows
        )
    return desk.wishes[key]


def _followed(session: Session, wishes: Sequence[Followed]) -> Names:
    def values(scope: Scope) -> list[str]:
        return [wish.value for wish in wishes if wish.scope is scope]

    reports = [wish.report_id for wish in wishes if wish.scope is Scope.REPORT]
    return Names(
        any(wish.scope is Scope.EVERYTHING for wish in wishes),
        tuple(session.scalars(select(Report.short_title).where(Report.id.in_(reports)).order_by(Report.id)))
        if reports
        else (),
        sum(1 for wish in wishes if wish.scope is Scope.RECOMMENDATION),
        tuple(
            session.scalars(
                select(Theme.name).where(Theme.slug.in_(values(Scope.THEME))).order_by(Theme.name)
            )
        )
        if values(Scope.THEME)
        else (),
        tuple(values(Scope.COUNTRY)),
        tuple(values(Scope.SEARCH)),
    )


def _overdue(
    session: Session, draft: Draft, facts: Facts, desk: Desk, review_months: int
) -> tuple[Overdue, ...]:
    """What should have been reviewed by the digest's day, in the reports that it tells of."""
    if facts.disclosure is Disclosure.NOTICE:
        return ()
    single = {one.place.id for one in draft.told if one.place is not None}
    whole = any(
        wish.scope is not Scope.RECOMMENDATION for wish in desk.wishes[draft.group.like["follow_key"]]
    )
    found: list[Overdue] = []
    for report in sorted({one.change.report.id for one in draft.told if not one.extra}):
        key = (facts.day, report)
        if key not in desk.overdue:
            rows = board.read_rows(
                session, Recommendation.report_id == report, today=facts.day, review_months=review_months
            )
            desk.overdue[key] = tuple(
                (
                    row.recommendation.id,
                    Overdue(
                        row.recommendation.reference,
                        row.recommendation.title,
                        row.recommendation.report.slug,
                        row.recommendation.number,
                        row.timeliness.due_on,
                    ),
                )
                for row in rows
                if row.timeliness.overdue and row.timeliness.due_on is not None
            )
        found += [one for number, one in desk.overdue[key] if whole or number in single]
    return tuple(found)


def _told_before(subjects: Sequence[str], before: int) -> Any:
    """Deliveries that told one of these subjects by an entry older than `before`."""
    return (
        select(Delivery.subscriber_id)
        .join(Digest, Digest.id == Delivery.digest_id)
        .join(DigestEntry, DigestEntry.digest_id == Digest.id)
        .join(LedgerEntry, LedgerEntry.seq == DigestEntry.seq)
        .where(
            LedgerEntry.subject.in_(subjects),
            LedgerEntry.seq < before,
            Delivery.state.in_(TOLD),
        )
    )


def _told_wrong(session: Session, now: dt.datetime) -> set[int]:
    """Who is due, was told something that is corrected or withdrawn since, and follows something else by now."""
    first = session.scalar(select(func.min(Subscriber.seen_seq)).where(_due(now)))
    if first is None:
        return set()
    entries = session.scalars(
        select(LedgerEntry).where(LedgerEntry.seq > first, LedgerEntry.kind.in_(_PUT_RIGHT))
    ).all()
    found: set[int] = set()
    for entry in entries:
        replaced = ledger.facts_of(entry).get("replaces")
        subjects = [entry.subject, f"finding/{replaced}"] if replaced else [entry.subject]
        found.update(
            session.scalars(
                _told_before(subjects, entry.seq)
                .join(Subscriber, Subscriber.id == Delivery.subscriber_id)
                .where(Subscriber.follow_key != Digest.follow_key, Subscriber.seen_seq < entry.seq, _due(now))
                .distinct()
            )
        )
    return found


def _corrections_for(session: Session, subscriber_id: int, happened: News) -> list[Change]:
    return [
        change
        for change in happened.changes
        if change.kind in _PUT_RIGHT
        and session.scalar(
            _told_before(news.corrects(change), change.seq)
            .where(Delivery.subscriber_id == subscriber_id)
            .limit(1)
        )
        is not None
    ]


_PUT_RIGHT = news.CORRECTED | news.WITHDRAWN


def _facts(draft: Draft, issue: int) -> Facts:
    like = draft.group.like
    bare = Facts(
        issue,
        "",
        like["frequency"],
        like["language"],
        like["disclosure"],
        draft.slot.day,
        like["seen_seq"],
        draft.to_seq,
    )
    number = int(_key(bare, _told_key(draft.told))[:10], 16)
    code = "".join(_LETTERS[number >> 5 * place & 31] for place in range(8))
    return Facts(**{**vars(bare), "code": f"{code[:4]}-{code[4:]}"})


def _told_key(told: Sequence[Told]) -> list[Any]:
    return [[one.change.seq, one.place.id if one.place else None] for one in told]


def _key(facts: Facts, more: Sequence[Any]) -> str:
    what = [
        facts.number,
        facts.frequency.value,
        facts.language,
        facts.disclosure.value,
        facts.day.isoformat(),
        facts.from_seq,
        facts.to_seq,
        list(more),
    ]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _render(desk: Desk, key: tuple[Any, ...], make: Any) -> Rendered:
    found = desk.rendered.get(key)
    if found is None:
        found = desk.rendered[key] = make()
    return found


def _parts(facts: Facts, told: Sequence[Told], desk: Desk, composer: Composer) -> list[Part]:
    """The pieces in their order; what would make the mail too long is counted instead."""
    summary = tuple(sorted((kind.value, n) for kind, n in Counter(one.change.kind for one in told).items()))
    demonstration = any(one.change.report.demonstration for one in told)
    head = _render(desk, ("head", facts, summary, demonstration), lambda: composer.head(facts, told))
    parts = [Part(head)]
    if facts.disclosure is Disclosure.NOTICE:
        return parts
    size = len(head.text) + len(head.html) + _RESERVE
    style = (facts.language, facts.disclosure)
    before: tuple[Any, ...] = (None, None, None)
    for position, one in enumerate(told):
        report, corrected = one.change.report, one.change.is_correction
        here = (report.id, corrected, None if corrected else one.place.id if one.place else 0)
        headings = []
        if report.id != before[0]:
            headings.append(
                _render(
                    desk,
                    ("report", *style, report.id, corrected),
                    lambda r=report, c=corrected: composer.report(facts, r, corrections=c),
                )
            )
        if not corrected and here != before:
            headings.append(
                _render(
                    desk,
                    ("place", *style, *here),
                    lambda r=report, p=one.place: composer.place(facts, r, p),
                )
            )
        item = _render(
            desk,
            ("item", *style, one.change.seq, here, one.extra, facts.from_seq),
            lambda t=one: composer.item(facts, t),
        )
        longer = sum(len(each.text) + len(each.html) for each in (*headings, item))
        if size + longer > MOST_BYTES:
            left = len(told) - position
            parts.append(Part(_render(desk, ("more", *style, left), lambda n=left: composer.more(facts, n))))
            break
        size += longer
        parts += [Part(each) for each in headings]
        parts.append(Part(item, one.change.seq))
        before = here
    return parts


def _digest_row(session: Session, draft: Draft, desk: Desk, now: dt.datetime) -> int:
    """The digest's row, made by whoever is first."""
    assert draft.facts is not None
    known = select(Digest.id).where(Digest.content_key == draft.content_key)
    # Two processes at once: the issue's row is locked by the first, and the second finds what it made. And nothing is
    # put into an issue that people have begun to release, or discarded: what they saw is what goes out.
    issue = session.execute(
        select(Issue.state, Issue.first_releaser_id).where(Issue.id == draft.facts.number).with_for_update()
    ).one()
    if issue.state is IssueState.DISCARDED or issue.first_releaser_id is not None:
        raise Conflict(N_("This issue takes no more digests."))
    found = session.scalar(known)
    if found is not None:
        return found
    facts = draft.facts
    digest = Digest(
        issue_id=facts.number,
        code=facts.code,
        content_key=draft.content_key,
        follow_key=draft.group.like["follow_key"],
        frequency=facts.frequency,
        language=facts.language,
        disclosure=facts.disclosure,
        day=facts.day,
        from_seq=facts.from_seq,
        to_seq=facts.to_seq,
        changes=len(draft.told),
        composed_seq=draft.to_seq,
        pieces=_piece_ids(session, desk, draft.parts),
        created_at=now,
    )
    session.add(digest)
    session.flush()
    session.add_all(
        DigestEntry(
            digest_id=digest.id,
            seq=one.change.seq,
            place_id=one.place.id if one.place else None,
            extra=one.extra,
        )
        for one in draft.told
        # What was erased already is told as such: nothing more can be taken back from it.
        if one.change.content is not None
    )
    session.flush()
    return digest.id


def _piece_ids(session: Session, desk: Desk, parts: Sequence[Part]) -> list[int]:
    hashes = [_piece_hash(part) for part in parts]
    unknown = {one for one in hashes if one not in desk.pieces}
    if unknown:
        rows = session.execute(select(Piece.sha256, Piece.id).where(Piece.sha256.in_(unknown)))
        desk.pieces.update({row.sha256: row.id for row in rows})
    for name, part in zip(hashes, parts, strict=True):
        if name not in desk.pieces:
            piece = Piece(
                sha256=name,
                entry_seq=part.entry_seq,
                raw=part.raw,
                text=part.rendered.text,
                html=part.rendered.html,
            )
            try:
                with session.begin_nested():
                    session.add(piece)
                desk.pieces[name] = piece.id
            except IntegrityError:
                # The same piece in the same moment: the other process was quicker.
                desk.pieces[name] = session.execute(select(Piece.id).where(Piece.sha256 == name)).scalar_one()
    return [desk.pieces[name] for name in hashes]


def _piece_hash(part: Part) -> str:
    digest = hashlib.sha256(f"{part.entry_seq}/{part.raw}/{len(part.rendered.text)}/".encode())
    digest.update(part.rendered.text)
    digest.update(part.rendered.html)
    return digest.hexdigest()
