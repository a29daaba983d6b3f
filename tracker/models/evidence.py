"""Evidence: one dated thing that somebody can point at, and what it bears on."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.account import Account
from tracker.models.base import Base, new_key
from tracker.models.recommendation import Clause, Recommendation
from tracker.models.sealing import RecordKey, Sealable
from tracker.vocabulary import (
    Credibility,
    Detail,
    Direction,
    Precision,
    Reliability,
    SourceType,
    State,
    Visibility,
)

if TYPE_CHECKING:
    from tracker.models.exhibit import Exhibit
    from tracker.models.source import Consent, Source


class Evidence(Sealable, Base):
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

    SEALED = (
        "title",
        "summary",
        "publisher",
        "language",
        "place",
        "remark",
        "team_note",
        "review_reason",
        "withdrawal_reason",
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
    place: Mapped[str] = mapped_column(
        String(200), default=""
    )  # As exact as everybody may know: "Lower Valley".
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
    needs: Mapped[str] = mapped_column(String(200), default="")  # `Need` values, separated by commas.
    withdrawal_reason: Mapped[str] = mapped_column(Text, default="")  # Public.
    # Accepted public evidence is published on this day, not before.
    not_before: Mapped[dt.date | None]
    # A person gave it: then it becomes public only with their consent.
    from_person: Mapped[bool] = mapped_column(default=False)
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
    details: Mapped[list[EvidenceDetail]] = relationship(
        back_populates="evidence", order_by="EvidenceDetail.detail", cascade="all, delete-orphan"
    )
    exhibits: Mapped[list[Exhibit]] = relationship(
        back_populates="evidence", order_by="Exhibit.id", cascade="all, delete-orphan"
    )
    consents: Mapped[list[Consent]] = relationship(
        back_populates="evidence", order_by="Consent.id", cascade="all, delete-orphan"
    )
    sources: Mapped[list[Source]] = relationship(secondary="evidence_source", order_by="Source.id")
    record_key: Mapped[RecordKey | None] = relationship(
        back_populates="evidence", cascade="all, delete-orphan", uselist=False
    )

    def must_seal(self, evidence: Evidence) -> bool:
        return self.visibility is Visibility.RESTRICTED

    def seal_row(self) -> str:
        return self.key

    def seal_owner(self) -> int:
        return self.id


class EvidenceLink(Sealable, Base):
    """Where the evidence was published."""

    __tablename__ = "evidence_link"

    SEALED = ("url",)

    id: Mapped[int] = mapped_column(primary_key=True)
    evidence_id: Mapped[int] = mapped_column(ForeignKey("evidence.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    url: Mapped[str] = mapped_column(Text)

    evidence: Mapped[Evidence] = relationship(back_populates="links")

    def must_seal(self, evidence: Evidence) -> bool:
        return evidence.visibility is Visibility.RESTRICTED

    def seal_row(self) -> str:
        return str(self.position)

    def seal_owner(self) -> int:
        return self.evidence_id


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


class EvidenceDetail(Sealable, Base):
    """A sensitive part: the exact date or place, names. Sealed always, and never public; pages show the blurred value.

    `visibility` is team or restricted: then only the author and the named readers see it, also of public evidence.
    """

    __tablename__ = "evidence_detail"
    __table_args__ = (
        UniqueConstraint("evidence_id", "detail"),
        CheckConstraint("visibility <> 'public'", name="never_public"),
    )

    SEALED = ("value",)

    id: Mapped[int] = mapped_column(primary_key=True)
    evidence_id: Mapped[int] = mapped_column(ForeignKey("evidence.id", ondelete="CASCADE"))
    detail: Mapped[Detail]
    visibility: Mapped[Visibility]
    value: Mapped[str] = mapped_column(Text, default="")

    evidence: Mapped[Evidence] = relationship(back_populates="details")

    def must_seal(self, evidence: Evidence) -> bool:
        return True

    def seal_row(self) -> str:
        return str(self.detail.value)

    def seal_owner(self) -> int:
        return self.evidence_id
