"""Identities of sources as only custodians can open them: keys, sealing, and the file that is carried between machines.

The server seals with public keys (HPKE, RFC 9180: X25519, HKDF-SHA256, AES-256-GCM) and has no private one. A custodian
opens on a machine of their own, where this module needs Python and `cryptography`, no database, keys or settings.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from tracker.errors import TrackerError

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_PREFIX = "tracker-custodian:"
_KEY_FORMAT = "tracker-custodian-key/v1"
_LINE_FORMAT = "tracker-source-record/v1"
# Sealed text is as long as its plain text and says so to everybody: filled up to a multiple of this, it tells little.
_BLOCK = 1024
# 128 MB of memory and a third of a second a guess. PKCS8, the usual container, stops at 2,048 rounds of PBKDF2.
_SCRYPT = {"n": 2**17, "r": 8, "p": 1}


class Damaged(TrackerError):
    """A key, a file or a sealed record is not what it should be."""


@dataclass(frozen=True)
class Place:
    """Where a sealed record belongs. It is bound in: moved to another source, version or custodian it does not open."""

    source: str  # The source's key.
    version: int
    custodian: str  # The fingerprint of the custodian's public key.

    def bound(self) -> bytes:
        """The HPKE info."""
        return f"tracker/v1|source_record|sealed|{self.source}|{self.version}|{self.custodian}".encode()


@dataclass(frozen=True)
class Identity:
    """Who a source is. Stands sealed in the database, and nowhere else."""

    name: str
    contact: str = ""
    safe_contact: str = ""  # How to reach them without endangering them.
    notes: str = ""


@dataclass(frozen=True)
class Line:
    """One sealed record as it is carried to a custodian."""

    pseudonym: str
    place: Place
    recorded_on: str  # ISO date; for the eye, the sealed text has its own.
    sealed: bytes


@dataclass(frozen=True)
class Opened:
    """What a sealed record says."""

    pseudonym: str
    version: int
    recorded_on: str
    identity: Identity


def fingerprint(public: bytes) -> str:
    """What names a public key: 20 hex digits, to be compared by voice."""
    return hashlib.sha256(b"tracker/v1|custodian|" + public).hexdigest()[:20]


def spoken(print_: str) -> str:
    """A fingerprint in groups of four."""
    return " ".join(print_[place : place + 4] for place in range(0, len(print_), 4))


def key_text(public: bytes) -> str:
    """A public key as text with a checksum, so that a mistyped letter is noticed."""
    return _PREFIX + base64.b32encode(public + _checksum(public)).decode().rstrip("=").lower()


def read_key_text(text: str) -> bytes:
    """The 32 bytes again. Raises Damaged if anything is wrong with them."""
    letters = "".join(text.split()).lower().removeprefix(_PREFIX).upper()
    try:
        content = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except (binascii.Error, ValueError):
        content = b""
    public, checksum = content[:32], content[32:]
    if len(public) != 32 or checksum != _checksum(public):
        raise Damaged(
            "This is not a custodian's public key, or a letter of it is wrong. It starts with %(prefix)s and "
            "`tracker custody keygen` prints it.",
            prefix=_PREFIX,
        )
    try:
        seal(b"", public, Place("", 0, ""))
    except ValueError:
        # A point of low order: whatever is sealed to it, anybody can open.
        raise Damaged("This public key is not safe: what is sealed to it can be opened by anybody.") from None
    return public


def compose(pseudonym: str, version: int, recorded_on: str, identity: Identity) -> bytes:
    """The plain text of a sealed record, filled up so that its length tells little."""
    words = {
        "pseudonym": pseudonym,
        "version": version,
        "recorded_on": recorded_on,
        "identity": asdict(identity),
    }
    plain = json.dumps(words, ensure_ascii=False).encode()
    return plain.ljust(-(-len(plain) // _BLOCK) * _BLOCK)


def seal(plain: bytes, public: bytes, place: Place) -> bytes:
    """Encrypt to one custodian. Whoever does this cannot open it again. Raises ValueError for an unsafe key."""
    return _SUITE.encrypt(plain, X25519PublicKey.from_public_bytes(public), info=place.bound())


def unseal(line: Line, private: X25519PrivateKey) -> bytes:
    """The plain text of a record. Raises Damaged if it was altered or moved, or is for somebody else."""
    try:
        return _SUITE.decrypt(line.sealed, private, info=line.place.bound())
    except (InvalidTag, ValueError):
        raise Damaged(
            "%(pseudonym)s, version %(version)d, does not open: it was altered, or moved from another place.",
            pseudonym=line.pseudonym,
            version=line.place.version,
        ) from None


def open_line(line: Line, private: X25519PrivateKey) -> Opened:
    """Read a record. Raises Damaged."""
    plain = unseal(line, private)
    try:
        words = json.loads(plain)
        found = Opened(
            str(words["pseudonym"]),
            int(words["version"]),
            str(words["recorded_on"]),
            Identity(**{name: str(value) for name, value in words["identity"].items()}),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Damaged("%(pseudonym)s opens, but holds no identity.", pseudonym=line.pseudonym) from None
    if found.pseudonym != line.pseudonym:
        raise Damaged(
            "The file calls %(outside)s what was sealed as %(inside)s: it was altered.",
            outside=line.pseudonym,
            inside=found.pseudonym,
        )
    return found


def pass_on(line: Line, private: X25519PrivateKey, public: bytes) -> Line:
    """The same record, sealed to another custodian as well."""
    open_line(line, private)
    place = Place(line.place.source, line.place.version, fingerprint(public))
    return Line(line.pseudonym, place, line.recorded_on, seal(unseal(line, private), public, place))


def write_lines(path: Path, lines: Iterable[Line]) -> int:
    """Write sealed records, readable by the owner only; never over an existing file. Returns how many."""
    texts = [
        json.dumps(
            {
                "format": _LINE_FORMAT,
                "pseudonym": line.pseudonym,
                "source": line.place.source,
                "version": line.place.version,
                "custodian": line.place.custodian,
                "recorded_on": line.recorded_on,
                "sealed": base64.b64encode(line.sealed).decode(),
            }
        )
        for line in lines
    ]
    _write(path, "".join(f"{text}\n" for text in texts))
    return len(texts)


def read_lines(path: Path) -> list[Line]:
    """The sealed records of a file. Raises Damaged with the line that is none."""
    found = []
    for number, text in enumerate(_read(path).splitlines(), 1):
        try:
            words = json.loads(text)
            if words["format"] != _LINE_FORMAT or not isinstance(words["version"], int):
                raise ValueError
            found.append(
                Line(
                    str(words["pseudonym"]),
                    Place(str(words["source"]), words["version"], str(words["custodian"])),
                    str(words["recorded_on"]),
                    base64.b64decode(words["sealed"], validate=True),
                )
            )
        except (ValueError, KeyError, TypeError):
            raise Damaged(
                "%(path)s, line %(number)d: this is not a sealed record of the tracker.",
                path=path,
                number=number,
            ) from None
    return found


def make_key(path: Path, passphrase: str | None) -> bytes:
    """Make a custodian's key file, readable by its owner only, and return the public key. Never overwrites one."""
    private = X25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    words: dict[str, Any] = {"format": _KEY_FORMAT, "public_key": key_text(public)}
    if passphrase is None:
        words["private_key"] = private.private_bytes_raw().hex()
    else:
        salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
        closed = AESGCM(_stretch(passphrase, salt, _SCRYPT)).encrypt(
            nonce, private.private_bytes_raw(), words["public_key"].encode()
        )
        words["scrypt"] = {"salt": salt.hex(), **_SCRYPT}
        words["sealed_private_key"] = (nonce + closed).hex()
    _write(path, json.dumps(words, indent=2) + "\n")
    return public


