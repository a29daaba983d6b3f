"""Everything that is held about one subscriber, to show and to take along."""

from __future__ import annotations

import base64
import datetime as dt
import enum
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from tracker.models import Base, Delivery, Follow, Subscriber
from tracker.vocabulary import DeliveryKind, DeliveryState


@dataclass(frozen=True)
class Told:
    """A mail that was made for somebody. A digest has the number and the code that stand in it and at /digests."""

    kind: DeliveryKind
    state: DeliveryState
    created_at: dt.datetime
    number: int | None
    code: str
    day: dt.date | None


def told(session: Session, subscriber: Subscriber) -> list[Told]:
    """Every mail that was made for this person, the newest first."""
    return [
        Told(
            one.kind,
            one.state,
            one.created_at,
            one.digest.issue_id if one.digest else None,
            one.digest.code if one.digest else "",
            one.digest.day if one.digest else None,
        )
        for one in _deliveries(session, subscriber)
    ]


def export(session: Session, subscriber: Subscriber) -> dict[str, Any]:
    """Every column of every row that is about this person, as JSON takes them."""
    deliveries = _deliveries(session, subscriber)
    follows = session.scalars(
        select(Follow).where(Follow.subscriber_id == subscriber.id).order_by(Follow.id)
    ).all()
    return {
        "subscriber": _plain(subscriber),
        "follows": [_plain(one) for one in follows],
        "deliveries": [
            _plain(one)
            | ({"digest": f"{one.digest.issue_id}/{one.digest.code}"} if one.digest is not None else {})
            for one in deliveries
        ],
    }


def _deliveries(session: Session, subscriber: Subscriber) -> list[Delivery]:
    return list(
        session.scalars(
            select(Delivery)
            .where(Delivery.subscriber_id == subscriber.id)
            .options(joinedload(Delivery.digest))
            .order_by(Delivery.id.desc())
        )
    )


def _plain(row: Base) -> dict[str, Any]:
    return {column.key: _value(getattr(row, column.key)) for column in row.__table__.columns}


def _value(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value
