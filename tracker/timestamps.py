"""Asking an RFC 3161 authority for a timestamp, and believing nothing that it answers before it is verified.

What goes out is a hash and a random number. The answer is kept as it came, so that `openssl ts -verify` can check it
without us. The library is rfc3161-client; it refuses answers whose certificates are not in DER order, which some
authorities send: try yours with `tracker ledger timestamp` before you rely on it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import http.client
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from tracker.errors import ConfigError, TrackerError
from tracker.vocabulary import N_

_SECONDS = 30
_LARGEST = 64 * 1024
_SHA256 = "2.16.840.1.101.3.4.2.1"


class Refused(TrackerError):
    """The authority gave nothing that can be believed."""

    status = 502


@dataclass(frozen=True)
class Stamp:
    """A verified timestamp: the answer in DER, who gave it, and the time that it attests."""

    token: bytes
    authority: str
    at: dt.datetime


def load_roots(path: Path) -> list[x509.Certificate]:
    """The certificates that timestamps must lead to, from a PEM file. Raises ConfigError."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"The file of timestamp_roots, {path}, cannot be read: {error.strerror}.") from None
    except ValueError:
        raise ConfigError(
            f"The file of timestamp_roots, {path}, holds no certificates in PEM form."
        ) from None


def request(url: str, message: bytes, roots: Sequence[x509.Certificate]) -> Stamp:
    """Have the SHA-256 of `message` stamped. Raises Refused, whose sentence says why."""
    asked = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).build()
    answer = _post(url, asked.as_bytes())
    try:
        response = decode_timestamp_response(answer)
    except ValueError:
        raise Refused(N_("The timestamp authority’s answer is not a timestamp.")) from None
    if response.status != PKIStatus.GRANTED:
        raise Refused(N_("The timestamp authority refused (status %(status)s)."), status=int(response.status))
    try:
        info = response.tst_info
        if info.nonce != asked.nonce:
            raise Refused(N_("The timestamp authority answered something that was asked at another time."))
        imprint = info.message_imprint
        digest = hashlib.sha256(message).digest()
        if imprint.hash_algorithm.dotted_string != _SHA256 or imprint.message != digest:
            raise Refused(N_("The timestamp is about something else than what was asked for."))
        VerifierBuilder(roots=list(roots), nonce=asked.nonce).build().verify(response, digest)
        return Stamp(answer, _name(response), info.gen_time)
    except (VerificationError, ValueError) as error:
        # The library's reason helps an operator. It may quote a stranger: cut to plain characters.
        words = str(error).partition(": ErrorStack")[0][:200]
        reason = "".join(letter for letter in words if letter.isascii() and letter.isprintable())
        raise Refused(
            N_("The timestamp is not signed by an authority that timestamp_roots trusts: %(reason)s"),
            reason=reason,
        ) from None


def _name(response: TimeStampResponse) -> str:
    """Who signed, as the certificate says that the signature names."""
    signer = next(iter(response.signed_data.signer_infos))
    for der in response.signed_data.certificates:
        certificate = x509.load_der_x509_certificate(der)
        if (certificate.issuer, certificate.serial_number) == (signer.issuer, signer.serial_number):
            names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
            name = str(names[0].value) if names else certificate.subject.rfc4514_string()
            return "".join(letter for letter in name if letter.isprintable())[:200]
    raise VerificationError("the signer's certificate is missing")


def _post(url: str, body: bytes) -> bytes:
    """One POST without proxy, cookies or redirects; all of it within 30 seconds."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_SECONDS)
    held: list[socket.socket] = []
    expired = threading.Event()

    def cut() -> None:
        # A timeout counts anew with every byte, so an answer that drips must be cut off from outside.
        expired.set()
        for end in (connection.sock, *held):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    alarm = threading.Timer(_SECONDS, cut)
    alarm.daemon = True
    alarm.start()
    try:
        connection.connect()
        held.append(connection.sock)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        answer = response.read(_LARGEST + 1)
    except (OSError, http.client.HTTPException) as error:
        if expired.is_set() or isinstance(error, TimeoutError):
            raise Refused(N_("The timestamp authority did not answer in time.")) from None
        raise Refused(
            N_("The timestamp authority cannot be reached: %(reason)s."), reason=type(error).__name__
        ) from None
    finally:
        alarm.cancel()
        connection.close()
    if expired.is_set():
        raise Refused(N_("The timestamp authority did not answer in time."))
    if response.status != http.client.OK:
        raise Refused(
            N_("The timestamp authority answered with HTTP status %(status)s."), status=response.status
        )
    if (response.getheader("Content-Type") or "").partition(";")[
        0
    ].strip().lower() != "application/timestamp-reply":
        raise Refused(N_("The timestamp authority’s answer is not a timestamp."))
    if len(answer) > _LARGEST:
        raise Refused(N_("The timestamp authority’s answer is too large."))
    return answer
