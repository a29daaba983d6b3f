"""MP3 and Ogg: frames and pages walked by hand. The sound in them is not decoded."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import BinaryIO

from tracker.examiner import hidden, signs
from tracker.examiner.refusals import Refusal, Refused
from tracker.examiner.signs import Bytes
from tracker.examiner.traces import Examined, Trace, unique
from tracker.vocabulary import FileKind

_FEWEST_FRAMES = 3
_LARGEST_FIELD = 8 * 1024 * 1024
#: kbit/s by index (ISO/IEC 11172-3 and 13818-3, layer III), for MPEG-1 and for MPEG-2 and 2.5.
_RATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_SAMPLES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
#: Frames of ID3v2.3 and 2.4, and of 2.2 with three letters.
_ID3 = {
    "author": ("TPE1", "TPE2", "TPE3", "TPE4", "TCOM", "TEXT", "TOWN", "TCOP", "TP1", "TP2", "TCM", "OWNE"),
    "date": ("TDRC", "TDEN", "TDRL", "TDTG", "TYER", "TDAT", "TIME", "TYE"),
    "software": ("TSSE", "TENC", "TSS", "TEN"),
    "attachment": ("GEOB", "GEO"),
    "thumbnail": ("APIC", "PIC"),
}
_ID3_WHAT = {name: what for what, names in _ID3.items() for name in names}
_CODECS = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")


def examine(file: BinaryIO, kind: FileKind) -> Examined:
    """Decide that this is sound of this kind, whole from its first byte to its last."""
    data = signs.mapped(file)
    signs.require(data, kind)
    signs.refuse_zip(data)
    return Examined(kind, unique(_in_mp3(data) if kind is FileKind.MP3 else _in_ogg(data)))


def _in_mp3(data: Bytes) -> Iterator[Trace]:
    start = 0
    while data[start : start + 3] == b"ID3" and start + 10 <= len(data):
        size = _seven_bits(data[start + 6 : start + 10])
        yield from _in_id3(data[start + 10 : start + 10 + min(size, _LARGEST_FIELD)], data[start + 3])
        start += 10 + size + (10 if data[start + 5] & 0x10 else 0)
    if padding := re.compile(rb"\0*").match(data, start):
        start = padding.end()
    frames, place = 0, start
    while length := _frame(data[place : place + 4]):
        if place + length > len(data):
            # Players forgive a last frame that is cut short, and so do recorders that were switched off.
            place = len(data)
            break
        frames, place = frames + 1, place + length
    if frames < _FEWEST_FRAMES:
        raise signs.other(data, FileKind.MP3)
    if data[place : place + 8] == b"APETAGEX":
        yield Trace("metadata", "APE")
        place += 32 + int.from_bytes(data[place + 12 : place + 16], "little")
    if data[place : place + 3] == b"TAG" and place + 128 <= len(data):
        for what, begin, end in (
            ("comment", 3, 33),
            ("author", 33, 63),
            ("date", 93, 97),
            ("comment", 97, 125),
        ):
            if value := data[place + begin : place + end].strip(b"\0 "):
                yield Trace(what, "ID3: " + value.decode("latin-1"))
        place += 128
    if rest := signs.behind(data, place):
        yield Trace("trailing", rest)


def _frame(head: bytes) -> int:
    """The length of the frame of layer III that begins here, 0 if none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    rate, samples = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer != 1 or rate in (0, 15) or samples == 3:
        return 0
    bits = _RATES[0 if version == 3 else 1][rate] * 1000
    return (144 if version == 3 else 72) * bits // _SAMPLES[version][samples] + (head[2] >> 1 & 1)


def _seven_bits(data: bytes) -> int:
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value


def _in_id3(tag: bytes, version: int) -> Iterator[Trace]:
    letters, head = (3, 6) if version == 2 else (4, 10)
    place = 0
    while place + head <= len(tag) and tag[place]:
        name = tag[place : place + letters].decode("latin-1")
        length = tag[place + letters : place + 2 * letters]
        size = _seven_bits(length) if version == 4 else int.from_bytes(length, "big")
        body = tag[place + head : place + head + size]
        place += head + size
        what = _ID3_WHAT.get(name, "comment" if name.startswith(("T", "COM", "USLT", "W")) else "metadata")
        yield Trace(what, f"{name}: {_id3_text(body)}")
        if what == "thumbnail":
            yield from hidden.in_picture(body[max(body.find(b"\xff\xd8\xff"), body.find(b"\x89PNG"), 0) :])


def _id3_text(body: bytes) -> str:
    encoding = {0: "latin-1", 1: "utf-16", 2: "utf-16-be", 3: "utf-8"}.get(body[0] if body else 0, "latin-1")
    return body[1:600].decode(encoding, "replace")


def _in_ogg(data: Bytes) -> Iterator[Trace]:
    """Walk the pages (RFC 3533); the second packet of a stream holds its comments."""
    packets: list[bytes] = []
    place, packet, first = 0, b"", b""
    while data[place : place + 5] == b"OggS\0":
        count = data[place + 26] if place + 27 <= len(data) else 0
        lengths = data[place + 27 : place + 27 + count]
        body = place + 27 + count
        end = body + sum(lengths)
        if end > len(data):
            raise Refused(Refusal.DAMAGED)
        stream = data[place + 14 : place + 18]
        first = first or stream
        if stream == first and len(packets) < 2:
            for length in lengths:
                packet += data[body : body + length]
                body += length
                if length < 255:
                    packets.append(packet)
                    packet = b""
            packet = packet[:_LARGEST_FIELD]
        place = end
    if not packets or not packets[0].startswith(_CODECS):
        raise Refused(Refusal.CODEC)
    for comments in packets[1:2]:
        yield from _in_comments(comments)
    if rest := signs.behind(data, place):
        yield Trace("trailing", rest)


def _in_comments(packet: bytes) -> Iterator[Trace]:
    """Comments of Vorbis, Opus, FLAC in Ogg and Speex: a vendor, then lines of NAME=value, with lengths before."""
    if packet[:1] == b"\x84" or packet[:1] == b"\x04":
        place = 4
    else:
        place = 7 if packet.startswith(b"\x03vorbis") else 8 if packet.startswith(b"OpusTags") else 0
    size = int.from_bytes(packet[place : place + 4], "little")
    if vendor := packet[place + 4 : place + 4 + size]:
        yield Trace("software", vendor.decode("utf-8", "replace"))
    place += 8 + size
    while place + 4 <= len(packet):
        size = int.from_bytes(packet[place : place + 4], "little")
        line = packet[place + 4 : place + 4 + size]
        place += 4 + size
        name, _, value = line.partition(b"=")
        key = name[:40].decode("utf-8", "replace")
        if not value:
            continue
        if key.upper() in ("METADATA_BLOCK_PICTURE", "COVERART"):
            yield Trace("thumbnail", key)
            try:
                picture = base64.b64decode(value)
            except (binascii.Error, ValueError):
                continue
            yield from hidden.in_picture(
                picture[max(picture.find(b"\xff\xd8\xff"), picture.find(b"\x89PNG"), 0) :]
            )
            continue
        what = "gps" if key.upper() in ("LOCATION", "GEO_LOCATION") else hidden.what_is(key)
        yield Trace(what or "comment", f"{key}: {value[:2000].decode('utf-8', 'replace')}")
