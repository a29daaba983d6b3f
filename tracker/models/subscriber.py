"""Subscribers: who wants to hear about what, and when. Their addresses are sealed."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.base import Base, new_key
from tracker.models.recommendation import Recommendation
from tracker.models.report import Report
from tracker.vocabulary import Channel, Disclosure, Frequency, Scope, SubscriberState


class SignUp(Base):
    """What somebody entered at the public form, sealed to the mailer, who takes it from here.

    The web process writes it and can read none: so the answer is the same, and takes the same time, whether the
    address is known or not. `created_at` is the full hour.
    """

    __tablename__ = "sign_up"

    id: Mapped[int] = mapped_column(primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[dt.datetime]


class Subscriber(Base):
    """A person who asked for digests. No name, no IP address; the address is sealed to the mailer's key.

    Links in mails carry tokens that the mailer can derive again; only their SHA-256 stands here. Whoever reads by a
    feed or in a mailbox on this site has no address here at all.
    """

    __tablename__ = "subscriber"

    id: Mapped[int] = mapped_column(primary_key=True)
    # What the links and Message-IDs of this person are derived from; a number could come back after an erasure.
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    channel: Mapped[Channel] = mapped_column(default=Channel.EMAIL)
    # Keyed hash of the canonical address, by a key that only the mailer has.
    address_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    address_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    # True while hash and seal are those of a release before 0009, which the web process could compute.
    address_old: Mapped[bool] = mapped_column(default=False)
    state: Mapped[SubscriberState] = mapped_column(default=SubscriberState.PENDING, index=True)
    disclosure: Mapped[Disclosure] = mapped_column(default=Disclosure.FULL)
    # The person's public OpenPGP certificate, which holds an address: sealed like it. None: mails are not encrypted.
    openpgp_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    frequency: Mapped[Frequency]
    weekday: Mapped[int]  # 0 Monday to 6 Sunday; used when weekly.
    month_day: Mapped[int]  # 1 to 31; used when monthly, the last day where the month is shorter.
    hour: Mapped[int]  # 0 to 23 in `timezone`.
    timezone: Mapped[str] = mapped_column(String(64))  # IANA name.
    language: Mapped[str] = mapped_column(String(35), default="en")
    # SHA-256 over what is followed, in one order: people who follow the same share what is composed.
    follow_key: Mapped[str] = mapped_column(String(64), default="")
    # What was entered and waits for confirmation; until then nothing else changes.
    asked: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[dt.datetime]
    confirmed_at: Mapped[dt.datetime | None]
    left_at: Mapped[dt.datetime | None]
    # The `left_at` that stands in the journal already, so that a restored backup brings nobody back.
    left_noted_at: Mapped[dt.datetime | None]
    # The last day without digests, by the person's own clock.
    paused_until: Mapped[dt.date | None]
    # Once a year somebody is asked whether they still want this; who does not answer is forgotten.
    renewed_at: Mapped[dt.datetime | None]
    renewal_asked_at: Mapped[dt.datetime | None]
    # A new confirmation mail is sent at most once a day to one address.
    confirmation_sent_at: Mapped[dt.datetime | None]
    confirm_token_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    confirm_expires_at: Mapped[dt.datetime | None]
    manage_token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    leave_token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    # What opens the private feed, or the mailbox: the SHA-256 of a link's token or of a passphrase.
    read_token_hash: Mapped[str | None] = mapped_column(String(64), unique=True)

    # The links in mails of a release before 0009, until that day: `services/old_addresses.py` says why they end.
    old_manage_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    old_leave_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    old_links_until: Mapped[dt.date | None]

    # The local date the next digest is for, the instant that is, and how far the last one reached.
    next_local_date: Mapped[dt.date | None]
    next_due_at: Mapped[dt.datetime | None] = mapped_column(index=True)
    seen_seq: Mapped[int] = mapped_column(default=0)

    # Soft bounces in a row, and until when nothing is sent because of them.
    soft_bounces: Mapped[int] = mapped_column(default=0)
    rest_until: Mapped[dt.datetime | None]

    follows: Mapped[list[Follow]] = relationship(
        back_populates="subscriber", cascade="all, delete-orphan", order_by="Follow.id"
    )


class Follow(Base):
    """One thing a subscriber follows."""

    __tablename__ = "follow"

    id: Mapped[int] = mapped_column(primary_key=True)
    subscriber_id: Mapped[int] = mapped_column(ForeignKey("subscriber.id", ondelete="CASCADE"), index=True)
    scope: Mapped[Scope]
    report_id: Mapped[int | None] = mapped_column(ForeignKey("report.id", ondelete="CASCADE"))
    recommendation_id: Mapped[int | None] = mapped_column(ForeignKey("recommendation.id", ondelete="CASCADE"))
    # A theme's slug, a country's name as reports write it, or the words of a search.
    value: Mapped[str] = mapped_column(String(200), default="")

    subscriber: Mapped[Subscriber] = relationship(back_populates="follows")
    report: Mapped[Report | None] = relationship()
    recommendation: Mapped[Recommendation | None] = relationship()


class Departure(Base):
    """That somebody was erased: kept until the mailer has written it into the journal, then deleted.

    The key is random and belongs to no row any more. It is there so that a restored backup does not bring them back.
    """

    __tablename__ = "departure"

    id: Mapped[int] = mapped_column(primary_key=True)
    subscriber_key: Mapped[str] = mapped_column(String(12))
    at: Mapped[dt.datetime]
