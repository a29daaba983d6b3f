"""Evidence packs: a whole one is proven offline, and any changed byte of it is found."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from tests.authority import Authority, honest, serving
from tests.factories import Factory
from tracker import timestamps, verifier
from tracker.keyring import Keyring
from tracker.services import ledger
from tracker.vocabulary import EntryKind

ORIGIN = "arvenia.example/ledger"
COPY = b"\x89PNG the pixels of a register of the district court"
OTHER = b"\x89PNG the pixels of another page"


class Packer:
    """Builds packs as the tracker does, from parts that a test may exchange before it seals them."""

    def __init__(self, session: Session, keys: Keyring) -> None:
        self.keys = keys
        taken = ledger.newest_checkpoint(session)
        assert taken is not None
        self.size, note = taken.size, taken.note
        leaves = list(ledger.leaf_hashes(session, self.size))
        self.slice = [
            line | {"proof": [node.hex() for node in verifier.inclusion_proof(leaves, line["seq"] - 1)]}
            for line in ledger.lines(session, origin=ORIGIN, public_key=keys.ledger_public_key)
            if line["type"] == "entry" and line["subject"] in ("evidence/2", "evidence/4")
        ]
        self.files: dict[str, bytes] = {
            "README.txt": b"How to check this pack.\n",
            "data.json": b"{}",
            "evidence/2.html": "<p>Κατάλογος, 记录</p>".encode(),
            "exhibits/2/register.png": COPY,
            "ledger/checkpoint.txt": note.encode(),
            "verifier.py": Path(verifier.__file__).read_bytes(),
            "empty.txt": b"",
        }
        self.manifest: dict[str, Any] = {}

    def seal(self, **changes: Any) -> dict[str, bytes]:
        """All files of the pack in their order, the manifest over them, and its signature."""
        lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.slice)
        files = {**self.files, "ledger/slice.jsonl": lines.encode()}
        self.manifest = {
            "format": verifier.PACK,
            "origin": ORIGIN,
            "public_key": self.keys.ledger_public_key.hex(),
            "made_at": "2026-11-22T12:00:00Z",
            "scope": "reports/lower-valley/88-a",
            "size": self.size,
            "files": [
                {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for path, content in sorted(files.items())
            ],
        } | changes
        manifest = ledger.canonical(self.manifest).encode()
        return {"manifest.json": manifest, "manifest.sig": self.sign(manifest), **files}

    def sign(self, manifest: bytes) -> bytes:
        text = f"{verifier.PACK}\n{ORIGIN}\n{hashlib.sha256(manifest).hexdigest()}\n"
        signature = self.keys.sign(text.encode())
        return verifier.signed_note(text, ORIGIN, self.keys.ledger_public_key, signature).encode()


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for path, content in files.items():
            with archive.open(zipfile.ZipInfo(path), "w") as file:
                file.write(content)
    return out.getvalue()


def problems(pack: bytes | dict[str, bytes], *notes: str, key: bytes | None = None) -> list[str]:
    return list(verifier.check_pack(io.BytesIO(zipped(pack) if isinstance(pack, dict) else pack), notes, key))


@pytest.fixture
def packer(session: Session, make: Factory, now: dt.datetime, keys: Keyring) -> Packer:
    """A ledger of six entries; evidence/2 has a public copy, evidence/4 is withdrawn by entry 5."""
    report = make.report()
    for number in (1, 2, 3, 4, 4, 6):
        withdrawn = number == 4 and ledger.position(session) == 4
        named = {"exhibits": [{"copy": hashlib.sha256(COPY).hexdigest()}]} if number == 2 else {}
        ledger.append(
            session,
            EntryKind.EVIDENCE_WITHDRAWN if withdrawn else EntryKind.EVIDENCE_PUBLISHED,
            subject=f"evidence/{number}",
            report=report,
            facts={"number": number, **named},
            content={"title": f"Piece {number}"},
            now=now,
        )
    ledger.take_checkpoint(session, origin=ORIGIN, public_key=keys.ledger_public_key, sign=keys.sign, now=now)
    session.commit()
    return Packer(session, keys)


def test_a_whole_pack_has_no_problems(packer: Packer, keys: Keyring) -> None:
    assert problems(packer.seal(), key=keys.ledger_public_key) == []
    assert problems(packer.seal(), packer.files["ledger/checkpoint.txt"].decode()) == []


def test_every_changed_byte_of_a_pack_is_found(packer: Packer) -> None:
    del packer.files["verifier.py"]  # Small, so that every byte has its turn.
    pack = zipped(packer.seal())
    chance = random.Random(3)
    assert problems(pack) == []

    unseen = []
    for place in range(len(pack)):
        harmed = bytearray(pack)
        harmed[place] ^= 1 << chance.randrange(8)
        if not problems(bytes(harmed)):
            unseen.append(place)

    assert unseen == []


def test_what_is_cut_off_added_or_put_before_is_found(packer: Packer) -> None:
    pack = zipped(packer.seal())

    for harmed in (
        pack[:-1],
        pack[: len(pack) // 2],
        pack[:-30],
        pack + b"\0",
        b"\0" + pack,
        b"",
        b"PK",
        pack * 2,
    ):
        assert problems(harmed), len(harmed)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("exhibits/2/register.png", "exhibits/2/register.png was altered."),
        ("evidence/2.html", "evidence/2.html was altered."),
        ("README.txt", "README.txt was altered."),
        ("empty.txt", "empty.txt was altered."),
    ],
)
def test_an_altered_file_is_named(path: str, sentence: str, packer: Packer) -> None:
    files = packer.seal()
    files[path] += b"!"

    assert problems(files) == [sentence]


def test_a_missing_and_an_extra_file_are_named(packer: Packer) -> None:
    files = packer.seal()
    del files["README.txt"]
    files["exhibits/2/more.png"] = OTHER

    assert problems(files) == [
        "README.txt is missing from the pack.",
        "exhibits/2/more.png is in the pack, and the manifest does not name it.",
    ]


def custody(count: int = 4) -> dict[str, Any]:
    """A custody log as a pack of the team's holds it."""
    salt, digest, lines, head = "5a" * 32, hashlib.sha256(COPY).hexdigest(), [], ""
    for position in range(1, count + 1):
        line = {
            "position": position,
            "at": f"2026-11-2{position}T12:30:00+00:00",
            "account": "0123456789ab",
            "by": "Monitor 7",
            "action": "viewed",
            "sha256": digest,
            "commitment": verifier.commitment(salt, digest),
            "note": "",
        }
        head = verifier.custody_hash("gate", line, head)
        lines.append(line | {"line_hash": head})
    return {"exhibit": "gate", "salt": salt, "lines": lines}


