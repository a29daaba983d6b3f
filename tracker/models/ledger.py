"""The ledger: the append-only, hash-chained record of everything published."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.base import Base
from tracker.vocabulary import EntryKind


class LedgerHead(Base):
    """The one row that every append locks, so that commit order is `seq` order on both databases."""

    __tablename__ = "ledger_head"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int]
    hash: Mapped[str] = mapped_column(String(64))


class LedgerEntry(Base):
    """One publication. The hash covers every other column; `payload` is canonical JSON (RFC 8785)."""

    __tablename__ = "ledger_entry"

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    recorded_at: Mapped[dt.datetime]  # The full hour: working hours identify people.
    kind: Mapped[EntryKind]
    subject: Mapped[str] = mapped_column(String(200), index=True)  # "evidence/142", "finding/7h2k…"
    payload: Mapped[str] = mapped_column(Text)
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64), unique=True)

    content: Mapped[LedgerContent | None] = relationship(back_populates="entry", uselist=False)
    topics: Mapped[list[LedgerTopic]] = relationship(back_populates="entry")


class LedgerContent(Base):
    """The words that an entry published. The payload holds only their salted SHA-256.

    So content can be erased by law or to protect somebody, and the chain still verifies.
    """

    __tablename__ = "ledger_content"

    seq: Mapped[int] = mapped_column(ForeignKey("ledger_entry.seq", ondelete="RESTRICT"), primary_key=True)
    salt: Mapped[str] = mapped_column(String(64))
    content: Mapped[str] = mapped_column(Text)  # Canonical JSON.

    entry: Mapped[LedgerEntry] = relationship(back_populates="content")


class LedgerTopic(Base):
    """Which report and recommendations an entry is about: what feeds, digests and ETags ask for.

    A convenience that can be rebuilt from the payloads; `recommendation_id` NULL means the report as a whole.
    """

    __tablename__ = "ledger_topic"
    __table_args__ = (
        Index("ix_ledger_topic_report", "report_id", "seq"),
        Index("ix_ledger_topic_recommendation", "recommendation_id", "seq"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(ForeignKey("ledger_entry.seq", ondelete="RESTRICT"), index=True)
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id", ondelete="RESTRICT"))
    recommendation_id: Mapped[int | None] = mapped_column(
        ForeignKey("recommendation.id", ondelete="RESTRICT")
    )

    entry: Mapped[LedgerEntry] = relationship(back_populates="topics")


class Checkpoint(Base):
    """A signed statement of how long the ledger is and what its Merkle root is (C2SP signed note, RFC 6962)."""

    __tablename__ = "checkpoint"

    size: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary(32))
    note: Mapped[str] = mapped_column(Text)
    created_at: Mapped[dt.datetime]


class Timestamp(Base):
    """An RFC 3161 timestamp of a checkpoint or an entry by an authority that is not us."""

    __tablename__ = "timestamp"

    id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(String(40), index=True)  # "checkpoint/123", "entry/45"
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))  # SHA-256 of the note, or of the entry's bytes.
    token: Mapped[bytes] = mapped_column(LargeBinary)  # The response as the authority sent it, in DER.
    authority: Mapped[str] = mapped_column(String(200))
    stamped_at: Mapped[dt.datetime]  # As the authority says.


class PrivateCommitment(Base):
    """One leaf of a day's sealed root: that we held something on that day, provable later without telling it now."""

    __tablename__ = "private_commitment"
    __table_args__ = (Index("ix_private_commitment_day", "day", "leaf"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[dt.date]
    subject: Mapped[str] = mapped_column(String(200), default="", index=True)  # "": padding.
    salt: Mapped[str] = mapped_column(String(64))
    leaf: Mapped[str] = mapped_column(String(64))
    ledger_seq: Mapped[int | None] = mapped_column(ForeignKey("ledger_entry.seq"))
