"""Keys are made once, readable by their owner only, and what they close opens in its own place only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tracker import keyring
from tracker.errors import ConfigError
from tracker.keyring import Keyring


def test_keys_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    made = keyring.create(tmp_path / "keys")
    first = {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()}

    assert sorted(made) == sorted([*keyring.FILES, *keyring.MAILER_FILES])
    assert keyring.create(tmp_path / "keys") == []
    assert {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()} == first
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()} == {0o600}
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_two_first_starts_at_once_agree_on_the_keys(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: keyring.create(tmp_path / "keys"), range(8)))

    keys = keyring.load(tmp_path / "keys")
    assert keys.mailer.unseal(keys.seal(b"x", "here"), "here") == b"x"
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == sorted(
        [*keyring.FILES, *keyring.MAILER_FILES]
    )


def test_what_was_sealed_opens_in_its_own_place_only(keys: Keyring) -> None:
    sealed = keys.seal(b"vera@arvenia.example", "subscriber.address/1")

    assert b"vera" not in sealed
    assert keys.mailer.unseal(sealed, "subscriber.address/1") == b"vera@arvenia.example"
    with pytest.raises(ValueError, match="does not open"):
        keys.mailer.unseal(sealed, "subscriber.address/2")
    with pytest.raises(ValueError, match="does not open"):
        keys.mailer.unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]), "subscriber.address/1")


def test_keys_of_different_purposes_have_nothing_in_common(keys: Keyring) -> None:
    assert len({keys.derive(purpose) for purpose in ("a", "b", "a/b")}) == 3
    assert repr(keys) == "Keyring(…)"


def test_a_missing_or_damaged_key_is_named(tmp_path: Path) -> None:
    keyring.create(tmp_path)
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(ConfigError, match="secret is damaged"):
        keyring.load(tmp_path)
    (tmp_path / "secret").unlink()
    with pytest.raises(ConfigError, match="secret is missing"):
        keyring.load(tmp_path)
    (tmp_path / "ledger.key").chmod(0o644)
    assert len(keyring.problems(tmp_path)) == 2


def test_a_secret_from_the_environment_is_used_instead_of_the_file(tmp_path: Path) -> None:
    keyring.create(tmp_path)

    assert keyring.load(tmp_path, "s" * 32).derive("a") != keyring.load(tmp_path).derive("a")
