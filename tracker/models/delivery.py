"""Digests, and the way of every mail to the relay."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.base import Base
from tracker.models.subscriber import Subscriber
from tracker.vocabulary import DeliveryKind, DeliveryState


class Digest(Base):
    """One composed message for one person and one period, covering the ledger from `from_seq` + 1 to `to_seq`.

    A period in which nothing happened has a row too, without delivery: it says that we looked.
    """

    __tablename__ = "digest"
    __table_args__ = (UniqueConstraint("subscriber_id", "period"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    # NULL once the person was erased: that a digest of that day was sent stays, to whom does not.
    subscriber_id: Mapped[int | None] = mapped_column(ForeignKey("subscriber.id", ondelete="SET NULL"))
    period: Mapped[str] = mapped_column(String(40))  # "weekly/2026-11-23": frequency and local date.
    from_seq: Mapped[int]
    to_seq: Mapped[int]
    changes: Mapped[int]
    created_at: Mapped[dt.datetime]

    subscriber: Mapped[Subscriber | None] = relationship()


class Delivery(Base):
    """One mail on its way. The whole message is stored sealed: a second attempt sends the same bytes."""

    __tablename__ = "delivery"
    __table_args__ = (Index("ix_delivery_state_due_at", "state", "due_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[DeliveryKind]
    subscriber_id: Mapped[int] = mapped_column(ForeignKey("subscriber.id", ondelete="CASCADE"), index=True)
    digest_id: Mapped[int | None] = mapped_column(ForeignKey("digest.id", ondelete="CASCADE"), unique=True)
    message_id: Mapped[str] = mapped_column(String(120), unique=True)
    message_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)  # Removed once the mail is done.
    state: Mapped[DeliveryState] = mapped_column(default=DeliveryState.PENDING)
    created_at: Mapped[dt.datetime]
    due_at: Mapped[dt.datetime]
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[dt.datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    ambiguous: Mapped[int] = mapped_column(default=0)
    last_answer: Mapped[str | None] = mapped_column(String(200))  # SMTP code and stage; never an address.
    done_at: Mapped[dt.datetime | None]

    subscriber: Mapped[Subscriber] = relationship()
    digest: Mapped[Digest | None] = relationship()


class Heartbeat(Base):
    """When a background part last did its work: what `tracker doctor` and /health look at."""

    __tablename__ = "heartbeat"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    at: Mapped[dt.datetime]
    detail: Mapped[str | None] = mapped_column(String(200))