def test_a_custody_log_in_a_pack_is_a_chain(packer: Packer) -> None:
    for log in (custody(), custody(0), [{"at": "2026", "by": None}]):  # The last one is older than the chain.
        packer.files["custody/originals/x/1.json"] = json.dumps(log).encode()
        assert problems(packer.seal()) == []


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda log: log["lines"][1].update(account=None), "line 2 was changed, put in or moved"),
        (lambda log: log["lines"][1].update(sha256="0" * 64), "line 2 was changed, put in or moved"),
        (lambda log: log["lines"].pop(0), "line 1 is missing"),
        (lambda log: log["lines"].pop(2), "line 3 is missing"),
        (lambda log: log.update(lines=log["lines"][::-1]), "line 1 is missing"),
        (lambda log: log.update(exhibit="other"), "line 1 was changed, put in or moved"),
        (lambda log: log.update(salt=""), "it cannot be read"),
        (lambda log: log["lines"][0].pop("note"), "it cannot be read"),
        (lambda log: log.update(lines=[3]), "it cannot be read"),
    ],
)
def test_a_custody_log_that_was_changed_fails_though_the_pack_is_signed(
    harm: Callable[[dict[str, Any]], object], said: str, packer: Packer
) -> None:
    log = custody()
    harm(log)
    packer.files["custody/originals/x/1.json"] = json.dumps(log).encode()
    [found] = problems(packer.seal())
    assert found.startswith(f"custody/originals/x/1.json: {said}")


