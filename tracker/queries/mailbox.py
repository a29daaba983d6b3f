"""The digests that a mailbox on this site has collected, as text."""

from __future__ import annotations

import datetime as dt
import quopri
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.models import Delivery, Digest, Piece, Subscriber
from tracker.vocabulary import DeliveryState

KEPT = dt.timedelta(days=90)


@dataclass(frozen=True)
class Message:
    """One digest. Number and code stand at /digests too: a forged one is told by them."""

    number: int  # Of its issue.
    code: str
    day: dt.date
    text: str


def collected(
    session: Session, subscriber: Subscriber, *, now: dt.datetime, limit: int = 100
) -> list[Message]:
    """What was laid into this mailbox in the last 90 days, the newest first."""
    digests = session.scalars(
        select(Digest)
        .join(Delivery, Delivery.digest_id == Digest.id)
        .where(
            Delivery.subscriber_id == subscriber.id,
            Delivery.state == DeliveryState.COLLECTED,
            Delivery.created_at > now - KEPT,
        )
        .order_by(Delivery.id.desc())
        .limit(limit)
    ).all()
    pieces = _pieces(session, {number for digest in digests for number in digest.pieces})
    return [
        Message(
            digest.issue_id,
            digest.code,
            digest.day,
            "".join(pieces[number] for number in digest.pieces if number in pieces).strip(),
        )
        for digest in digests
    ]


def _pieces(session: Session, numbers: set[int]) -> dict[int, str]:
    # The raw one is the foot with the links of a mail, which a mailbox does not have.
    rows: Sequence[Piece] = session.scalars(
        select(Piece).where(Piece.id.in_(numbers), Piece.raw.is_(False))
    ).all()
    return {
        piece.id: quopri.decodestring(piece.text).decode("utf-8", "replace").replace("\r\n", "\n")
        for piece in rows
    }
