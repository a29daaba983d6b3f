"""Whoever has everything that the web process has finds no subscriber's address, and cannot try one out."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.functional.test_seized import spellings, stored
from tests.mail import parts
from tests.unit.test_sign_ups import as_before
from tracker import create_app, jobs, keyring
from tracker.config import ROOT, Config
from tracker.keyring import MAILER_FILES, Keyring
from tracker.models import SignUp, Subscriber
from tracker.services import sign_ups, subscriptions
from tracker.vocabulary import SubscriberState

FOLLOWS = "Vera.Quiet+Rights@gmail.com"
WAITS = "second.quiet.reader@arvenia.example"
OLD = "old.quiet.reader@arvenia.example"


@pytest.fixture
def mailers_folder(tmp_path: Path, keys_folder: Path) -> Path:
    """The keys in two folders, as two users of one machine have them."""
    own = tmp_path / "web-keys"
    others = tmp_path / "mailer-keys"
    shutil.copytree(keys_folder, own)
    others.mkdir(mode=0o700)
    for name in MAILER_FILES:
        shutil.move(own / name, others / name)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "keys").symlink_to(own)
    return others


@pytest.fixture
def web(
    mailers_folder: Path, make_config: Callable[..., Config], database_url: str, compiled_templates: Any
) -> Iterator[Flask]:
    """The web process: it cannot open the mailer's folder."""
    app = create_app(
        make_config(database_url=database_url, mailer_keys_dir=mailers_folder / "not-for-this-user")
    )
    app.testing, app.jinja_env.bytecode_cache = True, compiled_templates
    yield app
    app.extensions["engine"].dispose()


@pytest.fixture
def mailer(
    mailers_folder: Path,
    make_config: Callable[..., Config],
    database_url: str,
    compiled_templates: Any,
    tmp_path: Path,
) -> Iterator[Flask]:
    """The mailer, with a data folder of its own, where its outbox is."""
    own = tmp_path / "mailers-data"
    own.mkdir()
    (own / "keys").symlink_to(tmp_path / "web-keys")
    app = create_app(make_config(database_url=database_url, mailer_keys_dir=mailers_folder, data_dir=own))
    app.jinja_env.bytecode_cache = compiled_templates
    yield app
    app.extensions["engine"].dispose()


@pytest.fixture
def seized(web: Flask, mailer: Flask, session: Session, make: Factory, now: dt.datetime) -> Flask:
    """One who followed with an older release, one who follows, one whose entry waits; all through the web process."""
    make.report()
    client = Client(web)
    with time_machine.travel(now, tick=False):
        for address in (OLD, FOLLOWS):
            client.send("/follow", {"email": address})
            jobs.tick(mailer, now)
            client.send(_confirm_link(mailer), {}, status=200)
        old = session.scalars(select(Subscriber).order_by(Subscriber.id)).first()
        assert old is not None
        as_before(session, old, mailer.extensions["keyring"], OLD)
        jobs.take_sign_ups(mailer, now)
        # Its old links have ended since.
        jobs.purge(mailer, now + dt.timedelta(days=61))
        client.send("/follow", {"email": WAITS})
        page = client.get("/follow").text
    assert WAITS not in page
    session.rollback()
    return web


