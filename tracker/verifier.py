#!/usr/bin/env python3
"""Check what this tracker hands out, offline, with nothing but Python.

    python3 verifier.py ledger.jsonl            a downloaded ledger
    python3 verifier.py pack.zip                an evidence pack
    python3 verifier.py --proof proof.json      a proof of inclusion or of consistency
    python3 verifier.py --disclosed proof.json --content FILE    "we held this on that day"

To each of them: `--key PUBLIC-KEY-IN-HEX`, the key that you trust, and `--checkpoint FILE`, a checkpoint that you
kept. Without `--key` the key is the one that the file names itself, which proves only that nobody altered the file
since it was signed. Signatures need the package `cryptography`; without it they are reported as not checked.

THE LEDGER is JSON lines: one `header`, then every `entry` in order, the `checkpoint`s, the `timestamp`s, one `end`.
Each entry's hash covers its own words and the hash of the entry before it, so an edit, a deletion, an insertion or a
change of order anywhere breaks the chain at the first place it was touched. A checkpoint is a signed statement "the
ledger had this many entries and this Merkle root". Keep one (every digest carries the newest) and give it with
--checkpoint: then a ledger that was cut off or written anew fails too.

A PROOF is one JSON object. Inclusion: this entry stands in the ledger of that checkpoint. Consistency: the newer
checkpoint's ledger begins with the older one's, unchanged. Disclosed: this content is one of those that the entry
`private-root/DAY` sealed with SHA-256(salt, line break, hex SHA-256 of the content).

A PACK is a ZIP file: stored without compression, no dates, no comments, names of plain letters, the files one after
another and nothing between them, so that there is no byte which nothing vouches for. It holds

    manifest.json        canonical JSON: format "tracker-pack-v1", origin, public_key, made_at, scope, size (of the
                         ledger), files [{path, size, sha256}]: every file but itself and its signature
    manifest.sig         signed note over "tracker-pack-v1", the origin, and the SHA-256 of manifest.json
    ledger/checkpoint.txt, ledger/slice.jsonl    a checkpoint at `size` entries; the entries that the pack is about,
                         each with its `proof` of inclusion there
    ledger/checkpoint.tsr    a timestamp (RFC 3161) of that checkpoint, if there is one
    exhibits/N/…         public copies: the newest entry of evidence/N in the slice names each of them by its SHA-256
                         (`exhibits[].copy`)
    custody/originals/…  in a pack of the team's: everything that was done with an original, in `lines` counted from 1,
                         each with a hash over its words and the hash of the line before it
    everything else      what people read; the manifest vouches for it

Sources: RFC 6962 section 2.1 and RFC 9162 sections 2.1.3 and 2.1.4 (Merkle tree and proofs), C2SP signed-note and
tlog-checkpoint, RFC 8785 (canonical JSON), RFC 3161 (timestamps), APPNOTE 6.3 (ZIP).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

GENESIS = "0" * 64
_FIELDS = {"type", "seq", "recorded_at", "kind", "subject", "payload", "previous_hash", "hash", "salt", "content", "proof"}  # fmt: skip
DOMAIN = "tracker-ledger-v1"
INCLUSION = "tracker-inclusion-v1"
CONSISTENCY = "tracker-consistency-v1"
DISCLOSED = "tracker-disclosed-v1"
PACK = "tracker-pack-v1"


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


# Entries.


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


def entry_problem(entry: dict[str, Any]) -> str | None:
    """Why an entry, taken by itself, is not what its hash says; or None."""
    try:
        if entry["type"] != "entry" or not _FIELDS.issuperset(entry):
            return f"Entry {entry['seq']} says something that its hash does not cover."
        if entry_hash(entry) != entry["hash"]:
            return f"Entry {entry['seq']} was altered: its hash does not match its words."
        if entry.get("content") is not None:
            promised = _json(entry["payload"]).get("content")
            if promised != commitment(entry["salt"], entry["content"]):
                return f"Entry {entry['seq']} was altered: the published words do not match what the entry promised."
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return f"Entry {entry.get('seq')} cannot be read: {error!r}."
    return None


# The Merkle tree.


def leaf_hash(entry: dict[str, Any]) -> bytes:
    """RFC 6962: SHA-256 of a zero byte and the entry."""
    return hash_leaf(entry_bytes(entry))


def hash_leaf(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class MerkleTree:
    """The RFC 6962 tree over leaf hashes, grown leaf by leaf; `root()` at any size costs a few hashes."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []  # (height, hash) of complete subtrees, left to right.

    def add(self, leaf: bytes) -> None:
        height, node = 0, leaf
        while self._peaks and self._peaks[-1][0] == height:
            node = hash_node(self._peaks.pop()[1], node)
            height += 1
        self._peaks.append((height, node))
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        node = self._peaks[-1][1]
        for _, left in reversed(self._peaks[:-1]):
            node = hash_node(left, node)
        return node


