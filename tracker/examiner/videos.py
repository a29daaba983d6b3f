"""MP4 and WebM: the containers walked by hand. The pictures in them are not decoded."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import BinaryIO

from tracker.examiner import hidden, signs
from tracker.examiner.refusals import Refusal, Refused
from tracker.examiner.signs import Bytes
from tracker.examiner.traces import Examined, Trace, unique
from tracker.vocabulary import FileKind

_DEEPEST = 8
_LARGEST_FIELD = 64 * 1024
#: Boxes that hold boxes (ISO/IEC 14496-12), as far as fields about people, places and devices stand in them.
_HOLDERS = (b"moov", b"udta", b"trak", b"mdia", b"minf", b"meta", b"ilst", b"moof", b"edts")
_TOP = frozenset(
    b"ftyp moov mdat moof free skip wide uuid udta meta sidx styp mfra pdin emsg prft ssix".split()
)
_FIELDS = {
    b"\xa9xyz": "gps",
    b"loci": "gps",
    b"\xa9mak": "device",
    b"\xa9mod": "device",
    b"\xa9day": "date",
    b"\xa9swr": "software",
    b"\xa9too": "software",
    b"\xa9enc": "software",
    b"\xa9ART": "author",
    b"\xa9aut": "author",
    b"auth": "author",
    b"cprt": "author",
    b"aART": "author",
    b"\xa9cmt": "comment",
    b"\xa9nam": "comment",
    b"\xa9des": "comment",
    b"desc": "comment",
    b"titl": "comment",
    b"covr": "thumbnail",
    b"thmb": "thumbnail",
}
_KEYS = {
    "location": "gps",
    "make": "device",
    "model": "device",
    "software": "software",
    "creationdate": "date",
    "author": "author",
    "artist": "author",
    "camera": "device",
    "manufacturer": "device",
    "android.version": "software",
}


def examine(file: BinaryIO, kind: FileKind) -> Examined:
    """Decide that this is a film in a container of this kind, whole from its first byte to its last."""
    data = signs.mapped(file)
    signs.require(data, kind)
    signs.refuse_zip(data)
    return Examined(kind, unique(_in_mp4(data) if kind is FileKind.MP4 else _in_webm(data)))


def _boxes(data: Bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start and end of its content) of each box; stops where the bytes are no box."""
    while start + 8 <= end:
        size, name = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        head = 8
        if size == 1:
            size, head = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        elif size == 0:
            size = end - start
        if size < head or start + size > end:
            return
        yield name, start + head, start + size
        start += size


def _in_mp4(data: Bytes) -> Iterator[Trace]:
    names, place = [], 0
    for name, start, end in _boxes(data, 0, len(data)):
        if name not in _TOP:
            break
        names.append(name)
        place = end
        if name == b"ftyp" and data[start : start + 4] in (b"heic", b"mif1", b"avif", b"heix", b"msf1"):
            raise Refused(Refusal.CONTENT, ending="mp4")
        if name == b"uuid":
            yield from hidden.in_xmp(data[start + 16 : min(end, start + 1024 * 1024)])
        elif name in _HOLDERS:
            yield from _in_box(data, name, start, end, 0)
        elif name in (b"free", b"skip") and data[start : start + 64].strip(b"\0"):
            yield Trace("metadata", f"{name.decode()}, {end - start} bytes")
    if b"moov" not in names or not ({b"mdat", b"moof"} & set(names)):
        raise Refused(Refusal.DAMAGED)
    # A box that was begun and reaches over the end of the file: the rest was lost on the way.
    if data[place + 4 : place + 8] in _TOP:
        raise Refused(Refusal.DAMAGED)
    if rest := signs.behind(data, place):
        yield Trace("trailing", rest)


def _in_box(data: Bytes, name: bytes, start: int, end: int, depth: int) -> Iterator[Trace]:
    if depth > _DEEPEST:
        yield Trace("unread", "nested boxes")
        return
    if name == b"meta" and data[start : start + 4] == b"\0\0\0\0":
        # In MP4 four bytes of version and flags come first, in QuickTime none.
        start += 4
    keys: list[str] = []
    for inner, inner_start, inner_end in _boxes(data, start, end):
        body = data[inner_start : min(inner_end, inner_start + _LARGEST_FIELD)]
        if inner == b"mvhd":
            yield from _made(body)
        elif inner == b"keys":
            keys = [key.decode("utf-8", "replace") for key in re.findall(rb"mdta([^\0-\x1f]{1,200})", body)]
        elif inner == b"ilst" and keys:
            yield from _in_keys(data, inner_start, inner_end, keys)
        elif inner in _FIELDS:
            yield Trace(_FIELDS[inner], _words(body))
        elif inner in _HOLDERS:
            yield from _in_box(data, inner, inner_start, inner_end, depth + 1)
        elif inner == b"uuid":
            yield from hidden.in_xmp(body[16:])
        elif name in (b"udta", b"ilst"):
            yield Trace("metadata", f"{inner.decode('latin-1')}: {_words(body)}")


