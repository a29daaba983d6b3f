"""A place with many followers, on which digests go wrong day after day, and what is looked at afterwards.

Each day three changes are published, one about each recommendation; everybody's digest is due at seven. A scenario
spoils the day in its way, then the place is left alone until nothing waits any more. What is looked at is what the
scripted server took, byte for byte, beside the rows of the deliveries.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import quopri
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.faults.digest_child import Order
from tests.faults.storage_table import fresh
from tests.mail import DAILY, Events, follower
from tests.smtp import Mail, Server
from tracker import config as settings
from tracker import create_app, db, jobs, keyring
from tracker.keyring import Keyring
from tracker.models import Delivery, Report, Subscriber
from tracker.services import digests, subscriptions
from tracker.services.choices import EVERYTHING, Choices, Followed
from tracker.vocabulary import DeliveryKind, DeliveryState, Disclosure, Role, Scope, SubscriberState

ROOT = Path(__file__).resolve().parents[2]
BEGIN = dt.datetime(2026, 11, 22, 12, 30, tzinfo=dt.UTC)
SEVEN = dt.datetime(2026, 11, 23, 7, 0, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
LEASE = 21 * MINUTE
_ON_ITS_WAY = (DeliveryState.PENDING, DeliveryState.CLAIMED, DeliveryState.DATA_SENT)
_TOLD = re.compile(rb"/evidence/(\d+)\s").findall


@dataclass(frozen=True)
class Person:
    """Somebody who follows. `places`: of which recommendations they hear."""

    id: int
    address: str
    places: frozenset[int]


@dataclass
class Row:
    """What was seen of a scenario. `wrong` holds a sentence for each promise that was not kept."""

    name: str
    due: int = 0
    accepted: int = 0
    people: int = 0
    lost: int = 0
    doubled: int = 0
    ambiguous: int = 0
    same: bool = True
    uncertain: int = 0
    refused: int = 0  # Or they left.
    seconds: float = 0
    wrong: list[str] = field(default_factory=list)


class Children:
    """Schedulers and senders in processes of their own; see digest_child."""

    def __init__(self, log: int | IO[bytes] = subprocess.DEVNULL) -> None:
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.digest_child"],
            cwd=ROOT, env={"PATH": os.environ["PATH"]}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            text=True,
        )  # fmt: skip

    def start(self, order: Order) -> int:
        """Its process id; it runs already."""
        return int(self._ask(asdict(order)))

    def wait(self, pid: int) -> str:
        """ "stopped", or "ended 0", "ended -9"."""
        return self._ask({"wait": pid})

    def close(self) -> None:
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.close()
        self._nursery.wait(30)
        self._nursery.stdout.close()

    def _ask(self, what: dict[str, object]) -> str:
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(json.dumps(what) + "\n")
        self._nursery.stdin.flush()
        return self._nursery.stdout.readline().strip()


class World:
    """See the module. Make one with `world`."""

    def __init__(
        self, environ: dict[str, str], app: Flask, keys: Keyring, children: Children, count: int
    ) -> None:
        self.environ, self.app, self.keys, self.children = environ, app, keys, children
        self.engine = app.extensions["engine"]
        self.now = BEGIN
        self.day = -1
        self.number = 0
        # By day: the numbers; number n is about place n % 3.
        self.published: dict[int, list[int]] = defaultdict(list)
        self.told: dict[int, list[int]] = defaultdict(list)  # By person: what stood in their digests.
        self.unsure: dict[int, set[int]] = defaultdict(set)  # By person: what may have been told.
        self.gone: dict[int, bool] = {}  # Who left: whether nothing had been claimed for them then.
        with self.session() as session:
            make = Factory(session, BEGIN)
            self.report_id = make.report().id
            self.admin_id = make.account(Role.ADMIN, password_hash="x").id
            self.people = [self._person(session, number) for number in range(count)]

    @property
    def sqlite(self) -> bool:
        return bool(self.engine.dialect.name == "sqlite")

    @contextmanager
    def session(self) -> Iterator[Session]:
        with db.new_session(self.engine) as session:
            yield session

    def _person(self, session: Session, number: int) -> Person:
        places = {3: frozenset({0}), 4: frozenset({1})}.get(number % 6, frozenset({0, 1, 2}))
        report = session.get_one(Report, self.report_id)
        follows = EVERYTHING
        if len(places) == 1:
            about = report.recommendations[min(places)]
            follows = (Followed(Scope.RECOMMENDATION, report_id=None, recommendation_id=about.id),)
        choices = Choices(
            DAILY, follows, disclosure=(Disclosure.TITLES if number % 6 == 5 else Disclosure.FULL)
        )
        address = f"r{number}@d{number % 7}.arvenia.example"
        person = follower(session, self.keys, self.app.extensions["settings"], BEGIN, address, choices)
        return Person(person.id, address, places)

    # What happens

    def next_day(self) -> None:
        """Three more changes; then it is seven."""
        self.day += 1
        with self.session() as session:
            events = Events(session, session.get_one(Report, self.report_id), self.now)
            for _ in range(3):
                self.number += 1
                events.evidence(self.number, places=(self.number % 3,))
                self.published[self.day].append(self.number)
        self.now = SEVEN + dt.timedelta(days=self.day)

    def use(self, url: str) -> None:
        """Send to this server from now on."""
        self.environ["TRACKER_SMTP_URL"] = url
        self.app.extensions["settings"] = settings.load(self.environ)

    def tick(self, later: dt.timedelta = dt.timedelta(0)) -> None:
        """One look of the scheduler in this process."""
        self.now += later
        jobs.tick(self.app, self.now)

    def order(self, **values: object) -> Order:
        """An order to a child, at this moment unless told otherwise."""
        return Order(environ=dict(self.environ), **{"now": self.now.isoformat(), **values})  # type: ignore[arg-type]

    def killed(self, **values: object) -> str:
        """A child that ends at its point; how it ended."""
        return self.children.wait(self.children.start(self.order(**values)))

    def drain(self, most: int = 14) -> None:
        """Look again and again, past every lease, until nothing waits."""
        for _ in range(most):
            if not self.waiting():
                return
            self.tick(LEASE)

    def waiting(self) -> int:
        """How many digests and mails are owed."""
        with self.session() as session:
            owed = session.scalar(
                select(func.count()).select_from(Delivery).where(Delivery.state.in_(_ON_ITS_WAY))
            )
            return digests.owed(session, now=self.now)[0] + (owed or 0)

    def leave(self, person: Person) -> None:
        """Somebody leaves by their link; remember whether a sender had taken their mail already."""
        with self.session() as session:
            subscriptions.leave(session, session.get_one(Subscriber, person.id), now=self.now)
            session.commit()
        with self.session() as session:
            states = session.scalars(
                select(Delivery.state).where(
                    Delivery.subscriber_id == person.id, Delivery.period == period(self.day)
                )
            ).all()
            self.gone[person.id] = all(state is DeliveryState.CANCELLED for state in states)

    def members(self) -> list[Person]:
        """Who follows now."""
        with self.session() as session:
            there = set(
                session.scalars(select(Subscriber.id).where(Subscriber.state == SubscriberState.CONFIRMED))
            )
        return [one for one in self.people if one.id in there]

    # What is looked at

    def row(self, name: str, first: int, due: Sequence[Person], mails: Sequence[Mail], since: float) -> Row:
        """What became of the days from `first` on, for those who followed then."""
        row = Row(name, due=len(due), accepted=len(mails), seconds=time.monotonic() - since)
        if left := self.waiting():
            row.wrong.append(f"{left} still wait")
        by_address = {one.address: one.id for one in self.people}
        copies: dict[int, dict[str, list[bytes]]] = defaultdict(lambda: defaultdict(list))
        for mail in mails:
            copies[by_address[mail.recipient]][_message_id(mail.message)].append(mail.message)
        row.people = len(copies)
        days = range(first, self.day + 1)
        found: dict[int | None, list[Delivery]] = defaultdict(list)
        with self.session() as session:
            for one in session.scalars(
                select(Delivery).where(
                    Delivery.period.in_([period(day) for day in days]), Delivery.kind == DeliveryKind.DIGEST
                )
            ):
                row.ambiguous += one.ambiguous
                found[one.subscriber_id].append(one)
        expected = [number for day in days for number in self.published[day]]
        for person in due:
            self._look(row, person, expected, found[person.id], copies.pop(person.id, {}))
        row.wrong += [f"person {number} got a mail and follows nothing" for number in copies]
        if row.doubled > row.ambiguous:
            row.wrong.append(f"{row.doubled} doubled, {row.ambiguous} ambiguous")
        return row

    def _look(
        self,
        row: Row,
        person: Person,
        published: Sequence[int],
        deliveries: Sequence[Delivery],
        copies: dict[str, list[bytes]],
    ) -> None:
        def wrong(what: str) -> None:
            row.wrong.append(f"person {person.id}: {what}")

        told: list[int] = []
        excused = person.id in self.gone
        row.refused += excused and not copies
        for one in deliveries:
            mails = copies.pop(one.message_id, [])
            row.uncertain += one.state is DeliveryState.UNCERTAIN
            if not mails:
                if one.state is DeliveryState.UNCERTAIN and one.ambiguous >= 2:
                    excused = True
                    self.unsure[person.id].update(published)
                elif one.state is DeliveryState.FAILED and one.last_answer == "550 RCPT":
                    excused = True
                    row.refused += 1
                elif one.state is DeliveryState.SENT:
                    wrong("noted as sent, but nothing was accepted")
                continue
            if one.state not in (DeliveryState.SENT, DeliveryState.UNCERTAIN):
                wrong(f"accepted, but {one.state}")
            row.doubled += len(mails) - 1
            if len(mails) - 1 > one.ambiguous:
                wrong(f"{len(mails)} copies, ambiguous {one.ambiguous}")
            if len(set(mails)) != 1:
                row.same = False
                wrong("copies differ")
            told += _told(mails[0])
        if copies:
            wrong("accepted a mail of no delivery")
        if told and self.gone.get(person.id):
            wrong("had left before it was claimed")
        self.told[person.id] += told
        expected = [number for number in published if number % 3 in person.places]
        if not set(expected) <= set(told) and not excused:
            row.lost += 1
            wrong(f"lost, {[one.state.value for one in deliveries]}: told {sorted(told)} of {expected}")
        elif len(told) != len(set(told)) or not set(told) <= set(expected):
            wrong(f"told {sorted(told)}, not {expected}")

    def never_told(self) -> list[str]:
        """Over all days: what somebody was told twice, or never, though they follow it to this day."""
        found = []
        every = [number for numbers in self.published.values() for number in numbers]
        for person in self.members():
            told = self.told[person.id]
            wanted = {number for number in every if number % 3 in person.places}
            missing = wanted - set(told) - self.unsure[person.id]
            twice = {number for number in told if told.count(number) > 1}
            if missing or twice:
                found.append(f"person {person.id}: never {sorted(missing)}, twice {sorted(twice)}")
        return found


def _message_id(content: bytes) -> str:
    found = re.search(rb"\r\nMessage-ID: (\S+)\r\n", content)
    return found.group(1).decode() if found else ""


def _told(content: bytes) -> list[int]:
    """The numbers of the evidence that its text tells."""
    # Thousands of mails are looked at, and the standard library takes milliseconds for each.
    begin = content.index(b"\r\n\r\n", content.index(b"text/plain"))
    text = quopri.decodestring(content[begin : content.index(b"text/html", begin)])
    return [int(number) for number in _TOLD(text)]


def period(day: int) -> str:
    """Of the digests of that day."""
    return f"daily/{(SEVEN + dt.timedelta(days=day)).date()}"


@contextmanager
def world(database: str, count: int, children: Children) -> Iterator[World]:
    """A place on a fresh database; PostgreSQL is a server of its own, which may be killed."""
    with ExitStack() as stack:
        base = stack.enter_context(fresh(database))
        environ = {
            "PATH": os.environ["PATH"],
            "TRACKER_DATA_DIR": str(base.data_dir),
            "TRACKER_DATABASE_URL": base.sqlalchemy_url,
            "TRACKER_BASE_URL": "http://localhost",
            "TRACKER_DIGEST_JITTER_MINUTES": "0",
            "TRACKER_SMTP_PER_MINUTE": "0",
            "TRACKER_SMTP_PER_DOMAIN_MINUTE": "0",
        }
        config = settings.load(environ)
        keyring.create(config.keys_path)
        app = create_app(config)
        if database == "postgresql":
            with app.extensions["engine"].connect() as connection:
                # What is committed must survive the server's end, unlike in other tests.
                connection.exec_driver_sql("ALTER DATABASE postgres SET synchronous_commit = on")
                connection.commit()
            app.extensions["engine"].dispose()
        stack.callback(app.extensions["engine"].dispose)
        yield World(environ, app, app.extensions["keyring"], children, count)


def taken(servers: Sequence[Server]) -> list[Mail]:
    """What these servers have accepted."""
    return [mail for server in servers for mail in server.received]
