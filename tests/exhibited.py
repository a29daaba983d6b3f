"""Evidence with exhibits and public copies, made through the services and a real store, for tests."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.published import HARMLESS, Record
from tracker import storage
from tracker.config import Config
from tracker.examiner.traces import Examined
from tracker.models import Evidence, Exhibit, PublicCopy
from tracker.services import copies, exhibits, harm
from tracker.services import evidence as pieces
from tracker.storage import Incoming
from tracker.vocabulary import CopyMethod, FileKind


class Exhibited:
    """Attaches files for Mona, prepares copies for her, and lets Rafa publish."""

    def __init__(self, record: Record, config: Config) -> None:
        self.record, self.config, self.session = record, config, record.session
        self.store = storage.open_store(config)

    def receive(self, content: bytes) -> Incoming:
        with storage.receive(self.config, limit=1 << 26) as receiver:
            receiver.write(content)
            return receiver.finish()

    def kept(self, content: bytes) -> Incoming:
        """Received, and in the store, as it is before a row is written."""
        incoming = self.receive(content)
        self.store.keep(incoming)
        return incoming

    def attach(
        self,
        piece: Evidence,
        content: bytes,
        name: str = "quarry gate.jpg",
        kind: FileKind = FileKind.JPEG,
        **values: Any,
    ) -> Exhibit:
        made = exhibits.attach(
            self.session,
            piece,
            self.kept(content),
            Examined(kind),
            **{
                "name": name,
                "account": self.record.mona,
                "store": self.store,
                "now": self.record.tick(),
                **values,
            },
        )
        self.session.commit()
        return made

    def copy(
        self,
        exhibit: Exhibit,
        content: bytes,
        kind: FileKind = FileKind.JPEG,
        description: str = "The gate of a quarry.",
    ) -> PublicCopy:
        made = copies.prepare(
            self.session,
            exhibit,
            self.kept(content),
            kind,
            CopyMethod.PIXELS,
            description=description,
            account=self.record.mona,
            store=self.store,
            now=self.record.tick(),
        )
        self.session.commit()
        return made

    def publish(self, piece: Evidence) -> Evidence:
        seen = harm.fingerprint(harm.warnings(self.session, piece, keys=None))
        pieces.accept(
            self.session,
            piece,
            reviewer=self.record.rafa,
            harm=replace(HARMLESS, looked=seen),
            now=self.record.tick(),
        )
        self.session.commit()
        return piece

    def published(self, original: bytes, copy: bytes, **values: Any) -> tuple[Evidence, Exhibit, PublicCopy]:
        """A public piece about 88(a) with one exhibit and its released copy."""
        piece = self.record.submitted(self.record.first, **values)
        exhibit = self.attach(piece, original)
        made = self.copy(exhibit, copy)
        self.publish(piece)
        return piece, exhibit, made

    def path_of(self, sha256: str | None) -> Any:
        """Where the folder store keeps a blob."""
        assert sha256
        return self.config.exhibits_path / sha256[:2] / sha256


@contextmanager
def unguarded(session: Session) -> Iterator[None]:
    """Inside, custody lines can be changed and deleted, as by somebody who owns the database. Committed at the end."""
    session.commit()
    dropped: list[str] = []
    if session.get_bind().dialect.name == "sqlite":
        guards = text(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'custody_line'"
        )
        for name, made in session.execute(guards).all():
            session.execute(text(f"DROP TRIGGER {name}"))
            dropped.append(made)
    else:
        session.execute(text("ALTER TABLE custody_line DISABLE TRIGGER USER"))
    yield
    for made in dropped:
        session.execute(text(made))
    if not dropped:
        session.execute(text("ALTER TABLE custody_line ENABLE TRIGGER USER"))
    session.commit()


def days(number: float) -> dt.timedelta:
    return dt.timedelta(days=number)
