"""The ledger's pages: anybody can take it away and check it."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import Record
from tracker import verifier
from tracker.keyring import Keyring
from tracker.services import ledger
from tracker.vocabulary import Grade


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def checkpoint(record: Record, keys: Keyring, now: dt.datetime) -> Any:
    found = ledger.take_checkpoint(
        record.session, origin="localhost/ledger", public_key=keys.ledger_public_key, sign=keys.sign, now=now
    )
    record.session.commit()
    return found


def lines(client: Client, address: str = "/ledger/entries") -> list[dict[str, Any]]:
    response = client.http.get(address)
    assert response.status_code == 200
    assert response.content_type == "application/jsonl; charset=utf-8"
    return [json.loads(line) for line in response.get_data(as_text=True).splitlines()]


def test_the_page_says_where_the_ledger_stands(
    client: Client, record: Record, keys: Keyring, now: dt.datetime
) -> None:
    note = checkpoint(record, keys, now).note

    response = client.http.get("/ledger")
    page = client.inspect(response)

    assert note.strip() in response.get_data(as_text=True)
    assert "Entries 1" in page.text
    assert "At 1 entries, 22 Nov 2026" in page.text
    assert keys.ledger_public_key.hex() in page.text
    assert "localhost/ledger" in page.text


def test_an_empty_ledger_has_a_page_too(client: Client) -> None:
    text = client.get("/ledger").text

    assert "The ledger is empty." in text
    assert "The first checkpoint has not been taken yet." in text


def test_before_the_first_checkpoint_there_is_none(client: Client) -> None:
    response = client.http.get("/ledger/checkpoint")

    assert (response.status_code, response.mimetype) == (404, "text/plain")


def test_the_newest_checkpoint_is_plain_text(
    client: Client, record: Record, keys: Keyring, now: dt.datetime
) -> None:
    checkpoint(record, keys, now)
    record.evidence(record.first)
    note = checkpoint(record, keys, now).note

    response = client.http.get("/ledger/checkpoint")

    assert (response.get_data(as_text=True), response.mimetype) == (note, "text/plain")
    assert verifier.signature_problem(note, keys.ledger_public_key) is None


def test_the_download_is_checked_by_the_downloaded_program(
    client: Client, record: Record, keys: Keyring, now: dt.datetime, tmp_path: Path
) -> None:
    piece = record.evidence(record.second)
    finding = record.finding(record.second, None, Grade.C, piece)
    checkpoint(record, keys, now)
    record.withdraw_finding(finding)
    record.withdraw(piece)
    checkpoint(record, keys, now)
    program, export = tmp_path / "verifier.py", tmp_path / "ledger.jsonl"
    response = client.http.get("/ledger/verifier.py")
    assert response.mimetype == "text/x-python"
    assert response.headers["Content-Disposition"] == "attachment; filename=verifier.py"
    program.write_bytes(response.data)
    export.write_bytes(client.http.get("/ledger/entries").data)

    done = subprocess.run(
        [sys.executable, str(program), str(export)], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "The ledger is whole.\n")


def test_the_words_of_withdrawn_things_are_handed_out_no_more(client: Client, record: Record) -> None:
    kept, piece = record.evidence(record.first), record.evidence(record.first, title="Unspeakable")
    assert len([line for line in lines(client) if "content" in line]) == 3
    record.withdraw(piece, "The court took it back.")

    for address in ("/ledger/entries", "/ledger/entries?after=1"):
        entries = {line["seq"]: line for line in lines(client, address) if line["type"] == "entry"}
        assert kept.title in entries[2]["content"]
        assert "content" not in entries[3]
        assert "salt" not in entries[3]
        assert "The court took it back." in entries[4]["content"]


def test_after_a_position_come_only_the_entries_that_followed(client: Client, record: Record) -> None:
    for _ in range(3):
        record.evidence(record.first)

    assert [(line["type"], line["seq"]) for line in lines(client, "/ledger/entries?after=2")] == [
        ("entry", 3),
        ("entry", 4),
    ]
    assert lines(client, "/ledger/entries?after=4") == []


def test_the_download_is_asked_for_again_only_when_something_was_added(
    client: Client, record: Record
) -> None:
    first = client.http.get("/ledger/entries", buffered=True)
    again = {"If-None-Match": first.headers["ETag"]}
    assert client.http.get("/ledger/entries", buffered=True, headers=again).status_code == 304

    record.evidence(record.first)

    assert client.http.get("/ledger/entries", buffered=True, headers=again).status_code == 200
