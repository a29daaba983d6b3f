"""Digests from the moment they are due until they lie in the outbox, beside the rows and files they come to."""

from __future__ import annotations

import datetime as dt
import os
import shutil

from sqlalchemy import delete, select, update

from tests import mail
from tests.benchmarks.measure import Case
from tests.benchmarks.world import NOW, World
from tracker import jobs
from tracker.models import Delivery, Digest, Subscriber
from tracker.services import ledger

PEOPLE = 100
CHANGES = 20
WHEN = NOW + dt.timedelta(days=1)


def cases(world: World) -> list[Case]:
    """A hundred people who follow everything, each with twenty changes to hear of."""
    with world.session() as session:
        for number in range(PEOPLE):
            mail.follower(session, world.keys, world.config, NOW, f"reader{number}@arvenia.example")
        [due] = session.scalars(select(Subscriber.next_due_at).distinct())
        [day] = session.scalars(select(Subscriber.next_local_date).distinct())
        seen = ledger.position(session) - CHANGES
    outbox, folder = world.config.outbox_path, world.folder / "files"
    folder.mkdir()

    def begin() -> None:
        with world.session() as session:
            session.execute(delete(Delivery))
            session.execute(delete(Digest))
            session.execute(update(Subscriber).values(seen_seq=seen, next_due_at=due, next_local_date=day))
            session.commit()
        shutil.rmtree(outbox, ignore_errors=True)

    def compose() -> None:
        assert jobs.compose_due(world.app, WHEN) == {"queued": PEOPLE}

    def send() -> None:
        assert jobs.send_due(world.app, WHEN) == {"sent": PEOPLE}

    begin()
    compose()
    send()
    messages = [path.read_bytes() for path in sorted(outbox.glob("*.eml"))]
    raw = world.raw("digests", world.rows())
    subscribers = [number for (number,) in raw.execute("SELECT id FROM subscriber ORDER BY id")]
    queued = "INSERT INTO delivery (id, kind, subscriber_id, digest_id, message_id, message_sealed, state, created_at, due_at, attempts, ambiguous) VALUES (?, 'digest', ?, ?, ?, ?, 'pending', ?, ?, 0, 0)"

    def empty() -> None:
        raw.executescript("BEGIN; DELETE FROM delivery; DELETE FROM digest; COMMIT")

    def write() -> None:
        for number, content in zip(subscribers, messages, strict=True):
            raw.execute("BEGIN IMMEDIATE")
            raw.execute(
                "UPDATE subscriber SET seen_seq=?, next_due_at=? WHERE id=?", (seen, str(WHEN), number)
            )
            raw.execute("INSERT INTO digest (id, subscriber_id, period, from_seq, to_seq, changes, created_at) VALUES (?, ?, 'daily', 1, 2, 20, ?)", (number, number, str(NOW)))  # fmt: skip
            raw.execute(queued, (number, number, number, f"<{number}>", content, str(NOW), str(NOW)))
            raw.execute("COMMIT")

    def put() -> None:
        claims = (("claimed", None), ("data-sent", None), ("sent", None))
        for number, content in zip(subscribers, messages, strict=True):
            for state, sealed in claims:
                raw.execute("BEGIN IMMEDIATE")
                raw.execute(
                    "UPDATE delivery SET state=?, message_sealed=? WHERE id=?", (state, sealed, number)
                )
                raw.execute("COMMIT")
            with (folder / f"{number}.new").open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(file.name, folder / f"{number}.eml")

    sent = "sqlite3 and files: the same rows and mails"
    size = f"{PEOPLE} people x {CHANGES} changes, {len(messages[0]) / 1000:.0f} kB"
    return [
        Case("sqlite3: the same rows written", f"{PEOPLE} x 3 rows", write, before=empty, of=PEOPLE),
        Case("compose what is due", size, compose, before=begin, of=PEOPLE),
        Case(sent, f"{PEOPLE} x 3 commits and a file", put, of=PEOPLE, calls=1, against=sent),
        Case("send it to the outbox", size, send, of=PEOPLE, calls=1, against=sent),
    ]