def _confirm_link(mailer: Flask) -> str:
    folder: Path = mailer.extensions["settings"].outbox_path
    newest = max(folder.glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
    found = re.search(r"http://localhost(/follow/confirm/\S+)", parts(newest.read_bytes())[0])
    assert found
    return found.group(1)


def everything(web: Flask, session: Session, request: pytest.FixtureRequest) -> dict[str, bytes]:
    """All that the web process has: database, data and keys folders, environment, and the app itself."""
    found = stored(web.extensions["settings"], request, session)
    found["environment"] = str(dict(os.environ)).encode()
    found["settings"] = repr(web.extensions["settings"]).encode()
    keys: Keyring = web.extensions["keyring"]
    assert keys._mailer is None
    found["keyring"] = pickle.dumps(
        (keys._secret, keys._ledger.private_bytes_raw(), keys._mailer_public.public_bytes_raw())
    )
    return found


def test_no_address_stands_in_what_the_web_process_has(
    seized: Flask, session: Session, request: pytest.FixtureRequest
) -> None:
    states = list(session.scalars(select(Subscriber.state)))
    assert states == [SubscriberState.CONFIRMED] * 2
    assert session.scalar(select(func.count()).select_from(SignUp)) == 1

    found = everything(seized, session, request)

    # The search finds what is there.
    key = session.scalars(select(Subscriber.key)).first()
    assert key is not None
    assert any(key.encode() in content for content in found.values())
    for address in (FOLLOWS, WAITS, OLD):
        for words in (address, address.lower(), sign_ups.canonical(address), address.partition("@")[0]):
            for spelling in spellings(words):
                for name, content in found.items():
                    assert spelling not in content, (name, words)


def test_no_key_of_the_web_process_tells_whether_an_address_follows(
    seized: Flask, session: Session, request: pytest.FixtureRequest
) -> None:
    rows = list(session.scalars(select(Subscriber)))
    session.rollback()
    found = everything(seized, session, request)
    # Rows of older releases are gone from the files of PostgreSQL once it has vacuumed them and recycled its log.
    tables = {name: content for name, content in found.items() if name.startswith("table ")}
    of_old = found if session.get_bind().dialect.name == "sqlite" else tables
    secrets = list(_secrets(seized))
    for addresses, places in (((FOLLOWS, WAITS), found), ((OLD,), of_old)):
        tried = {one for address in addresses for one in _fingerprints(secrets, address, rows)}
        assert not tried & _hashes(places), addresses


def _hashes(places: dict[str, bytes]) -> set[str]:
    """Whatever looks like a SHA-256 in hex, wherever it begins, and every cell or key of that many bytes."""
    found: set[str] = set()
    for name, content in places.items():
        found |= {one.decode() for one in re.findall(rb"(?=([0-9a-f]{64}))", content)}
        if name.startswith("table "):
            found |= {cell.hex() for cell in content.split(b"\n") if len(cell) == 32}
    return found


def test_the_same_search_finds_the_hashes_of_an_older_release_so_the_test_above_can_fail(
    seized: Flask, mailer: Flask, session: Session
) -> None:
    reader = session.scalars(select(Subscriber).order_by(Subscriber.id)).first()
    assert reader is not None
    as_before(session, reader, mailer.extensions["keyring"], OLD)
    tried = set(_fingerprints(list(_secrets(seized)), OLD, [reader]))

    assert reader.address_hash in tried
    # And by the link's hash, which is why old links end.
    assert reader.manage_token_hash in tried


def test_nothing_sealed_opens_with_what_the_web_process_has(
    seized: Flask, mailer: Flask, session: Session
) -> None:
    sealed = list(session.scalars(select(SignUp.sealed)))
    sealed += [row for row in session.scalars(select(Subscriber.address_sealed)) if row is not None]
    contexts = [sign_ups.CONTEXT, ""]
    contexts += [
        subscriptions.address_context(str(one)) for one in session.scalars(select(Subscriber.address_hash))
    ]
    public = seized.extensions["keyring"]._mailer_public
    for secret in _secrets(seized):
        taken = keyring.MailerKeys(X25519PrivateKey.from_private_bytes(secret), secret)
        assert X25519PrivateKey.from_private_bytes(secret).public_key() != public
        for content in sealed:
            for context in contexts:
                for way in (taken.unseal, taken.unlock):
                    with pytest.raises(ValueError, match="does not open"):
                        way(content, context)
    # The mailer's keys do open them.
    keys: Keyring = mailer.extensions["keyring"]
    assert WAITS.encode() in keys.mailer.unseal(sealed[0], sign_ups.CONTEXT)
    addresses = [subscriptions.address(one, keys) for one in session.scalars(select(Subscriber))]
    assert sorted(addresses) == sorted([FOLLOWS, OLD])


def _secrets(web: Flask) -> Iterator[bytes]:
    """Every 32 bytes that the web process has, and whatever is derived from its secret for any purpose in the code."""
    keys: Keyring = web.extensions["keyring"]
    folder: Path = web.extensions["settings"].keys_path
    found = {path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert not {path.name for path in folder.iterdir()} & set(MAILER_FILES)
    found = {content for content in found if len(content) == 32}
    for line in (folder / "records.keys").read_text().splitlines()[1:]:
        found.add(base64.b64decode(line.partition(":")[2]))
    found |= {keys.derive(purpose) for purpose in _purposes()}
    assert len(found) >= 12
    yield from found


def _purposes() -> set[str]:
    """Whatever is named as a purpose anywhere in the program, and the mailer's own names for its keys."""
    words = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "tracker").rglob("*.py"))
    named = set(
        re.findall(r'(?:keyed_hash|derive|_derived|_token)\(\s*(?:self\._secret,\s*)?f?"([^"{]+)', words)
    )
    assert {"subscriber", "manage", "leave", "message", "attempt", "form-token"} <= named
    return named | {f"mailer/{name}" for name in named} | {""}


def _fingerprints(secrets: list[bytes], address: str, rows: list[Subscriber]) -> Iterator[str]:
    """What a guess of this address would be stored as, by any of the keys: its hash, and the hashes of its links."""
    texts = {address, address.lower(), sign_ups.canonical(address)}
    for text in texts:
        yield hashlib.sha256(text.encode()).hexdigest()
        for secret in secrets:
            found = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
            yield found
            for row in rows:
                for other in secrets:
                    token = hmac.new(other, f"{row.key}/{found}".encode(), hashlib.sha256).hexdigest()[:32]
                    yield subscriptions.hash_token(token)
