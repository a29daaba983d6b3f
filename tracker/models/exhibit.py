"""Exhibits: files that belong to evidence, their public copies, and what was done with them."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.account import Account
from tracker.models.base import Base, new_key
from tracker.models.evidence import Evidence
from tracker.models.sealing import Sealable
from tracker.vocabulary import CaptureState, CopyMethod, CustodyAction, FileKind, Visibility


class Blob(Base):
    """Bytes in the store, named by their SHA-256. The same file twice is one blob."""

    __tablename__ = "blob"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    kept_at: Mapped[dt.datetime]


class Exhibit(Sealable, Base):
    """A file that belongs to evidence, in its original bytes. Never public: the public sees its public copy.

    Its name and what was found in it are sealed always. `salt` hides the hash in public: a ledger entry holds
    SHA-256(salt, line break, sha256), because a bare hash tells everybody with the same file that we hold it.
    """

    __tablename__ = "exhibit"

    SEALED = ("name", "examined", "captured_from")

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    evidence_id: Mapped[int] = mapped_column(ForeignKey("evidence.id", ondelete="CASCADE"), index=True)
    # NULL after erasure: then nothing tells what it was.
    sha256: Mapped[str | None] = mapped_column(ForeignKey("blob.sha256", ondelete="RESTRICT"), index=True)
    salt: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[FileKind]
    name: Mapped[str] = mapped_column(Text, default="")
    examined: Mapped[str] = mapped_column(Text, default="")  # JSON: traces, pages, width, height, records.
    captured_from: Mapped[str] = mapped_column(Text, default="")  # The address, if we fetched it.
    distressing: Mapped[bool] = mapped_column(default=False)
    uploaded_by_id: Mapped[int | None] = mapped_column(
        ForeignKey("account.id", ondelete="RESTRICT"), index=True
    )
    uploaded_at: Mapped[dt.datetime] = mapped_column(index=True)
    checked_at: Mapped[dt.datetime | None]
    damaged_at: Mapped[dt.datetime | None]  # Its bytes are missing or differ, found by the last check.
    erased_at: Mapped[dt.datetime | None]
    # How many lines its custody log has, and the hash of the newest: so that lines taken from the end are missed.
    custody_count: Mapped[int] = mapped_column(default=0)
    custody_head: Mapped[str] = mapped_column(String(64), default="")

    evidence: Mapped[Evidence] = relationship(back_populates="exhibits")
    uploaded_by: Mapped[Account | None] = relationship(foreign_keys=[uploaded_by_id])
    copies: Mapped[list[PublicCopy]] = relationship(
        back_populates="exhibit", order_by="PublicCopy.id", cascade="all, delete-orphan"
    )
    custody: Mapped[list[CustodyLine]] = relationship(
        back_populates="exhibit",
        order_by="CustodyLine.position",
        # The database deletes them with their exhibit, and refuses to delete them before it.
        passive_deletes="all",
    )

    def must_seal(self, evidence: Evidence) -> bool:
        return True

    def seal_row(self) -> str:
        return self.key

    def seal_owner(self) -> int:
        return self.evidence_id


class PublicCopy(Base):
    """Another file, made on purpose, that everybody may see once a second person has released it."""

    __tablename__ = "public_copy"
    __table_args__ = (
        CheckConstraint("released_by_id IS NULL OR released_by_id <> made_by_id", name="four_eyes"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    exhibit_id: Mapped[int] = mapped_column(ForeignKey("exhibit.id", ondelete="CASCADE"), index=True)
    sha256: Mapped[str | None] = mapped_column(ForeignKey("blob.sha256", ondelete="RESTRICT"), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[FileKind]
    method: Mapped[CopyMethod]
    description: Mapped[str] = mapped_column(
        Text, default=""
    )  # Public: what it shows, for those who cannot see it.
    made_by_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    made_at: Mapped[dt.datetime]
    released_by_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    released_at: Mapped[dt.datetime | None]
    withdrawn_at: Mapped[dt.datetime | None]
    checked_at: Mapped[dt.datetime | None]
    damaged_at: Mapped[dt.datetime | None]

    exhibit: Mapped[Exhibit] = relationship(back_populates="copies")
    made_by: Mapped[Account] = relationship(foreign_keys=[made_by_id])
    released_by: Mapped[Account | None] = relationship(foreign_keys=[released_by_id])


class CustodyLine(Base):
    """One thing that was done with an exhibit: who, when, what, and the hash of the bytes it was done with.

    Never edited; it goes only with its exhibit. `note` holds our own words and names of packs, nothing private. Lines
    are counted from 1 and chained by `line_hash` (`services/custody_log.py`). It covers `commitment`, the salted hash
    of `sha256`, so that an erasure can take the latter away and the chain still verifies.
    """

    __tablename__ = "custody_line"
    __table_args__ = (Index("uq_custody_line_position", "exhibit_id", "position", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    exhibit_id: Mapped[int] = mapped_column(ForeignKey("exhibit.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    at: Mapped[dt.datetime]
    # NULL: the program itself.
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    action: Mapped[CustodyAction]
    sha256: Mapped[str] = mapped_column(String(64), default="")
    commitment: Mapped[str] = mapped_column(
        String(64), default=""
    )  # SHA-256 over the exhibit's salt and `sha256`.
    note: Mapped[str] = mapped_column(String(200), default="")
    line_hash: Mapped[str] = mapped_column(String(64))

    exhibit: Mapped[Exhibit] = relationship(back_populates="custody")
    account: Mapped[Account | None] = relationship()


class Capture(Sealable, Base):
    """A web page that somebody asked to have captured. It waits here until the clock comes by."""

    __tablename__ = "capture"
    __table_args__ = (Index("ix_capture_state", "state", "run_after"),)

    SEALED = ("url", "error")

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    evidence_id: Mapped[int] = mapped_column(ForeignKey("evidence.id", ondelete="CASCADE"), index=True)
    url: Mapped[str] = mapped_column(Text)
    state: Mapped[CaptureState] = mapped_column(default=CaptureState.QUEUED)
    requested_by_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    requested_at: Mapped[dt.datetime]
    run_after: Mapped[dt.datetime]
    started_at: Mapped[dt.datetime | None]
    finished_at: Mapped[dt.datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str] = mapped_column(Text, default="")  # A sentence to show.
    exhibit_id: Mapped[int | None] = mapped_column(ForeignKey("exhibit.id", ondelete="SET NULL"))

    evidence: Mapped[Evidence] = relationship()
    requested_by: Mapped[Account] = relationship()
    exhibit: Mapped[Exhibit | None] = relationship()

    def must_seal(self, evidence: Evidence) -> bool:
        return evidence.visibility is Visibility.RESTRICTED

    def seal_row(self) -> str:
        return self.key

    def seal_owner(self) -> int:
        return self.evidence_id
