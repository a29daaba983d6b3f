"""The way of a mail to the relay: queued, claimed, sent or given up. Nothing here speaks SMTP.

Mails are claimed in batches, by a conditional UPDATE under a lease with a name of its own. When the connection stands
and before the first byte of a batch leaves, `data_sent` is committed under the same condition: a sender whose lease was
taken over meanwhile finds no row and sends nothing. What was lost after that is counted as ambiguous, sent once more
with the same Message-ID and the same bytes (less what was withdrawn since), then left to a person.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ColumnElement, and_, bindparam, exists, or_, select, update
from sqlalchemy.orm import Session

from tracker.models import Account, Delivery, Digest, Issue, Subscriber
from tracker.vocabulary import Channel, DeliveryKind, DeliveryState, IssueState, SubscriberState

if TYPE_CHECKING:
    from tracker.keyring import Keyring

# Longer than all timeouts of one batch's conversation together.
LEASE = dt.timedelta(minutes=20)
GIVE_UP_AFTER = dt.timedelta(hours=72)
_PAUSES = (1, 5, 15, 60, 120, 240)  # Minutes until the next attempt; the last one repeats.
_ON_ITS_WAY = (DeliveryState.CLAIMED, DeliveryState.DATA_SENT)


@dataclass(frozen=True)
class Mail:
    """A composed message and its Message-ID, angle brackets included."""

    message_id: str
    content: bytes


class Claimed(NamedTuple):
    """A delivery that this process holds, with what is needed to send it."""

    id: int
    kind: DeliveryKind
    digest_id: int | None
    issue_id: int | None
    subscriber_id: int | None
    message_id: str
    message_sealed: bytes | None
    sent_sha256: str | None
    created_at: dt.datetime
    attempts: int
    lease_owner: str
    # Of the subscriber; of an account only the address.
    key: str | None
    address_hash: str | None
    address_sealed: bytes | None
    address_old: bool | None
    openpgp_sealed: bytes | None
    account_address: str | None


@dataclass(frozen=True)
class Ready:
    """A claimed mail whose bytes are known. `keep` is what must be stored, sealed, to have the same bytes again."""

    claimed: Claimed
    sha256: str
    keep: bytes | None = None


def message_id(about: str, domain: str, keys: Keyring) -> str:
    """The Message-ID of one mail to one person: the same each time it is asked for, and telling nothing."""
    return f"<{keys.mailer.keyed_hash('message', about)[:32]}@{domain}>"


def enqueue(
    session: Session,
    mail: Mail,
    *,
    kind: DeliveryKind,
    keys: Keyring,
    now: dt.datetime,
    subscriber: Subscriber | None = None,
    account: Account | None = None,
    period: str | None = None,
    due_at: dt.datetime | None = None,
) -> Delivery:
    """Queue a whole mail to a subscriber or to somebody of the team, locked with the mailer's key."""
    delivery = Delivery(
        kind=kind,
        subscriber=subscriber,
        account=account,
        period=period,
        message_id=mail.message_id,
        message_sealed=keys.mailer.lock(mail.content, context(mail.message_id)),
        created_at=now,
        due_at=due_at or now,
    )
    session.add(delivery)
    session.flush()
    return delivery


def context(message_id: str) -> str:
    """What a sealed mail is bound to."""
    return f"delivery/{message_id}"


def opened(claimed: Claimed, keys: Keyring) -> bytes:
    """A stored mail."""
    assert claimed.message_sealed is not None
    try:
        return keys.mailer.unlock(claimed.message_sealed, context(claimed.message_id))
    except ValueError:
        # Queued by a release before 0009, which sealed it to the mailer's public key.
        return keys.mailer.unseal(claimed.message_sealed, context(claimed.message_id))


