"""Mails that only their reader can open (OpenPGP, RFC 9580; PGP/MIME, RFC 3156). All that knows pysequoia is here.

The library encrypts to keys that are expired or revoked, and its errors carry backtraces, so neither its judgement
nor its words are taken as they are. A key counts as fit if the newest binding of a subkey says that it has not
expired, and the library, given that binding alone, accepts it. What comes out is looked at once more: a message must
name only such subkeys as its readers.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pysequoia
from pysequoia import ArmorKind, Cert
from pysequoia.packet import Packet, PacketPile, SignatureType, Tag

from tracker.errors import Invalid, TrackerError
from tracker.vocabulary import N_

MOST_BYTES = 100_000
# Who changes subkeys every year for twenty years still has all of them looked at; a bomb of subkeys is not.
_MOST_SUBKEYS = 20
_BEGIN = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_BLOCK = re.compile(rf"{_BEGIN}.*?-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL)
# A header's value may hold what stands on a keyboard, and no line break in any disguise.
_HEADER_NAME, _HEADER_VALUE = re.compile(r"[A-Za-z][A-Za-z0-9-]*"), re.compile(r"[ -~]{1,900}")


class KeyUnfit(TrackerError):
    """A mail cannot be encrypted to this key any more, so it is not sent: never in plain text instead."""


class _Refused(Exception):
    """The library would not, for reasons that it tells in a way nobody should see."""


@dataclass(frozen=True)
class _Reader:
    """A certificate without the subkeys that may not be used now, and the IDs of the keys that may."""

    cert: Cert
    key_ids: frozenset[str]


def check(armored: str, *, now: dt.datetime) -> str:
    """The public key that somebody pasted, without photos and other people's signatures. Raises Invalid.

    A private key is refused with the advice to give it up, and goes nowhere from here.
    """
    if len(armored) > MOST_BYTES:
        raise Invalid(
            N_("This key is longer than 100 kB. Export it without photos and other people's signatures."),
            "openpgp",
        )
    if re.search(r"BEGIN PGP PRIVATE KEY|BEGIN PGP SECRET KEY", armored, re.IGNORECASE):
        raise _private()
    blocks = _BLOCK.findall(armored)
    if len(blocks) > 1:
        raise _several()
    if not blocks or not blocks[0].isascii():
        raise Invalid(
            N_(
                "This is not a public OpenPGP key. Paste all of it, from the line “%(begin)s” to its last line."
            ),
            "openpgp",
            begin=_BEGIN,
        )
    try:
        with _library():
            certs = Cert.split_bytes(blocks[0].encode())
            packets = _packets(blocks[0].encode()) if certs else []
    except _Refused:
        certs = []
    if not certs:
        raise Invalid(
            N_("This key is damaged or incomplete. Export it again and paste all of it."), "openpgp"
        )
    if any(packet.tag in (Tag.SecretKey, Tag.SecretSubkey) for packet in packets):
        raise _private()
    if len(certs) > 1:
        raise _several()
    try:
        with _library():
            cert = _lean(packets)
    except _Refused:
        raise _outdated() from None
    _reader(cert, now)
    return _armor(bytes(cert), ArmorKind.PublicKey)


def fit(armored: str, *, now: dt.datetime) -> bool:
    """Whether a key that `check` accepted once can still be used."""
    try:
        _stored(armored, now)
    except KeyUnfit:
        return False
    return True


def encrypt(armored: str, content: bytes, *, now: dt.datetime) -> bytes:
    """The content for the eyes of the key's owner alone, as ASCII lines. Raises KeyUnfit."""
    reader = _stored(armored, now)
    try:
        with _library():
            message = _encrypt(content, reader.cert)
            found = _readers(message)
    except _Refused:
        raise _unfit() from None
    if not found or not found <= reader.key_ids:
        raise _unfit()
    return message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def encrypted(
    outer_headers: Sequence[tuple[str, str]], inner: bytes, armored: str, *, now: dt.datetime
) -> bytes:
    """A whole mail (RFC 3156): what relays need stands outside, the entity `inner` is encrypted. Raises KeyUnfit.

    `inner` begins with its own Content-Type. The headers are ready to stand in a mail: ASCII, each in one line.
    """
    if not inner.lower().startswith(b"content-type:"):
        raise ValueError("What is encrypted must begin with its Content-Type.")
    return wrap(outer_headers, encrypt(armored, inner, now=now))


