"""From the setting `smtp_url` to a server that has said hello, by TLS and with our password where these are due."""

from __future__ import annotations

import smtplib
import socket
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from time import monotonic
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from tracker.errors import ConfigError
from tracker.mailer.parcels import Unreachable
from tracker.mailer.replies import GarbledReply, Reader


@dataclass(frozen=True)
class Patience:
    """How many seconds we wait for a server."""

    opening: float = 120  # For everything until mails can be sent, after the connection stands.
    stage: float = 60  # For one answer, and for a message to be taken off our hands.
    dot: float = 600  # For the answer to the dot: RFC 5321, 4.5.3.2.6.
    idle: float = 5  # Asked whether it is still there when it was not used for so long.


class _WithReader(smtplib.SMTP):
    """smtplib's dialogue with our reader: its own waits anew for each byte, and reads lines without end."""

    def __init__(self, *args: Any, patience: Patience, **values: Any) -> None:
        self.reader = Reader()
        self._stage, self._by = patience.stage, monotonic() + patience.opening
        super().__init__(*args, **values)

    def getreply(self) -> tuple[int, bytes]:
        """The next reply, by the deadline."""
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected
        try:
            code, lines = self.reader.reply(self.sock, min(self._by, monotonic() + self._stage))
        except (OSError, GarbledReply):
            self.close()
            raise
        # smtplib lets this socket's time-out rule what it does next: sending, or the TLS handshake.
        self.sock.settimeout(max(0.01, min(self._stage, self._by - monotonic())))
        return code, b"\n".join(lines)


class _WithReaderSsl(_WithReader, smtplib.SMTP_SSL):
    """The same by TLS from the start."""


def checked(url: str) -> SplitResult:
    """The relay's address, taken apart. Raises ConfigError if it cannot be used."""
    try:
        parts = urlsplit(url)
        usable = (
            parts.scheme in ("smtp", "smtps")
            and bool(parts.hostname)
            and parts.port != 0
            # smtplib can log in with plain letters only.
            and unquote((parts.username or "") + (parts.password or "")).isascii()
        )
    except ValueError:
        usable = False
    if not usable:
        # Not shown: it may hold a password.
        raise ConfigError(
            "Setting smtp_url: write smtp://user:password@host:587 or smtps://user:password@host:465."
        )
    return parts


def open_relay(url: SplitResult, sender: str, patience: Patience) -> tuple[smtplib.SMTP, Reader]:
    """Connect, say hello, protect, log in. Raises Unreachable if any of it fails; never goes on with less."""
    smtp: _WithReader | None = None
    stage = "connect"
    try:
        smtp = _connected(url, sender, patience)
        stage = "EHLO"
        smtp.ehlo_or_helo_if_needed()
        if url.scheme == "smtp" and not _is_this_machine(url, smtp.sock):
            stage = "STARTTLS"
            # Raises if the relay offers none, or its certificate is not good for this name.
            smtp.starttls(context=ssl.create_default_context())
            if smtp.reader.waiting:
                # Said before TLS, and so perhaps by somebody else, to be taken for an answer after it (CVE-2011-0411).
                raise GarbledReply
            smtp.ehlo_or_helo_if_needed()
        if url.username:
            stage = "AUTH"
            smtp.login(unquote(url.username), unquote(url.password or ""))
        return smtp, smtp.reader
    except (OSError, smtplib.SMTPException, GarbledReply, ValueError) as error:
        if smtp is not None:
            smtp.close()
        code = error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else type(error).__name__
        raise Unreachable(f"{code} {stage}") from None


def _connected(url: SplitResult, sender: str, patience: Patience) -> _WithReader:
    # The host name of this machine is nobody's business; the sender's domain is in every mail.
    host, own = url.hostname or "", sender.rpartition("@")[2]
    wait = min(patience.stage, 30)  # For each of its addresses.
    if url.scheme == "smtps":
        context = ssl.create_default_context()
        smtp: _WithReader = _WithReaderSsl(
            host, url.port or 465, own, timeout=wait, context=context, patience=patience
        )
    else:
        smtp = _WithReader(host, url.port or 25, own, timeout=wait, patience=patience)
    if smtp.sock is not None:
        # What we write is complete: it must not wait for an answer to what went before (Nagle's algorithm).
        smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return smtp


def _is_this_machine(url: SplitResult, sock: socket.socket | None) -> bool:
    """Whether the address names loopback, and the name led there."""
    return is_loopback(url.hostname or "") and sock is not None and is_loopback(str(sock.getpeername()[0]))


def is_loopback(host: str) -> bool:
    """Whether this name or number is this machine's own."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
