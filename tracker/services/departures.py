"""Who left or was erased, on its way into the journal; and taking them out again after an old backup was restored."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from tracker.models import Delivery, Departure, Subscriber
from tracker.vocabulary import DeliveryState, SubscriberState

_GONE = (SubscriberState.LEFT, SubscriberState.FAILED)


@dataclass(frozen=True)
class Gone:
    """Somebody who left (or was refused), or (`erased`) whose row is gone."""

    key: str
    at: dt.datetime
    erased: bool


def note(session: Session, subscriber: Subscriber, *, now: dt.datetime) -> None:
    """Keep the random key of somebody who is about to be erased until the mailer has written it into the journal."""
    session.add(Departure(subscriber_key=subscriber.key, at=now))
    session.flush()


def waiting(session: Session) -> list[Gone]:
    """Those who do not stand in the journal yet."""
    left = session.execute(
        select(Subscriber.key, Subscriber.left_at).where(
            Subscriber.state.in_(_GONE),
            Subscriber.left_at.is_not(None),
            or_(Subscriber.left_noted_at.is_(None), Subscriber.left_noted_at != Subscriber.left_at),
        )
    )
    erased = session.execute(select(Departure.subscriber_key, Departure.at))
    return [
        *(Gone(key, at, erased=False) for key, at in left if at is not None),
        *(Gone(key, at, erased=True) for key, at in erased),
    ]


def noted(session: Session, gone: Iterable[Gone]) -> None:
    """These stand in the journal now."""
    for one in gone:
        if one.erased:
            session.execute(delete(Departure).where(Departure.subscriber_key == one.key))
        else:
            session.execute(
                update(Subscriber)
                .where(Subscriber.key == one.key, Subscriber.left_at == one.at)
                .values(left_noted_at=one.at)
                .execution_options(synchronize_session=False)
            )


def replay(
    session: Session,
    gone: dict[str, tuple[dt.datetime, bool]],
    *,
    hashed: Callable[[str], str],
    erase: Callable[[Session, Subscriber], None],
    now: dt.datetime,
) -> int:
    """Take out again those whom an older database brought back; how many.

    `gone` says by keyed hash when somebody went, and whether everything was erased. Who came back of their own will
    after that, by the database's own account, stays.
    """
    count = 0
    keys = session.execute(select(Subscriber.id, Subscriber.key)).all()
    for number, key in keys:
        if (found := gone.get(hashed(key))) is None:
            continue
        subscriber = session.get_one(Subscriber, number)
        at, erased = found
        if erased:
            erase(session, subscriber)
        elif subscriber.state in _GONE or (subscriber.confirmed_at and subscriber.confirmed_at > at):
            continue
        else:
            subscriber.state, subscriber.left_at, subscriber.left_noted_at = SubscriberState.LEFT, at, at
            subscriber.next_local_date = subscriber.next_due_at = None
            subscriber.asked = subscriber.confirm_token_hash = subscriber.confirm_expires_at = None
            session.execute(
                update(Delivery)
                .where(Delivery.subscriber_id == number, Delivery.state == DeliveryState.PENDING)
                .values(state=DeliveryState.CANCELLED, message_sealed=None, done_at=now)
                .execution_options(synchronize_session=False)
            )
        count += 1
    session.flush()
    return count
