"""Where uploads are made to fail, and what must be true afterwards."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import delete, select, text

from tests.faults import keeper
from tests.faults.traced import NAME, Run
from tracker import clock, db, fsck, keyring, storage
from tracker.config import Config
from tracker.models import Blob, CustodyLine, Exhibit, PrivateCommitment, RecordKey
from tracker.services.fsck import GRACE
from tracker.vocabulary import CustodyAction

#: What there is before the upload. In the last case exhibits lie on another disk.
STARTS = ("new", "again", "damaged", "elsewhere")
SHA256 = hashlib.sha256(keeper.CONTENT).hexdigest()


class Place:
    """A data folder and a database, which stand as at their beginning before each upload."""

    def __init__(self, config: Config) -> None:
        self.config = config
        keeper.prepare(config)
        self.keys = keyring.load(config.keys_path)
        self.engine = db.make_engine(config.sqlalchemy_url, self.keys)
        self.store = storage.open_store(config)
        self.file = Path(self.engine.url.database or "") if self.engine.dialect.name == "sqlite" else None
        self.empty = self.file.read_bytes() if self.file else b""

    def begin(self, start: str) -> int:
        """Go back to the beginning, as `start` says. Returns how many exhibits there are."""
        self._clear()
        self.config.incoming_path.mkdir(mode=0o700)
        if start == "elsewhere":
            self.config.exhibits_path.symlink_to(tempfile.mkdtemp(prefix="tracker-faults-", dir="/dev/shm"))
        if start in ("again", "damaged"):
            keeper.upload(self.engine, self.config)
        if start == "damaged":
            self.blob.write_bytes(keeper.CONTENT[:-1] + b"?")
        # The upload's process is then the only one with connections, and the last to close them.
        self.engine.dispose()
        return int(start in ("again", "damaged"))

    def _clear(self) -> None:
        self.engine.dispose()
        self.end()
        if self.file:
            for beside in ("-wal", "-shm"):
                self.file.with_name(self.file.name + beside).unlink(missing_ok=True)
            self.file.write_bytes(self.empty)
        else:
            with db.new_session(self.engine) as session, session.begin():
                for table in (Exhibit, Blob, PrivateCommitment, RecordKey):
                    session.execute(delete(table))

    def end(self) -> None:
        """Remove what lies in the data folder."""
        if self.config.exhibits_path.is_symlink():
            shutil.rmtree(self.config.exhibits_path.resolve())
            self.config.exhibits_path.unlink()
        for folder in (self.config.exhibits_path, self.config.incoming_path):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def blob(self) -> Path:
        return self.config.exhibits_path / SHA256[:2] / SHA256

    def is_whole(self) -> bool:
        return self.store.size(SHA256) is not None and self.store.check(SHA256) == SHA256

    def half(self) -> list[Path]:
        """What was received and not finished."""
        return [*self.config.incoming_path.glob("*"), *self.config.exhibits_path.glob("incoming/*")]

    def exhibits(self) -> list[int]:
        """The ids of all exhibits, once nobody writes any more."""
        with db.reading(), db.new_session(self.engine) as session:
            while self.file is None and session.scalar(
                text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name"), {"name": NAME}
            ):
                session.rollback()  # PostgreSQL may still be busy with what a killed process sent to it.
                time.sleep(0.01)
            return list(session.scalars(select(Exhibit.id).order_by(Exhibit.id)))

    def uploads(self) -> list[int]:
        """Of which exhibits the custody log says that these bytes were uploaded."""
        lines = select(CustodyLine.exhibit_id).where(
            CustodyLine.action == CustodyAction.UPLOADED, CustodyLine.sha256 == SHA256
        )
        with db.reading(), db.new_session(self.engine) as session:
            return list(session.scalars(lines.order_by(CustodyLine.exhibit_id)))

    def fsck(self) -> list[str]:
        """What `tracker fsck` would find when enough time has passed for it to tidy up."""
        at = clock.now() + GRACE + dt.timedelta(hours=1)
        return [
            item.sentence for item in fsck.run(self.engine, self.config, self.keys, now=at) if not item.tidied
        ]


@contextmanager
def placed(config: Config) -> Iterator[Place]:
    """A place, whose folder is emptied afterwards."""
    place = Place(config)
    try:
        yield place
    finally:
        place.engine.dispose()
        place.end()


def problems(place: Place, run: Run, start: str, before: int) -> Iterator[str]:
    """What an upload left that it must not leave; nothing if all is well. `before`: how many exhibits there were."""
    yield from _lost(place, run, start, before)
    if run.result == "refused" and run.status != 3 and not run.said.startswith("refused "):
        yield f"no sentence (status {run.status})"
    if run.result != "killed" and place.half():
        yield "half a file left"

    found = place.fsck()
    if start == "damaged" and not place.is_whole():
        if len(found) != 1 or "its bytes differ" not in found[0]:
            yield f"fsck does not see the damage, or more than that: {found}"
    else:
        yield from (f"fsck: {sentence}" for sentence in found)
    if place.half():
        yield "half a file that is not swept"
    yield from (f"{problem}, after fsck" for problem in _lost(place, run, start, before))

    count = len(place.exhibits())
    keeper.upload(place.engine, place.config)
    if not (place.is_whole() and len(place.exhibits()) == count + 1):
        yield "the next upload of the same file failed"
    yield from (f"fsck, after the next upload: {sentence}" for sentence in place.fsck())


def _lost(place: Place, run: Run, start: str, before: int) -> Iterator[str]:
    rows, whole = place.exhibits(), place.is_whole()
    names = [name for name, _ in place.store.names()]
    if run.acknowledged and not (whole and len(rows) == before + 1):
        yield "lost"
    if len(rows) not in (before, before + 1):
        yield "not one exhibit more, and not as many as before"
    if place.uploads() != rows:
        yield "an exhibit without its line of custody, or a line too many"
    if len(rows) > before and not whole:
        yield "an exhibit without its bytes"
    if any(name != SHA256 for name in names):
        yield "something else in the store"
    if SHA256 in names and not whole and not (start == "damaged" and len(rows) == before):
        yield "wrong bytes under a blob's name"
    if start == "again" and not whole:
        yield "an older blob was harmed"
