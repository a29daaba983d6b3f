"""What is measured: the program on a database of its own, and the same rows in a plain SQLite file beside it."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flask import Flask
from sqlalchemy import Engine, create_engine, func, insert, select
from sqlalchemy.orm import Session

from tracker import config as settings
from tracker import create_app, db, keyring, logs
from tracker.models import Base, Report

NOW = dt.datetime(2026, 11, 22, 12, 30, tzinfo=dt.UTC)
Rows = dict[str, list[dict[str, Any]]]


@dataclass
class World:
    """The program with its settings, and a folder for whatever is needed beside it."""

    folder: Path
    config: settings.Config
    engine: Engine
    app: Flask
    keys: keyring.Keyring

    def session(self) -> Session:
        return db.new_session(self.engine)

    def rows(self) -> Rows:
        """Every row of every table, as a plain SQLite file takes them."""
        with self.session() as session:
            return {
                table.name: [dict(row) for row in session.execute(select(table)).mappings()]
                for table in Base.metadata.sorted_tables
            }

    def raw(self, name: str, rows: Rows | None = None) -> sqlite3.Connection:
        """A plain connection to a SQLite file with the same tables and the same settings, without our triggers."""
        path = self.folder / f"{name}.db"
        engine = create_engine(
            f"sqlite:///{path}"
        )  # Not ours: rows come in an order that foreign keys refuse.
        with engine.begin() as connection:
            Base.metadata.create_all(connection)
            for table in Base.metadata.sorted_tables:
                if rows and rows[table.name]:
                    connection.execute(insert(table), rows[table.name])
        engine.dispose()
        connection = sqlite3.connect(path)
        db._prepare_sqlite(connection, None)
        connection.execute("PRAGMA foreign_keys=OFF")
        return connection


@contextmanager
def make(database_url: str | None, **values: str) -> Iterator[World]:
    """An empty database, on SQLite in a temporary folder (TMPDIR says on which disk) or where the address says.

    `values` are settings that are not the defaults.
    """
    with TemporaryDirectory(prefix="tracker-bench-") as name:
        folder = Path(name)
        environ = {"TRACKER_DATA_DIR": name, "TRACKER_BASE_URL": "http://localhost"}
        environ |= {f"TRACKER_{key.upper()}": value for key, value in values.items()}
        if database_url:
            environ["TRACKER_DATABASE_URL"] = database_url
        config = settings.load(environ)
        logs.init("warning")
        keyring.create(config.keys_path)
        app = create_app(config)
        engine: Engine = app.extensions["engine"]
        db.upgrade(engine)
        with db.new_session(engine) as session:
            if session.scalar(select(func.count()).select_from(Report)):
                raise SystemExit("This database holds reports already. Give the address of an empty one.")
        try:
            yield World(folder, config, engine, app, app.extensions["keyring"])
        finally:
            engine.dispose()
