"""The part of `tracker fsck` that reads no bytes: rows that point nowhere, the ledger's public copies, sealed text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from tracker import permissions, verifier
from tracker.models import (
    Account,
    Base,
    Blob,
    CustodyLine,
    Evidence,
    Exhibit,
    LedgerEntry,
    PublicCopy,
    RecordKey,
    Sealable,
    sealing,
)
from tracker.services import audit, custody_log, ledger
from tracker.services.fsck import Item, Transactions
from tracker.vocabulary import CustodyAction, State

_BATCH = 200
_AGAIN = "The database was changed, or restored in part. Restore a whole backup, and erase again what was erased since it."


def check_rows(transaction: Transactions, *, origin: str, public_key: bytes) -> Iterator[Item]:
    """Everything that the database and the ledger can tell without the store."""

    def record(session: Session) -> Iterator[str]:
        found = list(ledger.problems(session, origin=origin, public_key=public_key))
        yield from found or audit.problems(session)

    for part in (_pointers, _erased, _copies, _public_copies, _custody, _chains, record):
        yield from (Item(sentence) for sentence in _lasting(transaction, part))
    yield from _seals(transaction)


def _lasting(transaction: Transactions, part: Callable[[Session], Iterator[str]]) -> list[str]:
    """What is wrong also at a second look: on PostgreSQL somebody may publish between two statements of the first."""
    with transaction() as session:
        found = list(part(session))
    if found:
        with transaction() as session:
            again = set(part(session))
        found = [sentence for sentence in found if sentence in again]
    return found


def _pointers(session: Session) -> Iterator[str]:
    rows = session.execute(
        select(Exhibit.key, Exhibit.sha256, Exhibit.size, Blob.size.label("stored"), Evidence.key.label("of"))
        .join(Evidence, Evidence.id == Exhibit.evidence_id)
        .outerjoin(Blob, Blob.sha256 == Exhibit.sha256)
        .where(Exhibit.erased_at.is_(None), or_(Blob.sha256.is_(None), Blob.size != Exhibit.size))
        .order_by(Exhibit.id)
    )
    for row in rows:
        name = f"Exhibit {row.key} of evidence {row.of}"
        if row.stored is None:
            yield f"{name} points to bytes that the database does not know. Restore the database from a backup."
        else:
            yield f"{name} says that it has {row.size} bytes, its file has {row.stored}: a row was changed. Restore the database from a backup."


def _erased(session: Session) -> Iterator[str]:
    still = select(Exhibit.key).where(Exhibit.erased_at.is_not(None), Exhibit.sha256.is_not(None))
    for key in session.scalars(still.order_by(Exhibit.id)):
        yield f"Exhibit {key} was erased, and its bytes are still there. {_AGAIN}"
    named = select(CustodyLine.id).where(CustodyLine.exhibit_id == Exhibit.id, CustodyLine.sha256 != "")
    hashed = select(Exhibit.key).where(Exhibit.erased_at.is_not(None), named.exists())
    for key in session.scalars(hashed.order_by(Exhibit.id)):
        yield f"Exhibit {key} was erased, and its custody log still tells which file it was. {_AGAIN}"
    left = (
        select(Evidence.key)
        .outerjoin(Evidence.record_key)
        .where(
            Evidence.state == State.ERASED,
            or_(RecordKey.wrapped.is_not(None), Evidence.exhibits.any(Exhibit.erased_at.is_(None))),
        )
    )
    for key in session.scalars(left.order_by(Evidence.id)):
        yield f"Evidence {key} was erased, and its key or a file of it is still there. {_AGAIN}"


def _copies(session: Session) -> Iterator[str]:
    rows = session.execute(
        select(PublicCopy.key, PublicCopy.size, Blob.size.label("stored"))
        .join(PublicCopy.exhibit)
        .outerjoin(Blob, Blob.sha256 == PublicCopy.sha256)
        .where(
            Exhibit.erased_at.is_(None),
            or_(and_(Blob.sha256.is_(None), PublicCopy.withdrawn_at.is_(None)), Blob.size != PublicCopy.size),
        )
        .order_by(PublicCopy.id)
    )
    for row in rows:
        if row.stored is None:
            yield f"Public copy {row.key} points to bytes that the database does not know. Withdraw it and make it anew."
        else:
            yield f"Public copy {row.key} says that it has {row.size} bytes, its file has {row.stored}: a row was changed. Restore the database from a backup."


def _public_copies(session: Session) -> Iterator[str]:
    """What the ledger says is public must be what the database has released, and the other way round."""
    entries = session.execute(
        select(Evidence.id, Evidence.number, LedgerEntry.seq, LedgerEntry.payload)
        .join(LedgerEntry, LedgerEntry.seq == Evidence.ledger_seq)
        .where(permissions.PUBLIC_EVIDENCE)
        .order_by(Evidence.number)
        .execution_options(yield_per=_BATCH)
    )
    released: dict[int, dict[str, str]] = {}
    for evidence_id, key, sha256 in session.execute(
        select(Exhibit.evidence_id, PublicCopy.key, PublicCopy.sha256)
        .join(PublicCopy.exhibit)
        .where(
            PublicCopy.released_at.is_not(None),
            PublicCopy.withdrawn_at.is_(None),
            PublicCopy.sha256.is_not(None),
        )
    ):
        released.setdefault(evidence_id, {})[str(sha256)] = key
    for evidence_id, number, seq, payload in entries:
        told = {str(item.get("copy")) for item in _exhibits_in(payload)}
        shown = released.get(evidence_id, {})
        for sha256 in sorted(told - shown.keys()):
            yield f"evidence/{number}: entry {seq} says that the copy {sha256} is public, and the database does not. Restore the database from a backup."
        for sha256 in sorted(shown.keys() - told):
            yield f"evidence/{number}: the public copy {shown[sha256]} is released in the database, and entry {seq} does not say so. Withdraw it, and look who changed the database."


def _custody(session: Session) -> Iterator[str]:
    """Whatever was attached, made, released or withdrawn has its line: a log that lost one was changed."""
    missing = [
        (
            select(Exhibit.key),
            Exhibit.id,
            "its arrival",
            _line(CustodyAction.UPLOADED, CustodyAction.CAPTURED),
        ),
    ]
    of_copies = select(Exhibit.key).join(PublicCopy.exhibit).where(Exhibit.erased_at.is_(None))
    for what, when, *actions in (
        ("a public copy that was made", PublicCopy.made_at, CustodyAction.COPIED, CustodyAction.REDACTED),
        ("a public copy that was released", PublicCopy.released_at, CustodyAction.RELEASED),
        ("a public copy that was withdrawn", PublicCopy.withdrawn_at, CustodyAction.WITHDRAWN),
    ):
        named = _line(*actions) & (CustodyLine.note == PublicCopy.key)
        missing.append((of_copies.where(when.is_not(None)), PublicCopy.id, what, named))
    for rows, order, what, line in missing:
        logged = select(CustodyLine.id).where(CustodyLine.exhibit_id == Exhibit.id, line)
        for key in session.scalars(rows.where(~logged.exists()).order_by(order)):
            yield f"The custody log of exhibit {key} does not tell of {what}: lines were taken from it. Restore the database from a backup."


def _chains(session: Session) -> Iterator[str]:
    """Each line of a custody log is as it was written, and follows the line before it, down to the newest."""
    # One statement, so that heads and lines are of one moment.
    rows = session.execute(
        select(
            Exhibit.key,
            Exhibit.salt,
            Exhibit.custody_count,
            Exhibit.custody_head,
            *CustodyLine.__table__.columns,
            Account.key.label("by"),
        )
        .outerjoin(CustodyLine, CustodyLine.exhibit_id == Exhibit.id)
        .outerjoin(Account, Account.id == CustodyLine.account_id)
        .order_by(Exhibit.id, CustodyLine.position)
        .execution_options(yield_per=_BATCH)
    )
    for key, log in groupby(rows, lambda row: str(row.key)):
        first, *rest = log
        lines = [custody_log.plain(row, row.by) for row in (first, *rest) if row.position is not None]
        count, head = len(lines), lines[-1]["line_hash"] if lines else ""
        problem = verifier.custody_problem(key, first.salt, lines)
        if problem is None and count < first.custody_count:
            problem = f"line {count + 1} is missing: there were {first.custody_count}"
        elif problem is None and (count, head) != (first.custody_count, first.custody_head):
            problem = f"line {first.custody_count + 1 if count > first.custody_count else count} was put in"
        if problem:
            yield f"The custody log of exhibit {key}: {problem}. Restore the database from a backup, and look who changed it."


def _line(*actions: CustodyAction) -> ColumnElement[bool]:
    return CustodyLine.action.in_(actions)


def _exhibits_in(payload: str) -> list[dict[str, Any]]:
    found = ledger.facts_of(LedgerEntry(payload=payload)).get("exhibits")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _seals(transaction: Transactions) -> Iterator[Item]:
    """Every record's key unwraps, and everything sealed with it opens."""
    keyed: set[int | str] = set()
    broken: set[int | str] = set()
    lost: list[Item] = []
    with transaction() as session:
        vault = sealing.vault_of(session)
        for record, evidence_key in session.execute(
            select(RecordKey, Evidence.key).join(RecordKey.evidence).order_by(RecordKey.evidence_id)
        ).all():
            names: set[int | str] = {record.evidence_id, evidence_key}
            keyed |= names
            try:
                if record.wrapped is not None:
                    vault.unwrap(record.kid, record.wrapped, sealing.wrapping_context(record.name))
            except ValueError as error:
                broken |= names
                lost.append(
                    Item(
                        f"The key of evidence {evidence_key} does not open. {error} "
                        "Restore records.keys or the database from a backup."
                    )
                )
    yield from lost
    for mapper in Base.registry.mappers:
        if issubclass(mapper.class_, Sealable):
            yield from _sealed_rows(transaction, mapper.class_, keyed, broken)