@pytest.mark.parametrize(
    "path", ["manifest.json", "manifest.sig", "ledger/slice.jsonl", "ledger/checkpoint.txt"]
)
def test_without_its_backbone_a_pack_proves_nothing(path: str, packer: Packer) -> None:
    files = packer.seal()
    del files[path]

    assert any(f"it holds no {path}" in problem for problem in problems(files))


def test_a_manifest_that_was_altered_is_not_the_one_that_was_signed(packer: Packer) -> None:
    files = packer.seal()
    files["manifest.json"] = files["manifest.json"].replace(b"88-a", b"88-b")

    assert problems(files) == ["The signature of the manifest: it is about another manifest."]


def test_a_manifest_signed_by_another_key_is_refused(packer: Packer, keys: Keyring, tmp_path: Path) -> None:
    from tracker import keyring

    keyring.create(tmp_path / "thief")
    thief = keyring.load(tmp_path / "thief")
    packer.keys = thief
    files = packer.seal()
    files["ledger/checkpoint.txt"] = packer.files["ledger/checkpoint.txt"]

    found = problems(files, key=keys.ledger_public_key)
    assert found == ["The signature of the manifest: no signature by this key."]
    # With the thief's own key the manifest holds, and the checkpoint does not.
    assert problems(files) == ["The checkpoint at 6 entries: no signature by this key."]


@pytest.mark.parametrize("more", ["\n", "— x AAAA\n", " "])
def test_a_signature_with_more_in_it_is_refused(more: str, packer: Packer) -> None:
    files = packer.seal()
    files["manifest.sig"] += more.encode()

    assert "signature of the manifest" in problems(files)[0]


def test_an_entry_that_was_altered_or_is_not_in_the_ledger_is_named(packer: Packer) -> None:
    whole = packer.slice[0]
    packer.slice[0] = {**whole, "content": '{"title":"Another"}'}
    assert problems(packer.seal())[0].startswith("Entry 2 was altered")

    forged = {**whole, "subject": "evidence/9"}
    packer.slice[0] = forged | {"hash": verifier.entry_hash(forged)}
    assert problems(packer.seal())[0] == "Entry 2 is not proven to stand in the ledger of 6 entries."

    packer.slice[0] = {**whole, "proof": whole["proof"][:-1]}
    assert problems(packer.seal()) == ["Entry 2 is not proven to stand in the ledger of 6 entries."]

    packer.slice = [whole, whole]
    assert problems(packer.seal()) == ["Entry 2 stands twice or out of order in the slice of the ledger."]


def test_a_checkpoint_of_another_ledger_or_size_is_refused(packer: Packer, keys: Keyring) -> None:
    text = verifier.signed_text(ORIGIN, 5, bytes(32))
    note = verifier.signed_note(text, ORIGIN, keys.ledger_public_key, keys.sign(text.encode()))
    packer.files["ledger/checkpoint.txt"] = note.encode()

    found = problems(packer.seal())

    assert found[0] == f"The checkpoint in the pack is not {ORIGIN}'s at 6 entries."
    assert "Entry 2 is not proven to stand in the ledger of 5 entries." in found


def test_a_kept_checkpoint_of_a_ledger_written_anew_contradicts_the_pack(
    packer: Packer, keys: Keyring
) -> None:
    text = verifier.signed_text(ORIGIN, 6, bytes(32))
    kept = verifier.signed_note(text, ORIGIN, keys.ledger_public_key, keys.sign(text.encode()))

    assert problems(packer.seal(), kept) == [
        "The checkpoint at 6 entries does not match: an entry up to 6 was written anew."
    ]


