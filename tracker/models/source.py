"""Sources: a pseudonym that the team works with, and an identity that only custodians can open. Consent."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import CheckConstraint, Column, ForeignKey, LargeBinary, String, Table, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.account import Account
from tracker.models.base import Base, new_key
from tracker.models.evidence import Evidence
from tracker.models.sealing import Sealable
from tracker.vocabulary import ConsentScope

evidence_source = Table(
    "evidence_source",
    Base.metadata,
    Column("evidence_id", ForeignKey("evidence.id", ondelete="CASCADE"), primary_key=True),
    Column("source_id", ForeignKey("source.id", ondelete="RESTRICT"), primary_key=True),
)


class Custodian(Base):
    """Somebody who can open source identities, with a private key that never comes near this server."""

    __tablename__ = "custodian"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)  # A working name: "Custodian north".
    public_key: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)  # X25519
    added_at: Mapped[dt.datetime]
    retired_at: Mapped[dt.datetime | None]


class Source(Base):
    """Whom information comes from, by a random pseudonym ("S-7F3K")."""

    __tablename__ = "source"
    __table_args__ = (
        CheckConstraint("erased_by_id IS NULL OR erased_by_id <> erasure_asked_by_id", name="two_people"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    pseudonym: Mapped[str] = mapped_column(String(12), unique=True)
    version: Mapped[int] = mapped_column(default=0)  # Of the newest identity that was sealed; 0: none yet.
    created_by_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    created_at: Mapped[dt.datetime]
    erasure_asked_by_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    erasure_asked_at: Mapped[dt.datetime | None]
    erased_by_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    erased_at: Mapped[dt.datetime | None]

    created_by: Mapped[Account] = relationship(foreign_keys=[created_by_id])
    erasure_asked_by: Mapped[Account | None] = relationship(foreign_keys=[erasure_asked_by_id])
    records: Mapped[list[SourceRecord]] = relationship(
        back_populates="source", order_by="SourceRecord.id", cascade="all, delete-orphan"
    )
    words: Mapped[list[SourceWord]] = relationship(cascade="all, delete-orphan")


class SourceRecord(Base):
    """One version of a source's identity, sealed (HPKE) to one custodian. The server writes it and cannot read it."""

    __tablename__ = "source_record"
    __table_args__ = (UniqueConstraint("source_id", "version", "custodian_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("source.id", ondelete="CASCADE"))
    version: Mapped[int]
    custodian_id: Mapped[int] = mapped_column(ForeignKey("custodian.id", ondelete="RESTRICT"), index=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    recorded_by_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    recorded_at: Mapped[dt.datetime]

    source: Mapped[Source] = relationship(back_populates="records")
    custodian: Mapped[Custodian] = relationship()
    recorded_by: Mapped[Account] = relationship()


class SourceWord(Base):
    """A name to warn about before it is published, as a short keyed hash: it tells that a word is suspect, not whose."""

    __tablename__ = "source_word"

    id: Mapped[int] = mapped_column(primary_key=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("source.id", ondelete="CASCADE"), index=True)
    hash: Mapped[str] = mapped_column(String(16), index=True)


class Consent(Sealable, Base):
    """What a person agreed to about one piece of evidence. A line of the consent ledger: withdrawn, never edited."""

    __tablename__ = "consent"

    SEALED = ("note",)

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    evidence_id: Mapped[int] = mapped_column(ForeignKey("evidence.id", ondelete="CASCADE"), index=True)
    source_id: Mapped[int | None] = mapped_column(ForeignKey("source.id", ondelete="RESTRICT"), index=True)
    scope: Mapped[ConsentScope]
    given_on: Mapped[dt.date]
    language: Mapped[str] = mapped_column(String(35), default="")  # In which it was explained and given.
    expires_on: Mapped[dt.date | None]  # The last day on which it holds.
    note: Mapped[str] = mapped_column(Text, default="")
    recorded_by_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    recorded_at: Mapped[dt.datetime]
    withdrawn_on: Mapped[dt.date | None]
    withdrawn_by_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))

    evidence: Mapped[Evidence] = relationship(back_populates="consents")
    source: Mapped[Source | None] = relationship()
    recorded_by: Mapped[Account] = relationship(foreign_keys=[recorded_by_id])
    withdrawn_by: Mapped[Account | None] = relationship(foreign_keys=[withdrawn_by_id])

    @property
    def order(self) -> tuple[dt.date, int]:
        """Of two lines the later one says what the person agrees to now."""
        return self.given_on, self.id

    def must_seal(self, evidence: Evidence) -> bool:
        return True

    def seal_row(self) -> str:
        return self.key

    def seal_owner(self) -> int:
        return self.evidence_id
