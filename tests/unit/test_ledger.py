"""The ledger appends in order, and the verifier finds every way of rewriting it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from tests.factories import Factory
from tracker import verifier
from tracker.keyring import Keyring
from tracker.services import ledger
from tracker.vocabulary import EntryKind

ORIGIN = "tracker.example/ledger"


@pytest.fixture
def filled(session: Session, make: Factory, now: dt.datetime, keys: Keyring) -> Session:
    """A ledger of five entries and a checkpoint at five."""
    report = make.report()
    for number in range(1, 6):
        ledger.append(
            session,
            EntryKind.EVIDENCE_PUBLISHED,
            subject=f"evidence/{number}",
            report=report,
            recommendations=report.recommendations[:1],
            facts={"number": number},
            content={"title": f"Piece {number}"},
            now=now,
        )
    take(session, keys, now)
    session.commit()
    return session


def take(session: Session, keys: Keyring, now: dt.datetime) -> Any:
    return ledger.take_checkpoint(
        session, origin=ORIGIN, public_key=keys.ledger_public_key, sign=keys.sign, now=now
    )


def exported(session: Session, keys: Keyring) -> list[dict[str, Any]]:
    return list(ledger.lines(session, origin=ORIGIN, public_key=keys.ledger_public_key))


def test_a_whole_ledger_has_no_problems(filled: Session, keys: Keyring) -> None:
    assert list(ledger.problems(filled, origin=ORIGIN, public_key=keys.ledger_public_key)) == []
    assert ledger.position(filled) == 5


def test_recorded_times_are_full_hours(filled: Session, keys: Keyring) -> None:
    assert {line["recorded_at"] for line in exported(filled, keys) if line["type"] == "entry"} == {
        "2026-11-22T12:00:00Z"
    }


def edit(lines: list[dict[str, Any]]) -> None:
    lines[3]["payload"] = lines[3]["payload"].replace('"number":3', '"number":4')


def edit_words(lines: list[dict[str, Any]]) -> None:
    lines[3]["content"] = '{"title":"Another"}'


def delete(lines: list[dict[str, Any]]) -> None:
    del lines[3]


def swap(lines: list[dict[str, Any]]) -> None:
    lines[3], lines[4] = lines[4], lines[3]


def insert(lines: list[dict[str, Any]]) -> None:
    lines.insert(3, {**lines[3], "subject": "evidence/99"})


def insert_with_right_hash(lines: list[dict[str, Any]]) -> None:
    forged = {**lines[3], "subject": "evidence/99"}
    forged["hash"] = verifier.entry_hash(forged)
    lines.insert(3, forged)


@pytest.mark.parametrize("harm", [edit, edit_words, delete, swap, insert, insert_with_right_hash])
def test_every_change_is_found_and_the_first_bad_entry_named(
    harm: Callable[[list[dict[str, Any]]], None], filled: Session, keys: Keyring
) -> None:
    lines = exported(filled, keys)

    harm(lines)

    first = next(verifier.check(lines))
    assert "3" in first or "4" in first
    assert ("Entry 4" if harm is insert_with_right_hash else "Entry 3") in first


def test_a_ledger_cut_off_at_its_end_is_found(filled: Session, keys: Keyring) -> None:
    lines = [line for line in exported(filled, keys) if line.get("seq") != 5 and line["type"] != "checkpoint"]

    assert list(verifier.check(lines)) == [
        "Entry 5 is missing: the file says that it holds 5 entries and ends otherwise."
    ]


def test_a_ledger_written_anew_is_found_by_a_checkpoint_that_somebody_kept(
    filled: Session, keys: Keyring
) -> None:
    lines = exported(filled, keys)
    kept = next(line["note"] for line in lines if line["type"] == "checkpoint")
    entries = [line for line in lines if line["type"] == "entry"]
    previous = verifier.GENESIS
    for line in entries:
        if line["seq"] >= 4:
            line["subject"] = f"evidence/{line['seq']}00"
        line["previous_hash"] = previous
        previous = line["hash"] = verifier.entry_hash(line)
    forged = [lines[0], *entries, {"type": "end", "size": 5, "hash": previous}]

    assert list(verifier.check(forged)) == []
    assert list(verifier.check(forged, [kept])) == [
        "The checkpoint at 5 entries does not match: an entry up to 5 was written anew."
    ]


def test_a_checkpoint_signed_by_another_key_is_refused(filled: Session, keys: Keyring) -> None:
    problems = list(verifier.check(exported(filled, keys), key=bytes(32)))

    assert problems == ["The checkpoint at 5 entries: no signature by this key."]


def test_a_ledger_without_checkpoint_is_not_vouched_for_by_a_trusted_key(
    filled: Session, keys: Keyring
) -> None:
    unsigned = [line for line in exported(filled, keys) if line["type"] != "checkpoint"]

    assert list(verifier.check(unsigned)) == []
    assert list(verifier.check(unsigned, key=bytes(32))) == [
        "There is no checkpoint, so nothing here is signed by the key that you trust."
    ]


def test_a_payload_that_is_no_object_is_a_sentence(filled: Session, keys: Keyring) -> None:
    lines = exported(filled, keys)
    lines[1]["payload"] = "[]"
    lines[1]["hash"] = verifier.entry_hash(lines[1])

    assert next(verifier.check(lines)).startswith("Entry 1 cannot be read")


def test_erased_words_leave_a_ledger_that_still_verifies(filled: Session, keys: Keyring) -> None:
    filled.execute(text("DELETE FROM ledger_content WHERE seq = 3"))

    assert list(ledger.problems(filled, origin=ORIGIN, public_key=keys.ledger_public_key)) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entry SET subject = 'evidence/9' WHERE seq = 2",
        "DELETE FROM ledger_entry WHERE seq = 5",
        "UPDATE ledger_content SET content = '{}' WHERE seq = 2",
        "DELETE FROM checkpoint",
    ],
)
def test_the_database_itself_refuses_to_rewrite_the_ledger(statement: str, filled: Session) -> None:
    filled.execute(text("DELETE FROM ledger_topic"))
    filled.execute(text("DELETE FROM ledger_content WHERE seq = 5"))

    with pytest.raises(DatabaseError, match=r"append-only|never edited"):
        filled.execute(text(statement))


def test_insert_or_replace_does_not_slip_past_the_triggers(filled: Session, database: str) -> None:
    if database != "sqlite":
        pytest.skip("INSERT OR REPLACE is SQLite's")

    with pytest.raises(DatabaseError, match="append-only"):
        filled.execute(
            text(
                "INSERT OR REPLACE INTO ledger_entry SELECT seq, recorded_at, kind, 'evidence/9', payload, "
                "previous_hash, hash FROM ledger_entry WHERE seq = 2"
            )
        )


def test_a_harmed_database_is_found_even_when_the_triggers_are_gone(
    filled: Session, keys: Keyring, database: str
) -> None:
    name = "ledger_entry_no_update" if database == "sqlite" else "ledger_entry_no_change ON ledger_entry"
    filled.execute(text(f"DROP TRIGGER {name}"))
    filled.execute(text("UPDATE ledger_entry SET subject = 'evidence/9' WHERE seq = 2"))

    assert list(ledger.problems(filled, origin=ORIGIN, public_key=keys.ledger_public_key)) == [
        "Entry 2 was altered: its hash does not match its words."
    ]


def test_the_merkle_root_is_that_of_rfc_6962() -> None:
    # Test vectors of the certificate-transparency project, "TestMerkleTree".
    leaves = [
        bytes.fromhex(leaf) for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")
    ]
    roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    ]
    import hashlib

    tree = verifier.MerkleTree()
    assert tree.root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for leaf, root in zip(leaves, roots, strict=True):
        tree.add(hashlib.sha256(b"\x00" + leaf).digest())
        assert tree.root().hex() == root


def test_the_export_is_read_by_the_standalone_program(filled: Session, keys: Keyring, tmp_path: Any) -> None:
    import subprocess
    import sys

    path = tmp_path / "ledger.jsonl"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in exported(filled, keys)))

    done = subprocess.run(
        [sys.executable, verifier.__file__, str(path)], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "The ledger is whole.\n")
