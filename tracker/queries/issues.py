"""What will go out, what waits for people, and what went out: counts and contents, never to whom."""

from __future__ import annotations

import datetime as dt
import quopri
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session, joinedload, selectinload

from tracker.models import Activity, Delivery, Digest, Follow, Issue, Piece, Subscriber
from tracker.queries import changes
from tracker.queries.changes import Change
from tracker.queries.follows import meets
from tracker.vocabulary import (
    Channel,
    DeliveryKind,
    DeliveryState,
    Disclosure,
    Frequency,
    IssueState,
    SubscriberState,
)

PAGE_LENGTH = 50
_UNSENT = (DeliveryState.PENDING, DeliveryState.CLAIMED, DeliveryState.DATA_SENT)
_SUBJECTS = ("issue/%", "sending/%", "delivery/%")


@dataclass(frozen=True)
class Hour:
    """How many mails of one kind leave within one hour. `frequency` is there for digests not yet composed."""

    at: dt.datetime
    kind: DeliveryKind
    frequency: Frequency | None
    count: int


@dataclass(frozen=True)
class Content:
    """What some people are to be told: once for all who follow the same, were told up to the same place, and so on."""

    count: int
    language: str
    disclosure: Disclosure
    follows: tuple[Follow, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Coming:
    """What is owed within a span of time. `quiet` people are due too, but nothing happened to what they follow."""

    hours: tuple[Hour, ...]
    contents: tuple[Content, ...]
    quiet: int


@dataclass(frozen=True)
class Run:
    """One issue, counted."""

    issue: Issue
    digests: int
    states: dict[DeliveryState, int]
    answers: tuple[tuple[str, int], ...]  # What the relay said to mails that it did not take.

    @property
    def waiting(self) -> int:
        """How many mails of it would leave."""
        return self.states.get(DeliveryState.PENDING, 0)


@dataclass(frozen=True)
class Composed:
    """A digest as it will be sent, in its text part, without anybody's links; and to how many."""

    digest: Digest
    count: int
    text: str


def coming(session: Session, *, now: dt.datetime, until: dt.datetime) -> Coming:
    """What is due up to `until`: digests by what they will tell, and the mails that wait already."""
    hours: Counter[tuple[dt.datetime, DeliveryKind, Frequency | None]] = Counter()
    quiet, contents = 0, []
    groups = _due_groups(session, until)
    oldest = min((group.seen_seq for group, _ in groups.values()), default=None)
    news = changes.read(session, after=oldest, limit=None) if oldest is not None else []
    for group, moments in groups.values():
        told = tuple(
            change
            for change in news
            if change.seq > group.seen_seq and any(meets(change, follow) for follow in group.follows)
        )
        count = sum(moments.values())
        if not told:
            quiet += count
            continue
        contents.append(Content(count, group.language, group.disclosure, tuple(group.follows), told))
        for (moment, frequency), number in moments.items():
            hours[_hour(max(moment, now)), DeliveryKind.DIGEST, frequency] += number
    waiting = session.execute(
        select(Delivery.due_at, Delivery.kind, func.count())
        .outerjoin(Issue)
        .where(
            Delivery.state.in_(_UNSENT),
            Delivery.due_at <= until,
            or_(Delivery.issue_id.is_(None), Issue.state == IssueState.OPEN),
        )
        .group_by(Delivery.due_at, Delivery.kind)
    )
    for moment, kind, number in waiting:
        hours[_hour(max(moment, now)), kind, None] += number
    return Coming(
        tuple(
            Hour(at, kind, frequency, count)
            for (at, kind, frequency), count in sorted(hours.items(), key=lambda item: repr(item[0]))
        ),
        tuple(sorted(contents, key=lambda content: -content.count)),
        quiet,
    )


def runs(session: Session, *, before: int | None = None, limit: int = PAGE_LENGTH) -> list[Run]:
    """The newest issues with their counts."""
    query = select(Issue).options(joinedload(Issue.first_releaser), joinedload(Issue.second_releaser))
    if before is not None:
        query = query.where(Issue.id < before)
    return _counted(session, session.scalars(query.order_by(Issue.id.desc()).limit(limit)).all())


def run(session: Session, issue: Issue) -> Run:
    """One issue with its counts."""
    return _counted(session, [issue])[0]


def held(session: Session) -> list[Run]:
    """The issues that wait for people, the oldest first."""
    query = select(Issue).where(Issue.state == IssueState.HELD).options(joinedload(Issue.first_releaser))
    return _counted(session, session.scalars(query.order_by(Issue.hour)).all())


def composed(session: Session, issue: Issue, *, limit: int = PAGE_LENGTH) -> list[Composed]:
    """Each different digest of an issue as its readers will see it, the commonest first."""
    count = func.count(Delivery.id)
    found = session.execute(
        select(Digest, count)
        .outerjoin(Delivery, Delivery.digest_id == Digest.id)
        .where(Digest.issue_id == issue.id)
        .group_by(Digest.id)
        .order_by(count.desc(), Digest.id)
        .limit(limit)
    ).all()
    wanted = {number for digest, _ in found for number in digest.pieces}
    pieces = {piece.id: piece for piece in session.scalars(select(Piece).where(Piece.id.in_(wanted)))}
    return [
        Composed(digest, number, "\n".join(_text(pieces[one]) for one in digest.pieces if one in pieces))
        for digest, number in found
    ]


def uncertain(session: Session) -> Sequence[Delivery]:
    """The mails of which nobody knows whether they arrived, the oldest first."""
    return session.scalars(
        select(Delivery)
        .where(Delivery.state == DeliveryState.UNCERTAIN)
        .options(joinedload(Delivery.issue))
        .order_by(Delivery.due_at, Delivery.id)
        .limit(200)
    ).all()


def oldest_waiting(session: Session, *, now: dt.datetime) -> dt.datetime | None:
    """Since when the oldest mail waits that could have left by now."""
    return session.scalars(
        select(func.min(Delivery.created_at))
        .outerjoin(Issue)
        .where(
            Delivery.state == DeliveryState.PENDING,
            Delivery.due_at <= now,
            or_(Delivery.issue_id.is_(None), Issue.state == IssueState.OPEN),
        )
    ).one()


def decisions(session: Session, *, subject: str | None = None, limit: int = 20) -> Sequence[Activity]:
    """What people decided about sending, the newest first."""
    which = (
        Activity.subject == subject if subject else or_(*(Activity.subject.like(one) for one in _SUBJECTS))
    )
    return session.scalars(
        select(Activity)
        .where(which)
        .options(joinedload(Activity.account))
        .order_by(Activity.at.desc(), Activity.id.desc())
        .limit(limit)
    ).all()


@dataclass
class _Group:
    seen_seq: int
    language: str
    disclosure: Disclosure
    follows: list[Follow]


def _due_groups(
    session: Session, until: dt.datetime
) -> dict[tuple[object, ...], tuple[_Group, Counter[tuple[dt.datetime, Frequency]]]]:
    """People who are due, by all that their digest depends on; of each group one person's follows are read."""
    same = (Subscriber.follow_key, Subscriber.language, Subscriber.disclosure, Subscriber.seen_seq)
    due = and_(
        Subscriber.state == SubscriberState.CONFIRMED,
        Subscriber.channel == Channel.EMAIL,
        Subscriber.next_due_at <= until,
    )
    rows = session.execute(
        select(*same, Subscriber.next_due_at, Subscriber.frequency, func.count(), func.min(Subscriber.id))
        .where(due)
        .group_by(*same, Subscriber.next_due_at, Subscriber.frequency)
    ).all()
    one_of_each = {(row[0], row[1], row[2], row[3]): row[7] for row in rows}
    follows: dict[int, list[Follow]] = defaultdict(list)
    for follow in session.scalars(
        select(Follow)
        .where(Follow.subscriber_id.in_(set(one_of_each.values())))
        .options(joinedload(Follow.report), selectinload(Follow.recommendation))
        .order_by(Follow.id)
    ):
        follows[follow.subscriber_id].append(follow)
    groups = {
        key: (_Group(key[3], key[1], key[2], follows[number]), Counter[tuple[dt.datetime, Frequency]]())
        for key, number in one_of_each.items()
    }
    for row in rows:
        moment, frequency = row[4], row[5]
        assert moment is not None  # None is never due.
        groups[row[0], row[1], row[2], row[3]][1][moment, frequency] += row[6]
    return groups  # type: ignore[return-value]


def _counted(session: Session, issues: Sequence[Issue]) -> list[Run]:
    numbers = [issue.id for issue in issues]
    mine = Delivery.issue_id.in_(numbers)
    states: dict[int, dict[DeliveryState, int]] = defaultdict(dict)
    for number, state, count in session.execute(
        select(Delivery.issue_id, Delivery.state, func.count())
        .where(mine)
        .group_by(Delivery.issue_id, Delivery.state)
    ):
        if number is not None:
            states[number][state] = count
    answers: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for number, answer, count in session.execute(
        select(Delivery.issue_id, Delivery.last_answer, func.count())
        .where(mine, Delivery.state != DeliveryState.SENT, Delivery.last_answer.is_not(None))
        .group_by(Delivery.issue_id, Delivery.last_answer)
        .order_by(func.count().desc(), Delivery.last_answer)
    ):
        if number is not None and answer is not None:
            answers[number].append((answer, count))
    digests = dict(
        session.execute(
            select(Digest.issue_id, func.count())
            .where(Digest.issue_id.in_(numbers))
            .group_by(Digest.issue_id)
        ).all()
    )
    return [
        Run(issue, digests.get(issue.id, 0), states[issue.id], tuple(answers[issue.id][:10]))
        for issue in issues
    ]


def _text(piece: Piece) -> str:
    content = piece.text if piece.raw else quopri.decodestring(piece.text)
    return content.decode("utf-8", "replace").replace("\r\n", "\n").strip("\n")


def _hour(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
