"""Proofs over the Merkle tree: those of the standards hold, every other one fails."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker import verifier

# The leaves and hashes of the certificate-transparency project's reference tree, in google/certificate-transparency
# (merkletree/merkle_tree_test.cc) and transparency-dev/merkle (testonly/constants.go).
LEAVES = [
    verifier.hash_leaf(bytes.fromhex(leaf))
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# (index, size): proof.
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
# (older size, newer size): proof.
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (6, 7): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}


def test_the_roots_are_those_of_the_reference_tree() -> None:
    assert [verifier.tree_root(LEAVES[:size]).hex() for size in range(9)] == ROOTS


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_proofs_of_inclusion_are_those_of_the_reference_tree(index: int, size: int) -> None:
    proof = verifier.inclusion_proof(LEAVES[:size], index)

    assert [node.hex() for node in proof] == INCLUSION[index, size]
    assert verifier.verify_inclusion(LEAVES[index], index, size, proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_proofs_of_consistency_are_those_of_the_reference_tree(old: int, new: int) -> None:
    proof = verifier.consistency_proof(LEAVES[:new], old)

    assert [node.hex() for node in proof] == CONSISTENCY[old, new]
    roots = bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new])
    assert verifier.verify_consistency(old, roots[0], new, roots[1], proof)


# The definitions of RFC 6962 section 2.1, word for word, against which ours are held.


def split(size: int) -> int:
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def mth(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], known: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if known else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], known), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def some_leaves(size: int) -> list[bytes]:
    return [verifier.hash_leaf(str(number).encode()) for number in range(size)]


sizes = st.integers(1, 130)


@given(data=st.data(), size=sizes)
def test_every_entry_is_proven_and_nothing_else_is(data: st.DataObject, size: int) -> None:
    leaves = some_leaves(size)
    index = data.draw(st.integers(0, size - 1))
    root = mth(leaves)
    proof = verifier.inclusion_proof(leaves, index)

    assert verifier.tree_root(leaves) == root
    assert proof == path(index, leaves)
    assert verifier.verify_inclusion(leaves[index], index, size, proof, root)

    def holds(leaf: bytes = leaves[index], at: int = index, of: int = size, by: list[bytes] = proof) -> bool:
        return verifier.verify_inclusion(leaf, at, of, by, root)

    other = data.draw(st.integers(-1, size + 1).filter(lambda place: place != index))
    assert not holds(at=other)
    assert not holds(leaf=verifier.hash_leaf(b"forged"))
    assert not holds(by=[*proof, root])
    if proof:
        assert not holds(by=proof[:-1])
        assert not holds(by=flipped(data, proof))


@given(data=st.data(), new=sizes)
def test_a_ledger_that_grew_is_proven_and_one_written_anew_is_not(data: st.DataObject, new: int) -> None:
    leaves = some_leaves(new)
    old = data.draw(st.integers(1, new))
    roots = mth(leaves[:old]), mth(leaves)
    proof = verifier.consistency_proof(leaves, old)

    assert proof == subproof(old, leaves, True)
    assert verifier.verify_consistency(old, roots[0], new, roots[1], proof)

    place = data.draw(st.integers(0, old - 1))
    anew = [*leaves[:place], verifier.hash_leaf(b"forged"), *leaves[place + 1 :]]
    forged = verifier.consistency_proof(anew, old)
    assert not verifier.verify_consistency(old, roots[0], new, mth(anew), forged)
    assert not verifier.verify_consistency(old, roots[0], new, mth(anew), proof)
    assert not verifier.verify_consistency(old, roots[0], new, roots[1], [*proof, roots[0]])
    assert not verifier.verify_consistency(0, mth([]), new, roots[1], [])
    assert not verifier.verify_consistency(new + 1, roots[1], new, roots[0], proof)
    if proof:
        assert not verifier.verify_consistency(old, roots[0], new, roots[1], proof[:-1])
        assert not verifier.verify_consistency(old, roots[0], new, roots[1], flipped(data, proof))


def flipped(data: st.DataObject, proof: list[bytes]) -> list[bytes]:
    """One bit of one byte differs."""
    place = data.draw(st.integers(0, len(proof) * 32 - 1))
    whole = bytearray(b"".join(proof))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    return [bytes(whole[start : start + 32]) for start in range(0, len(whole), 32)]


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_there_is_no_proof_of_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no such leaf"):
        verifier.inclusion_proof(LEAVES[:size], index)


@pytest.mark.parametrize("old", [0, 4])
def test_there_is_no_proof_from_an_empty_or_a_longer_ledger(old: int) -> None:
    with pytest.raises(ValueError, match="older tree"):
        verifier.consistency_proof(LEAVES[:3], old)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "arvenia.example\n5\n",
        "arvenia.example\n05\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— a b\n",
        "arvenia.example\n+5\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— a b\n",
        "arvenia.example\n٥\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— a b\n",
        "arvenia.example\n5\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\n\n— a b\n",
        "arvenia.example\n5\n?\n\n— a b\n",
    ],
)
def test_what_is_no_checkpoint_is_not_read_as_one(note: str) -> None:
    with pytest.raises(ValueError, match=r"checkpoint|base64"):
        verifier.parse_checkpoint(note)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00\xff",
        "[" * 100_000,
        "{}",
        "null",
        '{"format": "tracker-inclusion-v1"}',
        '{"format": ["tracker-inclusion-v1"]}',
        '{"format": "tracker-inclusion-v1", "public_key": 1, "entry": [], "index": 1e999, "size": {}, "root": null}',
        '{"format": "tracker-consistency-v1", "public_key": "", "old": [], "new": 1, "proof": []}',
        '{"format": "tracker-disclosed-v1", "inclusion": 5}',
        '{"type": "header"}\n{"type": "entry", "seq": []}\n',
        '{"type": "header"}\n{"type": "entry", "seq": 1, "previous_hash": "' + "0" * 64 + '"}\n',
        '{"type": "header"}\n{"type": "entry", "seq": "\\u001b[2J\\ud800The ledger is whole."}\n',
        '{"type": "header", "public_key": 5}\n{"type": "timestamp"}\n{"type": "end", "size": 0, "hash": "x"}\n',
    ],
)
def test_a_hostile_file_is_refused_without_a_stumble(text: str, tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_text(text)

    done = subprocess.run(
        [sys.executable, verifier.__file__, str(file)], capture_output=True, text=True, check=False
    )

    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert (done.stdout + done.stderr).strip()
    assert "\x1b" not in done.stdout
