"""Plain text, CSV tables and e-mail messages."""

from __future__ import annotations

import codecs
import csv
import email.policy
import io
import re
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from typing import BinaryIO

from tracker.examiner import signs
from tracker.examiner.hidden import in_picture
from tracker.examiner.refusals import Refusal, Refused
from tracker.examiner.traces import Examined, Trace, unique
from tracker.vocabulary import FileKind

_PIECE = 1024 * 1024
_LARGEST_MAIL = 50
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f\ufffe\uffff\ud800-\udfff]")
_DECEPTIVE = re.compile("[\u202a-\u202e\u2066-\u2069\u200b]")
#: What a spreadsheet program takes for a formula (OWASP, CSV injection).
_FORMULA = re.compile(r"\s*[=@\t\r＝＠]|[+\-＋－](?![\d.,\s]*\d[\d.,\s%]*$)")
_PEOPLE = ("From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Delivered-To", "Return-Path", "X-Original-To")
_WITH = ("X-Mailer", "User-Agent", "X-MimeOLE")


def examine(file: BinaryIO, kind: FileKind) -> Examined:
    """Decide that this is text, a table or a message, and not something that only looks like one."""
    if kind is FileKind.EML:
        return Examined(kind, unique(_in_mail(file)))
    start = file.read(4096)
    if not start:
        raise Refused(Refusal.EMPTY)
    utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if utf16 else "utf-8-sig"
    if signs.is_markup(start.decode(encoding, "ignore").encode()):
        raise Refused(Refusal.MARKUP)
    file.seek(0)
    found = [Trace("metadata", "characters that turn the direction of text")] * _check(file, encoding)
    if kind is FileKind.CSV:
        file.seek(0)
        found += unique(_in_table(file, encoding))
    return Examined(kind, unique(found))


def _check(file: BinaryIO, encoding: str) -> bool:
    """Read it all as text, piece by piece. Returns whether there are characters that only deceive."""
    decoder = codecs.getincrementaldecoder(encoding)()
    deceptive = False
    while True:
        piece = file.read(_PIECE)
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError:
            raise Refused(Refusal.NOT_TEXT) from None
        if _CONTROL.search(text):
            raise Refused(Refusal.NOT_TEXT)
        deceptive = deceptive or _DECEPTIVE.search(text) is not None
        if not piece:
            return deceptive


def _in_table(file: BinaryIO, encoding: str) -> Iterator[Trace]:
    text = io.TextIOWrapper(file, encoding, newline="")
    start = text.read(8192)
    text.seek(0)
    separator = max(",;\t", key=start.count)
    rows = csv.reader(text, delimiter=separator, strict=True)
    found = 0
    try:
        for row in rows:
            for cell in row:
                if found < 20 and _FORMULA.match(cell):
                    found += 1
                    yield Trace("formula", f"{rows.line_num}: {cell}")
    except csv.Error:
        raise Refused(Refusal.TABLE, line=max(rows.line_num, 1)) from None
    finally:
        # The wrapper would close the file with itself.
        text.detach()


def _in_mail(file: BinaryIO) -> Iterator[Trace]:
    data = signs.mapped(file)
    if len(data) > _LARGEST_MAIL * 1024 * 1024:
        raise Refused(Refusal.TOO_BIG, megabytes=_LARGEST_MAIL)
    start = bytes(data[: 64 * 1024])
    if b"\0" in start or not re.match(rb"(From [^\n]+\n)?[!-9;-~]+:", start):
        raise signs.other(data, FileKind.EML)
    # The older policy reads headers as they stand; the newer one takes them apart, and can be made to fail.
    message = BytesParser(policy=email.policy.compat32).parse(file)
    for header in ("From", "Date"):
        if not message[header]:
            raise Refused(Refusal.MAIL, header=header)
    for header in _PEOPLE:
        for value in message.get_all(header, []):
            yield Trace("author", f"{header}: {value}")
    yield Trace("date", f"Date: {message['Date']}")
    for header in _WITH:
        if message[header]:
            yield Trace("software", f"{header}: {message[header]}")
    lines = [*message.get_all("Received", []), *message.get_all("X-Originating-IP", [])]
    for address in re.findall(r"\b(?:\d{1,3}\.){3}\d{1,3}\b|IPv6:[0-9a-fA-F:]+", " ".join(map(str, lines))):
        yield Trace("network", address)
    for part in message.walk():
        yield from _in_part(part)


def _in_part(part: Message) -> Iterator[Trace]:
    name = part.get_filename()
    if name or part.get_content_disposition() == "attachment":
        yield Trace("attachment", name or part.get_content_type())
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return
    if part.get_content_type() == "text/html":
        if re.search(rb"(?i)<script|\son\w+\s*=", content):
            yield Trace("script", "HTML")
        if re.search(rb"(?i)<(img|link|iframe)[^>]{0,500}(src|href)\s*=\s*[\"']?https?:", content):
            yield Trace("remote", "HTML")
    elif part.get_content_maintype() == "image":
        yield from in_picture(content)
