"""Word and OpenDocument texts: archives of XML parts, of which some always exist and some tell on their authors."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import BinaryIO
from xml.parsers.expat import ExpatError

from tracker.examiner import archives, hidden
from tracker.examiner.refusals import Refusal, Refused
from tracker.examiner.traces import Examined, Trace, unique
from tracker.vocabulary import FileKind

_PARTS = {
    FileKind.DOCX: ("[Content_Types].xml", "_rels/.rels", "word/document.xml"),
    FileKind.ODT: ("mimetype", "META-INF/manifest.xml", "content.xml"),
}
_TEXTS = {FileKind.DOCX: "word/document.xml", FileKind.ODT: "content.xml"}
_MOST_PICTURES = 200
_LARGEST_PICTURE = 30 * 1024 * 1024


def examine(file: BinaryIO, kind: FileKind) -> Examined:
    """Decide that this is a text document of this kind, with the parts that each of them has."""
    archive = archives.open_archive(file, kind, nesting=True)
    for name in _PARTS[kind]:
        archives.part(archive, name)
    if kind is FileKind.ODT:
        if archives.part(archive, "mimetype").strip() != FileKind.ODT.media_type.encode():
            raise Refused(Refusal.CONTENT, ending=kind.endings[0])
        if b"encryption-data" in archives.part(archive, "META-INF/manifest.xml"):
            raise Refused(Refusal.PASSWORD)
    elif b"wordprocessingml.document.main+xml" not in archives.part(archive, "[Content_Types].xml"):
        # A document with macros says "macroEnabled" there, and ends in .docm.
        raise Refused(Refusal.CONTENT, ending=kind.endings[0])
    try:
        return Examined(kind, unique(_traces(archive, kind)))
    except (ExpatError, ValueError):
        raise Refused(Refusal.DAMAGED) from None


def _traces(archive: zipfile.ZipFile, kind: FileKind) -> Iterator[Trace]:
    names = archive.namelist()
    for name in names:
        low = name.lower()
        if "vbaproject" in low or low.startswith(("basic/", "scripts/")) or "activex/" in low:
            yield Trace("macro", name)
        elif (
            "/embeddings/" in low
            or low.startswith(("object ", "objectreplacements/"))
            or low.endswith((".exe", ".bin"))
        ):
            yield Trace("attachment", name)
        elif "thumbnail" in low and not low.endswith("/"):
            yield Trace("thumbnail", name)
        elif low.startswith("customxml/") and low.endswith(".xml"):
            yield Trace("metadata", name)
    described = ("docProps/core.xml", "docProps/app.xml", "docProps/custom.xml", "meta.xml")
    for name in (name for name in described if name in names):
        for field, value in hidden.xml_fields(archives.part(archive, name)):
            what = hidden.what_is(field)
            if what and value.strip():
                yield Trace(what, f"{field}: {value}")
            elif name == "docProps/custom.xml" and "@" not in field and value.strip():
                yield Trace("comment", value)
    yield from _in_text(archives.part(archive, _TEXTS[kind]))
    for name in names:
        if re.fullmatch(r"word/(comments\w*|people|footnotes|endnotes|header\d*|footer\d*)\.xml", name):
            yield from _in_text(archives.part(archive, name))
        elif name.endswith(".rels"):
            yield from _outside(archives.part(archive, name))
    pictures = [name for name in names if name.startswith(("word/media/", "Pictures/"))]
    if len(pictures) > _MOST_PICTURES:
        yield Trace("unread", f"{len(pictures) - _MOST_PICTURES} pictures")
    for name in pictures[:_MOST_PICTURES]:
        if archive.getinfo(name).file_size <= _LARGEST_PICTURE:
            yield from hidden.in_picture(archives.part(archive, name))
        else:
            yield Trace("unread", name)


def _in_text(data: bytes) -> Iterator[Trace]:
    """Names of people who changed or commented, changes that are still recorded, marks of editing sessions."""
    for field, value in hidden.xml_fields(data):
        if field in ("ins@author", "del@author", "rPrChange@author", "pPrChange@author", "moveFrom@author"):
            yield Trace("revisions", value)
        elif field in ("comment@author", "person@author", "creator") and value.strip():
            yield Trace("author", f"comment: {value}")
        elif field in ("comment@date", "ins@date", "del@date"):
            yield Trace("date", value)
        elif field == "tracked-changes":
            yield Trace("revisions", "tracked changes")
        elif field in ("rsid@val", "p@rsidR"):
            yield Trace("metadata", "marks of editing sessions (rsid)")
        elif field == "event-listener@href" or field == "script@language":
            yield Trace("macro", value)


def _outside(data: bytes) -> Iterator[Trace]:
    """Relations that load from elsewhere. A hyperlink waits for a click; a template or a picture does not."""
    relations: list[dict[str, str]] = []
    for field, value in hidden.xml_fields(data):
        element, _, key = field.partition("@")
        if element == "Relationship" and key:
            if not relations or key in relations[-1]:
                relations.append({})
            relations[-1][key] = value
    for relation in relations:
        if relation.get("TargetMode") == "External" and not relation.get("Type", "").endswith("/hyperlink"):
            yield Trace("remote", relation.get("Target", ""))
