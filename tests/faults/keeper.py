"""A process that forks a child for each line it reads; the child uploads a file as the page for uploads does.

python -m tests.faults.keeper DATA_DIR

In:  a line with how often the content stands in the file; it answers with the child's pid. The child waits for a
     second line, so that somebody can attach to it: then its calls are those of one upload and nothing else.
Out: "acknowledged", or "refused" and the sentence; then "ended" and the child's exit status.

TRACKER_DATABASE_URL and TRACKER_STORAGE_URL are looked at. The database has one monitor and one piece of evidence.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import Record
from tracker import clock, db, keyring, storage
from tracker import config as settings
from tracker.config import Config
from tracker.errors import TrackerError
from tracker.examiner.traces import Examined
from tracker.models import Account, Evidence
from tracker.services import exhibits
from tracker.storage import Incoming
from tracker.vocabulary import FileKind, Role

CONTENT = bytes(range(256)) * 600
PIECE = 64 * 1024


def make_config(data: Path | str, database_url: str = "", storage_url: str = "") -> Config:
    return settings.load(
        {
            "TRACKER_DATA_DIR": str(data),
            "TRACKER_EXHIBIT_FREE_PERCENT": "0",
            "TRACKER_DATABASE_URL": database_url,
            "TRACKER_STORAGE_URL": storage_url,
        }
    )


def make_engine(config: Config) -> Engine:
    return db.make_engine(config.sqlalchemy_url, keyring.load(config.keys_path))


def prepare(config: Config) -> None:
    """Keys, and in the migrated database a monitor and a piece of evidence, made before anything can fail."""
    keyring.create(config.keys_path)
    engine = make_engine(config)
    with db.new_session(engine) as session:
        record = Record(session, Factory(session, clock.now()), clock.now())
        record.submitted(record.first)
    engine.dispose()


def receive(config: Config, content: bytes) -> Incoming:
    with storage.receive(config, limit=10**9) as receiver:
        for place in range(0, len(content), PIECE):
            receiver.write(content[place : place + PIECE])
        return receiver.finish()


def attach(session: Session, config: Config, incoming: Incoming) -> None:
    """What `views.exhibits.new` does with a received file, but for looking into it, which a child process does."""
    store = storage.open_store(config)
    mona = session.scalars(select(Account).where(Account.role == Role.MONITOR)).one()
    exhibits.check_quota(session, account=mona, expected=incoming.size, megabytes=10**6, now=clock.now())
    session.commit()
    store.keep(incoming)
    exhibits.attach(
        session,
        session.scalars(select(Evidence)).one(),
        incoming,
        Examined(FileKind.TXT),
        name="register.txt",
        account=mona,
        store=store,
        now=clock.now(),
    )


def upload(engine: Engine, config: Config, content: bytes = CONTENT) -> None:
    """One upload, in the order that everything relies on: the blob, then the rows; the answer comes after."""
    incoming = receive(config, content)
    try:
        with db.new_session(engine) as session:
            attach(session, config, incoming)
            session.commit()
    finally:
        incoming.discard()


def warm(engine: Engine, config: Config) -> None:
    """Load and compile now what each child would else load and compile anew; nothing of it is kept."""
    with tempfile.TemporaryDirectory() as folder, db.new_session(engine) as session:
        elsewhere = config.model_copy(
            update={"data_dir": Path(folder), "storage_url": type(config.storage_url)("")}
        )
        attach(session, elsewhere, receive(elsewhere, b"warm"))
        session.rollback()
    # A forked child must not share a connection.
    engine.dispose()


def _line() -> str:
    taken = b""
    while not taken.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            return ""
        taken += byte
    return taken.decode()


def _child(engine: Engine, config: Config, content: bytes) -> None:
    _line()
    try:
        upload(engine, config, content)
        said = "acknowledged"
    except (TrackerError, DBAPIError) as error:  # What the pages answer with a sentence.
        said = f"refused {' '.join(str(error).split())}"
    os.write(1, f"{said}\n".encode())
    # The last connection to an SQLite database brings its log into the file: faults after the answer count, too.
    engine.dispose()


def main(folder: str) -> None:
    config = make_config(
        folder, os.environ["TRACKER_DATABASE_URL"], os.environ.get("TRACKER_STORAGE_URL", "")
    )
    engine = make_engine(config)
    warm(engine, config)
    while line := _line():
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _child(engine, config, CONTENT * int(line))
                status = 0
            except OSError:
                status = 3  # The answer itself did not get through.
            finally:
                if status == 1:
                    traceback.print_exc()
                os._exit(status)
        os.write(1, f"{pid}\n".encode())
        os.write(1, f"ended {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1])
