"""Writing evidence packs: a ZIP with pages, files and proofs, under a signed manifest that names every byte of it.

How a pack is built, and how it is checked, stands in `tracker/verifier.py`. Files from the store go in one by one, so
that memory stays small however large the pack is, and while no transaction is open. Call inside an app context: the
pages are templates.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import json
import os
import secrets
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from flask import render_template
from flask_babel import force_locale
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tracker import db, storage, verifier
from tracker.config import ROOT, Config
from tracker.errors import Conflict, StorageFailed, StorageMissing, TooMany
from tracker.keyring import Keyring
from tracker.services import ledger, pack_record, packs
from tracker.services.packs import Contents, File, Mark, Wanted
from tracker.vocabulary import IMAGES, N_, CustodyAction

_TRIES = 3
_CHUNK = 1 << 20
# Ready packs are forgotten after a day, half written ones after an hour, the oldest first when they take more than this.
_KEPT_FOR, _HALF_FOR, _KEPT_BYTES = dt.timedelta(days=1), dt.timedelta(hours=1), 4 * 2**30


def write(
    into: IO[bytes],
    wanted: Wanted,
    *,
    engine: Engine,
    config: Config,
    keys: Keyring,
    logged: list[File] | None = None,
    now: dt.datetime,
) -> None:
    """Write a pack into a file, from its start. Raises Invalid if it would be too large, NoRoom if the disk is full.

    What is published or withdrawn meanwhile is in it or out of it as a whole: then it is written once more. `logged`
    are the files whose going out is on record: a pack with others is not written.
    """
    for _ in range(_TRIES):
        with _snapshot(engine) as session:
            files = packs.gather(session, wanted, review_months=config.review_months, now=now).files
        if logged is not None and files != logged:
            break
        # The files lie in the pack, and one of them beside it.
        storage.check_room(
            config, sum(file.size for file in files) + max((file.size for file in files), default=0)
        )
        into.seek(0)
        into.truncate()
        with _Pack(into) as pack:
            lost = _add_files(pack, files, config)
            with _snapshot(engine) as session:
                contents = packs.gather(session, wanted, review_months=config.review_months, now=now)
                if contents.files == files:
                    with force_locale("en"):
                        _add_rest(pack, session, contents, lost, config, keys, now)
                    return
    raise Conflict(packs.CHANGED)


def cover(session: Session, wanted: Wanted, *, config: Config, keys: Keyring, now: dt.datetime) -> None:
    """Take a checkpoint if something about the report is newer than the newest one. The caller commits."""
    if not packs.covered(session, wanted):
        ledger.take_checkpoint(
            session, origin=config.ledger_origin, public_key=keys.ledger_public_key, sign=keys.sign, now=now
        )


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Session]:
    """A transaction whose statements all see the same moment, as they do on SQLite anyway."""
    with db.reading(), db.new_session(engine) as session:
        if engine.dialect.name == "postgresql":
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        yield session


class _Pack:
    """A ZIP as `verifier.py` wants it, which notes size and hash of all that goes in."""

    def __init__(self, into: IO[bytes]) -> None:
        self.listed: list[dict[str, Any]] = []
        self._zip = zipfile.ZipFile(into, "w", zipfile.ZIP_STORED, allowZip64=False)

    def __enter__(self) -> _Pack:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def add(self, path: str, pieces: Iterable[bytes], *, listed: bool = True) -> None:
        """Add a file, in pieces."""
        info = zipfile.ZipInfo(path)  # Without a date: that is midnight of 1 January 1980.
        info.create_system, info.external_attr = 3, 0o600 << 16
        digest, size = hashlib.sha256(), 0
        with self._zip.open(info, "w") as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                size += len(piece)
        if listed:
            self.listed.append({"path": path, "size": size, "sha256": digest.hexdigest()})

    def text(self, path: str, words: str, *, listed: bool = True) -> None:
        self.add(path, [words.encode()], listed=listed)


def _add_files(pack: _Pack, files: list[File], config: Config) -> set[str]:
    """Add what the store holds. Returns the paths of what is damaged or missing there, which stays out."""
    store, lost = storage.open_store(config), set()
    config.incoming_path.mkdir(mode=0o700, exist_ok=True)
    for file in files:
        # Fetched whole first, because it must be proven before its first byte goes in.
        beside = config.incoming_path / secrets.token_hex(16)
        try:
            if store.size(file.sha256) is None:
                raise StorageMissing(N_("This file is not in the store."))
            store.fetch(file.sha256, beside)
            with beside.open("rb") as fetched:
                pack.add(file.path, iter(lambda fetched=fetched: fetched.read(_CHUNK), b""))  # type: ignore[misc]
        except StorageMissing:
            lost.add(file.path)
        except StorageFailed as error:
            if error.message != storage.files.DAMAGED:
                raise
            lost.add(file.path)
        finally:
            beside.unlink(missing_ok=True)
    return lost


def _add_rest(
    pack: _Pack,
    session: Session,
    contents: Contents,
    lost: set[str],
    config: Config,
    keys: Keyring,
    now: dt.datetime,
) -> None:
    words = {
        "contents": contents,
        "lost": lost,
        "made_at": now,
        "origin": config.ledger_origin,
        "public_key": keys.ledger_public_key.hex(),
        "images": IMAGES,
        "actions": {action.value: action for action in CustodyAction},
        "agreed": lambda evidence: packs.agreed(evidence, on=now.date()),
    }
    pack.text("README.txt", render_template("packs/readme.txt", **words).strip() + "\n")
    pack.text("index.html", render_template("packs/index.html", up="", **words))
    for row in contents.rows:
        page = render_template("packs/recommendation.html", up="../", row=row, **words)
        pack.text(f"recommendations/{row.recommendation.number}.html", page)
    for piece in contents.pieces:
        logs = [pack_record.public_custody(copy) for copy, _ in piece.copies]
        for (_, file), log in zip(piece.copies, logs, strict=True):
            pack.text(f"custody/{file.path.rsplit('.', 1)[0]}.json", _json(log))
        kept = [pack_record.team_custody(session, exhibit) for exhibit, _ in piece.originals]
        for (_, file), whole_log in zip(piece.originals, kept, strict=True):
            pack.text(f"custody/{file.path.rsplit('.', 1)[0]}.json", _json(whole_log))
        page = render_template("packs/evidence.html", up="../", piece=piece, logs=logs, kept=kept, **words)
        pack.text(f"evidence/{piece.name}.html", page)
    pack.text("data.json", _json(pack_record.data(contents, lost=lost, now=now)))
    pack.add("ledger/slice.jsonl", (_line(entry) for entry in pack_record.ledger_slice(session, contents)))
    pack.text("ledger/checkpoint.txt", contents.checkpoint.note)
    if contents.stamp is not None:
        pack.add("ledger/checkpoint.tsr", [contents.stamp.token])
    pack.add("verifier.py", [Path(verifier.__file__).read_bytes()])
    pack.add("style.css", [(ROOT / "templates" / "packs" / "style.css").read_bytes()])
    _seal(pack, contents, config, keys, now)


def _seal(pack: _Pack, contents: Contents, config: Config, keys: Keyring, now: dt.datetime) -> None:
    """Add the manifest and its signature."""
    origin, public_key = config.ledger_origin, keys.ledger_public_key
    manifest = ledger.canonical(
        {
            "format": verifier.PACK,
            "origin": origin,
            "public_key": public_key.hex(),
            "made_at": now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:00:00Z"),
            "audience": pack_record.audience(contents),
            "scope": contents.wanted.scope,
            "size": contents.checkpoint.size,
            "files": sorted(pack.listed, key=lambda item: str(item["path"])),
        }
    )
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    sealed = f"{verifier.PACK}\n{origin}\n{digest}\n"
    pack.text("manifest.json", manifest, listed=False)
    note = verifier.signed_note(sealed, origin, public_key, keys.sign(sealed.encode()))
    pack.text("manifest.sig", note, listed=False)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False).encode() + b"\n"


# Packs for everybody are kept for those who ask next.


def write_file(path: Path, make: Callable[[IO[bytes]], None]) -> None:
    """Have a pack written to a file that is whole and durable, or not there."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        with beside.open("x+b") as file:
            beside.chmod(0o600)
            make(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def ready_path(config: Config, wanted: Wanted, mark: Mark, *parts: object) -> Path:
    """Where the pack with this mark lies, once it is built. `parts` are what else its bytes depend on."""
    name = hashlib.sha256(repr((mark, parts)).encode()).hexdigest()[:32]
    return config.packs_path / f"{wanted.report}.{wanted.recommendation or ''}.{mark.seq}.{name}.zip"


def open_ready(path: Path) -> IO[bytes] | None:
    """A pack that was built before; None if there is none."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


@contextmanager
def alone(config: Config, *, seconds: float) -> Iterator[None]:
    """One pack is built at a time on this machine. Raises TooMany if it is not our turn within so many seconds."""
    config.packs_path.mkdir(mode=0o700, exist_ok=True)
    with (config.packs_path / "lock").open("w") as file:
        until = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TooMany(
                        N_("Another pack is being made at the moment. Try again in a minute.")
                    ) from None
                time.sleep(0.1)
        yield  # Closing the file ends the lock, also when this process is killed.


def forget(session: Session, config: Config, *, now: dt.datetime) -> None:
    """Remove packs that say what the record says no more, that are a day old, or that are too many."""
    kept: list[tuple[float, int, Path]] = []
    for path in config.packs_path.glob("*.*.*.*"):
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            age = now - dt.datetime.fromtimestamp(found.st_mtime, dt.UTC)
            slug, _, seq, _, ending = path.name.split(".", 4)
            half = ending != "zip"
            if age > (_HALF_FOR if half else _KEPT_FOR) or (
                not half and seq != packs.newest_seq(session, slug)
            ):
                path.unlink(missing_ok=True)
            elif not half:
                kept.append((found.st_mtime, found.st_size, path))
    size = 0
    for _, bytes_of, path in sorted(kept, reverse=True):
        size += bytes_of
        if size > _KEPT_BYTES:
            path.unlink(missing_ok=True)