def test_a_timestamp_in_a_pack_must_be_about_its_checkpoint(packer: Packer, tmp_path: Path) -> None:
    authority, note = Authority(tmp_path / "authority"), packer.files["ledger/checkpoint.txt"]

    for message, found in (
        (note, []),
        (note + b"!", ["ledger/checkpoint.tsr is about something else than the checkpoint."]),
    ):
        with serving(honest(authority)) as url:
            stamp = timestamps.request(url, message, timestamps.load_roots(authority.roots))
        packer.files["ledger/checkpoint.tsr"] = stamp.token
        assert problems(packer.seal()) == found


def test_a_public_copy_that_its_entry_does_not_name_is_refused(packer: Packer) -> None:
    packer.files["exhibits/2/forged.png"] = OTHER
    packer.files["exhibits/4/withdrawn.png"] = COPY
    packer.files["exhibits/6/elsewhere.png"] = COPY

    assert problems(packer.seal()) == [
        "exhibits/2/forged.png: entry 2, the newest about evidence/2, does not name this file.",
        "exhibits/4/withdrawn.png: entry 5, the newest about evidence/4, does not name this file.",
        "exhibits/6/elsewhere.png: the slice of the ledger has no entry about evidence/6.",
    ]


@pytest.mark.parametrize(
    "path",
    [
        "../escape.txt",
        "/etc/passwd",
        "C:\\x",
        "a//b",
        "a/../b",
        ".hidden",
        "a\x01b",
        "gpj\u202eexe",
        "folder/",
        "-x",
    ],
)
def test_a_name_that_could_land_elsewhere_is_refused(path: str, packer: Packer) -> None:
    packer.files[path] = b"x"

    assert problems(packer.seal())[0].startswith("The pack cannot be read: a file in it has an unsafe name")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(packer: Packer) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, content in [*packer.seal().items(), ("README.txt", b"Trust me.\n")]:
            with archive.open(zipfile.ZipInfo(path), "w") as file:
                file.write(content)

    assert problems(out.getvalue()) == ["The pack cannot be read: two files in it are called README.txt."]


def test_a_compressed_pack_is_refused_before_anything_is_unpacked(packer: Packer) -> None:
    packer.files["bomb.txt"] = bytes(1 << 20)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in packer.seal().items():
            archive.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)

    assert problems(out.getvalue())[0].startswith("The pack cannot be read: something was altered")


@pytest.mark.parametrize("manifest", [b"[]", b"{}", b"\xff", b"null", b'{"files": 3}'])
def test_a_manifest_that_is_none_is_a_sentence(manifest: bytes, packer: Packer) -> None:
    files = packer.seal()
    files["manifest.json"], files["manifest.sig"] = manifest, packer.sign(manifest)

    found = problems(files)

    assert len(found) == 1
    assert found[0].startswith("The pack cannot be read")


def test_the_standalone_program_checks_a_pack_from_anywhere(
    packer: Packer, keys: Keyring, tmp_path: Path
) -> None:
    (tmp_path / "verifier.py").write_bytes(Path(verifier.__file__).read_bytes())
    pack = tmp_path / "pack.zip"

    def run(files: dict[str, bytes], *more: str) -> tuple[int, str]:
        pack.write_bytes(zipped(files))
        done = subprocess.run(
            [sys.executable, "-I", "verifier.py", "pack.zip", *more],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    assert run(packer.seal(), "--key", keys.ledger_public_key.hex()) == (0, "The pack is whole.\n")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "verifier.py", "pack.zip"], cwd=tmp_path, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert "not checked, because the package cryptography is not installed" in done.stdout
    assert done.returncode == 1
    files = packer.seal() | {"README.txt": b"Trust me.\n"}
    assert run(files) == (1, "README.txt was altered.\n")
