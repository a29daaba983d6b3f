"""The keys that wrap the keys of records: a file of their own, `records.keys`, that can hold several.

One line names the active one, the others are `name:base64` of 32 bytes. New records are wrapped with the active key;
older ones stay readable until `tracker keys rotate` has wrapped every record anew and drops the keys nobody needs.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tracker.errors import ConfigError, Conflict

FILE = "records.keys"


class WrappingKeys:
    """The file's keys, read again when it has changed: another process rotates while this one works.

    Keys that were dropped from the file stay known here until the program ends: what it has read may need them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, bytes] = {}
        self._read()

    def _read(self) -> None:
        self._seen = _look(self._path)
        self.active, keys = read(self._path)
        self._keys |= keys

    def __repr__(self) -> str:
        return "WrappingKeys(…)"

    def knows(self, kid: str) -> bool:
        """Whether the file holds this key now."""
        return kid in read(self._path)[1]

    @property
    def rotating(self) -> bool:
        """Whether there are older keys that are not dropped yet."""
        return len(read(self._path)[1]) > 1

    def wrap(self, key: bytes, context: str) -> tuple[str, bytes]:
        """(name of the wrapping key, nonce and ciphertext). `context` is bound in."""
        if _look(self._path) != self._seen:
            self._read()
        nonce = secrets.token_bytes(12)
        closed = AESGCM(self._keys[self.active]).encrypt(nonce, key, f"{self.active}|{context}".encode())
        return self.active, nonce + closed

    def unwrap(self, kid: str, wrapped: bytes, context: str) -> bytes:
        """What `wrap` closed. Raises ValueError if it was altered or moved, or its key is not in the file."""
        if kid not in self._keys:
            self._read()
        if kid not in self._keys:
            raise ValueError(f"The wrapping key {kid} is not in {FILE}.")
        try:
            return AESGCM(self._keys[kid]).decrypt(wrapped[:12], wrapped[12:], f"{kid}|{context}".encode())
        except InvalidTag:
            raise ValueError("This does not open: altered, moved, or wrapped with another key.") from None


def create(path: Path) -> None:
    """Write the file with one new key. Raises FileExistsError if another start was quicker."""
    name, key = _new()
    _write(path, name, {name: key}, must_be_new=True)


def add(path: Path) -> str:
    """Add a new key, make it the active one, and return its name."""
    _active, keys = read(path)
    name, key = _new()
    _write(path, name, {**keys, name: key})
    return name


def drop(path: Path, names: frozenset[str]) -> None:
    """Forget keys that no record needs any more. The active one stays."""
    active, keys = read(path)
    _write(path, active, {name: key for name, key in keys.items() if name == active or name not in names})


def read(path: Path) -> tuple[str, dict[str, bytes]]:
    """(name of the active key, all keys). Raises ConfigError if the file is missing or damaged."""
    try:
        lines = [line.split(":", 1) for line in path.read_text(encoding="ascii").splitlines() if line]
    except FileNotFoundError:
        raise ConfigError(
            "The key file %(path)s is missing. Run `tracker init`, or restore it from your backup.", path=path
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(
            "The key file %(path)s is damaged. Restore it from your backup.", path=path
        ) from None
    try:
        words = {name: value for name, value in lines}  # noqa: C416 - a line that is no pair is a fault.
        active = words.pop("active")
        keys = {name: base64.b64decode(value, validate=True) for name, value in words.items()}
    except (ValueError, KeyError, binascii.Error):
        active, keys = "", {}
    if active not in keys or any(len(key) != 32 for key in keys.values()):
        raise ConfigError("The key file %(path)s is damaged. Restore it from your backup.", path=path)
    return active, keys


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep a second rotation on this machine out. Raises Conflict if one is running; a killed one holds nothing."""
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("The keys are being rotated already. Wait until that ends.") from None
        yield
    finally:
        os.close(descriptor)


def _look(path: Path) -> tuple[int, int] | None:
    """What changes when the file is replaced."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _new() -> tuple[str, bytes]:
    return secrets.token_hex(4), secrets.token_bytes(32)


def _write(path: Path, active: str, keys: dict[str, bytes], *, must_be_new: bool = False) -> None:
    lines = [f"active:{active}", *(f"{name}:{base64.b64encode(key).decode()}" for name, key in keys.items())]
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        if must_be_new:
            os.link(beside, path)
        else:
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
