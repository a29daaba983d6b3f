"""What people of the team did: for the team's own eyes, never public."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.account import Account
from tracker.models.base import Base


class Activity(Base):
    """One act: who did what to which thing, and the reason they gave."""

    __tablename__ = "activity"
    __table_args__ = (Index("ix_activity_subject", "subject"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(index=True)
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    action: Mapped[str] = mapped_column(String(40))  # "evidence-submitted"
    subject: Mapped[str] = mapped_column(String(200))  # "evidence/7h2k…": always the key, never the number.
    reason: Mapped[str] = mapped_column(Text, default="")

    account: Mapped[Account | None] = relationship()
