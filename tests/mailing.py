"""Issues and mails on their way, as rows, for tests that do not compose anything."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

from sqlalchemy.orm import Session

from tracker.models import Delivery, Issue, Subscriber
from tracker.vocabulary import DeliveryKind, DeliveryState, Frequency, SubscriberState

_numbers = itertools.count(1)


def reader(session: Session, now: dt.datetime, **values: Any) -> Subscriber:
    """Somebody who follows; no address is needed to count them."""
    number = next(_numbers)
    subscriber = Subscriber(
        **{
            "state": SubscriberState.CONFIRMED,
            "frequency": Frequency.DAILY,
            "weekday": 0,
            "month_day": 1,
            "hour": 7,
            "timezone": "UTC",
            "follow_key": "everything",
            "created_at": now,
            "confirmed_at": now,
            "next_due_at": now + dt.timedelta(hours=5),
            "next_local_date": (now + dt.timedelta(hours=5)).date(),
            "manage_token_hash": f"manage-{number}",
            "leave_token_hash": f"leave-{number}",
            **values,
        }
    )
    session.add(subscriber)
    session.commit()
    return subscriber


def mail(
    session: Session,
    now: dt.datetime,
    *,
    subscriber: Subscriber | None = None,
    issue: Issue | None = None,
    **values: Any,
) -> Delivery:
    """One mail to somebody, waiting unless the test says otherwise."""
    number = next(_numbers)
    delivery = Delivery(
        **{
            "kind": DeliveryKind.DIGEST,
            "subscriber": subscriber or reader(session, now),
            "issue": issue,
            "period": f"daily/{number}",
            "from_seq": 0,
            "message_id": f"<{number}@localhost>",
            "state": DeliveryState.PENDING,
            "created_at": now,
            "due_at": now,
            **values,
        }
    )
    session.add(delivery)
    session.commit()
    return delivery
