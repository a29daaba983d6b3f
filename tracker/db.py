"""Connections: the engine with the settings each database needs, and one session per request.

SQLite (reference: sqlite.org/pragma.html): WAL, synchronous=FULL so that what was acknowledged survives a power
cut, foreign keys on, and BEGIN IMMEDIATE for writers. Without the latter, two people who read and then write lose
each other's work or get "database is locked" at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask, current_app, g, request
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.orm import Session

from tracker.models import sealing
from tracker.models.sealing import Vault

ROOT = Path(__file__).resolve().parent.parent
_reading: ContextVar[bool] = ContextVar("reading", default=False)


def make_engine(url: str, vault: Vault | None = None) -> Engine:
    """An engine for SQLite or PostgreSQL whose transactions are real ones on both.

    With `vault` its sessions can open and close sealed text.
    """
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        # Pinging costs a round trip and saves the first request after a database restart.
        engine = create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    if vault is not None:
        sealing.unlock(engine, vault)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not start transactions behind our back: `_begin_sqlite` does.
    connection.isolation_level = None
    for pragma in (
        "busy_timeout=30000",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        # INSERT OR REPLACE would otherwise slip past the triggers that keep the ledger append-only.
        "recursive_triggers=ON",
        "trusted_schema=OFF",
        "secure_delete=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN DEFERRED" if _reading.get() else "BEGIN IMMEDIATE")


@contextmanager
def reading() -> Iterator[None]:
    """Transactions begun inside only read, so that on SQLite they do not wait for writers."""
    token = _reading.set(True)
    try:
        yield
    finally:
        _reading.reset(token)


def new_session(engine: Engine) -> Session:
    """A session whose objects stay usable after commit. The caller commits and closes."""
    return Session(engine, expire_on_commit=False)


def init_app(app: Flask, engine: Engine) -> None:
    """Give every request its session, closed (and rolled back, if not committed) at its end."""
    app.extensions["engine"] = engine

    @app.before_request
    def choose_transaction() -> None:
        if request.method in ("GET", "HEAD", "OPTIONS"):
            g.reading_token = _reading.set(True)

    @app.teardown_request
    def end_reading(_error: BaseException | None) -> None:
        token = g.pop("reading_token", None)
        if token is not None:
            _reading.reset(token)

    @app.teardown_appcontext
    def close_session(_error: BaseException | None) -> None:
        session = g.pop("session", None)
        if session is not None:
            session.close()


def engine() -> Engine:
    """The engine of the running app."""
    found: Engine = current_app.extensions["engine"]
    return found


def session() -> Session:
    """The session of this request or app context. Only entry points call this; services receive a Session."""
    if "session" not in g:
        g.session = new_session(engine())
    found: Session = g.session
    return found


def wipe_log(engine: Engine) -> bool:
    """On SQLite: bring the write-ahead log into the database and empty it, so that it keeps no older pages.

    False: somebody was reading all the time. On PostgreSQL this is VACUUM's and the archive's matter.
    """
    if engine.dialect.name != "sqlite":
        return True
    with engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        raw.execute("PRAGMA busy_timeout=1000")
        busy = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        raw.execute("PRAGMA busy_timeout=30000")
    return not busy


@contextmanager
def writing() -> Iterator[Session]:
    """A short transaction of its own, committed at the end, also inside a request that only reads."""
    token = _reading.set(False)
    try:
        with new_session(engine()) as own, own.begin():
            yield own
    finally:
        _reading.reset(token)


def alembic_config(connection: Connection | None = None) -> AlembicConfig:
    """Alembic's settings, from pyproject.toml, bound to a connection of ours."""
    config = AlembicConfig(toml_file=str(ROOT / "pyproject.toml"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def migrating(engine: Engine) -> Iterator[AlembicConfig]:
    """A connection on which migrations may run.

    Alembic's batch mode copies a table on SQLite and drops the old one; with foreign keys on, the drop would
    delete every child row. They can be switched off outside a transaction only, and are checked afterwards.
    """
    with engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        sqlite = engine.dialect.name == "sqlite"
        if sqlite:
            raw.execute("PRAGMA foreign_keys=OFF")
        try:
            yield alembic_config(connection)
            connection.commit()
            if sqlite and (broken := raw.execute("PRAGMA foreign_key_check").fetchall()):
                raise RuntimeError(f"After the migration these rows point nowhere: {broken[:5]}")
        finally:
            if sqlite:
                raw.execute("PRAGMA foreign_keys=ON")


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database to a revision; `head` is what this version of the program needs."""
    with migrating(engine) as config:
        command.upgrade(config, revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take the database back to an earlier revision."""
    with migrating(engine) as config:
        command.downgrade(config, revision)


def revisions(engine: Engine) -> tuple[str | None, str | None]:
    """(the database's revision, the newest revision of the program)."""
    with reading(), engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    return current, ScriptDirectory.from_config(alembic_config()).get_current_head()
