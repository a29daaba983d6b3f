"""The way of a mail to the relay: queued, claimed, sent or given up. Nothing here speaks SMTP.

A delivery is claimed by a conditional UPDATE that changes exactly one row, under a lease with a name of its own.
Between the mail's last line and the dot that ends it, `data_sent` is committed under the same condition: a sender
whose lease was taken over meanwhile finds no row and hangs up without the dot. What was lost after the dot is
counted as ambiguous, sent once more with the same Message-ID and the same bytes (less what was withdrawn since), then
left to a person.
"""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.orm import Session

from tracker.models import Delivery, Digest, Subscriber
from tracker.vocabulary import DeliveryKind, DeliveryState, SubscriberState

if TYPE_CHECKING:
    from tracker.keyring import Keyring

# Longer than all timeouts of one SMTP conversation together.
LEASE = dt.timedelta(minutes=15)
GIVE_UP_AFTER = dt.timedelta(hours=72)
_PAUSES = (1, 5, 15, 60, 120, 240)  # Minutes until the next attempt; the last one repeats.


@dataclass(frozen=True)
class Mail:
    """A composed message and its Message-ID, angle brackets included."""

    message_id: str
    content: bytes


def enqueue(
    session: Session,
    subscriber: Subscriber,
    mail: Mail,
    *,
    kind: DeliveryKind,
    keys: Keyring,
    now: dt.datetime,
    digest: Digest | None = None,
) -> Delivery:
    """Queue a mail to this person, sealed to the mailer."""
    delivery = Delivery(
        kind=kind,
        subscriber=subscriber,
        digest=digest,
        message_id=mail.message_id,
        message_sealed=keys.seal(mail.content, context(mail.message_id)),
        created_at=now,
        due_at=now,
    )
    session.add(delivery)
    session.flush()
    return delivery


def context(message_id: str) -> str:
    """What a sealed mail is bound to."""
    return f"delivery/{message_id}"


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


def claim(session: Session, *, now: dt.datetime) -> Delivery | None:
    """Take the mail that has waited longest, or None. Commit before sending it."""
    waiting = and_(Delivery.state == DeliveryState.PENDING, Delivery.due_at <= now)
    found = session.scalar(
        select(Delivery.id)
        .where(waiting)
        .order_by(Delivery.due_at, Delivery.id)
        .limit(1)
        # PostgreSQL passes over what another sender is taking. SQLite has one writer at a time anyway.
        .with_for_update(skip_locked=True)
    )
    if found is None:
        return None
    changed = _rows(
        session,
        waiting,
        Delivery.id == found,
        state=DeliveryState.CLAIMED,
        lease_owner=secrets.token_hex(16),
        lease_until=now + LEASE,
        attempts=Delivery.attempts + 1,
    )
    if changed != 1:
        return None
    return session.get(Delivery, found, populate_existing=True)


def wanted(session: Session, delivery: Delivery, *, now: dt.datetime) -> bool:
    """Whether the person still wants it: asked immediately before each sending. If not, it is cancelled."""
    subscriber = session.get(Subscriber, delivery.subscriber_id, populate_existing=True)
    if subscriber is None:
        return False
    if delivery.kind is DeliveryKind.CONFIRMATION:
        still = subscriber.confirm_expires_at is not None and subscriber.confirm_expires_at > now
    else:
        still = subscriber.state is SubscriberState.CONFIRMED
    if not still:
        _finish(session, delivery, DeliveryState.CANCELLED, None, now)
    return still


def data_sent(session: Session, delivery: Delivery, *, now: dt.datetime) -> bool:
    """Note that only the final dot is missing. False: somebody else holds the mail now; hang up."""
    return (
        _rows(
            session,
            *_held(delivery, DeliveryState.CLAIMED),
            state=DeliveryState.DATA_SENT,
            lease_until=now + LEASE,
        )
        == 1
    )


def sent(session: Session, delivery: Delivery, *, answer: str, now: dt.datetime) -> None:
    """The relay has taken it."""
    _finish(session, delivery, DeliveryState.SENT, answer, now)


def refused(session: Session, delivery: Delivery, *, answer: str, now: dt.datetime) -> None:
    """The relay refuses this person's address for good: nothing is sent there again until they ask anew."""
    _finish(session, delivery, DeliveryState.FAILED, answer, now)
    session.execute(
        update(Subscriber)
        .where(Subscriber.id == delivery.subscriber_id)
        .values(state=SubscriberState.FAILED, left_at=now, next_local_date=None, next_due_at=None)
    )


def retry(session: Session, delivery: Delivery, *, answer: str, now: dt.datetime) -> None:
    """Not taken this time: try again later, for three days; then the next digest says it all."""
    if now - delivery.created_at >= GIVE_UP_AFTER:
        expired = _finish(session, delivery, DeliveryState.EXPIRED, answer, now)
        digest = session.get(Digest, delivery.digest_id) if delivery.digest_id else None
        if expired and digest is not None:
            session.execute(
                update(Subscriber)
                .where(Subscriber.id == delivery.subscriber_id, Subscriber.seen_seq > digest.from_seq)
                .values(seen_seq=digest.from_seq)
            )
        return
    pause = dt.timedelta(minutes=_PAUSES[min(delivery.attempts, len(_PAUSES)) - 1])
    _rows(
        session,
        *_held(delivery, DeliveryState.CLAIMED, DeliveryState.DATA_SENT),
        state=DeliveryState.PENDING,
        due_at=now + pause,
        lease_owner=None,
        lease_until=None,
        last_answer=answer[:200],
    )


def cancel_for(session: Session, subscriber: Subscriber, *, now: dt.datetime) -> None:
    """Somebody left: what waits for them is not sent. What is being sent asks `wanted` first."""
    _rows(
        session,
        Delivery.subscriber_id == subscriber.id,
        Delivery.state == DeliveryState.PENDING,
        state=DeliveryState.CANCELLED,
        message_sealed=None,
        done_at=now,
    )


def _held(delivery: Delivery, *states: DeliveryState) -> tuple[ColumnElement[bool], ...]:
    return (
        Delivery.id == delivery.id,
        Delivery.lease_owner == delivery.lease_owner,
        Delivery.state.in_(states),
    )


def _finish(
    session: Session, delivery: Delivery, state: DeliveryState, answer: str | None, now: dt.datetime
) -> bool:
    changed = _rows(
        session,
        *_held(delivery, DeliveryState.CLAIMED, DeliveryState.DATA_SENT),
        state=state,
        message_sealed=None,
        lease_owner=None,
        lease_until=None,
        last_answer=answer and answer[:200],
        done_at=now,
    )
    return changed == 1


def _rows(session: Session, *conditions: ColumnElement[bool], **values: Any) -> int:
    """Change the rows that meet the conditions; how many did."""
    done = session.execute(
        update(Delivery).where(*conditions).values(**values).execution_options(synchronize_session=False)
    )
    return int(done.rowcount)  # type: ignore[attr-defined]
