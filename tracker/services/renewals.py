"""The yearly question goes by mail. Nobody is forgotten because of a mail that they never got."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.orm import Session

from tracker.models import Delivery, Subscriber
from tracker.services import subscriptions
from tracker.vocabulary import DeliveryKind, DeliveryState, SubscriberState

_NEVER_ARRIVED = (DeliveryState.EXPIRED, DeliveryState.CANCELLED)
_ON_ITS_WAY = (
    DeliveryState.PENDING,
    DeliveryState.CLAIMED,
    DeliveryState.DATA_SENT,
    DeliveryState.UNCERTAIN,
)


def period(now: dt.datetime) -> str:
    """What the mail's row is called, so that nobody is asked twice on one day."""
    return f"renewal/{now.astimezone(dt.UTC).date()}"


def forget_expired(session: Session, *, now: dt.datetime) -> int:
    """Forget those who did not answer in time; how many. The time begins when the relay has taken the question.

    Whom the question never reached is asked anew.
    """
    question = (
        select(func.max(Delivery.id))
        .where(Delivery.subscriber_id == Subscriber.id, Delivery.kind == DeliveryKind.RENEWAL)
        .correlate(Subscriber)
        .scalar_subquery()
    )

    def is_(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        return exists().where(Delivery.id == question, *conditions)

    taken_at = select(Delivery.done_at).where(Delivery.id == question).scalar_subquery()
    sent_later = is_(Delivery.state == DeliveryState.SENT, Delivery.done_at > Subscriber.renewal_asked_at)
    _change(session, sent_later, renewal_asked_at=taken_at)
    _change(session, is_(Delivery.state.in_(_ON_ITS_WAY)), renewal_asked_at=now)
    _change(session, is_(Delivery.state.in_(_NEVER_ARRIVED)), renewal_asked_at=None)
    return subscriptions.forget_unrenewed(session, now=now)


def _change(session: Session, which: ColumnElement[bool], **values: Any) -> None:
    session.execute(
        update(Subscriber)
        .where(Subscriber.renewal_asked_at.is_not(None), Subscriber.state == SubscriberState.CONFIRMED, which)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
