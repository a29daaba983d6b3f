"""How files begin, and second files that hide in a first one.

Our own short table decides; puremagic, which knows many more kinds and is easily wrong, only helps to word a refusal.

What is really two files is refused: a picture with a ZIP, a PDF, a page or a program behind it is made to be taken for
something that it is not, and no honest program writes it. Two exceptions are kept, with a "trailing" trace, because
telephones write them into genuine photographs every day: a second JPEG (depth or brightness map, "MPF") and a film of
a second ("motion photo", MP4). Bytes that are no file are kept with a trace too. An original is never served in a way
that a browser would run it, so that what is kept does no harm; a public copy holds none of it.
"""

from __future__ import annotations

import mmap
import re
from typing import BinaryIO

from tracker.examiner.refusals import Refusal, Refused
from tracker.vocabulary import FileKind

Bytes = bytes | mmap.mmap

_BEGINNINGS: dict[FileKind, re.Pattern[bytes]] = {
    FileKind.PDF: re.compile(rb"%PDF-\d\.\d"),
    FileKind.JPEG: re.compile(rb"\xff\xd8\xff"),
    FileKind.PNG: re.compile(rb"\x89PNG\r\n\x1a\n"),
    FileKind.WEBP: re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    FileKind.MP4: re.compile(rb".{4}ftyp", re.DOTALL),
    FileKind.WEBM: re.compile(rb"\x1a\x45\xdf\xa3"),
    FileKind.MP3: re.compile(rb"ID3|\xff[\xe2-\xff]"),
    FileKind.OGG: re.compile(rb"OggS\0"),
    FileKind.ZIP: re.compile(rb"PK\x03\x04"),
    FileKind.DOCX: re.compile(rb"PK\x03\x04"),
    FileKind.ODT: re.compile(rb"PK\x03\x04"),
    FileKind.WACZ: re.compile(rb"PK\x03\x04"),
    FileKind.WARC: re.compile(rb"WARC/\d|\x1f\x8b\x08"),
}
#: What a file that hides behind another may begin with, and the word for it.
_HIDDEN = (
    (re.compile(rb"PK\x03\x04|PK\x05\x06|Rar!\x1a|7z\xbc\xaf\x27\x1c|\x1f\x8b\x08"), "zip"),
    (re.compile(rb"%PDF-"), "pdf"),
    (re.compile(rb"MZ.{58}|\x7fELF|#!\s*/|\xca\xfe\xba\xbe|\xcf\xfa\xed\xfe", re.DOTALL), "program"),
    (re.compile(rb"\x1a\x45\xdf\xa3|OggS\0|RIFF.{4}|GIF8|\x89PNG|ID3", re.DOTALL), "media"),
)
_MARKUP = re.compile(
    rb"(?i)<\s*(!doctype|html|head|body|script|svg|iframe|object|embed|img|a\s|meta|style|\?xml|\?php)"
)
_PADDING = re.compile(rb"[\0\r\n\t ]*")
_FROM_TELEPHONES = re.compile(rb"\xff\xd8\xff|.{0,4}ftyp", re.DOTALL)


def mapped(file: BinaryIO) -> mmap.mmap:
    """The file's bytes without reading them into memory. Refuses an empty file."""
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise Refused(Refusal.EMPTY) from None


def require(data: Bytes, kind: FileKind) -> None:
    """Refuse a file that does not begin as its kind does."""
    if not _BEGINNINGS[kind].match(data):
        raise other(data, kind)


def other(data: Bytes, kind: FileKind) -> Refused:
    """The refusal of a file that is not what its name says, with a guess at what it is."""
    found = name_of(data)
    if found and found not in kind.endings:
        return Refused(Refusal.LOOKS_LIKE, ending=kind.endings[0], found=found)
    return Refused(Refusal.CONTENT, ending=kind.endings[0])


def name_of(data: Bytes) -> str:
    """What these bytes look like: a usual ending without its dot, "" if nobody knows. Good for a sentence only."""
    import puremagic

    if _MARKUP.match(data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")):
        return "svg" if b"<svg" in data[:1024] else "html"
    try:
        return puremagic.from_string(bytes(data[:8192])).lstrip(".")
    except (puremagic.PureError, ValueError):
        return ""


def behind(data: Bytes, end: int) -> str | None:
    """What stands behind a file's proper end, in a few words; None if nothing. Refuses a second file there."""
    size = len(data) - end
    if padding := _PADDING.match(data, end):
        end = padding.end()
    if end >= len(data):
        return None
    start = data[end : end + 4096]
    for pattern, found in _HIDDEN:
        if pattern.match(start):
            raise Refused(Refusal.TWO_FILES, found=found)
    # Browsers look for markup in the first kilobyte, and so do we.
    if _MARKUP.search(start[:1024]):
        raise Refused(Refusal.TWO_FILES, found="html")
    if data.rfind(b"%PDF-", end, end + 1024) >= 0:
        raise Refused(Refusal.TWO_FILES, found="pdf")
    if _FROM_TELEPHONES.match(start):
        return f"picture or film, {size} bytes"
    return f"{size} bytes"


def refuse_zip(data: Bytes, *, exactly: bool = False) -> None:
    """Refuse a file that ZIP readers would open too: they look for an end record in the last 64 kB.

    `exactly`: only one that closes the file. A PDF may well have a document attached, with an end record of its own.
    """
    start = data.rfind(b"PK\x05\x06", max(0, len(data) - 65557))
    if start < 0 or start + 22 > len(data):
        return
    end = start + 22 + int.from_bytes(data[start + 20 : start + 22], "little")
    listed = data.rfind(b"PK\x01\x02", 0, start) >= 0 or data[start + 10 : start + 12] == b"\0\0"
    if listed and (end == len(data) or (end < len(data) and not exactly)):
        raise Refused(Refusal.TWO_FILES, found="zip")


def is_markup(start: bytes) -> bool:
    """Whether a text begins as a page, a drawing or a script does."""
    start = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    return bool(_MARKUP.match(start) or re.match(rb"#!\s*/|<!--", start))
