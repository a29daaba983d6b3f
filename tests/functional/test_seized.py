"""Whoever takes the server with everything on it does not learn who the sources are. A custodian does, elsewhere."""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from flask import Flask
from sqlalchemy import MetaData, create_engine, select, text
from sqlalchemy.orm import Session

from tests.functional.conftest import Client
from tests.functional.test_custody_cli import elsewhere, offline, public
from tracker import sealed_file
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Account, SourceRecord
from tracker.sealed_file import Damaged, Line, Place
from tracker.services import source_records

SECRETS = {
    "name": "Ayla Sarik-Onal",
    "contact": "+000 555 0101 ayla@valley.arvenia.example",
    "safe_contact": "Through her cousin Temur on market days",
    "notes": "Worked at the quarry of Lower Hesk",
}
# Names on the list of names to warn about are kept as short hashes: tried against the list they would be found,
# which docs/decisions/0005-sources.md says. Here too nothing of them stands anywhere.
WATCHED = "Ayla Onal"


def spellings(words: str) -> Iterator[bytes]:
    """The same words as somebody who searches a disk would look for them."""
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        plain = words.encode(encoding)
        yield plain
        yield plain.hex().encode()
        for shift in range(3):
            # Whatever stands before it, base64 of the middle looks like one of three.
            yield base64.b64encode(b"\0" * shift + plain)[4:-4]


@pytest.fixture
def custodian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on another machine, with a real key."""
    folder = tmp_path_factory.mktemp("elsewhere")
    offline("keygen", str(folder / "key"), "--no-passphrase")
    return folder


def stored(config: Config, request: pytest.FixtureRequest, session: Session) -> dict[str, bytes]:
    """All that lies on the seized machine: the data folder with its keys, and the database's own files and tables."""
    found: dict[str, bytes] = {}
    folders = [config.data_path, config.keys_path.resolve()]
    if "sqlite" in config.sqlalchemy_url:
        path = Path(config.sqlalchemy_url.removeprefix("sqlite:///"))
        found |= {str(one): one.read_bytes() for one in path.parent.glob(f"{path.name}*")}
        assert any(name.endswith("-wal") for name in found)
    else:
        session.execute(text("CHECKPOINT"))
        number = session.execute(
            text("SELECT oid FROM pg_database WHERE datname = current_database()")
        ).scalar_one()
        server = Path(request.getfixturevalue("postgresql_server")) / "data"
        folders += [server / "base" / str(number), server / "pg_wal"]
    for folder in folders:
        found |= {str(one): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
    engine, tables = create_engine(session.get_bind().engine.url), MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        for table in tables.sorted_tables:
            rows = connection.execute(select(table)).all()
            cells = itertools.chain.from_iterable(rows)
            found[f"table {table.name}"] = b"\n".join(
                bytes(cell) if isinstance(cell, bytes | memoryview) else str(cell).encode() for cell in cells
            )
    engine.dispose()
    return found


@pytest.fixture
def seized(
    app: Flask,
    run: Callable[..., Result],
    as_somebody: Callable[[Account], Client],
    mona: Account,
    custodian: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capfd: pytest.CaptureFixture[str],
) -> str:
    """A server on which an identity was entered in the browser; gives the pseudonym."""
    second = tmp_path_factory.mktemp("second")
    offline("keygen", str(second / "key"), "--no-passphrase")
    run("custody", "add", "North", public(custodian))
    run("custody", "add", "South", public(second))
    browser = as_somebody(mona)
    page: str = browser.send("/workspace/sources", {}).headers["Location"]
    told = browser.send(page, {**SECRETS, "words": WATCHED}, form=_sealing(browser, page))
    assert told.headers["Location"] == page
    assert "Sealed as version 1" in browser.get(page).text
    return page.rpartition("/")[2]


def _sealing(browser: Client, page: str) -> int:
    forms = browser.get(page).forms
    return next(place for place, form in enumerate(forms) if str(form["action"]).endswith("/identity"))


def test_nothing_on_the_server_yields_who_a_source_is(
    seized: str,
    config: Config,
    keys: Keyring,
    session: Session,
    custodian: Path,
    request: pytest.FixtureRequest,
    capfd: pytest.CaptureFixture[str],
) -> None:
    told = capfd.readouterr()
    everything = stored(config, request, session)
    everything["environment"] = str(dict(os.environ)).encode()
    everything["logs"] = (told.out + told.err).encode()
    # The search finds what is there: the pseudonym stands in the database's tables and in its files.
    holding = [name for name, content in everything.items() if seized.encode() in content]
    assert {name.startswith("table ") for name in holding} == {True, False}
    wanted = [spelling for words in (*SECRETS.values(), WATCHED) for spelling in spellings(words)]
    for name, content in everything.items():
        for spelling in wanted:
            assert spelling not in content, (name, spelling)

    # Nor is a key there that opens it.
    private = sealed_file.read_key(custodian / "key", lambda: "").private_bytes_raw()
    for name, content in everything.items():
        for spelling in (private, private.hex().encode(), base64.b64encode(private)):
            assert spelling not in content, name
    records = session.scalars(select(SourceRecord)).all()
    lines = list(source_records.sealed_lines(session, None))
    assert len(records) == len(lines) == 2
    for line in lines:
        for context in (line.place.bound().decode(), "", "source_record"):
            with pytest.raises(ValueError, match="does not open"):
                keys.mailer.unseal(line.sealed, context)
        for candidate in _keys_of_the_server(config, keys):
            with pytest.raises(Damaged):
                sealed_file.unseal(line, candidate)


def _keys_of_the_server(config: Config, keys: Keyring) -> Iterator[X25519PrivateKey]:
    """Every 32 bytes that could be meant: the key files, the keys of records, and what is derived from the secret."""
    contents = [path.read_bytes() for path in config.keys_path.iterdir() if path.is_file()]
    found = {content for content in contents if len(content) == 32}
    for line in (config.keys_path / "records.keys").read_text().splitlines()[1:]:
        found.add(base64.b64decode(line.partition(":")[2]))
    found |= {keys.derive(purpose) for purpose in ("source_record", "source-word", "custodian", "mailer", "")}
    assert len(found) >= 9
    for content in found:
        yield X25519PrivateKey.from_private_bytes(content)


def test_a_custodian_reads_it_on_another_machine_with_the_file_and_the_key_alone(
    seized: str, run: Callable[..., Result], custodian: Path
) -> None:
    run("custody", "export", "--all", str(custodian / "carried"))
    told = elsewhere(custodian, "open", "carried", "--key", "key").stdout
    assert told.startswith(f"{seized}, version 1")
    for words in SECRETS.values():
        assert words in told


def test_with_the_custodians_key_and_the_database_it_opens_so_the_test_above_can_fail(
    seized: str, session: Session, custodian: Path
) -> None:
    private = sealed_file.read_key(custodian / "key", lambda: "")
    own = sealed_file.fingerprint(private.public_key().public_bytes_raw())
    [line] = [one for one in source_records.sealed_lines(session, None) if one.place.custodian == own]
    assert SECRETS["name"].encode() in sealed_file.unseal(line, private)
    moved = Line(line.pseudonym, Place(line.place.source, 2, own), "", line.sealed)
    with pytest.raises(Damaged):
        sealed_file.unseal(moved, private)