def wrap(outer_headers: Sequence[tuple[str, str]], ciphertext: bytes) -> bytes:
    """A multipart/encrypted mail around what `encrypt` made."""
    for name, value in outer_headers:
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"The header {name!r} cannot stand in a mail like this.")
        if name.lower().startswith(("content-", "mime-")):
            raise ValueError(f"The header {name!r} belongs to what is encrypted.")
    boundary = f"=_{secrets.token_hex(16)}"
    lines = [
        *(f"{name}: {value}" for name, value in outer_headers),
        "MIME-Version: 1.0",
        'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";',
        f' boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: application/pgp-encrypted",
        "Content-Description: PGP/MIME version identification",
        "",
        "Version: 1",
        "",
        f"--{boundary}",
        'Content-Type: application/octet-stream; name="encrypted.asc"',
        "Content-Description: OpenPGP encrypted message",
        'Content-Disposition: inline; filename="encrypted.asc"',
        "",
        ciphertext.decode("ascii").rstrip("\r\n"),
        "",
        f"--{boundary}--",
        "",
    ]
    return "\r\n".join(lines).encode("ascii")


def _stored(armored: str, now: dt.datetime) -> _Reader:
    try:
        with _library():
            cert = Cert.from_bytes(armored.encode())
        return _reader(cert, now)
    except (_Refused, Invalid):
        raise _unfit() from None


def _reader(cert: Cert, now: dt.datetime) -> _Reader:
    """What of a certificate may be used now. Raises Invalid, with what its owner can do."""
    try:
        with _library():
            revoked, expires = cert.is_revoked, cert.expiration
            packets = _packets(bytes(cert))
    except _Refused:
        raise _outdated() from None
    if revoked:
        raise Invalid(N_("This key was revoked. Paste the key that you use instead of it."), "openpgp")
    if expires is not None and expires <= now:
        raise Invalid(
            N_("This key expired on %(day)s. Give it a new date, export it again, and paste that."),
            "openpgp",
            day=expires.date().isoformat(),
        )
    head, *groups = _groups(packets)
    used, ids, ended = list(head), set(), []
    if found := _accepted(head):
        ids |= found
    for group in groups[-_MOST_SUBKEYS:]:
        key, binding = group[0], _newest_binding(group)
        if binding is None or key.key_id is None:
            continue
        revocations = [packet for packet in group if packet.signature_type == SignatureType.SubkeyRevocation]
        lean = [key, *revocations, binding]
        if key.key_id.lower() not in _accepted([*head, *lean]):
            continue
        end = _end(key, binding)
        if end is not None and end <= now:
            ended.append(end)
            continue
        used += lean
        ids.add(key.key_id.lower())
    if ids:
        with _library():
            return _Reader(Cert.from_packets(used), frozenset(ids))
    if ended:
        raise Invalid(
            N_(
                "The part of this key that is for encryption expired on %(day)s. Give it a new date, export the key "
                "again, and paste that."
            ),
            "openpgp",
            day=max(ended).date().isoformat(),
        )
    raise Invalid(
        N_(
            "This key can sign but not be encrypted to: it has no subkey for encryption that is still valid. Add one, "
            "export the key again, and paste that."
        ),
        "openpgp",
    )


