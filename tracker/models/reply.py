"""Replies: what the State itself says or does about a recommendation."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import CheckConstraint, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.account import Account
from tracker.models.base import Base, new_key
from tracker.models.evidence import Evidence
from tracker.models.recommendation import Recommendation
from tracker.models.report import Report
from tracker.vocabulary import Position, Precision, State


class Reply(Base):
    """A position with its summary, quotations and source, for some recommendations or for the report as a whole."""

    __tablename__ = "reply"
    __table_args__ = (
        CheckConstraint("reviewed_by_id IS NULL OR reviewed_by_id <> created_by_id", name="four_eyes"),
        UniqueConstraint("imported_as"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    version: Mapped[int] = mapped_column(default=1)
    state: Mapped[State] = mapped_column(default=State.DRAFT, index=True)

    report_id: Mapped[int] = mapped_column(ForeignKey("report.id", ondelete="RESTRICT"), index=True)
    author: Mapped[str] = mapped_column(String(200), default="")
    position: Mapped[Position | None]
    replied_on: Mapped[dt.date | None]
    date_precision: Mapped[Precision] = mapped_column(default=Precision.DAY)
    summary: Mapped[str] = mapped_column(Text, default="")
    source_publisher: Mapped[str] = mapped_column(String(300), default="")
    source_title: Mapped[str] = mapped_column(String(300), default="")
    source_url: Mapped[str] = mapped_column(Text, default="")
    # The piece of public evidence that is the source, where there is one.
    evidence_id: Mapped[int | None] = mapped_column(ForeignKey("evidence.id", ondelete="RESTRICT"))

    created_by_id: Mapped[int | None] = mapped_column(
        ForeignKey("account.id", ondelete="RESTRICT"), index=True
    )
    created_at: Mapped[dt.datetime]
    submitted_at: Mapped[dt.datetime | None]
    reviewed_by_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    reviewed_at: Mapped[dt.datetime | None]
    needs: Mapped[str] = mapped_column(String(200), default="")  # `Need` values, separated by commas.
    review_reason: Mapped[str] = mapped_column(Text, default="")
    withdrawal_reason: Mapped[str] = mapped_column(Text, default="")
    ledger_seq: Mapped[int | None] = mapped_column(ForeignKey("ledger_entry.seq"))
    imported_as: Mapped[str | None] = mapped_column(String(120))

    report: Mapped[Report] = relationship()
    evidence: Mapped[Evidence | None] = relationship()
    created_by: Mapped[Account | None] = relationship(foreign_keys=[created_by_id])
    reviewed_by: Mapped[Account | None] = relationship(foreign_keys=[reviewed_by_id])
    quotations: Mapped[list[Quotation]] = relationship(
        order_by="Quotation.position", cascade="all, delete-orphan"
    )
    targets: Mapped[list[ReplyTarget]] = relationship(
        order_by="ReplyTarget.recommendation_id", cascade="all, delete-orphan"
    )


class Quotation(Base):
    """Words of the State, as in the source."""

    __tablename__ = "quotation"

    id: Mapped[int] = mapped_column(primary_key=True)
    reply_id: Mapped[int] = mapped_column(ForeignKey("reply.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    text: Mapped[str] = mapped_column(Text)


class ReplyTarget(Base):
    """A recommendation that a reply speaks to. A reply without any speaks to the whole report."""

    __tablename__ = "reply_target"

    reply_id: Mapped[int] = mapped_column(ForeignKey("reply.id", ondelete="CASCADE"), primary_key=True)
    recommendation_id: Mapped[int] = mapped_column(
        ForeignKey("recommendation.id", ondelete="RESTRICT"), primary_key=True, index=True
    )

    recommendation: Mapped[Recommendation] = relationship()
