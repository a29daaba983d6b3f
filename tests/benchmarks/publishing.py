"""Making things public: loading a report, approving a finding."""

from __future__ import annotations

import dataclasses
import json

from sqlalchemy import select

from tests.benchmarks.measure import Case
from tests.benchmarks.record import Copier
from tests.benchmarks.world import NOW, World
from tests.factories import Factory
from tests.published import NO_HARM
from tracker.models import Account, Finding, Recommendation
from tracker.services import findings, ledger, report_file, reports
from tracker.vocabulary import Access, Grade, Role

AT_ONCE = 5


def loading(world: World) -> list[Case]:
    """The bundled report: loaded for good, then measured by another name and rolled back each time."""
    [path] = world.config.report_paths
    with world.session() as session:
        reports.load(session, report_file.read(path, today=NOW.date()), now=NOW)
        entries = ledger.position(session)
        session.commit()
    full, raw = world.raw("loaded", world.rows()), world.raw("empty")
    tables = {
        name: rows
        for (name,) in full.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        if (rows := full.execute(f"SELECT * FROM {name}").fetchall())
    }

    def write() -> None:
        raw.execute("BEGIN IMMEDIATE")
        for name, rows in tables.items():
            raw.executemany(f"INSERT INTO {name} VALUES ({','.join('?' * len(rows[0]))})", rows)
        raw.execute("ROLLBACK")

    def load() -> None:
        with world.session() as session:
            parsed = report_file.read(path, today=NOW.date())
            # By another name it is another report, with all that belongs to it.
            another = parsed.report.model_copy(update={"slug": "another"})
            reports.load(session, dataclasses.replace(parsed, report=another), now=NOW)
            session.rollback()

    count = sum(len(rows) for rows in tables.values())
    return [
        Case("sqlite3: the same rows written", f"{count} rows, not committed", write),
        Case("load the OHCHR assessment", f"{entries} ledger entries, not committed", load),
    ]


def approving(world: World) -> list[Case]:
    """A proposed finding made public in one durable transaction."""
    waiting: list[int] = []
    with world.session() as session:
        make = Factory(session, NOW)
        monitor, reviewer = make.account(Role.MONITOR).id, make.account(Role.REVIEWER).id
    whole = select(Recommendation).where(~Recommendation.clauses.any()).order_by(Recommendation.id)

    def propose() -> None:
        fields = findings.Fields(
            grade=Grade.V,
            as_of=NOW.date(),
            access=Access.REMOTE,
            rationale="Nobody who knows could be reached safely. " * 8,
            search_what="Visits",
            search_where="Gazette",
            search_languages="en",
            search_until=NOW.date(),
        )
        with world.session() as session:
            author = session.get_one(Account, monitor)
            for place in session.scalars(whole.limit(AT_ONCE)):
                draft = findings.draft(
                    session, fields, author=author, recommendation=place, clause=None, now=NOW
                )
                findings.submit(session, draft, author=author, now=NOW)
                waiting.append(draft.id)
            session.commit()

    def approve() -> None:
        with world.session() as session:
            finding, account = session.get_one(Finding, waiting.pop()), session.get_one(Account, reviewer)
            findings.approve(session, finding, reviewer=account, harm=NO_HARM, now=NOW)
            session.commit()

    for _ in range(2):  # The second ones take the place of the first, as in what is measured.
        propose()
        while waiting:
            approve()
    raw = world.raw("approving", world.rows())
    copier = Copier(raw)
    newest, replaced = raw.execute("SELECT id, replaces_id FROM finding ORDER BY id DESC").fetchone()
    act = raw.execute("SELECT * FROM activity ORDER BY id DESC").fetchone()
    step = "UPDATE finding SET state=?, version=version+1, approved_at=?, harm_check=? WHERE id=?"

    def write() -> None:
        raw.execute("BEGIN IMMEDIATE")
        raw.execute(step, ("superseded", str(NOW), json.dumps(NO_HARM), replaced))
        raw.execute(step, ("accepted", str(NOW), json.dumps(NO_HARM), newest))
        raw.execute("INSERT INTO activity VALUES (NULL,?,?,?,?,?,?)", act[1:])
        copier.append()
        raw.execute("UPDATE finding SET ledger_seq=ledger_seq+1 WHERE id=?", (newest,))
        raw.execute("COMMIT")

    return [
        Case("sqlite3: the same rows written", "7 rows, committed", write, calls=20),
        Case("approve a finding", "7 rows, committed", approve, before=propose, calls=AT_ONCE),
    ]
