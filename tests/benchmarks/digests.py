"""Digests for many people: composing what is due, and sending it to a sink, beside the plainest way to do the same.

    python -m tests.benchmarks.digests [--people 10000 100000] [--connections 1 4] [--processes 1 2]

Everybody follows everything, in one rhythm, and each mail of some 20 kB carries that person's own links. The sink is
tests/smtp.py in a process of its own, the same for all. The baselines send prebuilt bytes, in order, on one connection,
and promise nothing: `smtplib` as it comes, and the same bytes pipelined (RFC 2920) by our own connection.
Processor time is that of the sending processes; the sink's and PostgreSQL's are not in it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import resource
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from tests import mail
from tests.benchmarks import world as worlds
from tests.benchmarks.measure import Case
from tests.benchmarks.world import NOW, World
from tests.factories import Factory
from tracker import dispatch, mailer
from tracker.mailer import Parcel
from tracker.models import Delivery, Digest, DigestEntry, Follow, Issue, Piece, Subscriber
from tracker.services import ledger, subscriptions

WHEN = NOW + dt.timedelta(days=1)
CHANGES = 9
COLUMNS = "{:<58} {:>8} {:>9} {:>9} {:>9} {:>8}"


def cases(world: World) -> list[Case]:
    """For `make bench`: a thousand people, in process, beside the same rows by raw sqlite3."""
    people = 1000
    grow(world, people)
    begin = _rewind(world)

    def compose() -> None:
        assert dispatch.compose_due(world.app, WHEN) == {"queued": people}

    begin()
    compose()
    raw = world.raw("digests", world.rows())
    subscribers = [number for (number,) in raw.execute("SELECT id FROM subscriber ORDER BY id")]
    queued = (
        "INSERT INTO delivery (kind, subscriber_id, period, digest_id, issue_id, from_seq, message_id, state,"
        " created_at, due_at, attempts, ambiguous) VALUES ('digest', ?, 'daily', 1, 1, 1, ?, 'pending', ?, ?, 0, 0)"
    )

    def write() -> None:
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("DELETE FROM delivery")
        raw.executemany(queued, [(one, f"<{one}>", str(NOW), str(NOW)) for one in subscribers])
        raw.execute("UPDATE subscriber SET seen_seq=7, next_due_at=?", (str(WHEN),))
        raw.execute("COMMIT")

    return [
        Case("sqlite3: the same rows written", f"{people} rows", write, calls=1, of=people),
        Case("compose what is due", f"{people} people x {CHANGES} changes", compose, before=begin, of=people),
    ]


def grow(world: World, people: int) -> None:
    """Followers up to this number, and something to tell them."""
    with world.session() as session:
        there = session.scalar(select(func.count()).select_from(Subscriber)) or 0
        if there == 0:
            report = Factory(session, NOW).report("bench-valley")
            events = mail.Events(session, report, NOW)
            mail.follower(session, world.keys, world.config, NOW, "first@arvenia.example")
            for number in range(CHANGES - 3):
                events.evidence(number + 1, title=f"Court register of the Lower Valley, volume {number}")
            for number in range(3):
                events.finding(f"k{number}")
            there = 1
        [example] = session.scalars(select(Subscriber).order_by(Subscriber.id).limit(1))
        row = {column.name: getattr(example, column.key) for column in Subscriber.__table__.columns}
        mailer_keys, scope = world.keys.mailer, example.follows[0].scope
        for start in range(there, people, 5000):
            rows = []
            for number in range(start, min(start + 5000, people)):
                found = mailer_keys.keyed_hash("subscriber", str(number))
                context = subscriptions.address_context(found)
                address = f"reader{number}@d{number % 50}.arvenia.example".encode()
                rows.append(
                    row
                    | {
                        "id": example.id + number,
                        "key": f"k{number:011}",
                        "address_hash": found,
                        "address_sealed": mailer_keys.lock(address, context),
                        "manage_token_hash": f"m{number:063}",
                        "leave_token_hash": f"l{number:063}",
                    }
                )
            session.execute(insert(Subscriber), rows)
            session.execute(
                insert(Follow), [{"subscriber_id": one["id"], "scope": scope, "value": ""} for one in rows]
            )
        session.commit()


def _rewind(world: World) -> Callable[[], None]:
    with world.session() as session:
        [due] = session.scalars(select(Subscriber.next_due_at).distinct())
        [day] = session.scalars(select(Subscriber.next_local_date).distinct())
        seen = ledger.position(session) - CHANGES

    def begin() -> None:
        with world.session() as session:
            for table in (Delivery, DigestEntry, Digest, Issue, Piece):
                session.execute(delete(table))
            session.execute(update(Subscriber).values(seen_seq=seen, next_due_at=due, next_local_date=day))
            session.commit()

    return begin


@contextmanager
def sink() -> Iterator[str]:
    """An SMTP server in a process of its own that keeps nothing."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.smtp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait()


def _timed(what: str, count: int, call: Callable[[], object]) -> float:
    """Run it once and print a line; how many a second."""
    before, started = _cpu(), time.perf_counter()
    own = call()
    took, cpu = time.perf_counter() - started, _cpu() - before
    if isinstance(own, tuple):
        took, cpu = own
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        COLUMNS.format(
            what,
            f"{count:,}",
            f"{count / took:,.0f}",
            f"{cpu / count * 1e6:,.0f}",
            f"{count / cpu:,.0f}",
            f"{memory:,.0f}",
        ),
        flush=True,
    )
    return count / took