def recover(session: Session, *, now: dt.datetime) -> int:
    """Free what senders left behind when they died; return how many mails were perhaps sent already."""
    session.execute(
        update(Delivery)
        .where(Delivery.state == DeliveryState.CLAIMED, Delivery.lease_until < now)
        .values(state=DeliveryState.PENDING, lease_owner=None, lease_until=None)
    )
    lost = and_(Delivery.state == DeliveryState.DATA_SENT, Delivery.lease_until < now)
    freed = {"lease_owner": None, "lease_until": None, "ambiguous": Delivery.ambiguous + 1}
    doubted = _rows(
        session, lost, Delivery.ambiguous >= 1, state=DeliveryState.UNCERTAIN, done_at=now, **freed
    )
    return doubted + _rows(session, lost, state=DeliveryState.PENDING, due_at=now, **freed)


def waiting(now: dt.datetime) -> ColumnElement[bool]:
    """Mails that may be sent now: due, not held with their issue, and to somebody whose mailbox is not resting."""
    resting = exists().where(Subscriber.id == Delivery.subscriber_id, Subscriber.rest_until > now)
    return and_(Delivery.state == DeliveryState.PENDING, Delivery.due_at <= now, ~_issue_held(), ~resting)


def _issue_held() -> ColumnElement[bool]:
    return exists().where(Issue.id == Delivery.issue_id, Issue.state != IssueState.OPEN)


def claim(session: Session, *, most: int, now: dt.datetime) -> list[Claimed]:
    """Take up to `most` mails, those that have waited longest, or none. Commit before sending them."""
    numbers = session.scalars(
        select(Delivery.id)
        .where(waiting(now))
        # Message-IDs are random to look at, so what is due together leaves in random order.
        .order_by(Delivery.due_at, Delivery.message_id)
        .limit(most)
        # PostgreSQL passes over what another sender is taking. SQLite has one writer at a time anyway.
        .with_for_update(skip_locked=True, of=Delivery)
    ).all()
    if not numbers:
        return []
    owner = secrets.token_hex(16)
    _rows(
        session,
        Delivery.id.in_(numbers),
        Delivery.state == DeliveryState.PENDING,
        state=DeliveryState.CLAIMED,
        lease_owner=owner,
        lease_until=now + LEASE,
        attempts=Delivery.attempts + 1,
    )
    rows = session.execute(
        select(  # In the order of the fields of Claimed.
            Delivery.id,
            Delivery.kind,
            Delivery.digest_id,
            Delivery.issue_id,
            Delivery.subscriber_id,
            Delivery.message_id,
            Delivery.message_sealed,
            Delivery.sent_sha256,
            Delivery.created_at,
            Delivery.attempts,
            Delivery.lease_owner,
            Subscriber.key,
            Subscriber.address_hash,
            Subscriber.address_sealed,
            Subscriber.address_old,
            Subscriber.openpgp_sealed,
            Account.email.label("account_address"),
        )
        .outerjoin(Subscriber, Subscriber.id == Delivery.subscriber_id)
        .outerjoin(Account, Account.id == Delivery.account_id)
        .where(Delivery.lease_owner == owner)
        .order_by(Delivery.due_at, Delivery.message_id)
    )
    return [Claimed._make(row) for row in rows]


