"""Files and sealed text: receiving a file, looking into it, and reading restricted evidence beside the open kind."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from sqlalchemy import select

from tests import files
from tests.benchmarks.measure import Case
from tests.benchmarks.world import NOW, World
from tests.factories import Factory
from tracker import media, storage
from tracker.models import Evidence, Recommendation
from tracker.vocabulary import Role, Visibility

MB = 1024 * 1024
PIECES = 100


def receiving(world: World) -> list[Case]:
    """5 MB onto the disk so that they survive a power cut, by our way and as plainly as can be."""
    content = os.urandom(5 * MB)
    chunks = [content[start : start + 65536] for start in range(0, len(content), 65536)]
    store = storage.open_store(world.config)
    plain = world.folder / "plain"

    def local() -> None:
        digest = hashlib.sha256()
        with plain.open("wb") as file:
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        plain.replace(world.folder / digest.hexdigest())
        folder = os.open(world.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def receive() -> None:
        with storage.receive(world.config, limit=200 * MB) as receiver:
            for chunk in chunks:
                receiver.write(chunk)
            incoming = receiver.finish()
        store.keep(incoming)

    return [
        Case("hash, write, fsync, rename, fsync folder", "5 MB", local),
        Case("receive and keep (hashed twice)", "5 MB", receive),
    ]


def looking(world: World) -> list[Case]:
    """The child process that looks into a file: what it costs at least, and with a real picture and a real PDF."""
    paths = {name: world.folder / name for name in ("photo.jpg", "large.jpg", "note.pdf", "note.txt")}
    paths["photo.jpg"].write_bytes(files.telling_jpeg())
    paths["large.jpg"].write_bytes(files.jpeg(size=(4000, 3000)))
    paths["note.pdf"].write_bytes(files.pdf(pages=10))
    paths["note.txt"].write_text("Arvenia\n" * 1000)

    def examine(name: str) -> Case:
        return Case(f"examine {name}", _size(paths[name]), lambda: media.examine(paths[name], name))

    def copy() -> None:
        made = world.folder / "copy"
        media.make_copy(paths["large.jpg"], media.examine(paths["large.jpg"], "large.jpg").kind, made)
        made.unlink()

    return [
        examine("note.txt"),
        examine("photo.jpg"),
        examine("large.jpg"),
        examine("note.pdf"),
        Case("examine and copy large.jpg", "12 megapixels", copy),
    ]


def reading(world: World) -> list[Case]:
    """A hundred pieces of evidence read from the database, open and sealed."""
    with world.session() as session:
        make = Factory(session, NOW)
        author = make.account(Role.MONITOR, email="reader@arvenia.example").id
        place = session.scalars(select(Recommendation).limit(1)).one()
        for visibility in (Visibility.TEAM, Visibility.RESTRICTED):
            for number in range(PIECES):
                make.evidence(place, visibility=visibility, created_by_id=author, title=f"Piece {number}")

    def read(visibility: Visibility) -> None:
        with world.session() as session:
            query = select(Evidence).where(
                Evidence.visibility == visibility, Evidence.created_by_id == author
            )
            assert len([piece.title for piece in session.scalars(query)]) == PIECES
            session.rollback()

    return [
        Case("read open evidence", f"{PIECES} pieces", lambda: read(Visibility.TEAM), of=PIECES),
        Case("read sealed evidence", f"{PIECES} pieces", lambda: read(Visibility.RESTRICTED), of=PIECES),
    ]


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1024:,.0f} kB"
