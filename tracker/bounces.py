"""Reading bounces (RFC 3464) that anybody may have written: what they say in a few words, or nothing.

Of a mail only its headers and the part about its delivery are looked at, one level deep: the mail that came back is
never parsed, so there is nothing to nest. Whatever else somebody sends, holiday notices too, is no bounce.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import BinaryIO

from tracker.services.bounces import TOKEN, Outcome, Report

#: Bounces are smaller, and what matters stands before the mail that came back.
MOST_BYTES = 2**20
_MOST_HEADERS = 64 * 1024
_MOST_PARTS = 10
_MOST_GROUPS = 50
_MOST_TOKENS = 10
_LINE = 64 * 1024

# In the order in which they are to be believed; the first three are written by the server that took the bounce.
_SENT_TO = ("Delivered-To", "X-Original-To", "Envelope-To", "X-Envelope-To", "X-Delivered-To", "To")
_STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")
_ADDRESSED = re.compile(rf"\+({TOKEN.pattern})@", re.IGNORECASE)
_ENVELOPE_ID = re.compile(rf"(?<![0-9a-z])({TOKEN.pattern})(?![0-9a-z])", re.IGNORECASE)
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_BLANK_LINE = re.compile(rb"\r?\n[ \t]*\r?\n")


def read(message: bytes) -> Report | None:
    """What a mail says about deliveries of ours; None if it is not a bounce. Never raises."""
    try:
        return _read(message[:MOST_BYTES])
    except Exception:  # noqa: BLE001 - written by anybody, so whatever is wrong with it, it is no bounce.
        return None


def messages(path: Path) -> Iterator[bytes]:
    """The mails in a file (one mail, or mbox) or a Maildir, one after another, each cut off at a megabyte."""
    if path.is_dir():
        for file in maildir(path):
            # Somebody else may have taken it away meanwhile, and what is no plain file is no mail.
            with suppress(OSError), open_mail(file) as stream:
                yield stream.read(MOST_BYTES)
    else:
        with path.open("rb") as stream:
            yield from split(stream)


def split(stream: BinaryIO) -> Iterator[bytes]:
    """The mails of an mbox, or the one mail that it is. Never more of it in memory than one of them, cut off."""
    mail = bytearray()
    mbox = blank = first = True
    whole_line = True
    while line := stream.readline(_LINE):
        if first:
            mbox, first = line.startswith(b"From "), False
            if mbox:
                continue
        elif mbox and blank and whole_line and line.startswith(b"From "):
            yield bytes(mail)
            mail.clear()
            continue
        blank = whole_line and line.strip() == b""
        whole_line = line.endswith(b"\n")
        if len(mail) < MOST_BYTES:
            mail += line
    if not first:
        yield bytes(mail[:MOST_BYTES])


def maildir(folder: Path) -> Iterator[Path]:
    """The mails in a Maildir that nobody has looked at yet, oldest first."""
    found = []
    for name in ("new", "cur"):
        if (folder / name).is_dir():
            for entry in os.scandir(folder / name):
                flags = entry.name.partition(":2,")[2]
                # A draft, seen, or put into the trash by somebody: theirs.
                if not entry.name.startswith(".") and not set(flags) & set("DST"):
                    found.append(entry.path)
    for path in sorted(found, key=lambda one: os.path.basename(one)):
        yield Path(path)


def open_mail(path: Path) -> BinaryIO:
    """Open a mail in a folder that others write to: a plain file, no link and no pipe. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a plain file")
    return os.fdopen(descriptor, "rb")


def _read(message: bytes) -> Report | None:
    headers, body = _entity(message.lstrip(b"\r\n"))
    if headers.get_content_type() != "multipart/report":
        return None
    if str(headers.get_param("report-type")).lower() not in ("delivery-status", "global-delivery-status"):
        return None
    boundary = headers.get_boundary()
    if not boundary:
        return None
    for part in _parts(body, boundary):
        if part.get_content_type() in _STATUS_TYPES:
            content = part.get_payload(decode=True)
            return _report(headers, content if isinstance(content, bytes) else b"")
    return None


def _report(headers: Message, content: bytes) -> Report:
    groups = [_headers(group) for group in _BLANK_LINE.split(content.strip(), _MOST_GROUPS)[:_MOST_GROUPS]]
    tokens = [
        match[1]
        for name in _SENT_TO
        for value in headers.get_all(name, [])[:_MOST_TOKENS]
        for match in _ADDRESSED.finditer(str(value))
    ]
    tokens += [
        match[1]
        for value in groups[0].get_all("Original-Envelope-Id", [])[:1]
        for match in _ENVELOPE_ID.finditer(str(value))
    ]
    distinct = list(dict.fromkeys(token.lower() for token in tokens))[:_MOST_TOKENS]
    outcomes = [
        Outcome(str(group["Action"]).split("(")[0].strip().lower()[:20], _status(group))
        for group in groups
        if group["Action"]
    ]
    return Report(tuple(distinct), tuple(outcomes))


def _status(group: Message) -> str:
    """The status of one recipient; where it says nothing but "failed", what the other server said more exactly."""
    status, diagnosis = (_STATUS.search(str(group[name] or "")) for name in ("Status", "Diagnostic-Code"))
    if status and (not diagnosis or not status[1].endswith(".0.0") or diagnosis[1][0] != status[1][0]):
        return status[1]
    return diagnosis[1] if diagnosis else "4.0.0"


def _parts(body: bytes, boundary: str) -> Iterator[Message]:
    between = re.compile(
        rb"(?:^|\r?\n)--" + re.escape(boundary.encode("latin-1")) + rb"(--)?[ \t]*(?=\r?\n|$)"
    )
    starts = []
    for match in between.finditer(body):
        starts.append(match)
        if match[1] or len(starts) > _MOST_PARTS:
            break
    for place, match in enumerate(starts):
        if not match[1]:
            end = starts[place + 1].start() if place + 1 < len(starts) else len(body)
            headers, content = _entity(re.sub(rb"^\r?\n", b"", body[match.end() : end]))
            headers.set_payload(content.decode("ascii", "surrogateescape"))
            yield headers


def _entity(content: bytes) -> tuple[Message, bytes]:
    """Headers, and what stands after the first blank line."""
    if found := re.match(rb"\r?\n", content):
        return _headers(b""), content[found.end() :]
    found = re.compile(rb"\r?\n\r?\n").search(content, 0, _MOST_HEADERS)
    if found is None:
        return _headers(content[:_MOST_HEADERS]), b""
    return _headers(content[: found.start()]), content[found.end() :]


def _headers(content: bytes) -> Message:
    return BytesHeaderParser().parsebytes(content)