def _lean(packets: Sequence[Packet]) -> Cert:
    """The certificate without photos, and without signatures by other people, which say whom its owner knows."""
    primary = packets[0]
    kept = []
    photo = False
    for packet in packets:
        if packet.tag != Tag.Signature:
            photo = packet.tag == Tag.UserAttribute
        elif packet.signature_type != SignatureType.KeyRevocation and not _made_by(packet, primary):
            continue
        if not photo:
            kept.append(packet)
    return Cert.from_packets(kept)


def _made_by(signature: Packet, primary: Packet) -> bool:
    if signature.issuer_fingerprint is not None:
        return signature.issuer_fingerprint == primary.fingerprint
    return signature.issuer_key_id is None or signature.issuer_key_id == primary.key_id


def _packets(content: bytes) -> list[Packet]:
    return list(PacketPile.from_bytes(content))


def _groups(packets: Sequence[Packet]) -> list[list[Packet]]:
    """First the primary key with the names, then each subkey with its signatures."""
    groups: list[list[Packet]] = [[]]
    for packet in packets:
        if packet.tag in (Tag.PublicSubkey, Tag.SecretSubkey):
            groups.append([])
        groups[-1].append(packet)
    return groups


def _newest_binding(group: Sequence[Packet]) -> Packet | None:
    bindings = [
        (packet.signature_created, place, packet)
        for place, packet in enumerate(group)
        if packet.signature_type == SignatureType.SubkeyBinding and packet.signature_created is not None
    ]
    return max(bindings, key=lambda one: one[:2])[2] if bindings else None


def _end(key: Packet, binding: Packet) -> dt.datetime | None:
    period = binding.key_validity_period
    # Whoever wrote a period of nought meant none (RFC 9580, 5.2.3.13).
    return key.key_created + period if period and key.key_created else None


def _accepted(packets: Sequence[Packet]) -> set[str]:
    """The keys of this certificate that the library encrypts to, dates left aside: it checks every signature."""
    try:
        with _library():
            return _readers(_encrypt(b"", Cert.from_packets(list(packets))))
    except _Refused:
        return set()


def _encrypt(content: bytes, cert: Cert) -> bytes:
    return bytes(pysequoia.encrypt(content, recipients=[cert]))


def _readers(message: bytes) -> set[str]:
    """The IDs of the keys that open a message."""
    found = set()
    for packet in _packets(message):
        if packet.tag == Tag.PKESK:
            body = packet.body
            # Version 3 names a key by its ID; version 6 by its fingerprint, whose beginning is the ID if it is one of
            # version 6 and whose end is the ID if it is one of version 4.
            if body[0] == 3:
                found.add(body[1:9].hex())
            else:
                name = body[3 : 2 + body[1]]
                found.add((name[:8] if body[2] == 6 else name[-8:]).hex())
    return found


def _armor(content: bytes, kind: ArmorKind) -> str:
    return str(pysequoia.armor(content, kind))


@contextmanager
def _library() -> Iterator[None]:
    """Turn whatever the library throws into one quiet error: its texts hold backtraces and pieces of keys."""
    try:
        yield
    except (_Refused, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException:  # noqa: BLE001 - a panic of Rust is no Exception.
        raise _Refused from None


def _unfit() -> KeyUnfit:
    return KeyUnfit(N_("This key cannot be used any more: it expired, was revoked, or is damaged."))


def _private() -> Invalid:
    return Invalid(
        N_(
            "This is a private key, and it has now left your hands: consider it burnt. Revoke it, make a new pair, and "
            "paste the public key of that. We have not kept it."
        ),
        "openpgp",
    )


def _several() -> Invalid:
    return Invalid(
        N_("These are several keys. Paste one: the one that your mails should be encrypted to."), "openpgp"
    )


def _outdated() -> Invalid:
    return Invalid(
        N_(
            "This key cannot be used: its own signatures are missing, damaged, or made in a way that is no longer safe. "
            "Renew it with a current program, export it again, and paste that."
        ),
        "openpgp",
    )
