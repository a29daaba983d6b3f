"""Mails are encrypted to keys that are fit, and never otherwise. The keys and the opening are GnuPG's."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache

import pysequoia
import pytest
from pysequoia.packet import PacketPile, Tag

from tests.gnupg import Gnupg, keyring
from tracker import openpgp
from tracker.errors import Invalid

NOW = dt.datetime(2026, 11, 22, 12, 30, tzinfo=dt.UTC)
HEADERS = [
    ("From", "Tracker <digest@arvenia.example>"),
    ("To", "reader@arvenia.example"),
    ("Subject", "There is something new"),
    ("Date", "Sun, 22 Nov 2026 12:30:00 +0000"),
    ("Message-ID", "<0123456789abcdef0123456789abcdef@arvenia.example>"),
    ("Auto-Submitted", "auto-generated"),
    ("Precedence", "bulk"),
    ("List-Unsubscribe", f"<https://arvenia.example/unsubscribe/{'x' * 120}>"),
    ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
]


@cache
def inner() -> bytes:
    message = EmailMessage(policy.SMTP)
    message.set_content("Übung: ئۇيغۇر تىلى\n", cte="quoted-printable")
    message.add_alternative("<p>Übung: ئۇيغۇر تىلى</p>\n", subtype="html", cte="quoted-printable")
    del message["MIME-Version"]
    return message.as_bytes()


@pytest.fixture(scope="module")
def curve() -> Iterator[Gnupg]:
    with keyring() as gnupg:
        gnupg.make(primary="ed25519", subkey="cv25519", expires="2y", part="2y")
        yield gnupg


@pytest.fixture(scope="module")
def rsa() -> Iterator[Gnupg]:
    with keyring() as gnupg:
        gnupg.make(primary="rsa3072", subkey="rsa3072")
        yield gnupg


@pytest.mark.parametrize("kind", ["curve", "rsa"])
def test_gnupg_opens_the_mail_and_finds_both_parts_as_they_were(
    kind: str, request: pytest.FixtureRequest
) -> None:
    gnupg: Gnupg = request.getfixturevalue(kind)
    key = openpgp.check(gnupg.public(), now=NOW)

    content = openpgp.encrypted(HEADERS, inner(), key, now=NOW)

    mail = message_from_bytes(content, policy=policy.strict)
    assert mail.get_content_type() == "multipart/encrypted"
    assert mail.get_param("protocol") == "application/pgp-encrypted"
    version, message = mail.get_payload()
    assert version.get_content_type() == "application/pgp-encrypted"
    assert version.get_payload().strip() == "Version: 1"
    assert message.get_content_type() == "application/octet-stream"
    assert [part.defects for part in mail.walk()] == [[], [], []]
    opened = gnupg.open(message.get_payload(decode=True))
    assert opened == inner()
    read = message_from_bytes(opened, policy=policy.default)
    assert read.get_content_type() == "multipart/alternative"
    assert [part.get_content().rstrip() for part in read.iter_parts()] == [  # type: ignore[attr-defined]
        "Übung: ئۇيغۇر تىلى",
        "<p>Übung: ئۇيغۇر تىلى</p>",
    ]
    assert read.get_body(("plain",)) is not None  # type: ignore[attr-defined]
    assert [part.defects for part in read.walk()] == [[], [], []]


def test_outside_stands_what_relays_need_in_one_line_each_and_nothing_of_the_content(curve: Gnupg) -> None:
    content = openpgp.encrypted(HEADERS, inner(), curve.public(), now=NOW)

    head, _, body = content.partition(b"\r\n\r\n")
    assert head.startswith("\r\n".join(f"{name}: {value}" for name, value in HEADERS).encode())
    assert head.isascii()
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert max(map(len, body.split(b"\r\n"))) <= 76
    assert b"alternative" not in content
    assert b"text/html" not in content


def test_two_mails_of_the_same_content_have_nothing_in_common_that_tells_it(curve: Gnupg) -> None:
    one, two = (openpgp.encrypt(curve.public(), inner(), now=NOW) for _ in range(2))

    assert one != two
    assert curve.open(one) == curve.open(two)


@pytest.mark.parametrize(
    "bad", ["x\r\nBcc: spy@arvenia.example", "x\ny", "ä", "", "x" * 2000, "x\x85y", "x\x00"]
)
def test_a_header_that_could_bring_another_is_refused(curve: Gnupg, bad: str) -> None:
    with pytest.raises(ValueError, match="Subject"):
        openpgp.encrypted([("Subject", bad)], inner(), curve.public(), now=NOW)


def test_headers_that_belong_inside_and_content_without_a_type_are_refused(curve: Gnupg) -> None:
    with pytest.raises(ValueError, match="belongs"):
        openpgp.encrypted([("Content-Type", "text/plain")], inner(), curve.public(), now=NOW)
    with pytest.raises(ValueError, match="Content-Type"):
        openpgp.encrypted(HEADERS, b"Hello", curve.public(), now=NOW)


def test_what_is_kept_holds_no_photo_and_no_signature_of_somebody_else(curve: Gnupg) -> None:
    with keyring() as friend:
        friend.make(primary="ed25519", subkey="cv25519")
        friend.run("--import", given=curve.public().encode())
        friend.run("--quick-sign-key", curve.fingerprint())
        signed = friend.run("--armor", "--export", curve.fingerprint()).decode()
        assert friend.fingerprint().lower() in issuers(signed)

        kept = openpgp.check(f"Here it is:\r\n{signed}\r\nBye", now=NOW)

        assert issuers(kept) == {curve.fingerprint().lower()}
        assert openpgp.check(kept, now=NOW) == kept
        assert curve.open(openpgp.encrypt(kept, b"x", now=NOW)) == b"x"
        assert "Comment" not in kept


def issuers(armored: str) -> set[str]:
    packets = PacketPile.from_bytes(armored.encode())
    return {packet.issuer_fingerprint for packet in packets if packet.tag == Tag.Signature}


def refusal(armored: str, now: dt.datetime = NOW) -> str:
    with pytest.raises(Invalid) as caught:
        openpgp.check(armored, now=now)
    assert caught.value.field == "openpgp"
    assert "backtrace" not in str(caught.value)
    assert "backtrace" not in repr(caught.value.__cause__)
    return str(caught.value)


def test_a_private_key_is_refused_with_the_advice_to_give_it_up(curve: Gnupg) -> None:
    private = curve.private()

    assert "consider it burnt" in refusal(private)
    assert "consider it burnt" in refusal(curve.public() + private)
    # Also one that is labelled as public.
    assert "consider it burnt" in refusal(private.replace("PRIVATE KEY", "PUBLIC KEY"))


def test_several_keys_are_refused(curve: Gnupg, rsa: Gnupg) -> None:
    assert "several keys" in refusal(curve.public() + rsa.public())
    ring = b"".join(bytes(pysequoia.Cert.from_bytes(one.public().encode())) for one in (curve, rsa))
    assert "several keys" in refusal(str(pysequoia.armor(ring, pysequoia.ArmorKind.PublicKey)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "-----BEGIN PGP MESSAGE-----\n\nAAAA\n-----END PGP MESSAGE-----",
        "ssh-ed25519 AAAA reader",
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    assert "This is not a public OpenPGP key" in refusal(text)


def test_a_damaged_key_and_one_that_is_too_long_are_refused(curve: Gnupg) -> None:
    lines = curve.public().splitlines()

    assert "not a public OpenPGP key" in refusal("\n".join(lines[:-3]))
    assert "damaged" in refusal("\n".join([*lines[:4], *lines[-2:]]))
    assert "damaged" in refusal("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----")
    assert "100 kB" in refusal(curve.public() + " " * 100_000)


def test_an_expired_key_is_refused_and_a_key_that_expires_becomes_unfit(curve: Gnupg) -> None:
    public = curve.public()
    later = dt.datetime(2028, 6, 2, tzinfo=dt.UTC)

    assert openpgp.fit(public, now=NOW)
    assert not openpgp.fit(public, now=later)
    assert "expired on 2028-05-31" in refusal(public, later)
    with pytest.raises(openpgp.KeyUnfit):
        openpgp.encrypted(HEADERS, inner(), public, now=later)


def test_a_key_whose_part_for_encryption_expired_is_refused_until_there_is_a_new_one() -> None:
    with keyring() as gnupg:
        gnupg.make(primary="ed25519", subkey="cv25519", part="20260701T000000")
        old = gnupg.public()
        assert "for encryption expired on 2026-07-01" in refusal(old)
        assert not openpgp.fit(old, now=NOW)

        gnupg.add("cv25519", at="20260801T000000")
        new = openpgp.check(gnupg.public(), now=NOW)

        assert readers(openpgp.encrypt(new, b"x", now=NOW)) == {gnupg.subkeys()[1]}


def readers(message: bytes) -> set[str]:
    return {packet.body[1:9].hex() for packet in PacketPile.from_bytes(message) if packet.tag == Tag.PKESK}


def test_a_subkey_that_got_a_new_date_is_good_again() -> None:
    with keyring() as gnupg:
        gnupg.make(primary="ed25519", subkey="cv25519", part="20260701T000000")
        gnupg.run("--quick-set-expire", gnupg.fingerprint(), "1y", "*", at="20260630T000000")

        assert openpgp.fit(openpgp.check(gnupg.public(), now=NOW), now=NOW)


def test_a_revoked_key_and_a_revoked_subkey_are_refused() -> None:
    with keyring() as gnupg:
        gnupg.make(primary="ed25519", subkey="cv25519")
        good = openpgp.check(gnupg.public(), now=NOW)
        gnupg.revoke_subkey()
        assert "can sign but not be encrypted to" in refusal(gnupg.public())
        gnupg.revoke()
        revoked = gnupg.public()

    assert "was revoked" in refusal(revoked)
    assert openpgp.fit(good, now=NOW)
    assert not openpgp.fit(revoked, now=NOW)
    with pytest.raises(openpgp.KeyUnfit) as caught:
        openpgp.encrypt(revoked, b"x", now=NOW)
    assert "backtrace" not in str(caught.value)


def test_a_key_that_can_only_sign_is_refused() -> None:
    with keyring() as gnupg:
        gnupg.make(primary="ed25519")

        assert "can sign but not be encrypted to" in refusal(gnupg.public())


def test_a_subkey_that_somebody_else_laid_in_is_never_encrypted_to(curve: Gnupg) -> None:
    with keyring() as thief:
        thief.make(primary="ed25519", subkey="cv25519")
        theirs = list(PacketPile.from_bytes(thief.public().encode()))[-2:]
        forged = list(PacketPile.from_bytes(curve.public().encode())) + theirs
        ring = b"".join(bytes(packet) for packet in forged)
        armored = str(pysequoia.armor(ring, pysequoia.ArmorKind.PublicKey))

        kept = openpgp.check(armored, now=NOW)

        assert readers(openpgp.encrypt(kept, b"x", now=NOW)) == set(curve.subkeys())


def test_a_date_that_somebody_else_wrote_on_an_expired_part_does_not_make_it_good() -> None:
    with keyring() as gnupg, keyring() as other:
        gnupg.make(primary="ed25519", subkey="cv25519", part="20260701T000000")
        other.make(primary="ed25519", subkey="cv25519")
        packets = list(PacketPile.from_bytes(gnupg.public().encode()))
        endless = list(PacketPile.from_bytes(other.public().encode()))[-1]
        ring = b"".join(bytes(packet) for packet in [*packets, endless])
        armored = str(pysequoia.armor(ring, pysequoia.ArmorKind.PublicKey))

        assert "expired" in refusal(armored) or "not be encrypted to" in refusal(armored)


def test_a_key_that_opens_by_its_only_part_is_good() -> None:
    with keyring() as gnupg:
        gnupg.run("--quick-gen-key", "Reader <reader@arvenia.example>", "rsa3072", "sign,cert,encr", "0")
        key = openpgp.check(gnupg.public(), now=NOW)

        assert gnupg.open(openpgp.encrypt(key, b"x", now=NOW)) == b"x"


def test_nobody_learns_the_words_of_the_library() -> None:
    assert not openpgp.fit("", now=NOW)
    with pytest.raises(openpgp.KeyUnfit) as caught:
        openpgp.encrypt("x", b"y", now=NOW)
    assert re.fullmatch(r"This key cannot be used any more[^\n]*", str(caught.value))
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("profile", [pysequoia.Profile.RFC4880, pysequoia.Profile.RFC9580])
def test_keys_of_the_newest_kind_are_good_too(profile: pysequoia.Profile) -> None:
    pair = pysequoia.Tsk.generate(
        "Reader <reader@arvenia.example>", profile=profile, validity_seconds=3 * 365 * 86400
    )
    now = dt.datetime.now(dt.UTC)

    key = openpgp.check(str(pair.extract_certificate()), now=now)

    message = openpgp.encrypt(key, b"x", now=now)
    assert pysequoia.decrypt(message, decryptor=pair.decryptor()).bytes == b"x"
    assert not openpgp.fit(key, now=now + dt.timedelta(days=4 * 365))
    assert "consider it burnt" in refusal(str(pair), now)