def _rate(count: int, call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return count / (time.perf_counter() - started)


def _cpu() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _plain(url: str, parcels: list[Parcel]) -> None:
    host, _, port = url.removeprefix("smtp://").partition(":")
    with smtplib.SMTP(host, int(port)) as smtp:
        for parcel in parcels:
            smtp.sendmail(parcel.sender, [parcel.recipient], parcel.message)


def _pipelined(config: Any, parcels: list[Parcel]) -> None:
    connection = mailer.connect(config)
    for start in range(0, len(parcels), dispatch.MOST_AT_ONCE):
        connection.send(parcels[start : start + dispatch.MOST_AT_ONCE])
    connection.close()


def _made(world: World, count: int) -> list[Parcel]:
    """The first mails as they would leave."""
    with dispatch._ready(world.app) as (config, keys, engine):
        from tracker.services import deliveries

        one = dispatch.Round(world.app, WHEN, lambda: False)
        with dispatch._transaction(engine) as session:
            claimed = deliveries.claim(session, most=count, now=WHEN)
        batch = one._prepare(engine, claimed, config, keys, WHEN)
        with dispatch._transaction(engine) as session:
            deliveries.put_back(
                session, claimed[0].lease_owner, [one.id for one in claimed], due_at=NOW, tried=False
            )
    return [parcel for _, parcel in batch]


def _send(world: World, people: int, connections: int, processes: int) -> tuple[float, float]:
    """Send all that waits by processes of their own; (seconds, their processor seconds), without their starting."""
    environment = os.environ | {
        "TRACKER_DATA_DIR": str(world.config.data_dir),
        "TRACKER_DATABASE_URL": world.config.sqlalchemy_url,
        "TRACKER_SMTP_URL": world.config.smtp_url.get_secret_value(),
        "TRACKER_BASE_URL": "http://localhost",
        "TRACKER_SMTP_PER_MINUTE": "0",
        "TRACKER_SMTP_PER_DOMAIN_MINUTE": "0",
        "TRACKER_SMTP_CONNECTIONS": str(connections),
        "TRACKER_LOG_LEVEL": "error",
    }
    command = [sys.executable, "-m", "tests.benchmarks.digests", "--send", WHEN.isoformat()]
    children = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    started = time.perf_counter()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    cpu = sum(float(child.stdout.readline()) for child in children if child.stdout)
    took = time.perf_counter() - started
    assert [child.wait() for child in children] == [0] * processes
    with world.session() as session:
        sent = session.scalar(select(func.count()).select_from(Delivery).where(Delivery.done_at.is_not(None)))
    assert sent == people, (sent, people)
    return took, cpu


def _child(moment: str) -> None:
    from tracker import config, create_app, logs

    logs.init("error")
    app = create_app(config.load())
    print("ready", flush=True)
    sys.stdin.readline()
    before = _cpu()
    dispatch.send_due(app, dt.datetime.fromisoformat(moment))
    print(_cpu() - before, flush=True)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, nargs="+", default=[10_000])
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--database-url", help="an empty database to measure on, instead of a SQLite file")
    parser.add_argument("--send", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        _child(options.send)
        return
    print(COLUMNS.format("what", "mails", "a second", "CPU us", "per CPU s", "MB"))
    with sink() as url, worlds.make(options.database_url, smtp_url=url, digest_jitter_minutes="0", smtp_per_minute="0", smtp_per_domain_minute="0") as world:  # fmt: skip
        for people in options.people:
            grow(world, people)
            begin = _rewind(world)
            begin()
            with world.session() as session:
                number = session.scalar(select(func.count()).select_from(Subscriber)) or 0
            _timed(
                f"compose, {CHANGES} changes, {number:,} people",
                number,
                partial(dispatch.compose_due, world.app, WHEN),
            )
            parcels = _made(world, 2000)
            size = len(parcels[0].message) / 1000
            print(f"  a mail has {size:.1f} kB; memory is this process's highest so far")
            base = _timed(
                "smtplib, one connection, prebuilt bytes", len(parcels), partial(_plain, url, parcels)
            )
            fast = _timed(
                "the same bytes, one connection, pipelined",
                len(parcels),
                partial(_pipelined, world.config, parcels),
            )
            print(f"  pipelined / smtplib: {fast / base:.2f}")
            for processes in options.processes:
                for connections in options.connections:
                    begin()
                    dispatch.compose_due(world.app, WHEN)
                    what = f"tracker, {processes} process(es) x {connections} connection(s), with every guarantee"
                    # A shared machine may run at half its speed a minute later: the baseline stands on both sides.
                    before = _rate(len(parcels), partial(_plain, url, parcels))
                    rate = _timed(what, number, partial(_send, world, number, connections, processes))
                    after = _rate(len(parcels), partial(_plain, url, parcels))
                    print(
                        f"  against smtplib: {2 * rate / (before + after):.2f}"
                        f" ({before:,.0f} just before, {after:,.0f} just after)",
                        flush=True,
                    )
            begin()


if __name__ == "__main__":
    main()
