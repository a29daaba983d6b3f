"""The ledger at different sizes: reading it through and finding nothing wrong, signing it, adding to it."""

from __future__ import annotations

import secrets
import sqlite3
from itertools import count

from sqlalchemy import insert, select

from tests.benchmarks.measure import Case
from tests.benchmarks.world import NOW, World
from tests.factories import Factory
from tracker import verifier
from tracker.models import LedgerContent, LedgerEntry, LedgerTopic, Report
from tracker.services import audit, ledger
from tracker.vocabulary import EntryKind

REPORT = "lower-valley"
WORDS = {
    "rationale": "The register of the district court shows steps in six of eleven places. " * 4,
    "reason": "",
}
FACTS = {"clause": "a", "grade": "B", "previous_grade": "C", "as_of": "2026-10-12", "cites": [12]}
NAMES = count(1)


class Copier:
    """Writes the newest entry of a plain SQLite file once more, as the bare statements that an append comes to."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        newest = "SELECT * FROM {} ORDER BY seq DESC LIMIT 1"
        self.raw = raw
        self.entry, self.content, self.topic = (
            raw.execute(newest.format(table)).fetchone()
            for table in ("ledger_entry", "ledger_content", "ledger_topic")
        )

    def append(self) -> None:
        (seq,) = self.raw.execute("SELECT seq + 1 FROM ledger_head").fetchone()
        digest = secrets.token_hex(32)
        self.raw.execute("INSERT INTO ledger_entry VALUES (?,?,?,?,?,?,?)", (seq, *self.entry[1:-1], digest))
        self.raw.execute("UPDATE ledger_head SET seq=?, hash=?", (seq, digest))
        self.raw.execute("INSERT INTO ledger_content VALUES (?,?,?)", (seq, *self.content[1:]))
        self.raw.execute("INSERT INTO ledger_topic VALUES (NULL,?,?,?)", (seq, *self.topic[2:]))


def grow(world: World, size: int) -> None:
    """Add entries about a small Arvenian report, in bulk, until the ledger has this many."""
    with world.session() as session:
        report = session.scalars(select(Report).where(Report.slug == REPORT)).one_or_none()
        report = report or Factory(session, NOW).report()
        head, numbers = ledger.lock(session), [row.number for row in report.recommendations]
        entries, contents, topics = [], [], []
        for seq in range(head.seq + 1, size + 1):
            place = report.recommendations[seq % len(numbers)]
            salt, text = secrets.token_hex(32), ledger.canonical(WORDS)
            promise = verifier.commitment(salt, text)
            payload = {**FACTS, "report": REPORT, "recommendations": [place.number], "content": promise}
            entry = {
                "seq": seq,
                "recorded_at": NOW.replace(minute=0),
                "kind": EntryKind.FINDING_PUBLISHED,
                "subject": f"benchmark/{seq}",
                "payload": ledger.canonical(payload),
                "previous_hash": head.hash,
            }
            head.seq, head.hash = seq, verifier.entry_hash(ledger.plain(LedgerEntry(**entry)))
            entries.append({**entry, "hash": head.hash})
            contents.append({"seq": seq, "salt": salt, "content": text})
            topics.append({"seq": seq, "report_id": report.id, "recommendation_id": place.id})
        session.execute(insert(LedgerEntry), entries)
        session.execute(insert(LedgerContent), contents)
        session.execute(insert(LedgerTopic), topics)
        session.commit()


def cases(world: World) -> list[Case]:
    """The two baselines are the same rows, read and written by bare statements."""
    origin, key = world.config.ledger_origin, world.keys.ledger_public_key
    raw = world.raw(f"ledger-{next(NAMES)}", world.rows())
    copier = Copier(raw)
    everything = "SELECT * FROM ledger_entry LEFT JOIN ledger_content USING (seq) ORDER BY seq"

    def copy() -> None:
        raw.execute("BEGIN IMMEDIATE")
        for _ in range(100):
            copier.append()
        raw.execute("ROLLBACK")

    def append() -> None:
        with world.session() as session:
            report = session.scalars(select(Report).where(Report.slug == REPORT)).one()
            for _ in range(100):
                ledger.append(
                    session,
                    EntryKind.FINDING_PUBLISHED,
                    subject="benchmark/1",
                    report=report,
                    recommendations=report.recommendations[:1],
                    facts=FACTS,
                    content=WORDS,
                    now=NOW,
                )
            session.rollback()

    def verify() -> None:
        with world.session() as session:
            assert not list(ledger.problems(session, origin=origin, public_key=key))

    def compare() -> None:
        with world.session() as session:
            list(audit.problems(session))

    def sign() -> None:
        with world.session() as session:
            ledger.take_checkpoint(session, origin=origin, public_key=key, sign=world.keys.sign, now=NOW)
            session.rollback()

    with world.session() as session:
        size = ledger.position(session)
    entries, written = f"{size:,} entries", "sqlite3: the same rows written"
    return [
        Case("sqlite3: the same rows read", entries, lambda: raw.execute(everything).fetchall(), of=size),
        Case("verify (ledger.problems)", entries, verify, of=size),
        Case("compare with the rows (audit.problems)", entries, compare, of=size),
        Case("sign (ledger.take_checkpoint)", entries, sign, of=size),
        Case(written, "100 entries, not committed", copy, of=100, against=written),
        Case("append (ledger.append)", "100 entries, not committed", append, of=100, against=written),
    ]
