"""When the database is gone, locked, full or read-only: a sentence, nothing half-saved, and work goes on afterwards."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from sqlalchemy import Engine, create_engine, event, func, select, text
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import NO_HARM, Record
from tracker import jobs
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Account, Activity, Evidence, LedgerEntry
from tracker.services import audit, ledger
from tracker.vocabulary import State

As = Callable[[Account], Client]


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


@contextmanager
def pragma(engine: Engine, *statements: str) -> Iterator[None]:
    """SQLite under other conditions, for every connection of the app."""

    def prepare(connection: object, _record: object) -> None:
        for statement in statements:
            connection.execute(f"PRAGMA {statement}")  # type: ignore[attr-defined]

    event.listen(engine, "connect", prepare)
    engine.dispose()
    try:
        yield
    finally:
        event.remove(engine, "connect", prepare)
        engine.dispose()


def administrator(config: Config) -> Engine:
    head, _, tail = config.sqlalchemy_url.partition("@/")
    return create_engine(f"{head}@/postgres?{tail.partition('?')[2]}", isolation_level="AUTOCOMMIT")


def name_of(config: Config) -> str:
    return config.sqlalchemy_url.partition("@/")[2].partition("?")[0]


@contextmanager
def read_only(app: Flask, config: Config, database: str) -> Iterator[None]:
    engine = app.extensions["engine"]
    if database == "sqlite":
        with pragma(engine, "query_only=ON"):
            yield
        return
    boss = administrator(config)
    with boss.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name_of(config)} SET default_transaction_read_only = on"))
        engine.dispose()
        yield
        connection.execute(text(f"ALTER DATABASE {name_of(config)} SET default_transaction_read_only = off"))
    engine.dispose()
    boss.dispose()


@contextmanager
def gone(app: Flask, config: Config, database: str) -> Iterator[None]:
    engine = app.extensions["engine"]
    if database == "sqlite":
        engine.dispose()
        path = config.data_path.parent / "tracker.db"
        away = path.rename(path.with_name("away.db"))
        path.mkdir()
        yield
        engine.dispose()
        path.rmdir()
        away.rename(path)
        return
    boss = administrator(config)
    with boss.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name_of(config)} ALLOW_CONNECTIONS false"))
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
            {"name": name_of(config)},
        )
        yield
        connection.execute(text(f"ALTER DATABASE {name_of(config)} ALLOW_CONNECTIONS true"))
    boss.dispose()


def decide(who: Client, piece: Evidence, fields: dict[str, str], status: int) -> None:
    response = who.post(
        f"/workspace/evidence/{piece.key}/decision",
        fields | {"decision": "accept", "reason": "", **NO_HARM},
        status,
    )
    if status == 503:
        assert "database cannot be" in response.get_data(as_text=True)
        assert response.headers["Retry-After"]
        assert response.headers["Cache-Control"] == "no-store"


def unchanged(session: Session, piece: Evidence, keys: Keyring) -> None:
    session.rollback()
    session.expire_all()
    assert piece.state is State.SUBMITTED
    assert session.scalar(select(func.count()).select_from(Activity)) == 0
    assert session.scalar(select(func.count()).select_from(LedgerEntry)) == 1
    assert list(ledger.problems(session, origin="test", public_key=keys.ledger_public_key)) == []
    assert list(audit.problems(session)) == []
    session.rollback()


@pytest.mark.parametrize("trouble", [read_only, gone])
def test_a_database_that_cannot_be_written_saves_nothing_and_says_so(
    trouble: Callable[..., object], app: Flask, config: Config, database: str, record: Record, as_somebody: As,
    keys: Keyring,
) -> None:  # fmt: skip
    piece, rafa = record.submitted(record.first), as_somebody(record.rafa)
    fields = dict(rafa.get(f"/workspace/evidence/{piece.key}").forms[-1]["fields"])
    record.session.rollback()
    record.session.get_bind().dispose()  # type: ignore[union-attr]

    with capture_logs() as log, trouble(app, config, database):  # type: ignore[attr-defined]
        decide(rafa, piece, fields, 503)
        public = Client(app).http.get("/")
        assert public.status_code == (200 if trouble is read_only else 503)
        health = Client(app).http.get("/health")
        assert health.status_code == 503
        done = jobs.tick(app, dt.datetime.now(dt.UTC))
        assert done["failed"] or trouble is read_only
    assert "Hidden-Name" not in str(log)
    assert "SELECT" not in str(log)

    unchanged(record.session, piece, keys)
    decide(rafa, piece, fields, 303)


def test_a_full_disk_refuses_and_loses_nothing_that_was_acknowledged(
    app: Flask,
    database: str,
    record: Record,
    as_somebody: As,
    keys: Keyring,
) -> None:
    if database != "sqlite":
        pytest.skip("a PostgreSQL server has a disk of its own; its answer is the same kind of error")
    mona = as_somebody(record.mona)
    form = dict(mona.get("/workspace/evidence/new").forms[-1]["fields"])
    pages = record.session.execute(text("PRAGMA page_count")).scalar_one()
    record.session.rollback()

    saved = 0
    with pragma(app.extensions["engine"], f"max_page_count={pages + 6}"):
        for number in range(50):
            response = mona.http.post(
                "/workspace/evidence/new", data=form | {"title": f"Piece {number}", "summary": "x" * 3900}
            )
            assert response.status_code in (303, 503), response.get_data(as_text=True)[:3000]
            saved += response.status_code == 303
        assert 0 < saved < 50
        assert Client(app).http.get("/reports/lower-valley").status_code == 200

    record.session.rollback()
    assert record.session.scalar(select(func.count()).select_from(Evidence)) == saved
    assert record.session.scalar(select(func.count()).select_from(Activity)) == saved
    assert record.session.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
    record.session.rollback()
    mona.post("/workspace/evidence/new", form | {"title": "After room was made"}, 303)


def test_a_database_that_another_program_keeps_locked_is_a_sentence(
    app: Flask,
    database: str,
    record: Record,
    as_somebody: As,
    keys: Keyring,
) -> None:
    if database != "sqlite":
        pytest.skip("SQLite has one writer")
    piece, rafa = record.submitted(record.first), as_somebody(record.rafa)
    fields = dict(rafa.get(f"/workspace/evidence/{piece.key}").forms[-1]["fields"])
    record.session.rollback()

    with pragma(app.extensions["engine"], "busy_timeout=50"):
        record.session.execute(text("UPDATE heartbeat SET detail = NULL"))
        decide(rafa, piece, fields, 503)
        assert Client(app).http.get("/").status_code == 200
        record.session.rollback()
    unchanged(record.session, piece, keys)


def test_a_connection_that_died_between_two_requests_is_replaced(
    app: Flask,
    config: Config,
    database: str,
    record: Record,
) -> None:
    if database != "postgresql":
        pytest.skip("SQLite has no connections that others could end")
    client = Client(app)
    client.get("/")
    boss = administrator(config)
    with boss.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
            {"name": name_of(config)},
        )
    boss.dispose()
    client.get("/")


def test_mails_wait_while_the_outbox_cannot_be_written(
    app: Flask,
    config: Config,
    record: Record,
    client: Client,
) -> None:
    config.outbox_path.write_text("a file where the folder should be")
    client.send("/follow", {"email": "reader@arvenia.example"})
    now = dt.datetime.now(dt.UTC)

    jobs.tick(app, now)
    assert config.outbox_path.is_file()
    config.outbox_path.unlink()
    jobs.tick(app, now + dt.timedelta(minutes=2))

    assert len(list(config.outbox_path.glob("*.eml"))) == 1