def _in_keys(data: Bytes, start: int, end: int, keys: list[str]) -> Iterator[Trace]:
    for name, inner_start, inner_end in _boxes(data, start, end):
        number = int.from_bytes(name, "big")
        if 1 <= number <= len(keys):
            key = keys[number - 1]
            what = next((what for part, what in _KEYS.items() if part in key.lower()), "metadata")
            body = data[inner_start : min(inner_end, inner_start + _LARGEST_FIELD)]
            yield Trace(what, f"{key.rsplit('.', 1)[-1]}: {_words(body)}")


def _made(body: bytes) -> Iterator[Trace]:
    seconds = int.from_bytes(body[4:12] if body[:1] == b"\x01" else body[4:8], "big")
    # Counted from 1904; cameras that do not know the time write nought.
    if 0 < seconds < 2**33:
        moment = dt.datetime(1904, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
        yield Trace("date", f"{moment:%Y-%m-%d %H:%M} UTC")


def _words(body: bytes) -> str:
    """The text of a field: in a box of its own (iTunes), or behind its length and language (QuickTime), or bare."""
    for name, start, end in _boxes(body, 0, len(body)):
        if name == b"data":
            return body[start + 8 : end].decode("utf-8", "replace")
    if int.from_bytes(body[:2], "big") == len(body) - 4:
        body = body[4:]
    return body[:2000].decode("utf-8", "replace")


_EBML, _DOCTYPE, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x4282, 0x18538067, 0x1F43B675
#: Elements of WebM (RFC 9559) that hold elements, and those that tell something.
_MASTERS = (0x1549A966, 0x1254C367, 0x7373, 0x67C8, 0x1941A469, 0x61A7, 0x1654AE6B, 0xAE)
_PARTS = (*_MASTERS, 0x114D9B74, 0x1C53BB6B, 0x1043A770, 0xEC, 0xBF, _CLUSTER)
_TELLING = {
    0x4D80: "software",  # MuxingApp
    0x5741: "software",  # WritingApp
    0x7BA9: "comment",  # Title
    0x4461: "date",  # DateUTC
    0x466E: "attachment",  # FileName
    0x536E: "comment",  # Name of a track
}


def _in_webm(data: Bytes) -> Iterator[Trace]:
    head = next(_elements(data, 0, len(data)), None)
    if head is None or head[0] != _EBML:
        raise Refused(Refusal.DAMAGED)
    types = [
        data[start:end] for number, start, end in _elements(data, head[1], head[2]) if number == _DOCTYPE
    ]
    if types != [b"webm"]:
        raise Refused(Refusal.DOCTYPE)
    segment = next(_elements(data, head[2], len(data)), None)
    if segment is None or segment[0] != _SEGMENT:
        raise Refused(Refusal.DAMAGED)
    seen, place = set(), segment[1]
    for number, start, end in _elements(data, segment[1], segment[2]):
        if number not in _PARTS:
            break
        seen.add(number)
        place = end
        if number in _MASTERS:
            yield from _in_element(data, start, end, 0)
    if not {0x1654AE6B, _CLUSTER} <= seen or (place < segment[2] < len(data)):
        raise Refused(Refusal.DAMAGED)
    if rest := signs.behind(data, place):
        yield Trace("trailing", rest)


def _elements(data: Bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(identifier, start and end of its content) of each EBML element (RFC 8794). One of unknown size fills the rest."""
    while start < end:
        length = 9 - data[start].bit_length()
        number = int.from_bytes(data[start : start + length], "big")
        start += length
        if length > 4 or start >= end:
            return
        wide = 9 - data[start].bit_length()
        if wide > 8 or start + wide > end:
            return
        size = int.from_bytes(data[start : start + wide], "big") & ((1 << 7 * wide) - 1)
        start += wide
        if size == (1 << 7 * wide) - 1:
            size = end - start
        if start + size > end:
            return
        yield number, start, start + size
        start += size


def _in_element(data: Bytes, start: int, end: int, depth: int) -> Iterator[Trace]:
    name = ""
    for number, inner_start, inner_end in _elements(data, start, end):
        body = data[inner_start : min(inner_end, inner_start + _LARGEST_FIELD)]
        if number in _TELLING:
            value = "DateUTC" if number == 0x4461 else body.decode("utf-8", "replace")
            yield Trace(_TELLING[number], value)
        elif number == 0x45A3:  # TagName
            name = body.decode("utf-8", "replace")
        elif number == 0x4487:  # TagString
            what = _KEYS.get(name.lower()) or hidden.what_is(name.replace("_", "")) or "comment"
            yield Trace(
                "gps" if "LOCATION" in name.upper() else what, f"{name}: {body.decode('utf-8', 'replace')}"
            )
        elif number in _MASTERS and depth < _DEEPEST:
            yield from _in_element(data, inner_start, inner_end, depth + 1)
