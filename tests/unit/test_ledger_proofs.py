"""Proofs from the ledger in the database: made for published checkpoints, checked by the standalone program."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy.orm import Session

from tests.factories import Factory
from tracker import verifier
from tracker.errors import Invalid, NotFound
from tracker.keyring import Keyring
from tracker.models import Checkpoint
from tracker.services import ledger, proofs
from tracker.vocabulary import EntryKind

ORIGIN = "arvenia.example/ledger"


@pytest.fixture
def grown(session: Session, make: Factory, now: dt.datetime, keys: Keyring) -> Session:
    """Ledger entries 1 to 13, with checkpoints at 3, 7, 8 and 12."""
    report = make.report()
    for number in range(1, 14):
        ledger.append(
            session,
            EntryKind.EVIDENCE_PUBLISHED,
            subject=f"evidence/{number}",
            report=report,
            facts={"number": number},
            content={"title": f"Piece {number}"},
            now=now,
        )
        if number in (3, 7, 8, 12):
            take(session, keys, now)
    session.commit()
    return session


def take(session: Session, keys: Keyring, now: dt.datetime) -> Checkpoint:
    return ledger.take_checkpoint(
        session, origin=ORIGIN, public_key=keys.ledger_public_key, sign=keys.sign, now=now
    )


def problems(proof: dict[str, Any], *notes: str, key: bytes | None = None) -> list[str]:
    return list(verifier.check_proof(json.loads(json.dumps(proof)), notes, key))


def inclusion(session: Session, keys: Keyring, seq: int, size: int | None = None) -> dict[str, Any]:
    return proofs.inclusion(session, seq, size=size, public_key=keys.ledger_public_key)


def consistency(session: Session, keys: Keyring, old: int, new: int | None = None) -> dict[str, Any]:
    return proofs.consistency(session, old, new, public_key=keys.ledger_public_key)


def test_every_entry_is_proven_at_every_checkpoint_that_covers_it(grown: Session, keys: Keyring) -> None:
    for size in (3, 7, 8, 12):
        for seq in range(1, size + 1):
            proof = inclusion(grown, keys, seq, size)
            assert (proof["index"], proof["size"]) == (seq - 1, size)
            assert problems(proof, key=keys.ledger_public_key) == []
    assert inclusion(grown, keys, 5)["size"] == 12


def test_every_checkpoint_is_proven_to_follow_from_every_older_one(grown: Session, keys: Keyring) -> None:
    for old in (3, 7, 8, 12):
        for new in (7, 8, 12):
            if old <= new:
                assert problems(consistency(grown, keys, old, new), key=keys.ledger_public_key) == []
    assert consistency(grown, keys, 3)["new"]["size"] == 12


def test_what_cannot_be_proven_is_a_sentence(grown: Session, keys: Keyring) -> None:
    for seq, size, kind, sentence in (
        (14, None, NotFound, "no entry 14"),
        (13, None, NotFound, "newer than the newest checkpoint"),
        (8, 7, Invalid, "entry 8 came later"),
        (1, 5, NotFound, "No checkpoint was taken at 5 entries"),
    ):
        with pytest.raises(kind, match=sentence):
            inclusion(grown, keys, seq, size)
    for old, new, kind, sentence in (
        (5, None, NotFound, "No checkpoint was taken at 5"),
        (8, 7, Invalid, "older checkpoint comes first"),
    ):
        with pytest.raises(kind, match=sentence):
            consistency(grown, keys, old, new)


def test_before_the_first_checkpoint_nothing_is_proven(session: Session, make: Factory, keys: Keyring, now: dt.datetime) -> None:  # fmt: skip
    ledger.append(
        session, EntryKind.REPORT_LOADED, subject="report/1", report=make.report(), content={}, now=now
    )

    with pytest.raises(NotFound, match="no checkpoint yet"):
        inclusion(session, keys, 1)


def test_no_flipped_byte_of_a_proof_goes_unnoticed(grown: Session, keys: Keyring) -> None:
    chance = random.Random(11)
    for proof in (inclusion(grown, keys, 5), consistency(grown, keys, 3, 12)):
        whole = json.dumps(proof, separators=(",", ":"), ensure_ascii=False).encode()
        assert problems(json.loads(whole)) == []
        for place in [chance.randrange(len(whole)) for _ in range(400)]:
            harmed = bytearray(whole)
            harmed[place] ^= 1 << chance.randrange(8)
            try:
                document = json.loads(bytes(harmed))
            except ValueError:
                continue  # No proof at all any more.
            assert problems(document), f"{bytes(harmed[place - 20 : place + 20])!r}"


def test_a_proof_by_another_key_does_not_hold(grown: Session, keys: Keyring) -> None:
    for proof in (inclusion(grown, keys, 5), consistency(grown, keys, 3)):
        assert "no signature by this key" in problems(proof, key=bytes(32))[0]


def test_a_kept_checkpoint_is_held_against_the_proof(grown: Session, keys: Keyring, now: dt.datetime) -> None:
    kept = {size: grown.get_one(Checkpoint, size).note for size in (3, 7, 12)}
    proof = inclusion(grown, keys, 5)

    assert problems(proof, kept[12]) == []
    assert problems(proof, "hello") == ["The checkpoint that you kept cannot be read: not a checkpoint."]
    assert "/ledger/consistency?from=7&to=12" in problems(proof, kept[7])[0]
    assert problems(consistency(grown, keys, 3, 12), kept[3], kept[12]) == []
    other = verifier.signed_text(ORIGIN, 12, hashlib.sha256(b"anew").digest())
    forged = verifier.signed_note(other, ORIGIN, keys.ledger_public_key, keys.sign(other.encode()))
    assert problems(proof, forged) == [
        "The checkpoint at 12 entries does not match: an entry up to 12 was written anew."
    ]


def test_a_proof_that_borrows_another_checkpoint_does_not_hold(grown: Session, keys: Keyring) -> None:
    proof = inclusion(grown, keys, 5)
    proof["checkpoint"] = grown.get_one(Checkpoint, 8).note

    assert problems(proof) == ["The checkpoint in the proof is not the one at 12 entries."]


def test_a_ledger_written_anew_has_no_proof_from_the_old_checkpoint(
    grown: Session, keys: Keyring, now: dt.datetime
) -> None:
    honest = consistency(grown, keys, 7, 12)
    anew = [verifier.hash_leaf(b"anew"), *list(ledger.leaf_hashes(grown, 12))[1:]]
    text = verifier.signed_text(ORIGIN, 12, verifier.tree_root(anew))
    note = verifier.signed_note(text, ORIGIN, keys.ledger_public_key, keys.sign(text.encode()))
    path = [node.hex() for node in verifier.consistency_proof(anew, 7)]
    forged = {
        **honest,
        "new": {"size": 12, "root": verifier.tree_root(anew).hex(), "checkpoint": note},
        "proof": path,
    }

    assert problems(forged) == ["The ledger of 12 entries is not proven to begin with that of 7 entries."]


def test_the_standalone_program_checks_a_proof(grown: Session, keys: Keyring, tmp_path: Path) -> None:
    file = tmp_path / "proof.json"
    for proof, sentence in (
        (inclusion(grown, keys, 5), "The proof holds: entry 5 stands in the ledger of 12 entries.\n"),
        (
            consistency(grown, keys, 3),
            "The proof holds: the ledger of 12 entries begins with that of 3.\n",
        ),
    ):
        file.write_text(json.dumps(proof, indent=2))
        done = subprocess.run(
            [
                sys.executable,
                verifier.__file__,
                "--proof",
                str(file),
                "--key",
                keys.ledger_public_key.hex(),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, sentence, "")


# C2SP signed-note, tlog-checkpoint and tlog-proof, read by a parser that knows the standards and nothing of ours.


def open_note(note: bytes, name: str, public_key: bytes) -> list[str]:
    """The lines of the text of a note whose signature by this key holds."""
    assert b"\r" not in note
    assert not any(byte < 0x20 and byte != 0x0A for byte in note)
    text, _, signatures = note.decode().rpartition("\n\n")
    text += "\n"
    assert signatures.endswith("\n")
    assert not set(" +") & set(name)
    wanted = hashlib.sha256(name.encode() + b"\x0a\x01" + public_key).digest()[:4]
    for line in signatures[:-1].split("\n"):
        dash, signer, encoded = line.split(" ")
        assert dash == "\u2014"
        blob = base64.b64decode(encoded, validate=True)
        assert base64.b64encode(blob).decode() == encoded
        if (signer, blob[:4]) == (name, wanted):
            Ed25519PublicKey.from_public_bytes(public_key).verify(blob[4:], text.encode())
            return text[:-1].split("\n")
    raise AssertionError("no signature by this key")


def test_a_checkpoint_is_a_c2sp_signed_note(grown: Session, keys: Keyring) -> None:
    for size in (3, 7, 8, 12):
        checkpoint = grown.get_one(Checkpoint, size)

        origin, number, root = open_note(checkpoint.note.encode(), ORIGIN, keys.ledger_public_key)

        assert (origin, number) == (ORIGIN, str(size))
        assert base64.b64decode(root, validate=True) == checkpoint.root
        assert len(checkpoint.root) == 32


def test_a_proof_as_text_is_a_c2sp_tlog_proof(grown: Session, keys: Keyring) -> None:
    text = proofs.as_text(inclusion(grown, keys, 5))

    head, _, note = text.partition("\n\n")
    first, index, *nodes = head.split("\n")
    assert (first, index) == ("c2sp.org/tlog-proof@v1", "index 4")
    _, size, root = open_note(note.encode(), ORIGIN, keys.ledger_public_key)
    leaf = list(ledger.leaf_hashes(grown))[4]
    path = [base64.b64decode(node, validate=True) for node in nodes]
    assert verifier.verify_inclusion(leaf, 4, int(size), path, base64.b64decode(root))


def test_a_note_that_a_witness_signed_too_is_read(grown: Session, keys: Keyring) -> None:
    note = grown.get_one(Checkpoint, 12).note + "— witness.example AAAAAAAA\n"

    assert verifier.signature_problem(note, keys.ledger_public_key) is None
    assert verifier.parse_checkpoint(note)[1] == 12