def tree_root(leaves: Iterable[bytes]) -> bytes:
    """The root over these leaf hashes."""
    tree = MerkleTree()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()


def _left_side(size: int) -> int:
    """How many leaves of a tree stand in its left half: the largest power of two below its size."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """RFC 6962 section 2.1.1, over leaf hashes. `index` counts from 0."""
    if not 0 <= index < len(leaves):
        raise ValueError("there is no such leaf")
    if len(leaves) == 1:
        return []
    half = _left_side(len(leaves))
    if index < half:
        return [*inclusion_proof(leaves[:half], index), tree_root(leaves[half:])]
    return [*inclusion_proof(leaves[half:], index - half), tree_root(leaves[:half])]


def consistency_proof(leaves: Sequence[bytes], old_size: int, known: bool = True) -> list[bytes]:
    """RFC 6962 section 2.1.2: the tree over `leaves` begins with the one over the first `old_size` of them."""
    if not 0 < old_size <= len(leaves):
        raise ValueError("the older tree must have a leaf, and not more than the newer one")
    if old_size == len(leaves):
        return [] if known else [tree_root(leaves)]
    half = _left_side(len(leaves))
    if old_size <= half:
        return [*consistency_proof(leaves[:half], old_size, known), tree_root(leaves[half:])]
    return [*consistency_proof(leaves[half:], old_size - half, False), tree_root(leaves[:half])]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162 section 2.1.3.2: whether this leaf hash stands at `index` (from 0) of the tree with this root."""
    if not 0 <= index < size:
        return False
    place, last, node = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = hash_node(step, node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = hash_node(node, step)
        place, last = place >> 1, last >> 1
    return last == 0 and node == root


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """RFC 9162 section 2.1.4.2: whether the newer tree begins with the older one."""
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    # A complete older tree is itself a node of the newer one, and is left out of the proof.
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        return False
    place, last = old_size - 1, new_size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = path[0]
    for step in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = hash_node(step, old), hash_node(step, new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = hash_node(new, step)
        place, last = place >> 1, last >> 1
    return last == 0 and old == old_root and new == new_root


# Custody logs.


def custody_hash(exhibit: str, line: dict[str, Any], previous: str) -> str:
    """Hex SHA-256 of a line of an exhibit's custody log, which follows the line with the hash `previous` ("": none).

    It covers canonical JSON (RFC 8785), which for these texts and numbers is what `json` writes with sorted keys.
    """
    told = {name: line[name] for name in ("position", "at", "account", "action", "commitment", "note")}
    told |= {"exhibit": exhibit, "previous_hash": previous}
    text = json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def custody_problem(exhibit: str, salt: str, lines: Iterable[dict[str, Any]]) -> str | None:
    """What is wrong with the custody log of the exhibit with this key, or None: the first line that does not fit.

    Each line commits to the SHA-256 of the bytes with the exhibit's salt. Without a salt that is not looked at: the
    exhibit was erased.
    """
    previous = ""
    for place, line in enumerate(lines, 1):
        if line["position"] != place:
            return f"line {place} is missing"
        told = commitment(salt, line["sha256"]) if line["sha256"] else ""
        if (salt and told != line["commitment"]) or custody_hash(exhibit, line, previous) != line[
            "line_hash"
        ]:
            return f"line {place} was changed, put in or moved"
        previous = line["line_hash"]
    return None


# Signed notes and checkpoints.


def signed_text(origin: str, size: int, root: bytes) -> str:
    """The text of a checkpoint that the signature covers."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def key_id(name: str, public_key: bytes) -> bytes:
    """The first four bytes of SHA-256(name, line break, algorithm 1, key), as C2SP signed-note says."""
    return hashlib.sha256(name.encode() + b"\n\x01" + public_key).digest()[:4]


def signed_note(text: str, name: str, public_key: bytes, signature: bytes) -> str:
    """A text with its Ed25519 signature, as C2SP signed-note writes it."""
    return f"{text}\n— {name} {base64.b64encode(key_id(name, public_key) + signature).decode()}\n"


def _split(note: str) -> tuple[str, list[str]]:
    """The text of a note and its signature lines. A last line break that a mail program swallowed is forgiven."""
    text, gap, signatures = note.removesuffix("\n").rpartition("\n\n")
    if not gap:
        raise ValueError("not a checkpoint")
    return text + "\n", signatures.split("\n")


def _base64(text: str) -> bytes:
    """Decode, and refuse what another spelling of the same bytes would be."""
    found = base64.b64decode(text, validate=True)
    if base64.b64encode(found).decode() != text:
        raise ValueError("bad base64")
    return found


def parse_checkpoint(note: str) -> tuple[str, int, bytes]:
    """(origin, size, root) of a signed note, or ValueError."""
    lines = _split(note)[0].split("\n")
    if len(lines) < 4 or not re.fullmatch("0|[1-9][0-9]{0,18}", lines[1], re.ASCII):
        raise ValueError("not a checkpoint")
    return lines[0], int(lines[1]), _base64(lines[2])


def signature_problem(note: str, public_key: bytes, name: str | None = None) -> str | None:
    """Why the note's signature does not hold for this key, or None. `name` is the key's, else the first line."""
    text, signatures = _split(note)
    name = name or text.split("\n", 1)[0]
    for line in signatures:
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "—" or parts[1] != name:
            continue
        blob = _base64(parts[2])
        if blob[:4] != key_id(name, public_key):
            continue
        try:
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        except ImportError:
            return "not checked, because the package cryptography is not installed"
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(blob[4:], text.encode())
        except InvalidSignature:
            return "the signature is wrong"
        return None
    return "no signature by this key"


# A whole ledger.


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
    stamps: list[dict[str, Any]] = []
    digests: dict[str, str] = {}
    for line in lines:
        kind = line.get("type")
        if kind == "header":
            header = line
        elif kind == "checkpoint":
            published.append(str(line.get("note")))
        elif kind == "timestamp":
            stamps.append(line)
        elif kind == "end":
            end = line
        elif kind == "entry":
            problem = _place_problem(line, expected, previous) or entry_problem(line)
            if problem:
                yield problem
                return
            tree.add(leaf_hash(line))
            roots[tree.size] = tree.root()
            digests[f"entry/{expected}"] = previous = line["hash"]
            expected += 1
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
    for note in published:
        digests[_subject_of(note)] = hashlib.sha256(note.encode()).hexdigest()
    for stamp in stamps:
        yield from _stamp_problems(stamp, digests)


def _place_problem(entry: dict[str, Any], expected: int, previous: str) -> str | None:
    seq = entry.get("seq")
    if seq != expected:
        return f"Entry {expected} is missing or out of order: entry {seq} stands in its place."
    if entry.get("previous_hash") != previous:
        return f"Entry {seq} does not follow the entry before it."
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


def _subject_of(note: str) -> str:
    try:
        return f"checkpoint/{parse_checkpoint(note)[1]}"
    except ValueError:
        return ""


# Timestamps. What is stamped is an entry's bytes, or a checkpoint's note as it stands.


def stamps_digest(token: bytes, digest: str) -> bool:
    """Whether an RFC 3161 answer is about this SHA-256. Whose answer it is, only `openssl ts -verify` tells."""
    sha256 = bytes.fromhex("0609608648016503040201")
    wanted = b"\x04\x20" + bytes.fromhex(digest)  # MessageImprint ::= SEQUENCE { algorithm, OCTET STRING }
    return any(
        struct.pack("BBBB", 0x30, len(name) + 36, 0x30, len(name)) + name + wanted in token
        for name in (sha256, sha256 + b"\x05\x00")
    )


def _stamp_problems(stamp: dict[str, Any], digests: dict[str, str]) -> Iterator[str]:
    subject = stamp.get("subject")
    try:
        token = _base64(stamp["token"])
    except (KeyError, TypeError, ValueError):
        yield f"The timestamp of {subject} cannot be read."
        return
    if subject not in digests:
        yield f"There is a timestamp of {subject}, which is not in this ledger."
    elif not stamps_digest(token, digests[subject]):
        yield f"The timestamp of {subject} is about something else."


# Proofs.


def check_proof(
    proof: dict[str, Any], notes: Iterable[str] = (), key: bytes | None = None, content: str | None = None
) -> Iterator[str]:
    """Yield one sentence per problem of a proof. `content` is the hex SHA-256 of what a disclosure is about."""
    try:
        if proof["format"] == INCLUSION:
            yield from _inclusion_problems(proof, notes, key)
        elif proof["format"] == CONSISTENCY:
            yield from _consistency_problems(proof, notes, key)
        elif proof["format"] == DISCLOSED:
            yield from _disclosure_problems(proof, notes, key, content)
        else:
            yield "This is a proof of an unknown format."
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        yield f"The proof cannot be read: {error!r}."


def _inclusion_problems(proof: dict[str, Any], notes: Iterable[str], key: bytes | None) -> Iterator[str]:
    _only(proof, "format", "public_key", "entry", "index", "size", "root", "proof", "checkpoint")
    entry, index, size, root = proof["entry"], proof["index"], proof["size"], _hash(proof["root"])
    problem = entry_problem(entry)
    if problem:
        yield problem
        return
    if index != entry["seq"] - 1 or not verify_inclusion(
        leaf_hash(entry), index, size, _hashes(proof["proof"]), root
    ):
        yield f"Entry {entry['seq']} is not proven to stand in the ledger of {size} entries."
    trusted = key if key is not None else _hash(proof["public_key"])
    yield from _anchor_problems([(size, root, proof["checkpoint"])], notes, trusted)


def _consistency_problems(proof: dict[str, Any], notes: Iterable[str], key: bytes | None) -> Iterator[str]:
    _only(proof, "format", "public_key", "old", "new", "proof")
    ends = [proof["old"], proof["new"]]
    for end in ends:
        _only(end, "size", "root", "checkpoint")
    (old, old_root, _), (new, new_root, _) = anchors = [
        (end["size"], _hash(end["root"]), end["checkpoint"]) for end in ends
    ]
    if not verify_consistency(old, old_root, new, new_root, _hashes(proof["proof"])):
        yield f"The ledger of {new} entries is not proven to begin with that of {old} entries."
    trusted = key if key is not None else _hash(proof["public_key"])
    yield from _anchor_problems(anchors, notes, trusted)


def _disclosure_problems(
    proof: dict[str, Any], notes: Iterable[str], key: bytes | None, content: str | None
) -> Iterator[str]:
    _only(proof, "format", "salt", "leaf", "index", "proof", "inclusion")
    entry = proof["inclusion"]["entry"]
    yield from _inclusion_problems(proof["inclusion"], notes, key)
    facts = _json(entry["payload"])
    leaf, root = _hash(proof["leaf"]), _hash(facts["root"])
    path = _hashes(proof["proof"])
    if entry["kind"] != "private-root" or not verify_inclusion(
        hash_leaf(leaf), proof["index"], facts["leaves"], path, root
    ):
        yield f"Nothing proves that this stands under the sealed root in entry {entry['seq']}."
    if content is None:
        yield "Give the content too, with --content: without it nothing is proven."
    elif commitment(proof["salt"], content) != proof["leaf"]:
        yield "The content is not what was sealed."


def _anchor_problems(
    anchors: Sequence[tuple[int, bytes, str]], kept: Iterable[str], key: bytes
) -> Iterator[str]:
    """A proof's (size, root) must be those of the signed checkpoint beside it, and of any that the reader kept."""
    roots = {size: root for size, root, _ in anchors}
    for size, _, note in anchors:
        if parse_checkpoint(note)[1] != size:
            yield f"The checkpoint in the proof is not the one at {size} entries."
        else:
            yield from _note_problems(note, roots, key)
    for note in kept:
        try:
            size, newest = parse_checkpoint(note)[1], max(roots)
        except ValueError as error:
            yield f"The checkpoint that you kept cannot be read: {error}."
            continue
        if size in roots:
            yield from _note_problems(note, roots, key)
        else:
            pair = f"from={min(size, newest)}&to={max(size, newest)}"
            yield f"The checkpoint that you kept is at {size} entries, this one at {newest}: check the proof between the two, /ledger/consistency?{pair}, as well."


def _hash(text: str) -> bytes:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError("a hash must be 64 hexadecimal digits")
    return bytes.fromhex(text)


def _hashes(texts: Iterable[str]) -> list[bytes]:
    return [_hash(text) for text in texts]


def _only(value: dict[str, Any], *names: str) -> None:
    if set(value) != set(names):
        raise ValueError(f"it must have {', '.join(names)} and nothing else")


# Packs.

_MANIFEST, _SIGNATURE = "manifest.json", "manifest.sig"
_SLICE, _CHECKPOINT, _STAMP = "ledger/slice.jsonl", "ledger/checkpoint.txt", "ledger/checkpoint.tsr"
_PLAIN_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


def check_pack(file: IO[bytes], notes: Iterable[str] = (), key: bytes | None = None) -> Iterator[str]:
    """Yield one sentence per problem of an evidence pack, the outermost first. Nothing yielded: it is whole."""
    try:
        members = _members(file)
        manifest = _json(_read(file, members, _MANIFEST))
        origin, trusted = manifest["origin"], _hash(manifest["public_key"])
        promised = {str(item["path"]): (item["size"], item["sha256"]) for item in manifest["files"]}
        if manifest["format"] != PACK or len(promised) != len(manifest["files"]):
            raise ValueError("it is of another format")
        sealed = f"{PACK}\n{origin}\n{hashlib.sha256(_read(file, members, _MANIFEST)).hexdigest()}\n"
        note = _read(file, members, _SIGNATURE).decode()
        problem = None if _split(note)[0] == sealed else "it is about another manifest"
        if not re.fullmatch(f"— {re.escape(origin)} [A-Za-z0-9+/=]+\n", note.removeprefix(sealed + "\n")):
            problem = problem or "it is not one signature line"
        problem = problem or signature_problem(note, trusted if key is None else key, origin)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        yield f"The pack cannot be read: {error}."
        return
    if problem:
        yield f"The signature of the manifest: {problem}."
    for path in sorted(promised.keys() - members.keys()):
        yield f"{path} is missing from the pack."
    for path in sorted(members.keys() - promised.keys() - {_MANIFEST, _SIGNATURE}):
        yield f"{path} is in the pack, and the manifest does not name it."
    for path in sorted(promised.keys() & members.keys()):
        if _measure(file, members[path]) != promised[path]:
            yield f"{path} was altered."
    try:
        yield from _slice_problems(file, members, manifest, promised, notes, key or trusted)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        yield f"The slice of the ledger cannot be read: {error}."
    for path in sorted(members):
        if path.startswith("custody/originals/"):
            try:
                log = _json(_read(file, members, path))
                if isinstance(log, list):
                    continue  # Older than the chain.
                problem = custody_problem(log["exhibit"], _hash(log["salt"]).hex(), log["lines"])
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                problem = f"it cannot be read: {error!r}"
            if problem:
                yield f"{path}: {problem}."


def _slice_problems(
    file: IO[bytes],
    members: dict[str, tuple[int, int, int]],
    manifest: dict[str, Any],
    promised: dict[str, Any],
    notes: Iterable[str],
    key: bytes,
) -> Iterator[str]:
    note = _read(file, members, _CHECKPOINT).decode()
    origin, size, root = parse_checkpoint(note)
    if (origin, size) != (manifest["origin"], manifest["size"]):
        yield f"The checkpoint in the pack is not {manifest['origin']}'s at {manifest['size']} entries."
    yield from _anchor_problems([(size, root, note)], notes, key)
    digest = hashlib.sha256(note.encode()).hexdigest()
    if _STAMP in members and not stamps_digest(_read(file, members, _STAMP), digest):
        yield f"{_STAMP} is about something else than the checkpoint."
    last, newest = 0, {}
    for text in _read(file, members, _SLICE).decode().splitlines():
        entry = _json(text)
        problem = entry_problem(entry)
        if problem:
            yield problem
            continue
        seq = entry["seq"]
        if seq <= last:
            yield f"Entry {seq} stands twice or out of order in the slice of the ledger."
        if not verify_inclusion(leaf_hash(entry), seq - 1, size, _hashes(entry["proof"]), root):
            yield f"Entry {seq} is not proven to stand in the ledger of {size} entries."
        last, newest[entry["subject"]] = seq, entry
    for path in sorted(promised):
        if path.startswith("exhibits/"):
            subject = f"evidence/{path.split('/')[1]}"
            if subject not in newest:
                yield f"{path}: the slice of the ledger has no entry about {subject}."
                continue
            facts = _json(newest[subject]["payload"])
            if promised[path][1] not in [item.get("copy") for item in facts.get("exhibits", [])]:
                yield f"{path}: entry {newest[subject]['seq']}, the newest about {subject}, does not name this file."


def _members(file: IO[bytes]) -> dict[str, tuple[int, int, int]]:
    """Name to (position, size, CRC-32) of every file in a pack; ValueError if it is not built as a pack must be.

    The names and sizes that the ZIP's directory gives fix every byte that is not some file's content: the headers,
    the directory and the end are written anew here and compared.
    """
    try:
        infos = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error):
        raise ValueError("it is no ZIP file, was cut off, or was altered") from None
    members: dict[str, tuple[int, int, int]] = {}
    directory, position = b"", 0
    for info in infos:
        if info.filename in members:
            raise ValueError(f"two files in it are called {info.filename}")
        if not _PLAIN_NAME.fullmatch(info.filename):
            raise ValueError(f"a file in it has an unsafe name, {info.filename!r}")
        name, size = info.filename.encode(), info.file_size
        try:
            # Version 2.0, no flags, stored, midnight of 1 January 1980, no extra field.
            common = struct.pack("<5H3I2H", 20, 0, 0, 0, 33, info.CRC, size, size, len(name), 0)
            header = b"PK\x03\x04" + common + name
            # Made on Unix, no comment, first disk, readable by its owner.
            directory += b"PK\x01\x02\x14\x03" + common + struct.pack("<3H2I", 0, 0, 0, 0o600 << 16, position)
        except struct.error:
            raise ValueError("it is larger than a pack may be") from None
        directory += name
        file.seek(position)
        if file.read(len(header)) != header:
            raise ValueError(f"something was altered before or in the header of {info.filename}")
        members[info.filename] = (position + len(header), size, info.CRC)
        position += len(header) + size
    count = len(members)
    directory += b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, count, count, len(directory), position, 0)
    file.seek(position)
    if file.read(len(directory) + 1) != directory:
        raise ValueError("its directory was altered, or it holds bytes that belong to no file")
    return members


