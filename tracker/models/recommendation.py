"""Recommendations, word for word, and the clauses that can be checked one by one."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, String, Table, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.base import Base
from tracker.models.report import Addressee, Report

recommendation_theme = Table(
    "recommendation_theme",
    Base.metadata,
    Column(
        "recommendation_id",
        ForeignKey("recommendation.id", name="fk_recommendation_theme_recommendation_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column(
        "theme_id",
        ForeignKey("theme.id", name="fk_recommendation_theme_theme_id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
)


class Theme(Base):
    """What recommendations of several reports are about: "Arbitrary detention". Ours, not the document's."""

    __tablename__ = "theme"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(120))


class Recommendation(Base):
    """Official text and reference; the short title is ours. `number` ("151-i") stands in addresses."""

    __tablename__ = "recommendation"
    __table_args__ = (UniqueConstraint("report_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    report_id: Mapped[int] = mapped_column(ForeignKey("report.id", ondelete="RESTRICT"))
    addressee_id: Mapped[int] = mapped_column(ForeignKey("addressee.id", ondelete="RESTRICT"), index=True)
    number: Mapped[str] = mapped_column(String(40))
    reference: Mapped[str] = mapped_column(String(40))
    title: Mapped[str] = mapped_column(String(200))
    text: Mapped[str] = mapped_column(Text)
    page: Mapped[int | None]
    position: Mapped[int]
    review_months: Mapped[int | None]

    report: Mapped[Report] = relationship(back_populates="recommendations")
    addressee: Mapped[Addressee] = relationship(back_populates="recommendations")
    clauses: Mapped[list[Clause]] = relationship(back_populates="recommendation", order_by="Clause.position")
    themes: Mapped[list[Theme]] = relationship(secondary=recommendation_theme, order_by=Theme.name)


class Clause(Base):
    """One separately checkable demand; its text is a substring of the recommendation's."""

    __tablename__ = "clause"
    __table_args__ = (UniqueConstraint("recommendation_id", "label"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    recommendation_id: Mapped[int] = mapped_column(ForeignKey("recommendation.id", ondelete="RESTRICT"))
    label: Mapped[str] = mapped_column(String(8))
    title: Mapped[str] = mapped_column(String(200))
    text: Mapped[str] = mapped_column(Text)
    position: Mapped[int]

    recommendation: Mapped[Recommendation] = relationship(back_populates="clauses")