def data_sent(session: Session, batch: Sequence[Ready], *, now: dt.datetime) -> set[int]:
    """Note that these are about to leave, and return the ids of those that may: still held by us, still wanted.

    What is not wanted any more is cancelled. What would have other bytes than at its first attempt, though nothing
    was withdrawn from it, waits for a person instead.
    """
    if not batch:
        return set()
    owner = batch[0].claimed.lease_owner
    numbers = [one.claimed.id for one in batch]
    found = {
        row.id: row
        for row in session.execute(
            select(
                Delivery.id,
                Delivery.sent_sha256,
                _wanted(now).label("wanted"),
                _issue_held().label("held"),
            )
            .where(
                Delivery.id.in_(numbers),
                Delivery.lease_owner == owner,
                Delivery.state == DeliveryState.CLAIMED,
            )
            # Locked: a sender that is stopped here for longer than its lease must not overwrite what others did since.
            .with_for_update(of=Delivery)
        )
    }
    go = []
    for one in batch:
        row = found.get(one.claimed.id)
        if row is None:
            continue
        if row.held:
            put_back(session, owner, [row.id], due_at=now, tried=False)
        elif not row.wanted:
            _rows(session, Delivery.id == row.id, **_done(DeliveryState.CANCELLED, None, now))
        elif row.sent_sha256 not in (None, one.sha256):
            _rows(
                session,
                Delivery.id == row.id,
                state=DeliveryState.UNCERTAIN,
                lease_owner=None,
                lease_until=None,
                last_answer="its bytes would not be the same",
                done_at=now,
            )
        else:
            go.append(one)
    if go:
        session.connection().execute(
            update(Delivery.__table__)  # type: ignore[arg-type]
            .where(Delivery.__table__.c.id == bindparam("number"))
            .values(
                state=DeliveryState.DATA_SENT,
                lease_until=now + LEASE,
                sent_sha256=bindparam("digest"),
                message_sealed=bindparam("sealed"),
            ),
            [
                {
                    "number": one.claimed.id,
                    "digest": one.sha256,
                    "sealed": one.claimed.message_sealed if one.keep is None else one.keep,
                }
                for one in go
            ],
        )
    return {one.claimed.id for one in go}


def sent(session: Session, owner: str, numbers: Iterable[int], *, answer: str, now: dt.datetime) -> None:
    """The relay has taken them."""
    _finish(session, owner, numbers, DeliveryState.SENT, answer, now)


def refused(session: Session, owner: str, number: int, *, answer: str, now: dt.datetime) -> None:
    """The relay refuses this person's address for good: nothing is sent there again until they ask anew."""
    _finish(session, owner, [number], DeliveryState.FAILED, answer, now)
    person = select(Delivery.subscriber_id).where(Delivery.id == number).scalar_subquery()
    session.execute(
        update(Subscriber)
        .where(Subscriber.id == person)
        .values(state=SubscriberState.FAILED, left_at=now, next_local_date=None, next_due_at=None)
        .execution_options(synchronize_session=False)
    )


def retry(session: Session, owner: str, number: int, *, answer: str, now: dt.datetime) -> None:
    """Not taken this time: try again later, for three days; then the next digest says it all."""
    row = session.execute(
        select(
            Delivery.created_at,
            Delivery.attempts,
            Delivery.subscriber_id,
            Delivery.from_seq,
            _told_by_the_next().label("told_by_the_next"),
        ).where(Delivery.id == number)
    ).one_or_none()
    if row is None:
        return
    if row.told_by_the_next:
        _finish(session, owner, [number], DeliveryState.CANCELLED, answer, now)
        return
    if now - row.created_at >= GIVE_UP_AFTER:
        if _finish(session, owner, [number], DeliveryState.EXPIRED, answer, now) and row.from_seq is not None:
            tell_again(session, row.subscriber_id, row.from_seq, now=now)
        return
    put_back(
        session,
        owner,
        [number],
        due_at=now + dt.timedelta(minutes=_PAUSES[min(row.attempts, len(_PAUSES)) - 1]),
        answer=answer,
    )


def put_back(
    session: Session,
    owner: str,
    numbers: Iterable[int],
    *,
    due_at: dt.datetime,
    answer: str | None = None,
    tried: bool = True,
) -> None:
    """Lay mails back into the queue. Not `tried`: it was none of their attempts."""
    values: dict[str, Any] = {
        "state": DeliveryState.PENDING,
        "due_at": due_at,
        "lease_owner": None,
        "lease_until": None,
    }
    if answer is not None:
        values["last_answer"] = answer[:200]
    if not tried:
        values["attempts"] = Delivery.attempts - 1
    _rows(session, *_held(owner, numbers), **values)


