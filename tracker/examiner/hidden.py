"""Hidden data that many kinds of files share: EXIF, XMP, colour profiles, pictures inside other files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from tracker.examiner.traces import Trace, shown

#: EXIF tags by number, and what they tell. Source: CIPA DC-008 (EXIF 2.32) and Microsoft's XP tags.
_EXIF = {
    0x010F: "device",  # Make
    0x0110: "device",  # Model
    0x013C: "device",  # HostComputer
    0xA431: "device",  # BodySerialNumber
    0xA433: "device",  # LensMake
    0xA434: "device",  # LensModel
    0xA435: "device",  # LensSerialNumber
    0xA420: "device",  # ImageUniqueID
    0x0131: "software",
    0x013B: "author",  # Artist
    0x8298: "author",  # Copyright
    0xA430: "author",  # CameraOwnerName
    0x9C9D: "author",  # XPAuthor
    0x0132: "date",
    0x9003: "date",  # DateTimeOriginal
    0x9004: "date",  # DateTimeDigitized
    0x010D: "comment",  # DocumentName
    0x010E: "comment",  # ImageDescription
    0x9286: "comment",  # UserComment
    0x9C9B: "comment",  # XPTitle
    0x9C9C: "comment",  # XPComment
    0x9C9E: "comment",  # XPKeywords
    0x9C9F: "comment",  # XPSubject
    0x02BC: "metadata",  # XMP inside EXIF
    0x927C: "device",  # MakerNote
}
#: The local names of XMP properties and of OOXML, OpenDocument and PDF fields, and what they tell.
_NAMES = {
    "gps": "gpslatitude gpslongitude gpsposition location city sublocation",
    "device": "make model serialnumber lensserialnumber cameraserialnumber bodyserialnumber hostcomputer lens",
    "author": (
        "creator author lastmodifiedby artist rights ownername manager company initial-creator printed-by "
        "captionwriter authorsposition contributor publisher copyright"
    ),
    "date": (
        "createdate modifydate metadatadate datecreated created modified creationdate moddate creation-date "
        "datetimeoriginal lastprinted print-date date creationtime"
    ),
    "software": "creatortool producer software generator application softwareagent",
    "comment": "title description subject keywords comments comment usercomment headline template caption",
    "thumbnail": "thumbnails",
}
_WHAT = {name: what for what, names in _NAMES.items() for name in names.split()}


def what_is(name: str) -> str | None:
    """What a field of this local name tells: a key of TRACES, or None if it is not a known one."""
    return _WHAT.get(name.lower())


def in_exif(data: bytes) -> Iterator[Trace]:
    """Traces in a block of EXIF (with or without "Exif\\0\\0" before it)."""
    from PIL import ExifTags, Image

    exif = Image.Exif()
    try:
        exif.load(data)
        tags = dict(exif) | exif.get_ifd(ExifTags.IFD.Exif)
        places = exif.get_ifd(ExifTags.IFD.GPSInfo)
        small = exif.get_ifd(ExifTags.IFD.IFD1)
    except Exception:  # noqa: BLE001 - Pillow raises whatever a broken block leads it to.
        yield Trace("metadata", "EXIF that cannot be read")
        return
    known = False
    if places:
        known = True
        yield Trace("gps", _place(places))
    if small:
        known = True
        yield Trace("thumbnail", "EXIF")
    for number, value in tags.items():
        what = _EXIF.get(number)
        if what is None or value in ("", b"", None):
            continue
        known = True
        name = ExifTags.TAGS.get(number, hex(number))
        yield Trace(what, f"{name}: {_text(value)}")
    if not known and tags:
        yield Trace("metadata", f"EXIF, {len(data)} bytes")


def in_xmp(data: bytes) -> Iterator[Trace]:
    """Traces in a packet of XMP. Read by patterns, because an XML parser would follow what the packet asks for."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    text = data[: 2 * 1024 * 1024].decode(encoding, "replace")
    known = False
    pairs = re.findall(r"""[\s<][\w.-]{1,40}:([\w.-]{1,60})\s*=\s*["']([^"']{1,4000})["']""", text)
    pairs += re.findall(
        r"<[\w.-]{1,40}:([\w.-]{1,60})(?:\s[^<>]{0,400})?>\s*(?:<rdf:(?:Seq|Bag|Alt)>\s*<rdf:li[^<>]{0,200}>)?([^<]{1,4000})<",
        text,
    )
    for name, value in pairs:
        what = what_is(name)
        if what and value.strip():
            known = True
            yield Trace(what, f"{name}: {value}")
    if re.search(r"<\w{1,40}:Thumbnails", text):
        known = True
        yield Trace("thumbnail", "XMP")
    if not known:
        yield Trace("metadata", f"XMP, {len(data)} bytes")


