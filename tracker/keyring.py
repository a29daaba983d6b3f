"""Keys: made once, one file each, readable by their owner only, never in the database.

`secret`      32 random bytes; every other symmetric key is derived from it by purpose (HKDF-SHA256, RFC 5869).
`ledger.key`  Ed25519 private key that signs checkpoints.
`mailer.key`  X25519 private key that opens what was sealed to the mailer (HPKE, RFC 9180).
`mailer.secret`  32 random bytes from which the mailer's other keys are derived: those that find a subscriber by
address, make the links in mails, and lock addresses at rest.
`mailer.pub`  the public half of `mailer.key`: with this alone a process can add subscribers and cannot read them.
`records.keys`  the keys that wrap the keys of restricted records (`tracker/wrapping_keys.py`).

The two private ones of the mailer can lie in a folder of their own (`mailer_keys_dir`) that the web process cannot
read. It then works without them.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tracker import wrapping_keys
from tracker.errors import ConfigError
from tracker.wrapping_keys import WrappingKeys

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
FILES = ("secret", "ledger.key", "mailer.pub", wrapping_keys.FILE)
MAILER_FILES = ("mailer.key", "mailer.secret")
_NONCE_BYTES = 12


@lru_cache(maxsize=256)
def _derived(secret: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=f"tracker/v1/{purpose}".encode()).derive(secret)


@dataclass(frozen=True)
class MailerKeys:
    """What only a process that sends mail has. `repr` shows none of it."""

    _private: X25519PrivateKey
    _secret: bytes

    def __repr__(self) -> str:
        return "MailerKeys(…)"

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """Open what `Keyring.seal` closed. Raises ValueError if it was altered, moved, or sealed to another key."""
        try:
            return _SUITE.decrypt(sealed, self._private, info=context.encode())
        except InvalidTag:
            raise ValueError("This does not open: altered, moved, or sealed to another key.") from None

    def keyed_hash(self, purpose: str, text: str) -> str:
        """A hex HMAC-SHA256 under the purpose's key: finds a thing again without keeping it."""
        return hmac.digest(_derived(self._secret, f"mailer/{purpose}"), text.encode(), "sha256").hex()

    def lock(self, plain: bytes, context: str) -> bytes:
        """Encrypt for later (AES-256-GCM). `context` (table, column, row) is bound in: swapped rows do not open."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(_derived(self._secret, "mailer/lock")).encrypt(nonce, plain, context.encode())

    def unlock(self, locked: bytes, context: str) -> bytes:
        """Open what `lock` closed. Raises ValueError if it was altered or moved."""
        try:
            return AESGCM(_derived(self._secret, "mailer/lock")).decrypt(
                locked[:_NONCE_BYTES], locked[_NONCE_BYTES:], context.encode()
            )
        except InvalidTag:
            raise ValueError("This does not open: altered, moved, or locked with another key.") from None


@dataclass(frozen=True)
class Keyring:
    """The keys in use. `repr` shows none of them."""

    _secret: bytes
    _ledger: Ed25519PrivateKey
    _mailer: MailerKeys | None  # None: this process may not read subscribers.
    _mailer_public: X25519PublicKey
    records: WrappingKeys

    def __repr__(self) -> str:
        return "Keyring(…)"

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose; other purposes tell nothing about them."""
        return _derived(self._secret, purpose)

    def keyed_hash(self, purpose: str, text: str) -> str:
        """A hex HMAC-SHA256 under the purpose's key: finds a thing again without keeping it."""
        return hmac.digest(self.derive(purpose), text.encode(), "sha256").hex()

    def seal(self, plain: bytes, context: str) -> bytes:
        """Encrypt to the mailer. `context` (table, column, row) is bound in: swapped rows do not open."""
        return _SUITE.encrypt(plain, self._mailer_public, info=context.encode())

    @property
    def mailer(self) -> MailerKeys:
        """The mailer's own keys. Raises ConfigError in a process that has none."""
        if self._mailer is None:
            raise ConfigError(
                "This process has no mailer keys (mailer.key, mailer.secret), so it can neither read subscribers nor "
                "send mail. Run it as the scheduler's user, or set mailer_keys_dir."
            )
        return self._mailer

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


def create(folder: Path, mailer_folder: Path | None = None) -> list[str]:
    """Make the keys that do not exist yet and return their names. Existing ones are never touched."""
    mailer_folder = mailer_folder or folder
    for each in (folder, mailer_folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = []
    if not (folder / "secret").exists():
        _write(folder / "secret", secrets.token_bytes(32))
        made.append("secret")
    if not (folder / "ledger.key").exists():
        _write(folder / "ledger.key", Ed25519PrivateKey.generate().private_bytes_raw())
        made.append("ledger.key")
    # A web process that was given the public half alone makes no private keys of its own.
    if not (folder / "mailer.pub").exists() and not (mailer_folder / "mailer.key").exists():
        _write(mailer_folder / "mailer.key", X25519PrivateKey.generate().private_bytes_raw())
        made.append("mailer.key")
    if (mailer_folder / "mailer.key").exists() and not (mailer_folder / "mailer.secret").exists():
        _write(mailer_folder / "mailer.secret", secrets.token_bytes(32))
        made.append("mailer.secret")
    if not (folder / "mailer.pub").exists():
        # Read again, because another first start may have been quicker with the private half.
        private = X25519PrivateKey.from_private_bytes(_read(mailer_folder / "mailer.key"))
        _write(folder / "mailer.pub", private.public_key().public_bytes_raw())
        made.append("mailer.pub")
    if not (folder / wrapping_keys.FILE).exists():
        with contextlib.suppress(FileExistsError):
            wrapping_keys.create(folder / wrapping_keys.FILE)
            made.append(wrapping_keys.FILE)
    return made


def load(folder: Path, secret_key: str = "", mailer_folder: Path | None = None) -> Keyring:
    """Read the keys. `secret_key`, if set, is used instead of the `secret` file. Raises ConfigError."""
    return Keyring(
        hashlib.sha256(secret_key.encode()).digest() if secret_key else _read(folder / "secret"),
        Ed25519PrivateKey.from_private_bytes(_read(folder / "ledger.key")),
        _load_mailer(mailer_folder or folder),
        X25519PublicKey.from_public_bytes(_read(folder / "mailer.pub")),
        WrappingKeys(folder / wrapping_keys.FILE),
    )


def _load_mailer(folder: Path) -> MailerKeys | None:
    # A folder that may not be read at all counts like one without the keys.
    if not all(os.access(folder / name, os.R_OK) for name in MAILER_FILES):
        return None
    private, secret = (_read(folder / name) for name in MAILER_FILES)
    return MailerKeys(X25519PrivateKey.from_private_bytes(private), secret)


def problems(folder: Path, mailer_folder: Path | None = None) -> list[str]:
    """What is wrong with the key files, in sentences for an operator."""
    found = []
    places = [(folder, name) for name in FILES] + [(mailer_folder or folder, name) for name in MAILER_FILES]
    for place, name in places:
        path = place / name
        if place.is_dir() and not os.access(place, os.X_OK):
            continue  # Of another user, as the mailer's folder is for the web process: `tracker doctor` says so.
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