def cancel(session: Session, owner: str, number: int, *, now: dt.datetime, tell: bool = False) -> None:
    """This one is not sent. With `tell`, what it would have told stands in the person's next digest."""
    row = session.execute(
        select(Delivery.subscriber_id, Delivery.from_seq).where(Delivery.id == number)
    ).one_or_none()
    done = _finish(session, owner, [number], DeliveryState.CANCELLED, None, now)
    if done and tell and row is not None and row.from_seq is not None:
        tell_again(session, row.subscriber_id, row.from_seq, now=now)


def tell_again(session: Session, subscriber_id: int | None, from_seq: int, *, now: dt.datetime) -> None:
    """Let somebody's next digest begin at this place again. What came after it and still waits is in that one too."""
    session.execute(
        update(Subscriber)
        .where(Subscriber.id == subscriber_id, Subscriber.seen_seq > from_seq)
        .values(seen_seq=from_seq)
        .execution_options(synchronize_session=False)
    )
    cancel_told_by_the_next(session, Delivery.subscriber_id == subscriber_id, now=now)


def cancel_told_by_the_next(session: Session, *conditions: ColumnElement[bool], now: dt.datetime) -> int:
    """Cancel the waiting digests of people whose next digest begins before them, so that nothing is told twice."""
    return _rows(
        session,
        Delivery.state == DeliveryState.PENDING,
        _told_by_the_next(),
        *conditions,
        state=DeliveryState.CANCELLED,
        message_sealed=None,
        done_at=now,
    )


def _told_by_the_next() -> ColumnElement[bool]:
    begins = (
        Subscriber.seen_seq <= Delivery.from_seq
    )  # Not true of mails that tell nothing: there it is NULL.
    return exists().where(Subscriber.id == Delivery.subscriber_id, begins)


def cancel_for(session: Session, subscriber: Subscriber, *, now: dt.datetime) -> None:
    """Somebody left: what waits for them is not sent. What is being sent asks `data_sent` first."""
    _rows(
        session,
        Delivery.subscriber_id == subscriber.id,
        Delivery.state == DeliveryState.PENDING,
        state=DeliveryState.CANCELLED,
        message_sealed=None,
        done_at=now,
    )


def _wanted(now: dt.datetime) -> ColumnElement[bool]:
    """Whether somebody still wants it: asked immediately before each sending."""

    def subscriber(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        return exists().where(Subscriber.id == Delivery.subscriber_id, *conditions)

    confirmation = and_(
        Delivery.kind == DeliveryKind.CONFIRMATION,
        subscriber(Subscriber.confirm_expires_at > now),
    )
    gone = exists().where(Digest.id == Delivery.digest_id, Digest.changes == 0)
    other = and_(
        Delivery.kind != DeliveryKind.CONFIRMATION,
        subscriber(Subscriber.state == SubscriberState.CONFIRMED, Subscriber.channel == Channel.EMAIL),
        ~gone,
        ~_told_by_the_next(),
    )
    team = exists().where(Account.id == Delivery.account_id, Account.active)
    return or_(confirmation, other, team)


def _done(state: DeliveryState, answer: str | None, now: dt.datetime) -> dict[str, Any]:
    return {
        "state": state,
        "message_sealed": None,
        "lease_owner": None,
        "lease_until": None,
        "last_answer": answer and answer[:200],
        "done_at": now,
    }


def _held(owner: str, numbers: Iterable[int]) -> tuple[ColumnElement[bool], ...]:
    return (Delivery.id.in_(list(numbers)), Delivery.lease_owner == owner, Delivery.state.in_(_ON_ITS_WAY))


def _finish(
    session: Session,
    owner: str,
    numbers: Iterable[int],
    state: DeliveryState,
    answer: str | None,
    now: dt.datetime,
) -> bool:
    return _rows(session, *_held(owner, numbers), **_done(state, answer, now)) > 0


def _rows(session: Session, *conditions: ColumnElement[bool], **values: Any) -> int:
    """Change the rows that meet the conditions; how many did."""
    done = session.execute(
        update(Delivery).where(*conditions).values(**values).execution_options(synchronize_session=False)
    )
    return int(done.rowcount)  # type: ignore[attr-defined]
