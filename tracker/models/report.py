"""Reports that make recommendations, and whom they address."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.base import Base
from tracker.vocabulary import AddresseeKind

if TYPE_CHECKING:
    from tracker.models.recommendation import Recommendation


class Report(Base):
    """A document that makes recommendations. `slug` stands in addresses and never changes."""

    __tablename__ = "report"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(64), unique=True)
    title: Mapped[str] = mapped_column(Text)
    short_title: Mapped[str] = mapped_column(String(120))
    issuer: Mapped[str] = mapped_column(Text)
    country: Mapped[str] = mapped_column(String(120))
    published_on: Mapped[dt.date]
    language: Mapped[str] = mapped_column(String(35))
    symbol: Mapped[str | None] = mapped_column(String(80))
    url: Mapped[str | None] = mapped_column(Text)
    document_url: Mapped[str | None] = mapped_column(Text)
    document_sha256: Mapped[str | None] = mapped_column(String(64))
    notes: Mapped[str | None] = mapped_column(Text)
    # True for invented material such as the Republic of Arvenia; every page about it says so.
    demonstration: Mapped[bool] = mapped_column(default=False)
    review_months: Mapped[int | None]
    created_at: Mapped[dt.datetime]

    addressees: Mapped[list[Addressee]] = relationship(back_populates="report", order_by="Addressee.position")
    recommendations: Mapped[list[Recommendation]] = relationship(
        back_populates="report", order_by="Recommendation.position"
    )


class Addressee(Base):
    """Whom recommendations address, with the words that introduce them in the document."""

    __tablename__ = "addressee"
    __table_args__ = (UniqueConstraint("report_id", "slug"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id", ondelete="RESTRICT"))
    slug: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[AddresseeKind]
    chapeau: Mapped[str] = mapped_column(Text, default="")
    position: Mapped[int]

    report: Mapped[Report] = relationship(back_populates="addressees")
    recommendations: Mapped[list[Recommendation]] = relationship(
        back_populates="addressee", order_by="Recommendation.position"
    )
