"""What people of the team did: for the team's own eyes, never public."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.account import Account
from tracker.models.base import Base
from tracker.models.evidence import Evidence
from tracker.models.sealing import Sealable
from tracker.vocabulary import Visibility


class Activity(Sealable, Base):
    """One act: who did what to which thing, and the reason they gave."""

    __tablename__ = "activity"
    __table_args__ = (Index("ix_activity_subject", "subject"),)

    SEALED = ("reason",)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(index=True)
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    action: Mapped[str] = mapped_column(String(40))  # "evidence-submitted"
    subject: Mapped[str] = mapped_column(String(200))  # "evidence/7h2k…": always the key, never the number.
    reason: Mapped[str] = mapped_column(Text, default="")

    account: Mapped[Account | None] = relationship()

    def must_seal(self, evidence: Evidence) -> bool:
        return evidence.visibility is Visibility.RESTRICTED and bool(self.reason)

    def seal_row(self) -> str:
        return f"{self.at.isoformat()}/{self.action}"

    def seal_owner(self) -> str | None:
        noun, _, key = self.subject.partition("/")
        return key if noun == "evidence" else None
