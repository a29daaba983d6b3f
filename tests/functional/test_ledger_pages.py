"""The ledger's pages: anybody can take it away and check it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from tests.authority import Authority, honest, serving
from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import Record
from tracker import timestamps, verifier
from tracker.keyring import Keyring
from tracker.services import ledger
from tracker.services import timestamps as stamps
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


# Proofs and timestamps.


def proof_of(client: Client, address: str, status: int = 200) -> Any:
    response = client.http.get(address)
    assert response.status_code == status, response.get_data(as_text=True)[:500]
    assert response.mimetype == "application/json"
    assert "Set-Cookie" not in response.headers
    return response.json


def test_proofs_are_handed_out_and_hold(
    client: Client, record: Record, keys: Keyring, now: dt.datetime
) -> None:
    old = checkpoint(record, keys, now).size
    for _ in range(3):
        record.evidence(record.first)
    new = checkpoint(record, keys, now)
    page = client.get("/ledger")

    for address in (
        "/ledger/proof?entry=2",
        "/ledger/proof?entry=1&size=1",
        f"/ledger/consistency?from={old}",
        f"/ledger/consistency?from={old}&to={new.size}",
    ):
        proof = proof_of(client, address)
        assert list(verifier.check_proof(proof, [], keys.ledger_public_key)) == [], address
    assert f"/ledger/proof?entry={new.size}" in page.links
    assert f"/ledger/consistency?from={new.size}" in page.links
    assert f"/ledger/proof.tlog-proof?entry={new.size}" in page.links
    text = client.http.get("/ledger/proof.tlog-proof?entry=2").get_data(as_text=True)
    assert text.startswith("c2sp.org/tlog-proof@v1\nindex 1\n")
    assert text.endswith(new.note)


def test_a_proof_tells_no_word_of_what_it_is_about(
    client: Client, record: Record, keys: Keyring, now: dt.datetime
) -> None:
    piece = record.evidence(record.first, title="Unspeakable")
    checkpoint(record, keys, now)
    assert "Unspeakable" not in json.dumps(proof_of(client, "/ledger/proof?entry=2"))
    record.withdraw(piece)

    assert "salt" not in proof_of(client, "/ledger/proof?entry=2")["entry"]


@pytest.mark.parametrize(
    ("address", "status", "sentence"),
    [
        ("/ledger/proof", 422, "“entry” is missing"),
        ("/ledger/proof?entry=", 422, "must be a ledger position"),
        ("/ledger/proof?entry=abc", 422, "must be a ledger position"),
        ("/ledger/proof?entry=-1", 422, "must be a ledger position"),
        ("/ledger/proof?entry=0", 422, "must be 1 or more"),
        ("/ledger/proof?entry=%D9%A1", 422, "must be a ledger position"),
        ("/ledger/proof?entry=99999999999999999999", 422, "must be a ledger position"),
        ("/ledger/proof?entry=9999999999", 404, "no entry"),
        ("/ledger/proof?entry=2", 404, "no entry 2"),
        ("/ledger/proof?entry=1&size=7", 404, "No checkpoint was taken at 7 entries"),
        ("/ledger/proof.tlog-proof?entry=2", 404, "no entry 2"),
        ("/ledger/consistency", 422, "“from” is missing"),
        ("/ledger/consistency?from=1&to=x", 422, "must be a ledger position"),
        ("/ledger/consistency?from=3", 404, "No checkpoint was taken at 3 entries"),
        ("/ledger/consistency?from=1&to=3", 404, "No checkpoint was taken at 3 entries"),
    ],
)
def test_nonsense_gets_a_sentence(
    address: str,
    status: int,
    sentence: str,
    client: Client,
    record: Record,
    keys: Keyring,
    now: dt.datetime,
) -> None:
    checkpoint(record, keys, now)

    assert sentence in proof_of(client, address, status)["error"]


def test_a_proof_that_was_refused_is_asked_for_anew_when_the_entry_is_there(
    client: Client, record: Record, keys: Keyring, now: dt.datetime
) -> None:
    checkpoint(record, keys, now)
    again = {"If-None-Match": client.http.get("/ledger/proof?entry=2").headers["ETag"]}
    record.evidence(record.first)

    response = client.http.get("/ledger/proof?entry=2", headers=again)

    assert (response.status_code, "newer than the newest checkpoint" in response.get_data(as_text=True)) == (
        404,
        True,
    )


def test_a_timestamp_is_shown_and_handed_out_as_the_authority_sent_it(
    client: Client, record: Record, keys: Keyring, now: dt.datetime, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority", "<b>Time & Office</b>")
    note = checkpoint(record, keys, now).note
    with serving(honest(authority)) as url:
        stamp = timestamps.request(url, note.encode(), timestamps.load_roots(authority.roots))
    before = client.http.get("/ledger").headers["ETag"]
    kept = stamps.keep(
        record.session, "checkpoint/1", token=stamp.token, authority=stamp.authority, stamped_at=now
    )
    record.session.commit()

    response = client.http.get("/ledger", headers={"If-None-Match": before})
    page = client.inspect(response)
    download = client.http.get(f"/ledger/timestamp/{kept.id}.tsr")

    assert "(RFC 3161) <b>Time & Office</b>, 22 Nov 2026: checkpoint/1" in page.text
    assert "&lt;b&gt;Time &amp; Office" in response.get_data(as_text=True)
    assert f"/ledger/timestamp/{kept.id}.tsr" in page.links
    assert download.mimetype == "application/timestamp-reply"
    assert download.headers["Content-Disposition"] == "attachment; filename=checkpoint-1.tsr"
    assert authority.verifies(download.data, hashlib.sha256(note.encode()).digest())
    stamped = [line for line in lines(client) if line["type"] == "timestamp"]
    assert [line["subject"] for line in stamped] == ["checkpoint/1"]
    assert list(verifier.check(lines(client))) == []


@pytest.mark.parametrize("number", ["1", "0", "99999999999999", "x", "-1"])
def test_a_timestamp_that_is_not_there_is_a_404(number: str, client: Client) -> None:
    assert client.http.get(f"/ledger/timestamp/{number}.tsr").status_code == 404


def test_the_command_line_prints_proofs_that_it_then_accepts(
    run: Any, record: Record, keys: Keyring, now: dt.datetime, tmp_path: Path
) -> None:
    checkpoint(record, keys, now)
    record.evidence(record.first)
    checkpoint(record, keys, now)
    proof, key = tmp_path / "proof.json", keys.ledger_public_key.hex()

    proof.write_text(run("ledger", "prove", "2").stdout)
    done = run("ledger", "verify", str(proof), "--key", key)
    assert done.stdout == "The proof holds: entry 2 stands in the ledger of 2 entries.\n"
    proof.write_text(run("ledger", "consistency", "1").stdout)
    done = run("ledger", "verify", str(proof), "--key", key)
    assert done.stdout == "The proof holds: the ledger of 2 entries begins with that of 1.\n"
    assert "no entry 9" in run("ledger", "prove", "9", code=1).stderr
    assert "No checkpoint was taken" in run("ledger", "prove", "1", "--size", "7", code=1).stderr
    run("ledger", "prove", "0", code=2)
    proof.write_text(proof.read_text().replace("1", "2", 1))
    assert run("ledger", "verify", str(proof), code=1).stderr


def test_the_command_line_asks_the_authority_and_says_what_came_of_it(
    run: Any,
    record: Record,
    keys: Keyring,
    now: dt.datetime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "No timestamp authority is set" in run("ledger", "timestamp", code=1).stderr
    authority, stranger = Authority(tmp_path / "authority"), Authority(tmp_path / "stranger")
    monkeypatch.setenv("TRACKER_TIMESTAMP_ROOTS", str(authority.roots))
    with serving(honest(authority)) as url, serving(honest(stranger)) as foreign:
        monkeypatch.setenv("TRACKER_TIMESTAMP_URL", foreign)
        assert "There is no checkpoint yet" in run("ledger", "timestamp", code=1).stderr
        checkpoint(record, keys, now)
        assert "not signed by an authority" in run("ledger", "timestamp", code=1).stderr
        monkeypatch.setenv("TRACKER_TIMESTAMP_URL", url)
        assert "put its timestamp on checkpoint/1" in run("ledger", "timestamp").stdout
        assert "put its timestamp on entry/1" in run("ledger", "timestamp", "--entry", "1").stdout
        assert "no entry/9" in run("ledger", "timestamp", "--entry", "9", code=1).stderr
    file = tmp_path / "ledger.jsonl"
    run("ledger", "export", str(file))
    assert run("ledger", "verify", str(file)).stdout == "The ledger is whole.\n"


def test_the_doctor_tells_of_roots_that_are_missing_and_of_timestamps_that_are_late(
    run: Any,
    record: Record,
    keys: Keyring,
    now: dt.datetime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint(record, keys, now - dt.timedelta(days=3))
    assert "timestamp" not in run("doctor", code=1).stdout
    monkeypatch.setenv("TRACKER_TIMESTAMP_URL", "http://127.0.0.1:9/tsr")
    monkeypatch.setenv("TRACKER_TIMESTAMP_ROOTS", str(tmp_path / "none.pem"))

    said = run("doctor", code=1).stdout

    assert f"The file of timestamp_roots, {tmp_path}/none.pem, cannot be read" in said
    assert "The newest checkpoint has had no timestamp for more than a day." in said