def read_key(path: Path, ask: Callable[[], str]) -> X25519PrivateKey:
    """A custodian's private key. `ask` is called for the passphrase if it has one. Raises Damaged."""
    damaged = Damaged("%(path)s is not a custodian's key file, or it is damaged.", path=path)
    try:
        words = json.loads(_read(path))
        if words["format"] != _KEY_FORMAT:
            raise damaged
        public = read_key_text(words["public_key"])
        if "private_key" in words:
            content = bytes.fromhex(words["private_key"])
        else:
            closed, cost = bytes.fromhex(words["sealed_private_key"]), words["scrypt"]
            key = _stretch(ask(), bytes.fromhex(cost["salt"]), cost)
            content = AESGCM(key).decrypt(closed[:12], closed[12:], words["public_key"].encode())
        private = X25519PrivateKey.from_private_bytes(content)
    except InvalidTag:
        raise Damaged("The passphrase is wrong, or the key file is damaged.") from None
    except (ValueError, KeyError, TypeError, AttributeError, MemoryError):
        raise damaged from None
    if private.public_key().public_bytes_raw() != public:
        raise damaged
    return private


def _stretch(passphrase: str, salt: bytes, cost: dict[str, Any]) -> bytes:
    return Scrypt(salt=salt, length=32, n=cost["n"], r=cost["r"], p=cost["p"]).derive(passphrase.encode())


def _checksum(public: bytes) -> bytes:
    return hashlib.sha256(b"tracker/v1|custodian-key|" + public).digest()[:4]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Damaged("%(path)s cannot be read: %(why)s.", path=path, why=error.strerror) from None
    except UnicodeDecodeError:
        raise Damaged("%(path)s is not a file of the tracker.", path=path) from None


def _write(path: Path, content: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Damaged("%(path)s exists already, and is not overwritten.", path=path) from None
    except OSError as error:
        raise Damaged("%(path)s cannot be written: %(why)s.", path=path, why=error.strerror) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise Damaged("%(path)s cannot be written: %(why)s.", path=path, why=error.strerror) from None
