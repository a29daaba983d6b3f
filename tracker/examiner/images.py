"""JPEG, PNG and WebP: their structure walked by hand for what hides in it, their pixels read by Pillow."""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from tracker.examiner import hidden, signs
from tracker.examiner.refusals import Refusal, Refused
from tracker.examiner.signs import Bytes
from tracker.examiner.traces import Examined, Trace, unique
from tracker.vocabulary import FileKind

MOST_PIXELS = 40_000_000
_PILLOW = {FileKind.JPEG: "JPEG", FileKind.PNG: "PNG", FileKind.WEBP: "WEBP"}

Image.MAX_IMAGE_PIXELS = MOST_PIXELS
# Between one and two times the most Pillow would only warn.
warnings.simplefilter("error", Image.DecompressionBombWarning)


def examine(file: BinaryIO, kind: FileKind) -> Examined:
    """Decide that this is a whole picture of this kind and nothing else."""
    data = signs.mapped(file)
    signs.require(data, kind)
    signs.refuse_zip(data)
    width, height = _decode(file, kind)
    return Examined(kind, unique(traces(data, kind)), width=width, height=height)


def open_image(file: BinaryIO, kind: FileKind) -> Image.Image:
    """The picture with its header read and its pixels not yet. Refuses too many of them from the header alone."""
    file.seek(0)
    try:
        image = Image.open(file, formats=[_PILLOW[kind]])
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Refused(Refusal.PIXELS, millions=MOST_PIXELS // 1_000_000) from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise Refused(Refusal.DAMAGED) from None
    if image.width * image.height > MOST_PIXELS:
        raise Refused(Refusal.PIXELS, millions=MOST_PIXELS // 1_000_000)
    return image


def load(image: Image.Image) -> None:
    """Decode the pixels, or refuse a damaged picture."""
    try:
        image.load()
    except (OSError, SyntaxError, ValueError, zlib.error, EOFError):
        raise Refused(Refusal.DAMAGED) from None


def _decode(file: BinaryIO, kind: FileKind) -> tuple[int, int]:
    try:
        # Verifying reads the check sums of a PNG; an image that was verified cannot be loaded any more.
        open_image(file, kind).verify()
    except (OSError, SyntaxError, ValueError):
        raise Refused(Refusal.DAMAGED) from None
    image = open_image(file, kind)
    load(image)
    return image.size


def traces(data: Bytes, kind: FileKind) -> Iterator[Trace]:
    """What else the file holds besides its pixels."""
    if kind is FileKind.JPEG:
        yield from _in_jpeg(data)
    elif kind is FileKind.PNG:
        yield from _in_png(data)
    else:
        yield from _in_webp(data)


_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


def _in_jpeg(data: Bytes) -> Iterator[Trace]:
    """Walk the segments to the end of the image (ITU-T T.81, Annex B)."""
    place = 2
    while found := _NEXT_MARKER.search(data, place):
        marker, place = found.group()[1], found.end()
        if marker == 0xD9:
            break
        if marker in (0xD8, 0x01):
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        body = data[place + 2 : place + length]
        place += max(length, 2)
        if marker == 0xE0 and body.startswith(b"JFIF\0"):
            if len(body) > 14:
                yield Trace("thumbnail", "JFIF")
        elif marker == 0xE0 and body.startswith(b"JFXX\0"):
            yield Trace("thumbnail", "JFXX")
        elif marker == 0xE1 and body.startswith(b"Exif\0"):
            yield from hidden.in_exif(body)
        elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/x"):
            yield from hidden.in_xmp(body[body.find(b"\0") + 1 :])
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
            if body[12:13] == b"\x01":
                yield from hidden.in_profile(body[14:])
        elif marker == 0xED and body.startswith(b"Photoshop 3.0\0"):
            yield from _in_photoshop(body)
        elif marker == 0xFE:
            yield Trace("comment", body.decode("utf-8", "replace"))
        elif 0xE1 <= marker <= 0xEF and not body.startswith(b"Adobe"):
            name = body[:12].split(b"\0")[0].decode("ascii", "replace")
            yield Trace("metadata", f"APP{marker - 0xE0} {name}, {len(body)} bytes")
    else:
        raise Refused(Refusal.DAMAGED)
    if rest := signs.behind(data, place):
        yield Trace("trailing", rest)


#: IPTC-IIM 4.2, record 2.
_IPTC = {
    **dict.fromkeys((5, 25, 105, 120), "comment"),
    **dict.fromkeys((80, 85, 110, 116, 122), "author"),
    **dict.fromkeys((90, 92, 95, 101), "gps"),
    55: "date",
}


def _in_photoshop(body: bytes) -> Iterator[Trace]:
    known = False
    for found in re.finditer(rb"\x1c\x02(.)(..)", body, re.DOTALL):
        what = _IPTC.get(found[1][0])
        if what:
            known = True
            value = body[found.end() : found.end() + int.from_bytes(found[2], "big")]
            yield Trace(what, f"IPTC: {value.decode('utf-8', 'replace')}")
    if b"8BIM\x04\x0c" in body or b"8BIM\x04\x09" in body:
        known = True
        yield Trace("thumbnail", "Photoshop")
    if not known:
        yield Trace("metadata", f"Photoshop, {len(body)} bytes")


#: Chunks that make up the picture or say how to show it. Source: PNG, third edition (W3C, 2025).
_PNG_PICTURE = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA sBIT sRGB cICP mDCV cLLI bKGD hIST pHYs acTL fcTL fdAT".split()
)


def _in_png(data: Bytes) -> Iterator[Trace]:
    place = 8
    while True:
        length, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if len(name) < 4 or place + 12 + length > len(data):
            raise Refused(Refusal.DAMAGED)
        body = b"" if name in _PNG_PICTURE else data[place + 8 : place + 8 + length]
        place += 12 + length
        if name in (b"tEXt", b"zTXt", b"iTXt"):
            yield from _in_png_text(name, body)
        elif name == b"eXIf":
            yield from hidden.in_exif(body)
        elif name == b"iCCP":
            yield from hidden.in_profile(_inflated(body[body.find(b"\0") + 2 :]))
        elif name == b"tIME":
            numbers = [int.from_bytes(body[:2], "big"), *body[2:7]]
            yield Trace("date", "tIME: " + "-".join(str(number) for number in numbers))
        elif name not in _PNG_PICTURE:
            yield Trace("metadata", f"{name.decode('ascii', 'replace')}, {length} bytes")
        if name == b"IEND":
            break
    if rest := signs.behind(data, place):
        yield Trace("trailing", rest)


def _in_png_text(name: bytes, body: bytes) -> Iterator[Trace]:
    keyword, _, value = body.partition(b"\0")
    if name == b"zTXt":
        value = _inflated(value[1:])
    elif name == b"iTXt":
        packed, rest = value[:1] == b"\x01", value[2:]
        value = rest.split(b"\0", 2)[-1]
        value = _inflated(value) if packed else value
    if keyword == b"XML:com.adobe.xmp":
        yield from hidden.in_xmp(value)
        return
    key = keyword.decode("latin-1")
    what = hidden.what_is(key.replace(" ", "")) or "comment"
    yield Trace(what, f"{key}: {value[:4000].decode('utf-8', 'replace')}")


def _inflated(data: bytes) -> bytes:
    """The first quarter of a megabyte of packed data, however much it would become."""
    try:
        return zlib.decompressobj().decompress(data, 256 * 1024)
    except zlib.error:
        return b""


def _in_webp(data: Bytes) -> Iterator[Trace]:
    """Walk the chunks (RFC 9649)."""
    end = min(8 + int.from_bytes(data[4:8], "little"), len(data))
    place = 12
    while place + 8 <= end:
        name, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if name == b"EXIF":
            yield from hidden.in_exif(data[place + 8 : place + 8 + length])
        elif name == b"XMP ":
            yield from hidden.in_xmp(data[place + 8 : place + 8 + length])
        elif name == b"ICCP":
            yield from hidden.in_profile(data[place + 8 : place + 8 + length])
        elif name not in (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"):
            yield Trace("metadata", f"{name.decode('ascii', 'replace')}, {length} bytes")
        place += 8 + length + length % 2
    if place < end or place > end + 1:
        raise Refused(Refusal.DAMAGED)
    if rest := signs.behind(data, min(place, len(data))):
        yield Trace("trailing", rest)
