"""Passwords, the second factor and recovery codes: how they are made, kept and checked.

Passwords are Argon2id hashes (RFC 9106, its second recommended choice). The second factor is TOTP (RFC 6238: SHA-1,
six digits, thirty seconds, what every authenticator app understands); its secret is encrypted at rest. Why this thin
layer over argon2-cffi and cryptography, and no larger library: docs/decisions/0003-sign-in.md.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import re
import secrets
import threading
import unicodedata
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP

from tracker.errors import Invalid, TooMany
from tracker.vocabulary import N_

MEMORY_KIB = 64 * 1024
SHORTEST, LONGEST_BYTES = 15, 1024
RECOVERY_CODES = 10
STEP_SECONDS = 30

# Each check takes MEMORY_KIB of memory: a flood of sign-ins waits here instead of exhausting the machine.
_slots = threading.BoundedSemaphore(4)
_SLOT_SECONDS = 5

_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
_COMMON = (
    "password",
    "passwort",
    "passphrase",
    "qwerty",
    "letmein",
    "welcome",
    "administrator",
    "changeme",
    "iloveyou",
)


@dataclass(frozen=True)
class Credentials:
    """The keys and costs that credentials are kept with. One for the process; services receive it."""

    totp_key: bytes = field(repr=False)
    recovery_key: bytes = field(repr=False)
    memory_kib: int = MEMORY_KIB

    def hash_password(self, password: str) -> str:
        """The Argon2id hash to store. `check_password` must have passed it."""
        with _Slot():
            return self._hasher().hash(_bytes(password))

    def password_matches(self, password_hash: str | None, password: str) -> bool:
        """Whether it is the password. Takes the same time without a hash, so that nobody learns who has an account."""
        if len(_bytes(password)) > LONGEST_BYTES:
            return False
        with _Slot():
            try:
                self._hasher().verify(password_hash or self._nobody(), _bytes(password))
            except (VerificationError, InvalidHashError):
                return False
        return password_hash is not None

    def seal_totp(self, secret: str, account_id: int) -> bytes:
        """The second factor's secret as it is stored, bound to its account: a swapped row does not open."""
        nonce = secrets.token_bytes(12)
        return nonce + AESGCM(self.totp_key).encrypt(nonce, secret.encode(), _bound(account_id))

    def open_totp(self, sealed: bytes, account_id: int) -> str | None:
        """The secret again, or None if it was altered, moved, or sealed with another key."""
        try:
            return AESGCM(self.totp_key).decrypt(sealed[:12], sealed[12:], _bound(account_id)).decode()
        except (InvalidTag, ValueError):
            return None

    def recovery_hash(self, code: str, account_id: int) -> str:
        """The keyed hash under which a recovery code is stored."""
        message = f"{account_id}/{normal_code(code)}".encode("utf-8", "replace")
        return hmac.new(self.recovery_key, message, hashlib.sha256).hexdigest()

    def _hasher(self) -> PasswordHasher:
        return PasswordHasher(time_cost=3, memory_cost=self.memory_kib, parallelism=4)

    def _nobody(self) -> str:
        # A hash of nothing, with the same cost as a real one.
        salt, digest = (base64.b64encode(bytes(size)).decode().rstrip("=") for size in (16, 32))
        return f"$argon2id$v=19$m={self.memory_kib},t=3,p=4${salt}${digest}"


class _Slot:
    def __enter__(self) -> None:
        if not _slots.acquire(timeout=_SLOT_SECONDS):
            raise TooMany(N_("Too many people are signing in at this moment. Wait a minute and try again."))

    def __exit__(self, *_: object) -> None:
        _slots.release()


def check_password(password: str, email: str) -> None:
    """Raise Invalid with a sentence if a password is too short, too long, or among the first to be guessed."""
    if len(_bytes(password)) > LONGEST_BYTES:
        raise Invalid(N_("Shorten the password: it may have 1024 bytes at most."), "password")
    if len(password) < SHORTEST:
        raise Invalid(
            N_("Use at least 15 characters. Four or five unrelated words are a good password."), "password"
        )
    plain = re.sub(r"[\W_]+", "", password.lower())
    local = re.sub(r"[\W_]+", "", email.split("@", 1)[0].lower())
    if len(local) >= 4 and local in plain:
        raise Invalid(N_("The password contains your e-mail address. Choose another."), "password")
    if _is_pattern(plain) or any(len(plain.replace(word, "")) < 6 for word in _COMMON if word in plain):
        raise Invalid(
            N_("This password is among the first that would be guessed. Choose another."), "password"
        )


def _is_pattern(plain: str) -> bool:
    """Few different characters, a run such as 123456 or abcdef, or a keyboard row."""
    if len(set(plain)) < 5:
        return True
    runs = (
        "0123456789012345678901234567890",
        "abcdefghijklmnopqrstuvwxyz" * 2,
        "qwertyuiopasdfghjklzxcvbnm" * 2,
    )
    return any(plain in run or plain[::-1] in run for run in runs)


def new_token() -> str:
    """256 random bits for a cookie or a link. Only `token_hash` of it is stored."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """The SHA-256 under which a token is stored. It needs no key: the token is random."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def new_recovery_code() -> str:
    """60 random bits to write down: "7h2k-9qmx-04tz"."""
    code = "".join(secrets.choice(_LETTERS) for _ in range(12))
    return "-".join(code[start : start + 4] for start in (0, 4, 8))


def normal_code(code: str) -> str:
    """A code without the spaces and hyphens that people and apps put in, in lower case."""
    return re.sub(r"[\s-]", "", code).lower()


def new_totp_secret() -> str:
    """160 random bits in base 32, as authenticator apps take them."""
    return base64.b32encode(secrets.token_bytes(20)).decode()


def totp_uri(secret: str, *, issuer: str, email: str) -> str:
    """What the QR code says to the app."""
    label = quote(f"{issuer}:{email}", safe="@:")
    return f"otpauth://totp/{label}?{urlencode({'secret': secret, 'issuer': issuer}, quote_via=quote)}"


def totp_step(secret: str, code: str, now: dt.datetime) -> int | None:
    """The time step whose code this is: the present one, the one before or the one after. None: not a right code."""
    plain, present = normal_code(code), int(now.timestamp()) // STEP_SECONDS
    found = None
    for step in (present - 1, present, present + 1):
        if hmac.compare_digest(_code(secret, step).encode(), plain.encode("utf-8", "replace")):
            found = step
    return found


def _bytes(password: str) -> bytes:
    # One letter typed on two systems can arrive as different characters; NFC makes them one.
    return unicodedata.normalize("NFC", password).encode("utf-8", "replace")


def _code(secret: str, step: int) -> str:
    try:
        key = base64.b32decode(secret)
    except binascii.Error:
        raise ValueError("The secret is not base 32.") from None
    return HOTP(key, 6, SHA1()).generate(step).decode()  # noqa: S303 - SHA-1 is what the apps speak; HMAC is sound.


def _bound(account_id: int) -> bytes:
    return f"account/{account_id}/totp".encode()