def _sealed_rows(
    transaction: Transactions, kind: type[Any], keyed: set[int | str], broken: set[int | str]
) -> Iterator[Item]:
    after = 0
    while True:
        found: list[Item] = []
        with transaction() as session:
            rows = session.scalars(
                select(kind).where(kind.sealed.is_not(None), kind.id > after).order_by(kind.id).limit(_BATCH)
            ).all()
            for row in rows:
                after, owner = row.id, row.seal_owner()
                if owner in broken:
                    continue  # Said already, of the key.
                fault = None
                if owner is not None and owner not in keyed and not _has_key(session, owner):
                    fault = "has no key any more"
                elif sealing.UNREADABLE in [getattr(row, field) for field in row.SEALED]:
                    fault = "does not open: it was altered or moved"
                if fault:
                    what = f"The sealed text of {kind.__tablename__} {row.id}"
                    found.append(Item(f"{what} {fault}. Restore the database from a backup."))
        yield from found
        if len(rows) < _BATCH:
            return


def _has_key(session: Session, owner: int | str) -> bool:
    """Asked for what was made after the keys were read."""
    named = Evidence.key == owner if isinstance(owner, str) else Evidence.id == owner
    return session.scalar(select(RecordKey.name).join(RecordKey.evidence).where(named)) is not None
