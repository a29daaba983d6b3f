"""ZIP archives, and what documents and web archives share with them. Nothing is ever unpacked to a disk."""

from __future__ import annotations

import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from tracker.examiner import signs
from tracker.examiner.refusals import Refusal, Refused
from tracker.examiner.traces import Examined, Trace, shown, unique
from tracker.vocabulary import FileKind

_MOST_ENTRIES = 10_000
_MOST_UNPACKED = 2 * 1024 * 1024 * 1024
#: Text packs ten to one, the emptiest spreadsheets a hundred to one; bombs a thousand to one.
_MOST_RATIO = 200
_SMALL = 10 * 1024 * 1024
_LONGEST_NAME = 1000
_LARGEST_PART = 50 * 1024 * 1024
_ARCHIVES = frozenset(
    ["zip", "jar", "rar", "7z", "tar", "gz", "tgz", "bz2", "xz", "zst", "cab", "iso", "apk", "war", "wacz"]
)
_PROGRAMS = frozenset(
    [
        "exe",
        "com",
        "scr",
        "bat",
        "cmd",
        "ps1",
        "vbs",
        "js",
        "jse",
        "wsf",
        "hta",
        "lnk",
        "msi",
        "dll",
        "sh",
        "html",
        "htm",
        "svg",
        "docm",
        "xlsm",
        "pptm",
        "desktop",
    ]
)
_ENCRYPTED = 0x1
#: ZWNJ and ZWJ are letters of names; every other invisible character only deceives.
_JOINERS = "\u200c\u200d"
#: Compression methods that every reader knows: none, deflate, bzip2, LZMA.
_METHODS = (0, 8, 12, 14)


def examine(file: BinaryIO) -> Examined:
    """Decide that this is a plain archive that does no harm when somebody unpacks it."""
    archive = open_archive(file, FileKind.ZIP)
    return Examined(FileKind.ZIP, unique(_traces(archive)))


def open_archive(file: BinaryIO, kind: FileKind, *, nesting: bool = False) -> zipfile.ZipFile:
    """The archive's list of contents, checked: count, sizes, names, links, passwords, and archives within.

    `nesting`: archives may stand within (a web archive is made of them).
    """
    data = signs.mapped(file)
    signs.require(data, kind)
    end = data.rfind(b"PK\x05\x06", max(0, len(data) - 65557))
    if end < 0:
        raise Refused(Refusal.DAMAGED)
    counted, length = (
        int.from_bytes(data[end + 10 : end + 12], "little"),
        int.from_bytes(data[end + 12 : end + 16], "little"),
    )
    # Read before the list itself, which may be made to fill the memory.
    if _MOST_ENTRIES < counted < 0xFFFF or _MOST_ENTRIES * 1500 < length < 0xFFFFFFFF:
        raise Refused(Refusal.ENTRIES, limit=_MOST_ENTRIES)
    after = end + 22 + int.from_bytes(data[end + 20 : end + 22], "little")
    if after != len(data):
        raise Refused(Refusal.DAMAGED)
    try:
        file.seek(0)
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeError):
        raise Refused(Refusal.DAMAGED) from None
    entries = archive.infolist()
    if not entries:
        raise Refused(Refusal.EMPTY)
    if len(entries) > _MOST_ENTRIES:
        raise Refused(Refusal.ENTRIES, limit=_MOST_ENTRIES)
    if min(entry.header_offset for entry in entries) != 0:
        # zipfile looks for the archive from the end of the file, and forgives whatever stands before it.
        raise Refused(Refusal.TWO_FILES, found="zip")
    _check_sizes(entries, len(data))
    _check_names(entries)
    for entry in entries:
        if entry.flag_bits & _ENCRYPTED:
            raise Refused(Refusal.PASSWORD)
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise Refused(Refusal.LINK, name=shown(entry.filename, 60))
        if entry.compress_type not in _METHODS:
            raise Refused(Refusal.DAMAGED)
        if not nesting and _is_archive(archive, entry):
            raise Refused(Refusal.NESTED, name=shown(entry.filename, 60))
    return archive


def part(archive: zipfile.ZipFile, name: str, most: int = _LARGEST_PART) -> bytes:
    """The content of one entry, checked against its check sum. Refuses a missing, broken or too large one."""
    try:
        if archive.getinfo(name).file_size > most:
            raise Refused(Refusal.BOMB)
        return archive.read(name)
    except KeyError:
        raise Refused(Refusal.PART, name=name) from None
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, EOFError):
        raise Refused(Refusal.DAMAGED) from None


def _check_sizes(entries: list[zipfile.ZipInfo], size: int) -> None:
    unpacked, packed = (
        sum(entry.file_size for entry in entries),
        sum(entry.compress_size for entry in entries),
    )
    # More packed bytes than the file has: the entries lie over each other, which is how the worst bombs are made.
    if packed > size or unpacked > _MOST_UNPACKED:
        raise Refused(Refusal.BOMB)
    for entry in entries:
        if entry.file_size > _SMALL and entry.file_size > _MOST_RATIO * max(entry.compress_size, 1):
            raise Refused(Refusal.BOMB)
    if unpacked > _SMALL and unpacked > _MOST_RATIO * size:
        raise Refused(Refusal.BOMB)


def _check_names(entries: list[zipfile.ZipInfo]) -> None:
    seen = set()
    for entry in entries:
        # zipfile cuts a name at NUL, the original is what other readers see.
        name = entry.orig_filename
        parts = re.split(r"[/\\]", name.rstrip("/"))
        if (
            not name
            or len(name) > _LONGEST_NAME
            or name.startswith(("/", "\\"))
            or re.match(r"[A-Za-z]:", name)
            or ".." in parts
            or any(unicodedata.category(sign) in ("Cc", "Cf", "Cs") and sign not in _JOINERS for sign in name)
            or name in seen
        ):
            raise Refused(Refusal.NAME, name=shown(name, 60))
        seen.add(name)


def _is_archive(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    if entry.filename.lower().rsplit(".", 1)[-1] in _ARCHIVES:
        return True
    if entry.file_size < 22:
        return False
    try:
        with archive.open(entry) as content:
            start = content.read(8)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, EOFError):
        raise Refused(Refusal.DAMAGED) from None
    office = entry.filename.lower().endswith((".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub"))
    return start.startswith((b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b")) or (
        start.startswith(b"PK\x03\x04") and not office
    )


def _traces(archive: zipfile.ZipFile) -> Iterator[Trace]:
    if archive.comment:
        yield Trace("comment", archive.comment.decode("utf-8", "replace"))
    for entry in archive.infolist():
        ending = entry.filename.lower().rsplit(".", 1)[-1]
        if ending in _PROGRAMS:
            yield Trace("program", entry.filename)
    # The files in an archive keep their own dates and owners; the newest date tells when it was made.
    newest = max(entry.date_time for entry in archive.infolist())
    if newest > (1980, 1, 1, 23, 59, 59):
        yield Trace("date", "-".join(f"{number:02}" for number in newest[:3]))
    if any(entry.extra for entry in archive.infolist()):
        yield Trace("metadata", "times and owners of the files in it")
    names = [entry.filename for entry in archive.infolist()]
    for name in names:
        if name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1] in (
            ".DS_Store",
            "Thumbs.db",
            "desktop.ini",
        ):
            yield Trace("metadata", name)
    yield Trace("unread", f"{len(names)}: " + ", ".join(names[:20]))
