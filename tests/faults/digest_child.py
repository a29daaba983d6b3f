"""A process that forks a child for each line it reads: a scheduler or a sender, which is killed, or stopped, at a point.

python -m tests.faults.digest_child

In:  a line of JSON, an `Order` or {"wait": PID}. What it imports and the templates are loaded once, before any fork.
Out: the child's pid; or, when it was waited for, "stopped", or "ended" and its exit status (-9 after kill -9).
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask
from sqlalchemy import Engine, event, func, select

from tracker import config as settings
from tracker import create_app, db, dispatch, jobs, journal_rounds, logs, mailer
from tracker.mailer import Patience
from tracker.mailer.relay import Relay
from tracker.models import Delivery
from tracker.services import deliveries, digests

#: By name: what is wrapped, and on which side of a call the process is interrupted.
POINTS: dict[str, tuple[Any, str, str]] = {
    "composing": (digests, "write", "before"),
    "a part composed, not committed": (digests, "keep", "after"),
    "composed, nothing claimed": (dispatch, "send_due", "before"),
    "claimed, not committed": (deliveries, "claim", "after"),
    "claimed": (dispatch.Round, "_prepare", "before"),
    "connected": (dispatch.Round, "_note", "before"),
    "data_sent, not committed": (deliveries, "data_sent", "after"),
    "data_sent, no byte has left": (Relay, "send", "before"),
    "before a dot": (Relay, "_write", "before"),
    "after a dot": (Relay, "_write", "after"),
    "answered, nothing noted": (dispatch.Round, "_settle", "before"),
    "answers noted, not committed": (deliveries, "sent", "after"),
    "answers committed": (journal_rounds, "end", "before"),
}
#: Inside of `data_sent`: it has seen which mails are still its own.
LOOKED = "in data_sent, after it looked"
_SECONDS = 90


@dataclass(frozen=True)
class Order:
    """What a child does. `nth`: at which of the times that it comes by the point."""

    environ: dict[str, str]
    now: str
    sender: bool = False  # It only sends, again and again until nothing is left; else it is one tick.
    point: str = ""
    nth: int = 1
    signal: int = signal.SIGKILL
    kept: int = 1000  # So many are composed in one transaction.
    patience: float = 0


def arm(point: str, nth: int, number: int) -> None:
    """Interrupt this process when it comes by that point for the nth time."""
    passed, lock = [0], threading.Lock()

    def come_by() -> None:
        with lock:
            passed[0] += 1
            due = passed[0] == nth
        if due:
            if point == "after a dot":
                # What has left must be there: a kill would else take it along from the socket's buffer.
                time.sleep(0.3)
            os.kill(os.getpid(), number)

    if point == LOOKED:
        event.listen(Engine, "after_cursor_execute", functools.partial(_looked, come_by))
        return
    if point == "a part committed":
        _after_keeping(come_by)
        return
    owner, name, side = POINTS[point]
    original: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **values: Any) -> Any:
        here = (name != "_write" or args[2] == "message") and (name != "_settle" or args[0].unnoted)
        if here and side == "before":
            come_by()
        found = original(*args, **values)
        if here and side == "after":
            come_by()
        return found

    setattr(owner, name, wrapped)


def _looked(come_by: Callable[[], None], _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    if " ".join(statement.split()).startswith("SELECT delivery.id, delivery.sent_sha256,"):
        come_by()


def _after_keeping(come_by: Callable[[], None]) -> None:
    keep = digests.keep

    def look(session: Any, *args: Any, **values: Any) -> Any:
        found = keep(session, *args, **values)
        event.listen(session, "after_commit", lambda _: come_by(), once=True)
        return found

    digests.keep = look


def _child(app: Flask, order: Order) -> None:
    app.extensions["settings"] = settings.load(order.environ)
    dispatch._MOST_KEPT = order.kept
    if order.patience:
        mailer.connect = functools.partial(
            mailer.connect, patience=Patience(order.patience, order.patience, order.patience)
        )
    if order.point:
        arm(order.point, order.nth, order.signal)
    now = dt.datetime.fromisoformat(order.now)
    if not order.sender:
        jobs.tick(app, now)
        return
    until = time.monotonic() + _SECONDS / 2
    while time.monotonic() < until and not _all_sent(app, now):
        dispatch.send_due(app, now)
        time.sleep(0.02)


def _all_sent(app: Flask, now: dt.datetime) -> bool:
    with app.app_context(), db.reading(), db.new_session(db.engine()) as session:
        waiting = session.scalar(select(func.count()).select_from(Delivery).where(deliveries.waiting(now)))
        return digests.owed(session, now=now)[0] == 0 and not waiting


def _app(environ: dict[str, str]) -> Flask:
    app = create_app(settings.load(environ))
    for name in app.jinja_env.list_templates(filter_func=lambda name: name.startswith("emails/")):
        app.jinja_env.get_template(name)
    return app


def _fork(app: Flask, order: Order) -> int:
    if pid := os.fork():
        return pid
    status = 1
    try:
        _child(app, order)
        app.extensions["engine"].dispose()
        status = 0
    except BaseException:  # noqa: BLE001 - told by its status and its log.
        traceback.print_exc()
    finally:
        os._exit(status)


def _wait(pid: int) -> str:
    until = time.monotonic() + _SECONDS
    while True:
        found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if found and os.WIFSTOPPED(status):
            return "stopped"
        if found:
            return f"ended {os.waitstatus_to_exitcode(status)}"
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "hung"
        time.sleep(0.005)


def main() -> None:
    logs.init("info")  # To stderr: our answers go to stdout.
    apps: dict[str, Flask] = {}
    for line in sys.stdin:
        said = json.loads(line)
        if "wait" in said:
            answer = _wait(said["wait"])
        else:
            order = Order(**said)
            database = order.environ["TRACKER_DATABASE_URL"]
            if database not in apps:
                apps[database] = _app(order.environ)
            answer = str(_fork(apps[database], order))
        print(answer, flush=True)


if __name__ == "__main__":
    main()
