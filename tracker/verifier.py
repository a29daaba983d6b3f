#!/usr/bin/env python3
"""Check a downloaded ledger, offline, with nothing but Python.

    python3 verifier.py ledger.jsonl [--checkpoint OLD-CHECKPOINT.txt] [--key PUBLIC-KEY-IN-HEX]

The file is JSON lines: one `header`, then every `entry` in order, the `checkpoint`s, and one `end`.
Each entry's hash covers its own words and the hash of the entry before it, so an edit, a deletion, an
insertion or a change of order anywhere breaks the chain at the first place it was touched. A checkpoint
is a signed statement "the ledger had this many entries and this Merkle root". Keep one (every digest
carries the newest) and give it with --checkpoint: then a ledger that was cut off or written anew fails too.

Signatures need the package `cryptography`; without it they are reported as not checked.
Sources: RFC 6962 section 2.1 (Merkle tree), C2SP signed-note (checkpoint), RFC 8785 (payload).
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

GENESIS = "0" * 64
DOMAIN = "tracker-ledger-v1"


def entry_bytes(entry: dict[str, Any]) -> bytes:
    """What an entry's hash is taken over: seven lines of text. `payload` is a canonical JSON text."""
    fields = [
        DOMAIN,
        str(entry["seq"]),
        entry["recorded_at"],
        entry["kind"],
        entry["subject"],
        entry["previous_hash"],
        entry["payload"],
    ]
    if any("\n" in field for field in fields):
        raise ValueError("a field contains a line break")
    return "\n".join(fields).encode()


def entry_hash(entry: dict[str, Any]) -> str:
    """Hex SHA-256 of an entry."""
    return hashlib.sha256(entry_bytes(entry)).hexdigest()


def commitment(salt: str, content: str) -> str:
    """What the payload says of the published words: hex SHA-256 of salt, line break, canonical JSON."""
    return hashlib.sha256(f"{salt}\n{content}".encode()).hexdigest()


def leaf_hash(entry: dict[str, Any]) -> bytes:
    """RFC 6962: SHA-256 of a zero byte and the entry."""
    return hashlib.sha256(b"\x00" + entry_bytes(entry)).digest()


class MerkleTree:
    """The RFC 6962 tree over leaf hashes, grown leaf by leaf; `root()` at any size costs a few hashes."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []  # (height, hash) of complete subtrees, left to right.

    def add(self, leaf: bytes) -> None:
        height, node = 0, leaf
        while self._peaks and self._peaks[-1][0] == height:
            node = hashlib.sha256(b"\x01" + self._peaks.pop()[1] + node).digest()
            height += 1
        self._peaks.append((height, node))
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        node = self._peaks[-1][1]
        for _, left in reversed(self._peaks[:-1]):
            node = hashlib.sha256(b"\x01" + left + node).digest()
        return node


def parse_checkpoint(note: str) -> tuple[str, int, bytes]:
    """(origin, size, root) of a signed note, or ValueError."""
    lines = note.split("\n")
    if len(lines) < 5 or lines[3] != "":
        raise ValueError("not a checkpoint")
    return lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True)


def signed_text(origin: str, size: int, root: bytes) -> str:
    """The text of a checkpoint that the signature covers."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def key_id(origin: str, public_key: bytes) -> bytes:
    """The first four bytes of SHA-256(name, line break, algorithm 1, key), as C2SP signed-note says."""
    return hashlib.sha256(origin.encode() + b"\n\x01" + public_key).digest()[:4]


def signature_problem(note: str, public_key: bytes) -> str | None:
    """Why the note's signature does not hold for this key, or None if it does."""
    origin, size, root = parse_checkpoint(note)
    for line in note.split("\n")[4:]:
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "—" or parts[1] != origin:
            continue
        blob = base64.b64decode(parts[2])
        if blob[:4] != key_id(origin, public_key):
            continue
        try:
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        except ImportError:
            return "not checked, because the package cryptography is not installed"
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(
                blob[4:], signed_text(origin, size, root).encode()
            )
        except InvalidSignature:
            return "the signature is wrong"
        return None
    return "no signature by this key"


