"""Running the check of exhibits: for `tracker fsck`, and once a week for the scheduler.

What is checked stands in `services/fsck.py` and `services/fsck_rows.py`; here are the transactions and the clock.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import structlog
from flask import Flask
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tracker import db, storage
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.services import fsck, fsck_rows
from tracker.services.fsck import Item

_log = structlog.get_logger()
_RENEW_SECONDS = 600


class Transactions:
    """Short transactions on one engine. On SQLite those that only read do not wait for writers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def __call__(self, *, writing: bool = False) -> Iterator[Session]:
        mode = nullcontext() if writing else db.reading()
        with mode, db.new_session(self._engine) as session, session.begin():
            yield session


def run(
    engine: Engine,
    config: Config,
    keys: Keyring,
    *,
    now: dt.datetime,
    looked: Callable[[int], None] = lambda _size: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Item]:
    """Check everything, and note that it was done, unless it was stopped before its end.

    `looked` is told the size of each blob that was read.
    """
    transaction, store = Transactions(engine), storage.open_store(config)
    started = time.monotonic()
    findings = 0
    for item in _all(transaction, store, config, keys, now, looked, stopping):
        findings += not item.tidied
        yield item
    if not stopping():
        with transaction(writing=True) as session:
            moment = now + dt.timedelta(seconds=time.monotonic() - started)
            fsck.finish(session, findings=findings, now=moment)


def _all(
    transaction: Transactions,
    store: storage.Store,
    config: Config,
    keys: Keyring,
    now: dt.datetime,
    looked: Callable[[int], None],
    stopping: Callable[[], bool],
) -> Iterator[Item]:
    for name in storage.sweep_incoming(config, older_than=fsck.GRACE, now=now):
        yield Item(f"The file {name!r} was received half and never finished, and was removed.", tidied=True)
    yield from fsck.check_bytes(transaction, store, now=now, looked=looked, stopping=stopping)
    if not stopping():
        yield from fsck_rows.check_rows(
            transaction, origin=config.ledger_origin, public_key=keys.ledger_public_key
        )


def weekly(app: Flask, now: dt.datetime, *, stopping: Callable[[], bool] = lambda: False) -> int | None:
    """Check everything if that is a week ago. Returns how many findings there were; None: it was not due."""
    with app.app_context():
        config, keys, engine = app.extensions["settings"], app.extensions["keyring"], db.engine()
    transaction = Transactions(engine)
    with transaction(writing=True) as session:
        if not fsck.claim(session, now=now):
            return None
    started = renewed = time.monotonic()

    def looked(_size: int) -> None:
        nonlocal renewed
        if time.monotonic() - renewed > _RENEW_SECONDS:
            renewed = time.monotonic()
            with transaction(writing=True) as session:
                fsck.renew(session, now=now + dt.timedelta(seconds=renewed - started))

    findings = 0
    for item in run(engine, config, keys, now=now, looked=looked, stopping=stopping):
        findings += not item.tidied
        (_log.info if item.tidied else _log.error)("fsck", found=item.sentence)
    _log.info("fsck-done", findings=findings, stopped=stopping())
    return findings
