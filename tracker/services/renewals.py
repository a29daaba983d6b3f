"""The yearly question: does somebody still want this? Who does not answer is forgotten.

Nobody is forgotten because of a mail that they never got: the thirty days begin when the relay has taken it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session

from tracker.models import Delivery, Subscriber
from tracker.services import subscriptions
from tracker.vocabulary import Channel, DeliveryKind, DeliveryState, SubscriberState

ASK_AFTER = dt.timedelta(days=365)
FORGET_AFTER = dt.timedelta(days=30)
_NEVER_ARRIVED = (DeliveryState.EXPIRED, DeliveryState.CANCELLED)


def due(session: Session, *, now: dt.datetime, limit: int = 500) -> Sequence[int]:
    """Whom to ask now. Whoever pauses is asked when they are back."""
    return session.scalars(select(Subscriber.id).where(_due(now)).order_by(Subscriber.id).limit(limit)).all()


def asked(session: Session, subscriber: Subscriber, *, now: dt.datetime) -> bool:
    """Note that somebody is asked. False: another process does it, or they are not due any more."""
    done = session.execute(
        update(Subscriber)
        .where(Subscriber.id == subscriber.id, _due(now))
        .values(renewal_asked_at=now)
        .execution_options(synchronize_session=False)
    )
    return bool(done.rowcount == 1)  # type: ignore[attr-defined]


def period(now: dt.datetime) -> str:
    """What the mail's row is called, so that nobody is asked twice on one day."""
    return f"renewal/{now.astimezone(dt.UTC).date()}"


def renew(session: Session, subscriber: Subscriber, *, now: dt.datetime) -> None:
    """They still want it: they are asked again in a year."""
    subscriber.renewed_at, subscriber.renewal_asked_at = now, None
    session.flush()


def answer_by(subscriber: Subscriber) -> dt.date | None:
    """The last day to answer, if somebody was asked and has not answered."""
    asked_at = subscriber.renewal_asked_at
    return (asked_at + FORGET_AFTER).date() if asked_at else None


def forget_expired(session: Session, *, now: dt.datetime) -> int:
    """Forget those who did not answer, and ask those anew whom the question never reached; how many were forgotten."""
    mine = Delivery.subscriber_id == Subscriber.id, Delivery.kind == DeliveryKind.RENEWAL
    newest = select(func.max(Delivery.id)).where(*mine).correlate(Subscriber).scalar_subquery()
    lost = exists().where(Delivery.id == newest, Delivery.state.in_(_NEVER_ARRIVED))
    waiting = Subscriber.renewal_asked_at.is_not(None), Subscriber.state == SubscriberState.CONFIRMED
    session.execute(
        update(Subscriber)
        .where(*waiting, lost)
        .values(renewal_asked_at=None)
        .execution_options(synchronize_session=False)
    )
    reached = exists().where(
        Delivery.id == newest,
        Delivery.state == DeliveryState.SENT,
        Delivery.done_at < now - FORGET_AFTER,
    )
    silent = session.scalars(
        select(Subscriber)
        .where(*waiting, Subscriber.renewal_asked_at < now - FORGET_AFTER, reached)
        .execution_options(populate_existing=True)
    ).all()
    for subscriber in silent:
        subscriptions.erase(session, subscriber)
    return len(silent)


def _due(now: dt.datetime) -> ColumnElement[bool]:
    return and_(
        Subscriber.state == SubscriberState.CONFIRMED,
        Subscriber.channel == Channel.EMAIL,
        Subscriber.renewal_asked_at.is_(None),
        func.coalesce(Subscriber.renewed_at, Subscriber.confirmed_at) <= now - ASK_AFTER,
        or_(Subscriber.paused_until.is_(None), Subscriber.paused_until < now.date()),
        or_(Subscriber.rest_until.is_(None), Subscriber.rest_until <= now),
    )
