"""Subscribers: who wants to hear about what, and when. Their addresses are sealed."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.base import Base, new_key
from tracker.models.recommendation import Recommendation
from tracker.models.report import Report
from tracker.vocabulary import Frequency, Scope, SubscriberState


class Subscriber(Base):
    """A person who asked for digests. No name, no IP address; the address is sealed to the mailer's key.

    Links in mails carry tokens that the mailer can derive again; only their SHA-256 stands here.
    """

    __tablename__ = "subscriber"

    id: Mapped[int] = mapped_column(primary_key=True)
    # What the links and Message-IDs of this person are derived from; a number could come back after an erasure.
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    address_hash: Mapped[str] = mapped_column(String(64), unique=True)  # Keyed hash of the canonical address.
    address_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[SubscriberState] = mapped_column(default=SubscriberState.PENDING, index=True)
    frequency: Mapped[Frequency]
    weekday: Mapped[int]  # 0 Monday to 6 Sunday; used when weekly.
    month_day: Mapped[int]  # 1 to 31; used when monthly, the last day where the month is shorter.
    hour: Mapped[int]  # 0 to 23 in `timezone`.
    timezone: Mapped[str] = mapped_column(String(64))  # IANA name.
    language: Mapped[str] = mapped_column(String(35), default="en")
    # What was entered and waits for confirmation; until then nothing else changes.
    asked: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[dt.datetime]
    confirmed_at: Mapped[dt.datetime | None]
    left_at: Mapped[dt.datetime | None]
    # A new confirmation mail is sent at most once a day to one address.
    confirmation_sent_at: Mapped[dt.datetime | None]
    confirm_token_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    confirm_expires_at: Mapped[dt.datetime | None]
    manage_token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    leave_token_hash: Mapped[str] = mapped_column(String(64), unique=True)

    # The local date the next digest is for, the instant that is, and how far the last one reached.
    next_local_date: Mapped[dt.date | None]
    next_due_at: Mapped[dt.datetime | None] = mapped_column(index=True)
    seen_seq: Mapped[int] = mapped_column(default=0)

    follows: Mapped[list[Follow]] = relationship(back_populates="subscriber", cascade="all, delete-orphan")


class Follow(Base):
    """One thing a subscriber follows."""

    __tablename__ = "follow"

    id: Mapped[int] = mapped_column(primary_key=True)
    subscriber_id: Mapped[int] = mapped_column(ForeignKey("subscriber.id", ondelete="CASCADE"), index=True)
    scope: Mapped[Scope]
    report_id: Mapped[int | None] = mapped_column(ForeignKey("report.id", ondelete="CASCADE"))
    recommendation_id: Mapped[int | None] = mapped_column(ForeignKey("recommendation.id", ondelete="CASCADE"))

    subscriber: Mapped[Subscriber] = relationship(back_populates="follows")
    report: Mapped[Report | None] = relationship()
    recommendation: Mapped[Recommendation | None] = relationship()