def _read(file: IO[bytes], members: dict[str, tuple[int, int, int]], name: str) -> bytes:
    if name not in members:
        raise ValueError(f"it holds no {name}")
    position, size, crc = members[name]
    file.seek(position)
    content = file.read(size)
    if zlib.crc32(content) != crc:
        raise ValueError(f"{name} was altered")
    return content


def _measure(file: IO[bytes], member: tuple[int, int, int]) -> tuple[int, str]:
    """Size and hex SHA-256 of a file in a pack, read in pieces."""
    position, size, crc = member
    digest, checksum, left = hashlib.sha256(), 0, size
    file.seek(position)
    while left and (piece := file.read(min(left, 1 << 20))):
        digest.update(piece)
        checksum, left = zlib.crc32(piece, checksum), left - len(piece)
    return (size, digest.hexdigest()) if checksum == crc else (-1, "")


# The program.


def read(path: str) -> Iterator[dict[str, Any]]:
    """The lines of an exported ledger."""
    with open(path, encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            try:
                line = _json(text)
            except ValueError:
                raise ValueError(f"Line {number} of the file is not JSON.") from None
            if not isinstance(line, dict):
                raise ValueError(f"Line {number} of the file is not an object.")
            yield line


def check_file(
    path: str, notes: Sequence[str] = (), key: bytes | None = None, content: str | None = None
) -> tuple[str, list[str]]:
    """Check a file of any of the kinds above. Returns what holds if there is no problem, and the problems.

    `content` is the path of what a disclosure is about.
    """
    with open(path, "rb") as file:
        if file.read(2) == b"PK":
            return "The pack is whole.", _shown(check_pack(file, notes, key))
        file.seek(0)
        proof = _one_object(file.read(1 << 20))
    if proof is None or "format" not in proof or "type" in proof:
        return "The ledger is whole.", _shown(check(read(path), notes, key))
    digest = None
    if content is not None:
        with open(content, "rb") as file:
            digest = _sha256(file)
    problems = _shown(check_proof(proof, notes, key, digest))
    return "" if problems else _shown([_holds(proof)])[0], problems


def _holds(proof: dict[str, Any]) -> str:
    """What a proof without problems says."""
    if proof["format"] == CONSISTENCY:
        old, new = proof["old"]["size"], proof["new"]["size"]
        return f"The proof holds: the ledger of {new} entries begins with that of {old}."
    if proof["format"] == DISCLOSED:
        day = proof["inclusion"]["entry"]["subject"].partition("/")[2]
        return f"The proof holds: this content was sealed on {day}, and the ledger has said so since."
    return f"The proof holds: entry {proof['entry']['seq']} stands in the ledger of {proof['size']} entries."


def _shown(sentences: Iterable[str]) -> list[str]:
    """What a hostile file says must not move the cursor and write over the sentences before."""
    return ["".join(letter if letter.isprintable() else "�" for letter in one) for one in sentences]


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


def _one_object(text: bytes) -> dict[str, Any] | None:
    try:
        found = _json(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def main(arguments: list[str]) -> int:
    notes: list[str] = []
    paths: list[str] = []
    key = content = None
    rest = iter(arguments)
    try:
        for word in rest:
            if word == "--checkpoint":
                with open(next(rest), encoding="utf-8") as file:
                    notes.append(file.read())
            elif word == "--key":
                key = bytes.fromhex(next(rest))
            elif word == "--content":
                content = next(rest)
            elif word in ("--proof", "--disclosed"):
                paths.append(next(rest))
            else:
                paths.append(word)
        if len(paths) != 1:
            raise ValueError("Give one file: python3 verifier.py ledger.jsonl")
        holds, problems = check_file(paths[0], notes, key, content)
    except (OSError, ValueError, StopIteration) as error:
        print(error, file=sys.stderr)
        return 2
    for problem in problems:
        print(problem)
    if not problems:
        print(holds)
        if key is None:
            print("Checked with the key that the file itself names. Give the one you trust with --key.", file=sys.stderr)  # fmt: skip
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
