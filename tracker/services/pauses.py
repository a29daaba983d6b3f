"""Pausing until a day. Nothing is lost by it: the first digest after it begins where the last one ended."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import update
from sqlalchemy.orm import Session

from tracker.errors import Invalid
from tracker.models import Delivery, Subscriber
from tracker.services import schedule, subscriptions
from tracker.vocabulary import N_, Channel, DeliveryKind, DeliveryState, SubscriberState

LONGEST_PAUSE = dt.timedelta(days=366)


def pause(session: Session, subscriber: Subscriber, until: dt.date, *, now: dt.datetime) -> None:
    """No digest up to and with this day. Nothing is lost: the first one after it begins where the last one ended."""
    today = now.astimezone(schedule.zone(subscriber.timezone)).date()
    if not today <= until <= today + LONGEST_PAUSE:
        raise Invalid(N_("Choose a day from today on, within a year."), "until")
    if subscriber.state is not SubscriberState.CONFIRMED or subscriber.channel is Channel.FEED:
        raise Invalid(N_("There is nothing to pause: nothing is sent to you."), "until")
    subscriber.paused_until = until
    subscriptions.plan(subscriber, now)
    # What waits already waits for the end of the pause too: it is told anew by the digest after it.
    taken = session.scalars(
        update(Delivery)
        .where(
            Delivery.subscriber_id == subscriber.id,
            Delivery.kind == DeliveryKind.DIGEST,
            Delivery.state == DeliveryState.PENDING,
            # What was perhaps sent already is not told again.
            Delivery.ambiguous == 0,
        )
        .values(state=DeliveryState.CANCELLED, message_sealed=None, done_at=now)
        .returning(Delivery.from_seq)
        .execution_options(synchronize_session=False)
    ).all()
    session.flush()
    if begins := [seq for seq in taken if seq is not None]:
        subscriptions.change_rows(
            session, Subscriber.id == subscriber.id, Subscriber.seen_seq > min(begins), seen_seq=min(begins)
        )
        session.refresh(subscriber)


def resume(session: Session, subscriber: Subscriber, *, now: dt.datetime) -> None:
    """Digests again, from the next turn on."""
    subscriber.paused_until = None
    subscriptions.plan(subscriber, now)
    session.flush()
