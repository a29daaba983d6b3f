"""Past digests, told so that nobody can be counted or recognised."""

from __future__ import annotations

import datetime as dt
import quopri
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from tracker.models import Delivery, Digest, Issue, LedgerContent, LedgerEntry, Piece
from tracker.vocabulary import WITHDRAWALS

_FEW = 10
_told = aliased(LedgerEntry)


@dataclass(frozen=True)
class Past:
    """One issue: the widest ledger range among its digests, about how many there were, and codes of those that at
    least ten people got. A rarer one is shown to whoever knows its code already.
    """

    number: int
    day: dt.date
    first_seq: int
    last_seq: int
    about: int | None  # None: fewer than ten.
    codes: tuple[str, ...]


def past(session: Session, *, limit: int = 100) -> Sequence[Past]:
    """The last issues that had digests, newest first."""
    rows = session.execute(
        select(
            Issue.id,
            Issue.hour,
            func.min(Digest.from_seq).label("first"),
            func.max(Digest.to_seq).label("last"),
            func.count(Delivery.id).label("count"),
        )
        .join(Digest, Digest.issue_id == Issue.id)
        .outerjoin(Delivery, Delivery.digest_id == Digest.id)
        .where(Digest.changes > 0)
        .group_by(Issue.id, Issue.hour)
        .order_by(Issue.id.desc())
        .limit(limit)
    ).all()
    codes: dict[int, list[str]] = {}
    for issue, code in session.execute(
        select(Digest.issue_id, Digest.code)
        .join(Delivery, Delivery.digest_id == Digest.id)
        .where(Digest.issue_id.in_([row.id for row in rows]), Digest.changes > 0)
        .group_by(Digest.issue_id, Digest.code)
        .having(func.count() >= _FEW)
        .order_by(Digest.code)
    ):
        codes.setdefault(issue, []).append(code)
    return [
        Past(
            row.id,
            row.hour.date(),
            row.first + 1,
            row.last,
            _rounded(row[4]),
            tuple(codes.get(row.id, ())),
        )
        for row in rows
    ]


def by_code(session: Session, number: int, code: str) -> Digest | None:
    """A digest by what stands in it. Those with the same code say the same."""
    return session.scalars(
        select(Digest)
        .where(Digest.issue_id == number, Digest.code == code, Digest.changes > 0)
        .order_by(Digest.id)
        .limit(1)
    ).one_or_none()


def text_of(session: Session, digest: Digest) -> str:
    """What a digest said, without the part that is a person's own, and without what was withdrawn since."""
    later = (
        select(LedgerEntry.seq)
        .where(LedgerEntry.subject == _told.subject, LedgerEntry.seq > _told.seq)
        .where(LedgerEntry.kind.in_(WITHDRAWALS))
    )
    rows = {
        row.id: row
        for row in session.execute(
            select(Piece.id, Piece.raw, Piece.text, Piece.entry_seq, LedgerContent.seq.label("words"))
            .outerjoin(_told, _told.seq == Piece.entry_seq)
            .outerjoin(LedgerContent, LedgerContent.seq == Piece.entry_seq)
            .where(Piece.id.in_(digest.pieces), ~later.exists())
        )
    }
    shown = [rows[number] for number in digest.pieces if number in rows]
    return "".join(
        quopri.decodestring(row.text).decode().replace("\r\n", "\n")
        for row in shown
        if not row.raw and (row.entry_seq is None or row.words is not None)
    )


def _rounded(count: int) -> int | None:
    if count < _FEW:
        return None
    step = 10 ** (len(str(count)) - 1)
    return int(count // step * step)
