"""PDF: opened by pikepdf, every object looked at for what a reader would not see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import pikepdf

from tracker.examiner import hidden, signs
from tracker.examiner.refusals import Refusal, Refused
from tracker.examiner.traces import Examined, Trace, shown, unique
from tracker.vocabulary import FileKind

_MOST_OBJECTS = 200_000
_LARGEST_PICTURE = 30 * 1024 * 1024
_MOST_PICTURES = 500
#: Keys of dictionaries that make a reader do something, or carry something (ISO 32000-2, 7.11, 12.6, 14).
_KEYS = {
    "/JavaScript": "script",
    "/JS": "script",
    "/XFA": "script",
    "/EmbeddedFiles": "attachment",
    "/EF": "attachment",
    "/AF": "attachment",
    "/RichMediaContent": "attachment",
    "/PieceInfo": "metadata",
    "/Thumb": "thumbnail",
}
_ACTIONS = {
    "/Launch": "script",
    "/JavaScript": "script",
    "/SubmitForm": "remote",
    "/ImportData": "remote",
    "/GoToR": "remote",
    "/Rendition": "script",
    "/Movie": "script",
}


def examine(file: BinaryIO) -> Examined:
    """Decide that this is a PDF that opens, from its first byte to its last."""
    data = signs.mapped(file)
    # Readers forgive up to a kilobyte before the header, and that is where a page or a program hides.
    if data[:1024].find(b"%PDF-") > 0:
        raise Refused(Refusal.TWO_FILES, found=signs.name_of(data))
    signs.require(data, FileKind.PDF)
    signs.refuse_zip(data, exactly=True)
    end = data.rfind(b"%%EOF")
    if end < 0:
        raise Refused(Refusal.DAMAGED)
    trailing = signs.behind(data, end + 5)
    try:
        with pikepdf.open(file, attempt_recovery=False, suppress_warnings=True) as pdf:
            pages = len(pdf.pages)
            if pages == 0:
                raise Refused(Refusal.DAMAGED)
            found = unique(_traces(pdf, data, trailing))
    except pikepdf.PasswordError:
        raise Refused(Refusal.PASSWORD) from None
    except (pikepdf.PdfError, ValueError, TypeError):
        raise Refused(Refusal.DAMAGED) from None
    return Examined(FileKind.PDF, found, pages=pages)


def _traces(pdf: pikepdf.Pdf, data: signs.Bytes, trailing: str | None) -> Iterator[Trace]:
    if trailing:
        yield Trace("trailing", trailing)
    for key, value in pdf.docinfo.items():
        name = str(key).lstrip("/")
        # Here, and only here, "Creator" is a program.
        what = "software" if name == "Creator" else hidden.what_is(name) or "comment"
        if name != "Trapped" and (text := shown(value)):
            yield Trace(what, f"{name}: {text}")
    # Each save that only adds leaves one more end mark; a file made for the web has two from the start.
    ends = len(re.findall(rb"%%EOF", data)) - (1 if pdf.is_linearized else 0)
    if ends > 1:
        yield Trace("revisions", str(ends - 1))
    pictures = 0
    for count, thing in enumerate(pdf.objects):
        if count >= _MOST_OBJECTS:
            yield Trace("unread", f"{len(pdf.objects) - count} objects")
            return
        if isinstance(thing, pikepdf.Stream):
            if thing.get("/Type") == "/Metadata" or thing.get("/Subtype") == "/XML":
                yield from hidden.in_xmp(_bytes_of(thing, raw=False))
            elif thing.get("/Subtype") == "/Image" and "/DCTDecode" in str(thing.get("/Filter")):
                pictures += 1
                if pictures > _MOST_PICTURES:
                    yield Trace("unread", "pictures")
                elif int(thing.get("/Length", 0)) <= _LARGEST_PICTURE:
                    yield from hidden.in_picture(_bytes_of(thing, raw=thing.get("/Filter") == "/DCTDecode"))
        yield from _in_object(thing, 0)


def _in_object(thing: Any, depth: int) -> Iterator[Trace]:
    """Look at an object and what it holds directly; what it points at is looked at in its own turn."""
    if depth > 50:
        yield Trace("unread", "nested objects")
    elif isinstance(thing, pikepdf.Array):
        for item in thing:
            if isinstance(item, pikepdf.Object) and not item.is_indirect:
                yield from _in_object(item, depth + 1)
    elif isinstance(thing, pikepdf.Dictionary | pikepdf.Stream):
        if thing.get("/S") in _ACTIONS:
            yield Trace(_ACTIONS[str(thing.get("/S"))], str(thing.get("/S")))
        if thing.get("/Type") == "/Filespec" or "/EF" in thing:
            yield Trace("attachment", str(thing.get("/UF", thing.get("/F", ""))))
        if "/Subtype" in thing and "/Rect" in thing:
            yield from _in_annotation(thing)
        for key, held in thing.items():
            if key in _KEYS:
                yield Trace(_KEYS[key], key)
            if isinstance(held, pikepdf.Object) and not held.is_indirect:
                yield from _in_object(held, depth + 1)


def _in_annotation(thing: Any) -> Iterator[Trace]:
    if thing.get("/Subtype") in ("/Widget", "/Link"):
        return
    if name := shown(thing.get("/T", "")):
        yield Trace("author", f"{str(thing.get('/Subtype'))[1:]}: {name}")
    if words := shown(thing.get("/Contents", "")):
        yield Trace("comment", words)
    if thing.get("/Subtype") == "/FileAttachment":
        yield Trace("attachment", "FileAttachment")


def _bytes_of(stream: Any, *, raw: bool) -> bytes:
    try:
        # Unpacking is bounded by the memory that this process may have.
        return bytes(stream.read_raw_bytes() if raw else stream.read_bytes())
    except (pikepdf.PdfError, MemoryError):
        return b""
