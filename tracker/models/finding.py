"""Findings: what the monitors conclude, proposed by one person and approved by another, never edited after."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.account import Account
from tracker.models.base import Base, new_key
from tracker.models.evidence import Evidence
from tracker.models.recommendation import Clause, Recommendation
from tracker.vocabulary import Access, Grade, State

if TYPE_CHECKING:
    from tracker.models.review import DissentingNote

_CURRENT_CLAUSE = text("state = 'accepted' AND clause_id IS NOT NULL")
_CURRENT_RECOMMENDATION = text("state = 'accepted' AND clause_id IS NULL")


class Finding(Base):
    """A grade with its reasons, for one clause or for a recommendation without clauses.

    The database itself refuses an approver who is the proposer, an approved finding without approver,
    a second current finding for one clause, and (by trigger) any change to an approved one's content.
    """

    __tablename__ = "finding"
    __table_args__ = (
        CheckConstraint("approved_by_id IS NULL OR approved_by_id <> proposed_by_id", name="four_eyes"),
        CheckConstraint(
            "state IN ('draft', 'submitted', 'returned')"
            " OR (proposed_by_id IS NOT NULL AND approved_by_id IS NOT NULL)",
            name="two_people",
        ),
        CheckConstraint("state = 'draft' OR proposed_by_id IS NOT NULL", name="proposer"),
        UniqueConstraint("imported_as"),
        Index(
            "uq_finding_current_clause",
            "clause_id",
            unique=True,
            sqlite_where=_CURRENT_CLAUSE,
            postgresql_where=_CURRENT_CLAUSE,
        ),
        Index(
            "uq_finding_current_recommendation",
            "recommendation_id",
            unique=True,
            sqlite_where=_CURRENT_RECOMMENDATION,
            postgresql_where=_CURRENT_RECOMMENDATION,
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    version: Mapped[int] = mapped_column(default=1)
    state: Mapped[State] = mapped_column(default=State.DRAFT, index=True)

    recommendation_id: Mapped[int] = mapped_column(
        ForeignKey("recommendation.id", ondelete="RESTRICT"), index=True
    )
    clause_id: Mapped[int | None] = mapped_column(ForeignKey("clause.id", ondelete="RESTRICT"), index=True)
    grade: Mapped[Grade | None]
    as_of: Mapped[dt.date | None]
    access: Mapped[Access | None]
    rationale: Mapped[str] = mapped_column(Text, default="")
    would_change: Mapped[str] = mapped_column(Text, default="")
    search_what: Mapped[str] = mapped_column(Text, default="")
    search_where: Mapped[str] = mapped_column(Text, default="")
    search_languages: Mapped[str] = mapped_column(String(200), default="")
    search_until: Mapped[dt.date | None]

    # The finding that was current when this was proposed: approving on top of another one is refused as stale.
    replaces_id: Mapped[int | None] = mapped_column(ForeignKey("finding.id", ondelete="RESTRICT"))
    # Set when this corrects a mistake in `replaces`: what was wrong.
    correction: Mapped[str] = mapped_column(Text, default="")

    proposed_by_id: Mapped[int | None] = mapped_column(
        ForeignKey("account.id", ondelete="RESTRICT"), index=True
    )
    created_at: Mapped[dt.datetime]
    submitted_at: Mapped[dt.datetime | None]
    approved_by_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    approved_at: Mapped[dt.datetime | None]
    # The reviewer's reasons: public when approved, for the team only when returned.
    needs: Mapped[str] = mapped_column(String(200), default="")  # `Need` values, separated by commas.
    review_reason: Mapped[str] = mapped_column(Text, default="")
    harm_check: Mapped[dict[str, str] | None] = mapped_column(JSON)
    withdrawn_by_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    withdrawn_at: Mapped[dt.datetime | None]
    withdrawal_reason: Mapped[str] = mapped_column(Text, default="")
    ledger_seq: Mapped[int | None] = mapped_column(ForeignKey("ledger_entry.seq"))
    imported_as: Mapped[str | None] = mapped_column(String(120))

    recommendation: Mapped[Recommendation] = relationship()
    clause: Mapped[Clause | None] = relationship()
    proposed_by: Mapped[Account | None] = relationship(foreign_keys=[proposed_by_id])
    approved_by: Mapped[Account | None] = relationship(foreign_keys=[approved_by_id])
    replaces: Mapped[Finding | None] = relationship(remote_side=[id])
    citations: Mapped[list[Citation]] = relationship(
        back_populates="finding", order_by="Citation.evidence_id", cascade="all, delete-orphan"
    )
    dissent: Mapped[list[DissentingNote]] = relationship(
        back_populates="finding", order_by="DissentingNote.id", cascade="all, delete-orphan"
    )


class Citation(Base):
    """A piece of evidence that a finding rests on."""

    __tablename__ = "citation"

    finding_id: Mapped[int] = mapped_column(ForeignKey("finding.id", ondelete="CASCADE"), primary_key=True)
    evidence_id: Mapped[int] = mapped_column(
        ForeignKey("evidence.id", ondelete="RESTRICT"), primary_key=True, index=True
    )

    finding: Mapped[Finding] = relationship(back_populates="citations")
    evidence: Mapped[Evidence] = relationship()