def check(
    lines: Iterable[dict[str, Any]], notes: Iterable[str] = (), key: bytes | None = None
) -> Iterator[str]:
    """Yield one sentence per problem, the first bad entry first. Nothing yielded: the ledger is whole.

    `notes` are checkpoints that the reader kept; `key` is the public key the reader trusts.
    """
    tree, previous, expected, roots = MerkleTree(), GENESIS, 1, {}
    end: dict[str, Any] | None = None
    header: dict[str, Any] | None = None
    published: list[str] = []
    for line in lines:
        kind = line.get("type")
        if kind == "header":
            header = line
        elif kind == "checkpoint":
            published.append(str(line.get("note")))
        elif kind == "end":
            end = line
        elif kind == "entry":
            problem = _entry_problem(line, expected, previous)
            if problem:
                yield problem
                return
            tree.add(leaf_hash(line))
            roots[tree.size] = tree.root()
            previous, expected = line["hash"], expected + 1
        else:
            yield f"A line after entry {expected - 1} is of an unknown type."
            return
    if header is None or end is None:
        yield f"The file is cut off after entry {expected - 1}: its first or last line is missing."
        return
    if end.get("size") != tree.size or end.get("hash") != previous:
        yield f"Entry {expected} is missing: the file says that it holds {end.get('size')} entries and ends otherwise."
        return
    trusted = key if key is not None else bytes.fromhex(str(header.get("public_key", "")))
    signed = [*published, *notes]
    if key is not None and not signed:
        yield "There is no checkpoint, so nothing here is signed by the key that you trust."
    for note in signed:
        yield from _note_problems(note, roots, trusted)


def _entry_problem(entry: dict[str, Any], expected: int, previous: str) -> str | None:
    try:
        seq = entry["seq"]
        if seq != expected:
            return f"Entry {expected} is missing or out of order: entry {seq} stands in its place."
        if entry["previous_hash"] != previous:
            return f"Entry {seq} does not follow the entry before it."
        if entry_hash(entry) != entry["hash"]:
            return f"Entry {seq} was altered: its hash does not match its words."
        if entry.get("content") is not None:
            promised = json.loads(entry["payload"]).get("content")
            if promised != commitment(entry["salt"], entry["content"]):
                return f"Entry {seq} was altered: the published words do not match what the entry promised."
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return f"Entry {expected} cannot be read: {error!r}."
    return None


def _note_problems(note: str, roots: dict[int, bytes], key: bytes) -> Iterator[str]:
    try:
        _, size, root = parse_checkpoint(note)
        problem = signature_problem(note, key)
    except ValueError as error:
        yield f"A checkpoint cannot be read: {error}."
        return
    if size and size not in roots:
        yield f"Entry {max(roots, default=0) + 1} is missing: a checkpoint says that there were {size} entries."
    elif size and roots[size] != root:
        yield f"The checkpoint at {size} entries does not match: an entry up to {size} was written anew."
    if problem:
        yield f"The checkpoint at {size} entries: {problem}."


def read(path: str) -> Iterator[dict[str, Any]]:
    """The lines of an exported ledger."""
    with open(path, encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            try:
                line = json.loads(text)
            except ValueError:
                raise ValueError(f"Line {number} of the file is not JSON.") from None
            if not isinstance(line, dict):
                raise ValueError(f"Line {number} of the file is not an object.")
            yield line


def main(arguments: list[str]) -> int:
    notes: list[str] = []
    key: bytes | None = None
    paths: list[str] = []
    rest = iter(arguments)
    try:
        for word in rest:
            if word == "--checkpoint":
                with open(next(rest), encoding="utf-8") as file:
                    notes.append(file.read())
            elif word == "--key":
                key = bytes.fromhex(next(rest))
            else:
                paths.append(word)
        if len(paths) != 1:
            raise ValueError("Give one file: python3 verifier.py ledger.jsonl")
        problems = list(check(read(paths[0]), notes, key))
    except (OSError, ValueError, StopIteration) as error:
        print(error, file=sys.stderr)
        return 2
    for problem in problems:
        print(problem)
    if not problems:
        print("The ledger is whole.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
