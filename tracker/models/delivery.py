"""Digests, and the way of every mail to the relay."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.account import Account
from tracker.models.base import Base
from tracker.models.subscriber import Subscriber
from tracker.vocabulary import (
    DeliveryKind,
    DeliveryState,
    Disclosure,
    Frequency,
    HoldReason,
    IssueState,
    ReleaseWay,
)


class Issue(Base):
    """All digests that are composed in one hour: numbered, held, released and counted together."""

    __tablename__ = "issue"
    __table_args__ = (
        CheckConstraint(
            "second_releaser_id IS NULL OR second_releaser_id <> first_releaser_id", name="two_people"
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)  # The number that its digests carry.
    hour: Mapped[dt.datetime] = mapped_column(unique=True)  # A full hour, UTC.
    state: Mapped[IssueState] = mapped_column(default=IssueState.OPEN, index=True)
    held_because: Mapped[HoldReason | None]
    first_releaser_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    second_releaser_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    # Mails in a row that the relay refused for a reason that is ours; at five the issue is held.
    refused_in_a_row: Mapped[int] = mapped_column(default=0)

    first_releaser: Mapped[Account | None] = relationship(foreign_keys=[first_releaser_id])
    second_releaser: Mapped[Account | None] = relationship(foreign_keys=[second_releaser_id])


class Piece(Base):
    """A part of digests, rendered and encoded once: a head, a recommendation's changes, a foot.

    `text` and `html` are quoted-printable lines that end in CRLF, ready to stand in a mail; where `raw`, they are
    UTF-8 with places for a person's links, encoded when they are filled in. What stands here is public.
    """

    __tablename__ = "piece"

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    # The one entry it tells: pages leave it out as soon as that is withdrawn.
    entry_seq: Mapped[int | None] = mapped_column(ForeignKey("ledger_entry.seq", ondelete="RESTRICT"))
    raw: Mapped[bool] = mapped_column(default=False)
    text: Mapped[bytes] = mapped_column(LargeBinary)
    html: Mapped[bytes] = mapped_column(LargeBinary)


class Digest(Base):
    """What one digest says, once for everybody to whom it says the same. It covers the ledger entries after
    `from_seq` up to `to_seq`. Nobody's name stands here: who gets it stands in `Delivery`.
    """

    __tablename__ = "digest"
    __table_args__ = (Index("ix_digest_issue_id_code", "issue_id", "code"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    issue_id: Mapped[int] = mapped_column(ForeignKey("issue.id", ondelete="RESTRICT"))
    # "K7F2-9QXM": a forged one is told by it. Made of what is told only: it says nothing about who follows what.
    code: Mapped[str] = mapped_column(String(9))
    content_key: Mapped[str] = mapped_column(
        String(64), unique=True
    )  # SHA-256 over all that it was made from.
    follow_key: Mapped[str] = mapped_column(String(64))
    frequency: Mapped[Frequency]
    language: Mapped[str] = mapped_column(String(35))
    disclosure: Mapped[Disclosure]
    day: Mapped[dt.date]
    from_seq: Mapped[int]
    to_seq: Mapped[int]
    changes: Mapped[int]
    # The ledger's position when it was composed: withdrawals after it are looked for before each sending.
    composed_seq: Mapped[int]
    pieces: Mapped[list[int]] = mapped_column(JSON)  # In the order of the mail; the last one is raw.
    created_at: Mapped[dt.datetime]

    issue: Mapped[Issue] = relationship()


class DigestEntry(Base):
    """A ledger entry that a digest told: so that a correction reaches everybody who was told the wrong thing."""

    __tablename__ = "digest_entry"
    __table_args__ = (Index("ix_digest_entry_seq", "seq"),)

    digest_id: Mapped[int] = mapped_column(ForeignKey("digest.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(ForeignKey("ledger_entry.seq", ondelete="RESTRICT"), primary_key=True)
    # Under which recommendation it stands; NULL: under the whole report, or among the corrections.
    place_id: Mapped[int | None] = mapped_column(ForeignKey("recommendation.id", ondelete="RESTRICT"))
    extra: Mapped[bool] = mapped_column(default=False)


class Delivery(Base):
    """One mail on its way to one person: a subscriber, or (reminders) somebody of the team.

    A digest is joined from its pieces when it is sent, the same bytes each time; `sent_sha256` says which. Only what
    cannot be joined again is stored: `message_sealed` holds confirmations and encrypted digests, sealed.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("subscriber_id", "period"),
        UniqueConstraint("account_id", "period"),
        # In the order in which mails are claimed.
        Index("ix_delivery_waiting", "state", "due_at", "message_id"),
        Index("ix_delivery_digest_id", "digest_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[DeliveryKind]
    subscriber_id: Mapped[int | None] = mapped_column(ForeignKey("subscriber.id", ondelete="CASCADE"))
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    # "weekly/2026-11-23", "immediate/2026-11-23T07": once for each person. NULL: no digest.
    period: Mapped[str | None] = mapped_column(String(40))
    digest_id: Mapped[int | None] = mapped_column(ForeignKey("digest.id", ondelete="RESTRICT"))
    issue_id: Mapped[int | None] = mapped_column(ForeignKey("issue.id", ondelete="RESTRICT"), index=True)
    # Told from here: where a mail is given up, the next digest begins there again.
    from_seq: Mapped[int | None]
    message_id: Mapped[str] = mapped_column(String(120), unique=True)
    message_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)  # Removed once the mail is done.
    sent_sha256: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[DeliveryState] = mapped_column(default=DeliveryState.PENDING)
    created_at: Mapped[dt.datetime]
    due_at: Mapped[dt.datetime]
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[dt.datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    ambiguous: Mapped[int] = mapped_column(default=0)
    last_answer: Mapped[str | None] = mapped_column(String(200))  # SMTP code and stage; never an address.
    done_at: Mapped[dt.datetime | None]
    # When the first bounce of it was read: later ones change nothing.
    bounced_at: Mapped[dt.datetime | None]

    subscriber: Mapped[Subscriber | None] = relationship()
    account: Mapped[Account | None] = relationship()
    digest: Mapped[Digest | None] = relationship()
    issue: Mapped[Issue | None] = relationship()


class Sending(Base):
    """The one row that says whether mails may go out at all, and how far the journal had come."""

    __tablename__ = "sending"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        CheckConstraint(
            "second_releaser_id IS NULL OR second_releaser_id <> first_releaser_id", name="two_people"
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    held_because: Mapped[HoldReason | None]
    held_at: Mapped[dt.datetime | None]
    # Who released the last hold, or has agreed to release this one, and in which way.
    first_releaser_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    second_releaser_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    way: Mapped[ReleaseWay | None]
    # The journal beside the database counts every round of sending; where it is ahead, the database is an older one.
    journal: Mapped[int] = mapped_column(default=0)

    first_releaser: Mapped[Account | None] = relationship(foreign_keys=[first_releaser_id])


class MailRate(Base):
    """How many mails all senders together were granted lately: over all, or to one domain. Forgotten after minutes.

    `key` is a keyed hash of which of them it is.
    """

    __tablename__ = "mail_rate"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    granted: Mapped[dict[str, int]] = mapped_column(JSON)  # Second (UTC, since 1970) -> how many.
    asked_at: Mapped[dt.datetime] = mapped_column(index=True)


class Reminder(Base):
    """That somebody of the team was reminded of something: each thing once."""

    __tablename__ = "reminder"
    __table_args__ = (UniqueConstraint("account_id", "subject"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    subject: Mapped[str] = mapped_column(String(200))  # "overdue/12/2026-09-30", "proposal/7h2k…"
    at: Mapped[dt.datetime]


class Heartbeat(Base):
    """When a background part last did its work: what `tracker doctor` and /health look at."""

    __tablename__ = "heartbeat"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    at: Mapped[dt.datetime]
    detail: Mapped[str | None] = mapped_column(String(200))