_USUAL_PROFILES = re.compile(
    r"(?i)srgb|adobe rgb|display p3|p3|generic|gr[ae]y|dot gain|fogra|swop|prophoto|romm|gimp|c2|artifex|linear"
)


def in_profile(data: bytes) -> Iterator[Trace]:
    """A colour profile that is not one of the usual: it can name a screen, a device or a person."""
    from PIL import ImageCms

    try:
        description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(data)))
    except (ImageCms.PyCMSError, OSError, ValueError):
        description = "?"
    if not _USUAL_PROFILES.search(description):
        yield Trace("device", f"Colour profile: {description}")


def in_picture(data: bytes) -> Iterator[Trace]:
    """Traces in a picture that is part of another file (a page of a PDF, a document, a sound's cover)."""
    from tracker.examiner import images
    from tracker.vocabulary import FileKind

    for kind, start in (
        (FileKind.JPEG, b"\xff\xd8\xff"),
        (FileKind.PNG, b"\x89PNG"),
        (FileKind.WEBP, b"RIFF"),
    ):
        if data.startswith(start):
            try:
                yield from images.traces(data, kind)
            except Exception:  # noqa: BLE001 - a picture inside may be broken in any way, and is only looked into.
                yield Trace("unread", "picture")


def xml_fields(data: bytes) -> Iterator[tuple[str, str]]:
    """(local name, text) of each element of an XML part. Refuses a document type: office formats have none, bombs do."""
    from xml.parsers import expat

    found: list[tuple[str, str]] = []
    texts: list[str] = []

    def begin(name: str, attributes: dict[str, str]) -> None:
        texts.clear()
        found.extend(
            (f"{name.split(':')[-1]}@{key.split(':')[-1]}", value) for key, value in attributes.items()
        )

    def end(name: str) -> None:
        if texts:
            found.append((name.split(":")[-1], "".join(texts)))
        texts.clear()

    def refuse(*_: object) -> None:
        raise ValueError("A document type.")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler = texts.append
    parser.StartDoctypeDeclHandler = refuse
    for place in range(0, len(data), 65536):
        parser.Parse(data[place : place + 65536], False)
        yield from found
        found.clear()
    parser.Parse(b"", True)
    yield from found


def _place(tags: dict[int, Any]) -> str:
    def degrees(value: Any) -> float:
        return float(sum(float(part) / 60**power for power, part in enumerate(value)))

    try:
        north, east = degrees(tags[2]), degrees(tags[4])
        return f"{north:.5f} {shown(tags.get(1, ''), 1)}, {east:.5f} {shown(tags.get(3, ''), 1)}"
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return ", ".join(_text(value) for value in list(tags.values())[:4]) or "GPS"


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        # UserComment begins with the name of its code; Microsoft's tags are UTF-16.
        value = value.removeprefix(b"ASCII\0\0\0").removeprefix(b"UNICODE\0")
        encoding = "utf-16-le" if value[1:2] == b"\0" and len(value) > 3 else "utf-8"
        value = value[:400].decode(encoding, "replace").replace("\ufffd", "")
    return shown(value)
