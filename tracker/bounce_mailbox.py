"""The mailbox that bounces come to: a Maildir, or a mailbox on an IMAP server. All that knows imaplib is here.

What was handled is deleted; any other mail is marked as seen and left to people. Mails that somebody has seen are not
looked at, so nothing stands in the way for ever.
"""

from __future__ import annotations

import contextlib
import imaplib
import os
import re
import ssl
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tracker import bounces
from tracker.config import BounceMailbox
from tracker.errors import TrackerError

#: A flood of bounces is read over several visits.
MOST_MAILS = 500
_PATIENCE = 60

#: Does what a mail asks for. True: it was handled and may go; False: it is no bounce of ours; None: not now.
Handle = Callable[[bytes], bool | None]


class MailboxFailed(TrackerError):
    """The mailbox cannot be read. The sentence names no address and no password."""


def visit(
    mailbox: BounceMailbox,
    handle: Handle,
    *,
    stopping: Callable[[], bool] = lambda: False,
    most: int = MOST_MAILS,
) -> None:
    """Hand over up to `most` mails, one by one, and delete those that were handled. Raises MailboxFailed.

    A mail is deleted after it was handled, so whatever ends in between, it is handed over again.
    """
    try:
        if mailbox.folder is not None:
            _visit_folder(mailbox.folder, handle, stopping, most)
        else:
            _visit_server(mailbox, handle, stopping, most)
    except (OSError, imaplib.IMAP4.error) as error:
        raise _failed(type(error).__name__) from None


def _visit_folder(folder: Path, handle: Handle, stopping: Callable[[], bool], most: int) -> None:
    if not (folder / "new").is_dir():
        raise FileNotFoundError
    for count, path in enumerate(bounces.maildir(folder)):
        if count >= most or stopping():
            return
        try:
            with bounces.open_mail(path) as stream:
                content = stream.read(bounces.MOST_BYTES)
        except FileNotFoundError:
            continue  # Another reader was quicker.
        except OSError:
            handled: bool | None = False
        else:
            handled = handle(content)
        with contextlib.suppress(FileNotFoundError):
            if handled:
                path.unlink()
            elif handled is False:
                name, _, flags = path.name.partition(":2,")
                os.rename(path, folder / "cur" / f"{name}:2,{''.join(sorted({*flags, 'S'}))}")


def _visit_server(mailbox: BounceMailbox, handle: Handle, stopping: Callable[[], bool], most: int) -> None:
    with _server(mailbox) as server:
        _good(server.select('"' + re.sub(r'(["\\])', r"\\\1", mailbox.name) + '"'))
        # imaplib leaves the shape of an answer to whoever asked.
        found = _good(server.uid("SEARCH", "UNSEEN", "UNDELETED"))[0]
        handled = []
        try:
            for uid in str(found or b"", "ascii").split()[:most]:
                if stopping():
                    break
                content = _fetch(server, uid)
                if content is None:
                    continue  # Another reader was quicker.
                gone = handle(content)
                if gone is None:
                    continue
                _good(server.uid("STORE", uid, "+FLAGS.SILENT", r"(\Seen \Deleted)" if gone else r"(\Seen)"))
                if gone:
                    handled.append(uid)
        finally:
            if handled:
                _expunge(server, handled)


def _fetch(server: imaplib.IMAP4, uid: str) -> bytes | None:
    """The first megabyte of a mail, however long it is; it stays unseen."""
    for part in _good(server.uid("FETCH", uid, f"(BODY.PEEK[]<0.{bounces.MOST_BYTES}>)")):
        if isinstance(part, tuple) and isinstance(part[1], bytes):
            return part[1]
    return None


def _expunge(server: imaplib.IMAP4, uids: list[str]) -> None:
    # Where the server can (RFC 4315), only what we have marked: somebody else may have marked other mails. Asked now,
    # because servers say more after the sign-in.
    if b"UIDPLUS" in bytes(_good(server.capability())[-1]).upper().split():
        _good(server.uid("EXPUNGE", ",".join(uids)))
    else:
        _good(server.expunge())


@contextlib.contextmanager
def _server(mailbox: BounceMailbox) -> Iterator[imaplib.IMAP4]:
    context = ssl.create_default_context()
    if mailbox.tls:
        server: imaplib.IMAP4 = imaplib.IMAP4_SSL(
            mailbox.host, mailbox.port, ssl_context=context, timeout=_PATIENCE
        )
    else:
        server = imaplib.IMAP4(mailbox.host, mailbox.port, timeout=_PATIENCE)
    try:
        if not mailbox.tls and not _is_loopback(mailbox.host):
            # Raises where the server offers none or its certificate is not good: never on without it.
            server.starttls(ssl_context=context)
        _sign_in(server, mailbox)
        yield server
    finally:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            server.logout()


def _sign_in(server: imaplib.IMAP4, mailbox: BounceMailbox) -> None:
    try:
        if (mailbox.user + mailbox.password).isascii():
            server.login(mailbox.user, mailbox.password)
        else:
            server.authenticate("PLAIN", lambda _: f"\0{mailbox.user}\0{mailbox.password}".encode())
    except imaplib.IMAP4.abort:
        raise  # The connection broke.
    except imaplib.IMAP4.error:
        raise _failed("the server refuses the user or the password") from None


def _failed(why: str) -> MailboxFailed:
    return MailboxFailed("The mailbox of bounces cannot be read (%(why)s).", why=why)


def _good(answer: tuple[str, list[Any]]) -> list[Any]:
    kind, data = answer
    if kind != "OK":
        raise imaplib.IMAP4.error("refused")
    return data


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
