"""How mails leave: into an outbox folder, or to an SMTP relay in stages of our own.

A transport's `send` calls `before_end` when nothing but the final dot is missing. Only after that has committed is
the dot sent: whatever dies earlier has delivered nothing, and whatever dies later is known to be doubtful.
"""

from __future__ import annotations

import hashlib
import os
import re
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from tracker.config import Config
from tracker.errors import ConfigError

# Together below the lease of a delivery (15 minutes); RFC 5321 grants the relay ten minutes after the dot.
_PATIENCE = 60
_PATIENCE_AFTER_DOT = 600


class NotSent(Exception):
    """The relay did not take it. `answer` is its code and the stage, never an address."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        super().__init__(answer)


class TryLater(NotSent):
    """For now: a 4xx answer, no connection, no TLS."""


class Unreachable(TryLater):
    """No conversation came about at all: nobody answers, or not by the TLS that is required."""


class RecipientRefused(NotSent):
    """For good: a 5xx answer to RCPT. This person cannot be reached."""


class SenderRefused(NotSent):
    """For good, but for a reason that is ours: a 5xx answer to anything else."""


class Doubtful(NotSent):
    """The connection was lost after the dot: the relay may have taken it."""


class TakenOver(NotSent):
    """Another sender holds this mail now: the connection was closed without the dot."""


class Transport(Protocol):
    """Where mails go."""

    def send(self, recipient: str, message_id: str, message: bytes, before_end: Callable[[], bool]) -> str:
        """Deliver one mail and return the answer, or raise a NotSent."""


class Outbox:
    """A folder of .eml files named by Message-ID, so that sending again writes the same file again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def send(self, recipient: str, message_id: str, message: bytes, before_end: Callable[[], bool]) -> str:
        """Write the file whole or not at all."""
        del recipient
        path = self.folder / f"{outbox_name(message_id)}.eml"
        beside = path.with_suffix(f".{os.getpid()}.new")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(message)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Unreachable(f"{type(error).__name__} in the outbox") from None
        if not before_end():
            beside.unlink()
            raise TakenOver("taken over")
        beside.replace(path)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return "outbox"


class Relay:
    """One SMTP connection, opened when it is needed and used for one mail after another."""

    def __init__(self, url: str, sender: str) -> None:
        self._url, self._sender = _checked(url), sender
        self._smtp: smtplib.SMTP | None = None

    def send(self, recipient: str, message_id: str, message: bytes, before_end: Callable[[], bool]) -> str:
        """MAIL, one RCPT, DATA, the body; then the dot, if `before_end` agrees."""
        del message_id
        smtp = self._smtp or self._connect()
        try:
            self._expect(250, smtp.mail(self._sender), "MAIL")
            self._expect(250, smtp.rcpt(recipient), "RCPT")
            self._expect(354, smtp.docmd("DATA"), "DATA")
            smtp.send(_dot_stuffed(message))
        except NotSent:
            self.close()
            raise
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            raise TryLater(type(error).__name__) from None
        try:
            agreed = before_end()
        except BaseException:
            self._hang_up()
            raise
        if not agreed:
            self._hang_up()
            raise TakenOver("taken over")
        try:
            if smtp.sock is not None:
                smtp.sock.settimeout(_PATIENCE_AFTER_DOT)
            smtp.send(b".\r\n")
            reply = smtp.getreply()
            if smtp.sock is not None:
                smtp.sock.settimeout(_PATIENCE)
        except (OSError, smtplib.SMTPException) as error:
            self._hang_up()
            raise Doubtful(f"{type(error).__name__} after the dot") from None
        if reply[0] == 421:
            self._hang_up()
        self._expect(250, reply, "end of DATA")
        return f"{reply[0]} end of DATA"

    def close(self) -> None:
        """Say goodbye, if somebody is there."""
        if self._smtp is not None:
            with suppress(OSError, smtplib.SMTPException):
                self._smtp.quit()
            self._hang_up()

    def _hang_up(self) -> None:
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None

    def _connect(self) -> smtplib.SMTP:
        try:
            self._smtp = self._open()
            self._prepare(self._smtp)
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            raise Unreachable(f"{type(error).__name__} at the start") from None
        return self._smtp

    def _open(self) -> smtplib.SMTP:
        host, port = self._url.hostname or "", self._url.port
        # The host name of this machine is nobody's business; the sender's domain is in every mail.
        own = self._sender.rpartition("@")[2]
        if self._url.scheme == "smtps":
            return smtplib.SMTP_SSL(
                host, port or 465, own, timeout=_PATIENCE, context=ssl.create_default_context()
            )
        return smtplib.SMTP(host, port or 25, own, timeout=_PATIENCE)

    def _prepare(self, smtp: smtplib.SMTP) -> None:
        smtp.ehlo_or_helo_if_needed()
        if self._url.scheme == "smtp" and not _is_loopback(self._url.hostname or ""):
            # Raises if the relay offers none or its certificate is not good: never on without it.
            smtp.starttls(context=ssl.create_default_context())
            smtp.ehlo()
        if self._url.username:
            smtp.login(unquote(self._url.username), unquote(self._url.password or ""))

    def _expect(self, code: int, reply: tuple[int, bytes], stage: str) -> None:
        found = reply[0]
        if found == code or (stage == "RCPT" and found == 251):
            return
        _refuse(found, stage)


def _refuse(code: int, stage: str) -> NoReturn:
    answer = f"{code} {stage}"
    if code // 100 != 5:
        raise TryLater(answer)
    raise RecipientRefused(answer) if stage == "RCPT" else SenderRefused(answer)


@contextmanager
def transport(config: Config) -> Iterator[Transport]:
    """Where mails go by these settings, for a while."""
    url = config.smtp_url.get_secret_value()
    if not url:
        yield Outbox(config.outbox_path)
        return
    relay = Relay(url, config.mail_from)
    try:
        yield relay
    finally:
        relay.close()


def check(config: Config) -> None:
    """Raise ConfigError if the relay's address cannot be used."""
    if url := config.smtp_url.get_secret_value():
        _checked(url)


def outbox_name(message_id: str) -> str:
    """The name of a mail's file: the Message-ID's part before the @, or a hash of what is not plain."""
    name = message_id.strip("<>").partition("@")[0]
    return (
        name if re.fullmatch(r"[0-9a-f]{32}", name) else hashlib.sha256(message_id.encode()).hexdigest()[:32]
    )


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        # Not shown: it may hold a password.
        raise ConfigError(
            "Setting smtp_url: write smtp://user:password@host:587 or smtps://user:password@host:465."
        )
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _dot_stuffed(message: bytes) -> bytes:
    body = re.sub(rb"(?m)^\.", b"..", message)
    return body if body.endswith(b"\r\n") else body + b"\r\n"
