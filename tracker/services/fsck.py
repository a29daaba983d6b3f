"""Do database, ledger and store agree? For `tracker fsck` and the weekly check.

Every blob is hashed again, and what one of the three has and another lacks is named, in one sentence with what to do.
It runs while people work, and twice at once: each step is a small transaction of its own, and none is open while bytes
are read. Bytes go only under a lock that whoever stores the same bytes waits for (`exhibits.keep` looks again then).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import ColumnElement, Select, delete, func, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tracker.errors import StorageFailed, StorageMissing
from tracker.models import Blob, Evidence, Exhibit, Heartbeat, PublicCopy
from tracker.services import custody_log
from tracker.vocabulary import CustodyAction

if TYPE_CHECKING:
    from tracker.storage import Store

#: What is younger may belong to somebody who is uploading just now.
GRACE = dt.timedelta(hours=24)
EVERY = dt.timedelta(days=7)
# A run that says nothing for so long has died, and another one takes over.
_LEASE = dt.timedelta(hours=6)
# The heartbeats: the last run that came to its end, and the one that runs.
DONE, RUNNING = "fsck", "fsck-running"
_BATCH = 200
# So many blobs unreadable in a row: then it is the store that does not answer, and not the blobs.
_STOP_AFTER = 5


class Transactions(Protocol):
    """Opens a transaction that ends, committed, with the `with` block. It may write only if told so."""

    def __call__(self, *, writing: bool = False) -> AbstractContextManager[Session]: ...


@dataclass(frozen=True)
class Item:
    """One thing that differs. `tidied`: left behind by a crash or an erasure, and removed; nothing is to be done."""

    sentence: str
    tidied: bool = False


def total(session: Session) -> tuple[int, int]:
    """How many blobs there are to read, and how many bytes."""
    count, size = session.execute(select(func.count(), func.coalesce(func.sum(Blob.size), 0))).one()
    return count, int(size)


def check_bytes(
    transaction: Transactions,
    store: Store,
    *,
    now: dt.datetime,
    looked: Callable[[int], None] = lambda _size: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Item]:
    """Compare rows and bytes both ways, and note at each exhibit what was found.

    `looked` is told the size of each blob that was read.
    """
    yield from _unused_rows(transaction, store, now)
    yield from _rows_without_bytes(transaction, store, now, looked, stopping)
    yield from _bytes_without_rows(transaction, store, now, stopping)


# From the rows to the bytes.


def _rows_without_bytes(
    transaction: Transactions,
    store: Store,
    now: dt.datetime,
    looked: Callable[[int], None],
    stopping: Callable[[], bool],
) -> Iterator[Item]:
    after, unreadable = "", 0
    while True:
        with transaction() as session:
            batch = session.execute(
                select(Blob.sha256, Blob.size).where(Blob.sha256 > after).order_by(Blob.sha256).limit(_BATCH)
            ).all()
        for sha256, size in batch:
            if stopping():
                return
            after = sha256
            try:
                fault = _fault(store, sha256, size)
            except StorageFailed as error:
                unreadable += 1
                if unreadable == _STOP_AFTER:
                    raise
                yield Item(f"The blob {sha256} cannot be read: {error}")
                continue
            unreadable = 0
            with transaction(writing=True) as session:
                found = _note(session, sha256, fault, now)
            yield from found
            looked(size)
        if len(batch) < _BATCH:
            return


def _fault(store: Store, sha256: str, size: int) -> str | None:
    """What is wrong with the bytes of a blob, or None if they are whole."""
    fault = _look(store, sha256, size)
    # Somebody may have stored the same file anew while we read, which mends it: looked at twice.
    return _look(store, sha256, size) if fault else None


def _look(store: Store, sha256: str, size: int) -> str | None:
    try:
        if store.check(sha256) != sha256:
            return "its bytes differ from those that were received"
        stored = store.size(sha256)
    except StorageMissing:
        return "its bytes are missing from the store"
    if stored != size:
        return f"the database says that it has {size} bytes, and it has {stored}"
    return None


def _note(session: Session, sha256: str, fault: str | None, now: dt.datetime) -> list[Item]:
    """Write down at each exhibit and copy what a check found; return what is to be told."""
    blob = session.scalars(select(Blob.sha256).where(Blob.sha256 == sha256).with_for_update()).one_or_none()
    if blob is None:
        return []  # Erased, or removed as unused, while we read it.
    found: list[Item] = []
    custody_log.hold(session, session.scalars(_keeping(sha256)))
    exhibits = session.execute(
        select(Exhibit.id, Exhibit.key, Evidence.key.label("evidence"))
        .join(Evidence, Evidence.id == Exhibit.evidence_id)
        .where(Exhibit.sha256 == sha256)
        .order_by(Exhibit.id)
    ).all()
    copies = session.execute(
        select(
            PublicCopy.id,
            PublicCopy.key,
            PublicCopy.exhibit_id,
            PublicCopy.damaged_at,
            Evidence.key.label("evidence"),
        )
        .join(Exhibit, Exhibit.id == PublicCopy.exhibit_id)
        .join(Evidence, Evidence.id == Exhibit.evidence_id)
        .where(PublicCopy.sha256 == sha256)
        .order_by(PublicCopy.id)
        # What is erased meanwhile gets no line with its hash.
        .with_for_update(of=PublicCopy, key_share=True)
    ).all()
    for table, rows in ((Exhibit, exhibits), (PublicCopy, copies)):
        # In SQL and not through the rows: nothing of theirs is to be opened or sealed for this.
        damaged_at = None if fault is None else func.coalesce(table.damaged_at, now)
        session.execute(
            update(table)
            .where(table.id.in_([row.id for row in rows]))
            .values(checked_at=now, damaged_at=damaged_at)
            .execution_options(synchronize_session=False)
        )
    action = CustodyAction.DAMAGED if fault else CustodyAction.CHECKED
    for exhibit in exhibits:
        custody_log.append(session, exhibit.id, action, account=None, sha256=sha256, now=now)
        if fault:
            found.append(
                Item(
                    f"Exhibit {exhibit.key} of evidence {exhibit.evidence}: {fault} (SHA-256 {sha256}). "
                    "Restore it from a backup, or attach the same file once more."
                )
            )
    for copy in copies:
        if fault or copy.damaged_at:
            custody_log.append(
                session, copy.exhibit_id, action, account=None, sha256=sha256, note=copy.key, now=now
            )
        if fault:
            found.append(
                Item(
                    f"Public copy {copy.key} of evidence {copy.evidence}: {fault} (SHA-256 {sha256}). "
                    "It is not served. Restore it from a backup, or withdraw it and make it anew."
                )
            )
    if fault and not found:
        found.append(Item(f"The blob {sha256}: {fault}. Nothing uses it: it goes when it is a day old."))
    return found


def _keeping(sha256: str) -> Select[int]:
    """The exhibits of these bytes, and those with a public copy of them."""
    copied = select(PublicCopy.exhibit_id).where(PublicCopy.sha256 == sha256)
    return select(Exhibit.id).where(or_(Exhibit.sha256 == sha256, Exhibit.id.in_(copied)))


def _unused_rows(transaction: Transactions, store: Store, now: dt.datetime) -> Iterator[Item]:
    with transaction() as session:
        unused = session.scalars(select(Blob.sha256).where(~_used(), Blob.kept_at < now - GRACE)).all()
    for sha256 in unused:
        with transaction(writing=True) as session:
            gone = remove_unused(session, store, sha256)
        if gone:
            yield Item(f"The blob {sha256} was used by nothing, and was removed.", tidied=True)


def _used() -> ColumnElement[bool]:
    """Whether an exhibit or a public copy has this blob."""
    return or_(
        select(Exhibit.id).where(Exhibit.sha256 == Blob.sha256).exists(),
        select(PublicCopy.id).where(PublicCopy.sha256 == Blob.sha256).exists(),
    )


def remove_unused(session: Session, store: Store, sha256: str) -> bool:
    """Delete a blob, row and bytes, unless something uses it. True: it is gone. Call it in a transaction of its own."""
    held = session.scalars(select(Blob.sha256).where(Blob.sha256 == sha256).with_for_update()).one_or_none()
    # Asked again now that we hold the row: whoever attached the same file meanwhile has committed.
    if held is None or session.scalar(select(_used()).where(Blob.sha256 == sha256)):
        return False
    session.execute(delete(Blob).where(Blob.sha256 == sha256))
    # Before the commit, so that nobody stores the same bytes in between and loses them.
    store.delete(sha256)
    return True


# From the bytes to the rows.


def _bytes_without_rows(
    transaction: Transactions, store: Store, now: dt.datetime, stopping: Callable[[], bool]
) -> Iterator[Item]:
    names = store.names()
    while batch := list(islice(names, _BATCH)):
        if stopping():
            return
        with transaction() as session:
            known = set(
                session.scalars(select(Blob.sha256).where(Blob.sha256.in_([name for name, _ in batch])))
            )
        for name, kept_at in batch:
            if name in known:
                continue
            if not _is_digest(name):
                yield Item(
                    f"The store holds {name!r}, which is no exhibit. Find out who put it there, and move it away."
                )
            elif kept_at < now - GRACE:
                with transaction(writing=True) as session:
                    gone = _remove_orphan(session, store, name)
                if gone:
                    yield Item(
                        f"The bytes {name} belonged to no row of the database, and were removed.", tidied=True
                    )


def _remove_orphan(session: Session, store: Store, sha256: str) -> bool:
    if session.get_bind().dialect.name == "postgresql":
        # Whoever writes a row for these bytes waits for us here, as on SQLite all writers do.
        session.execute(text("LOCK TABLE blob IN SHARE ROW EXCLUSIVE MODE"))
    if session.scalar(select(Blob.sha256).where(Blob.sha256 == sha256)) is not None:
        return False
    if store.size(sha256) is None:
        return False  # Another run was quicker.
    store.delete(sha256)
    return True


def _is_digest(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")


# When.


def claim(session: Session, *, now: dt.datetime) -> bool:
    """Whether the weekly check is due and this caller has it to itself."""
    done = session.get(Heartbeat, DONE, populate_existing=True)
    if done is not None and now - EVERY < done.at <= now:
        return False
    free = now - _LEASE
    _make_row(session, RUNNING, at=free)
    # A time that lies ahead was written before the clock was set back.
    taken = session.execute(
        update(Heartbeat)
        .where(Heartbeat.name == RUNNING, or_(Heartbeat.at <= free, Heartbeat.at > now))
        .values(at=now)
        .execution_options(synchronize_session=False)
    )
    return taken.rowcount == 1  # type: ignore[attr-defined,no-any-return]


def renew(session: Session, *, now: dt.datetime) -> None:
    """Say that the run goes on, so that no other one takes over."""
    session.execute(update(Heartbeat).where(Heartbeat.name == RUNNING).values(at=now))


def finish(session: Session, *, findings: int, now: dt.datetime) -> None:
    """Note that a run came to its end, and how many findings it had."""
    _make_row(session, DONE, at=now)
    session.execute(update(Heartbeat).where(Heartbeat.name == DONE).values(at=now, detail=str(findings)))


def _make_row(session: Session, name: str, *, at: dt.datetime) -> None:
    """Have a heartbeat's row, also where somebody else makes it at the same moment."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(insert(Heartbeat).values(name=name, at=at).on_conflict_do_nothing())


def overdue(session: Session, *, now: dt.datetime) -> str | None:
    """What `tracker doctor` has to say about the last run, or None."""
    done = session.get(Heartbeat, DONE)
    if done is None:
        if session.scalar(select(Blob.sha256).where(Blob.kept_at < now - EVERY).limit(1)) is None:
            return None
        return "Exhibits have never been checked. Run `tracker fsck`; the scheduler does it once a week."
    if done.at < now - EVERY - dt.timedelta(days=1):
        return f"Exhibits were last checked on {done.at:%Y-%m-%d}. Run `tracker fsck`; the scheduler does it once a week."
    if done.detail not in (None, "0"):
        return f"The last check of the exhibits, on {done.at:%Y-%m-%d}, found {done.detail} things that are not in order. Run `tracker fsck`: it names each of them."
    return None
