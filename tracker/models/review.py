"""What the team says to each other about its work: comments, assignments, history, harm checks, dissent, erasure."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.account import Account
from tracker.models.base import Base, new_key
from tracker.models.evidence import Evidence
from tracker.models.finding import Finding
from tracker.models.sealing import Sealable
from tracker.vocabulary import State, Visibility


class Assignment(Base):
    """Who takes care of a thing next. `subject` as in the team's activity: "evidence/7h2k…"."""

    __tablename__ = "assignment"

    subject: Mapped[str] = mapped_column(String(200), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    assigned_by_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    assigned_at: Mapped[dt.datetime]

    account: Mapped[Account] = relationship(foreign_keys=[account_id])
    assigned_by: Mapped[Account] = relationship(foreign_keys=[assigned_by_id])


class Comment(Sealable, Base):
    """What somebody of the team remarks about a piece of evidence, a proposal or a reply. Never public."""

    __tablename__ = "comment"

    SEALED = ("body",)

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    subject: Mapped[str] = mapped_column(String(200), index=True)
    evidence_id: Mapped[int | None] = mapped_column(ForeignKey("evidence.id", ondelete="CASCADE"), index=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    written_at: Mapped[dt.datetime]
    body: Mapped[str] = mapped_column(Text)

    author: Mapped[Account] = relationship()
    evidence: Mapped[Evidence | None] = relationship()

    def must_seal(self, evidence: Evidence) -> bool:
        return evidence.visibility is Visibility.RESTRICTED

    def seal_row(self) -> str:
        return self.key

    def seal_owner(self) -> int | None:
        return self.evidence_id


class FieldChange(Sealable, Base):
    """One field of a piece of evidence as it was and as it became: its history, for staff."""

    __tablename__ = "field_change"
    __table_args__ = (Index("ix_field_change_evidence", "evidence_id", "id"),)

    SEALED = ("was", "now")

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    evidence_id: Mapped[int] = mapped_column(ForeignKey("evidence.id", ondelete="CASCADE"))
    version: Mapped[int]  # The version that this change made.
    field: Mapped[str] = mapped_column(String(40))
    was: Mapped[str] = mapped_column(Text, default="")
    now: Mapped[str] = mapped_column(Text, default="")
    # Of a detail that only the named readers see: so is its history.
    restricted: Mapped[bool] = mapped_column(default=False)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    changed_at: Mapped[dt.datetime]

    evidence: Mapped[Evidence] = relationship()
    account: Mapped[Account] = relationship()

    def must_seal(self, evidence: Evidence) -> bool:
        return (
            self.restricted
            or self.field.startswith("detail-")
            or evidence.visibility is Visibility.RESTRICTED
        )

    def seal_row(self) -> str:
        return self.key

    def seal_owner(self) -> int:
        return self.evidence_id


class HarmCheck(Sealable, Base):
    """What a second person answered before something was published: could anybody be recognised from it?"""

    __tablename__ = "harm_check"

    SEALED = ("answers", "warnings")

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    evidence_id: Mapped[int] = mapped_column(ForeignKey("evidence.id", ondelete="CASCADE"), index=True)
    answers: Mapped[str] = mapped_column(Text, default="")  # JSON: question -> "no", with a remark.
    warnings: Mapped[str] = mapped_column(Text, default="")  # JSON: what the program pointed at.
    checked_by_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    checked_at: Mapped[dt.datetime]

    evidence: Mapped[Evidence] = relationship()
    checked_by: Mapped[Account] = relationship()

    def must_seal(self, evidence: Evidence) -> bool:
        return True

    def seal_row(self) -> str:
        return self.key

    def seal_owner(self) -> int:
        return self.evidence_id


class DissentingNote(Base):
    """Why another reviewer sees it differently. Published with the finding, or after it by a second person."""

    __tablename__ = "dissenting_note"
    __table_args__ = (
        CheckConstraint("approved_by_id IS NULL OR approved_by_id <> author_id", name="four_eyes"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    finding_id: Mapped[int] = mapped_column(ForeignKey("finding.id", ondelete="CASCADE"), index=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    written_at: Mapped[dt.datetime]
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[State] = mapped_column(default=State.SUBMITTED)
    approved_by_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    ledger_seq: Mapped[int | None] = mapped_column(ForeignKey("ledger_entry.seq"))

    finding: Mapped[Finding] = relationship(back_populates="dissent")
    author: Mapped[Account] = relationship(foreign_keys=[author_id])
    approved_by: Mapped[Account | None] = relationship(foreign_keys=[approved_by_id])


class Erasure(Base):
    """Somebody asked to erase a record's content for good; another person confirms, and it is done.

    `reason` says why in words that may stay: it must not repeat what is erased.
    """

    __tablename__ = "erasure"
    __table_args__ = (
        CheckConstraint("confirmed_by_id IS NULL OR confirmed_by_id <> requested_by_id", name="two_people"),
        Index(
            "uq_erasure_open",
            "evidence_id",
            unique=True,
            sqlite_where=text("done_at IS NULL AND refused_at IS NULL"),
            postgresql_where=text("done_at IS NULL AND refused_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    evidence_id: Mapped[int] = mapped_column(ForeignKey("evidence.id", ondelete="RESTRICT"))
    reason: Mapped[str] = mapped_column(Text)
    requested_by_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    requested_at: Mapped[dt.datetime]
    confirmed_by_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    refused_at: Mapped[dt.datetime | None]
    done_at: Mapped[dt.datetime | None]

    evidence: Mapped[Evidence] = relationship()
    requested_by: Mapped[Account] = relationship(foreign_keys=[requested_by_id])
    confirmed_by: Mapped[Account | None] = relationship(foreign_keys=[confirmed_by_id])
