"""Keys: made once, one file each, readable by their owner only, never in the database.

`secret`      32 random bytes; every other symmetric key is derived from it by purpose (HKDF-SHA256, RFC 5869).
`ledger.key`  Ed25519 private key that signs checkpoints.
`mailer.key`  X25519 private key that opens subscribers' addresses and stored mails (HPKE, RFC 9180).
`mailer.pub`  its public half: with this alone a process can add subscribers and cannot read them.
`records.keys`  the keys that wrap the keys of restricted records (`tracker/wrapping_keys.py`).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tracker import wrapping_keys
from tracker.errors import ConfigError
from tracker.wrapping_keys import WrappingKeys

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
FILES = ("secret", "ledger.key", "mailer.key", "mailer.pub", wrapping_keys.FILE)


@dataclass(frozen=True)
class Keyring:
    """The keys in use. `repr` shows none of them."""

    _secret: bytes
    _ledger: Ed25519PrivateKey
    _mailer: X25519PrivateKey
    _mailer_public: X25519PublicKey
    records: WrappingKeys

    def __repr__(self) -> str:
        return "Keyring(…)"

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose; other purposes tell nothing about them."""
        return HKDF(SHA256(), 32, salt=None, info=f"tracker/v1/{purpose}".encode()).derive(self._secret)

    def keyed_hash(self, purpose: str, text: str) -> str:
        """A hex HMAC-SHA256 under the purpose's key: finds a thing again without keeping it."""
        return hmac.new(self.derive(purpose), text.encode(), hashlib.sha256).hexdigest()

    def seal(self, plain: bytes, context: str) -> bytes:
        """Encrypt to the mailer. `context` (table, column, row) is bound in: swapped rows do not open."""
        return _SUITE.encrypt(plain, self._mailer_public, info=context.encode())

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """Open what `seal` closed. Raises ValueError if it was altered, moved, or sealed to another key."""
        try:
            return _SUITE.decrypt(sealed, self._mailer, info=context.encode())
        except InvalidTag:
            raise ValueError("This does not open: altered, moved, or sealed to another key.") from None

    def sign(self, message: bytes) -> bytes:
        """An Ed25519 signature (64 bytes) by the ledger key."""
        return self._ledger.sign(message)

    def wrap(self, key: bytes, context: str) -> tuple[str, bytes]:
        """Wrap a record's key: (name of the wrapping key, ciphertext)."""
        return self.records.wrap(key, context)

    def unwrap(self, kid: str, wrapped: bytes, context: str) -> bytes:
        """A record's key again. Raises ValueError if it was altered or moved, or the wrapping key is not here."""
        return self.records.unwrap(kid, wrapped, context)

    def knows(self, kid: str) -> bool:
        """Whether the file of wrapping keys holds this one now."""
        return self.records.knows(kid)

    @property
    def ledger_public_key(self) -> bytes:
        """The 32 bytes that verify checkpoints."""
        return self._ledger.public_key().public_bytes_raw()


def create(folder: Path) -> list[str]:
    """Make the keys that do not exist yet and return their names. Existing ones are never touched."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = []
    if not (folder / "secret").exists():
        _write(folder / "secret", secrets.token_bytes(32))
        made.append("secret")
    if not (folder / "ledger.key").exists():
        _write(folder / "ledger.key", Ed25519PrivateKey.generate().private_bytes_raw())
        made.append("ledger.key")
    if not (folder / "mailer.key").exists():
        _write(folder / "mailer.key", X25519PrivateKey.generate().private_bytes_raw())
        made.append("mailer.key")
    if not (folder / "mailer.pub").exists():
        # Read again, because another first start may have been quicker with the private half.
        private = X25519PrivateKey.from_private_bytes(_read(folder / "mailer.key"))
        _write(folder / "mailer.pub", private.public_key().public_bytes_raw())
        made.append("mailer.pub")
    if not (folder / wrapping_keys.FILE).exists():
        with contextlib.suppress(FileExistsError):
            wrapping_keys.create(folder / wrapping_keys.FILE)
            made.append(wrapping_keys.FILE)
    return made


def load(folder: Path, secret_key: str = "") -> Keyring:
    """Read the keys. `secret_key`, if set, is used instead of the `secret` file. Raises ConfigError."""
    mailer = X25519PrivateKey.from_private_bytes(_read(folder / "mailer.key"))
    return Keyring(
        hashlib.sha256(secret_key.encode()).digest() if secret_key else _read(folder / "secret"),
        Ed25519PrivateKey.from_private_bytes(_read(folder / "ledger.key")),
        mailer,
        X25519PublicKey.from_public_bytes(_read(folder / "mailer.pub")),
        WrappingKeys(folder / wrapping_keys.FILE),
    )


def problems(folder: Path) -> list[str]:
    """What is wrong with the key files, in sentences for an operator."""
    found = []
    for name in FILES:
        path = folder / name
        if not path.exists():
            found.append(
                f"The key file {path} is missing. Run `tracker init`, or restore it from your backup."
            )
        elif name == wrapping_keys.FILE and _damaged(path):
            found.append(f"The key file {path} is damaged. Restore it from your backup.")
        elif name != wrapping_keys.FILE and path.stat().st_size != 32:
            found.append(
                f"The key file {path} is damaged: it must hold 32 bytes. Restore it from your backup."
            )
        elif path.stat().st_mode & 0o077:
            found.append(f"The key file {path} can be read by others. Run: chmod 600 {path}")
    return found


def _damaged(path: Path) -> bool:
    try:
        wrapping_keys.read(path)
    except ConfigError:
        return True
    return False


def _write(path: Path, content: bytes) -> None:
    # Written beside and linked into place, so that a crash leaves no half key and a second start no second key.
    beside = path.with_suffix(path.suffix + f".{secrets.token_hex(4)}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(beside, path)
    except FileExistsError:
        pass
    finally:
        beside.unlink()
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            "The key file %(path)s is missing. Run `tracker init`, or restore it from your backup.", path=path
        ) from None
    if len(content) != 32:
        raise ConfigError("The key file %(path)s is damaged: it must hold 32 bytes.", path=path)
    return content
