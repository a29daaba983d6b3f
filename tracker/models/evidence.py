"""Evidence: one dated thing that somebody can point at, and what it bears on."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.account import Account
from tracker.models.base import Base, new_key
from tracker.models.recommendation import Clause, Recommendation
from tracker.vocabulary import (
    Credibility,
    Direction,
    Precision,
    Reliability,
    SourceType,
    State,
    Visibility,
)


class Evidence(Base):
    """What happened, when, who says so, where it was published.

    `key` names it in staff addresses; `number` is given when it becomes public and is how it is cited.
    Loaded from a report file, it has no author and no reviewer: the file and its loading stand in the ledger.
    """

    __tablename__ = "evidence"
    __table_args__ = (
        CheckConstraint("reviewed_by_id IS NULL OR reviewed_by_id <> created_by_id", name="four_eyes"),
        UniqueConstraint("imported_as"),
        Index("ix_evidence_state_visibility", "state", "visibility"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    number: Mapped[int | None] = mapped_column(unique=True)
    version: Mapped[int] = mapped_column(default=1)
    state: Mapped[State] = mapped_column(default=State.DRAFT)
    visibility: Mapped[Visibility] = mapped_column(default=Visibility.TEAM)

    title: Mapped[str] = mapped_column(String(200))
    summary: Mapped[str] = mapped_column(Text, default="")
    occurred_on: Mapped[dt.date | None]  # First day of the month or year where only that is known.
    date_precision: Mapped[Precision] = mapped_column(default=Precision.DAY)
    publisher: Mapped[str] = mapped_column(String(300), default="")
    source_type: Mapped[SourceType | None]
    language: Mapped[str] = mapped_column(String(35), default="")
    reliability: Mapped[Reliability | None]
    credibility: Mapped[Credibility | None]
    remark: Mapped[str] = mapped_column(
        Text, default=""
    )  # Public, about dates and copies: "Day derived from …".
    team_note: Mapped[str] = mapped_column(Text, default="")

    created_by_id: Mapped[int | None] = mapped_column(
        ForeignKey("account.id", ondelete="RESTRICT"), index=True
    )
    created_at: Mapped[dt.datetime]
    submitted_at: Mapped[dt.datetime | None]
    reviewed_by_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    reviewed_at: Mapped[dt.datetime | None]
    review_reason: Mapped[str] = mapped_column(Text, default="")  # Why it was returned; for the team only.
    withdrawal_reason: Mapped[str] = mapped_column(Text, default="")  # Public.
    # The ledger entry that last published, corrected or withdrew it; NULL while it never was public.
    ledger_seq: Mapped[int | None] = mapped_column(ForeignKey("ledger_entry.seq"))
    imported_as: Mapped[str | None] = mapped_column(String(120))  # "ohchr-xuar-2022/E10"

    created_by: Mapped[Account | None] = relationship(foreign_keys=[created_by_id])
    reviewed_by: Mapped[Account | None] = relationship(foreign_keys=[reviewed_by_id])
    links: Mapped[list[EvidenceLink]] = relationship(
        back_populates="evidence", order_by="EvidenceLink.position", cascade="all, delete-orphan"
    )
    bearings: Mapped[list[Bearing]] = relationship(
        back_populates="evidence", order_by="Bearing.id", cascade="all, delete-orphan"
    )
    readers: Mapped[list[EvidenceReader]] = relationship(cascade="all, delete-orphan")


class EvidenceLink(Base):
    """Where the evidence was published."""

    __tablename__ = "evidence_link"

    id: Mapped[int] = mapped_column(primary_key=True)
    evidence_id: Mapped[int] = mapped_column(ForeignKey("evidence.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    url: Mapped[str] = mapped_column(Text)

    evidence: Mapped[Evidence] = relationship(back_populates="links")


class Bearing(Base):
    """How one piece of evidence bears on one recommendation, or on one clause of it."""

    __tablename__ = "bearing"
    __table_args__ = (
        # Two partial indexes instead of one UNIQUE, because NULLs count as different in both databases.
        Index(
            "uq_bearing_recommendation",
            "evidence_id",
            "recommendation_id",
            unique=True,
            sqlite_where=text("clause_id IS NULL"),
            postgresql_where=text("clause_id IS NULL"),
        ),
        Index("uq_bearing_clause", "evidence_id", "clause_id", unique=True),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    evidence_id: Mapped[int] = mapped_column(ForeignKey("evidence.id", ondelete="CASCADE"))
    recommendation_id: Mapped[int] = mapped_column(
        ForeignKey("recommendation.id", ondelete="RESTRICT"), index=True
    )
    clause_id: Mapped[int | None] = mapped_column(ForeignKey("clause.id", ondelete="RESTRICT"), index=True)
    direction: Mapped[Direction]

    evidence: Mapped[Evidence] = relationship(back_populates="bearings")
    recommendation: Mapped[Recommendation] = relationship()
    clause: Mapped[Clause | None] = relationship()


class EvidenceReader(Base):
    """A person named as reader of restricted evidence."""

    __tablename__ = "evidence_reader"

    evidence_id: Mapped[int] = mapped_column(ForeignKey("evidence.id", ondelete="CASCADE"), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), primary_key=True)

    account: Mapped[Account] = relationship()
