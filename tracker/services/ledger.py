"""The ledger: one entry for every publication, in the publication's own transaction.

`append` locks the head row, so commit order is `seq` order on SQLite and on PostgreSQL, and a `seq` is an exact
watermark for digests, feeds and caches. What an entry hashes, and how to check it, stands in `tracker/verifier.py`,
which anybody can run without us.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

import rfc8785
from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from tracker import verifier
from tracker.models import (
    Checkpoint,
    LedgerContent,
    LedgerEntry,
    LedgerHead,
    LedgerTopic,
    Recommendation,
    Report,
    Timestamp,
)
from tracker.queries.withheld import Withheld
from tracker.vocabulary import EntryKind


def append(
    session: Session,
    kind: EntryKind,
    *,
    subject: str,
    report: Report | None,
    recommendations: Iterable[Recommendation] = (),
    facts: dict[str, Any] | None = None,
    content: dict[str, Any],
    now: dt.datetime,
) -> LedgerEntry:
    """Add one entry and return it, flushed, so that its `seq` can be stored with what it published.

    `facts` go into the hashed payload for good: numbers, grades, dates, public keys of things, never words that
    people wrote. `content` is what people wrote: the payload holds its salted hash only, so that it can be erased.
    `recommendations` may be none: then the entry is about the report as a whole. Without a report it is about the
    ledger itself: no feed and no digest tells it.
    """
    head = lock(session)
    recommendations = list(recommendations)
    salt, text = secrets.token_hex(32), canonical(content)
    payload = {
        **(facts or {}),
        "report": report.slug if report else None,
        "recommendations": sorted(recommendation.number for recommendation in recommendations),
        "content": verifier.commitment(salt, text),
    }
    entry = LedgerEntry(
        seq=head.seq + 1,
        recorded_at=now.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0),
        kind=kind,
        subject=subject,
        payload=canonical(payload),
        previous_hash=head.hash,
    )
    entry.hash = verifier.entry_hash(plain(entry))
    head.seq, head.hash = entry.seq, entry.hash
    session.add(entry)
    # The content's and topics' foreign keys need the entry's row.
    session.flush()
    session.add(LedgerContent(seq=entry.seq, salt=salt, content=text))
    if report is not None:
        for number in [recommendation.id for recommendation in recommendations] or (None,):
            session.add(LedgerTopic(seq=entry.seq, report_id=report.id, recommendation_id=number))
    session.flush()
    return entry


def lock(session: Session) -> LedgerHead:
    """Wait until no other transaction publishes, and keep others waiting until ours ends.

    Whoever publishes or withdraws locks this first and rows after, so that no two wait for each other, and reads
    afterwards what it builds on: what was true before the wait may not be true any more.
    """
    return session.execute(
        select(LedgerHead)
        .where(LedgerHead.id == 1)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).scalar_one()


def canonical(value: dict[str, Any]) -> str:
    """Canonical JSON (RFC 8785) as text."""
    return rfc8785.dumps(value).decode()


def position(session: Session) -> int:
    """The newest `seq`, 0 while the ledger is empty."""
    return session.execute(select(LedgerHead.seq).where(LedgerHead.id == 1)).scalar_one()


def plain(entry: Any) -> dict[str, Any]:
    """An entry, or a row of its columns, as the verifier reads it, without its content."""
    return {
        "type": "entry",
        "seq": entry.seq,
        "recorded_at": entry.recorded_at.strftime("%Y-%m-%dT%H:00:00Z"),
        "kind": entry.kind.value,
        "subject": entry.subject,
        "payload": entry.payload,
        "previous_hash": entry.previous_hash,
        "hash": entry.hash,
    }


def lines(session: Session, *, origin: str, public_key: bytes) -> Generator[dict[str, Any], None, None]:
    """The whole ledger as the lines of an export file, read in pieces. What was erased has no `content`."""
    yield {
        "type": "header",
        "format": verifier.DOMAIN,
        "origin": origin,
        "public_key": public_key.hex(),
    }
    size, last = 0, verifier.GENESIS
    with closing(_entries(session)) as entries:
        for line in entries:
            yield line
            size, last = size + 1, line["hash"]
    # On PostgreSQL a newer one may be taken while we read: it belongs to the next export.
    given = {f"entry/{seq}" for seq in range(1, size + 1)}
    for checkpoint in session.scalars(
        select(Checkpoint).where(Checkpoint.size <= size).order_by(Checkpoint.size)
    ):
        given.add(f"checkpoint/{checkpoint.size}")
        yield {"type": "checkpoint", "size": checkpoint.size, "note": checkpoint.note}
    for stamp in session.scalars(select(Timestamp).order_by(Timestamp.id)):
        if stamp.subject in given:
            token = base64.b64encode(stamp.token).decode()
            yield {"type": "timestamp", "subject": stamp.subject, "token": token}
    yield {"type": "end", "size": size, "hash": last}


def _entries(session: Session, after: int = 0) -> Generator[dict[str, Any], None, None]:
    query = select(LedgerEntry).where(LedgerEntry.seq > after).order_by(LedgerEntry.seq)
    query = query.options(joinedload(LedgerEntry.content)).execution_options(yield_per=500)
    # Closed also when the reader stops early: on PostgreSQL the rows stand in a cursor on the server.
    with closing(session.scalars(query)) as entries:
        for entry in entries:
            line = plain(entry)
            if entry.content is not None:
                line |= {"salt": entry.content.salt, "content": entry.content.content}
            yield line


def public_lines(
    session: Session, *, origin: str, public_key: bytes, after: int | None = None
) -> Generator[dict[str, Any], None, None]:
    """The same, to hand out: what was withdrawn keeps its place and its hash, but its words are given no more.

    With `after` only the entries that followed that position.
    """
    withheld = Withheld(session)
    if after is None:
        found = lines(session, origin=origin, public_key=public_key)
    else:
        found = _entries(session, after)
    with closing(found) as exported:
        for line in exported:
            if line["type"] == "entry" and withheld.entry(
                EntryKind(line["kind"]),  # type: ignore[call-arg]
                line["subject"],
                line["payload"],
            ):
                line = {name: value for name, value in line.items() if name not in ("salt", "content")}
            yield line


def problems(session: Session, *, origin: str, public_key: bytes) -> Iterator[str]:
    """What is wrong with the ledger in the database, in sentences that name the first bad entry."""
    with closing(lines(session, origin=origin, public_key=public_key)) as exported:
        found = list(verifier.check(exported))
    yield from found
    if found:
        return
    head = session.execute(select(LedgerHead).where(LedgerHead.id == 1)).scalar_one()
    newest = session.execute(select(func.max(LedgerEntry.seq))).scalar_one() or 0
    last = session.get(LedgerEntry, newest)
    if head.seq > newest:
        yield f"Entry {newest + 1} is missing: the head of the ledger stands at {head.seq}."
    elif head.seq < newest or head.hash != (last.hash if last else verifier.GENESIS):
        yield f"Entry {head.seq + 1} was added past the head of the ledger."


def take_checkpoint(
    session: Session, *, origin: str, public_key: bytes, sign: Callable[[bytes], bytes], now: dt.datetime
) -> Checkpoint:
    """Sign the ledger's size and Merkle root as it is now. The same size gives the checkpoint that exists."""
    lock(session)
    tree = verifier.MerkleTree()
    for leaf in leaf_hashes(session):
        tree.add(leaf)
    existing = session.get(Checkpoint, tree.size)
    if existing is not None:
        return existing
    text = verifier.signed_text(origin, tree.size, tree.root())
    checkpoint = Checkpoint(
        size=tree.size,
        root=tree.root(),
        note=verifier.signed_note(text, origin, public_key, sign(text.encode())),
        created_at=now.replace(minute=0, second=0, microsecond=0),
    )
    session.add(checkpoint)
    return checkpoint


def leaf_hashes(session: Session, size: int | None = None) -> Iterator[bytes]:
    """The leaves of the Merkle tree over the first `size` entries, or over all."""
    query = select(*LedgerEntry.__table__.columns)
    if size is not None:
        query = query.where(LedgerEntry.seq <= size)
    # Columns, not objects: the tree is over the whole ledger, and the database waits meanwhile.
    for row in session.execute(query.order_by(LedgerEntry.seq).execution_options(yield_per=1000)):
        yield verifier.leaf_hash(plain(row))


def newest_checkpoint(session: Session) -> Checkpoint | None:
    """The checkpoint with the most entries, or None before the first."""
    return session.scalars(select(Checkpoint).order_by(Checkpoint.size.desc()).limit(1)).first()


def content_of(entry: LedgerEntry) -> dict[str, Any] | None:
    """The words an entry published, or None if they were erased."""
    if entry.content is None:
        return None
    words: dict[str, Any] = json.loads(entry.content.content)
    return words


def facts_of(entry: LedgerEntry) -> dict[str, Any]:
    """The hashed payload of an entry: `report`, `recommendations`, `content`, and facts of its kind."""
    facts: dict[str, Any] = json.loads(entry.payload)
    return facts
