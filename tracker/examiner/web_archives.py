"""WARC and WACZ: every record read, every digest checked."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from warcio.archiveiterator import ArchiveIterator

from tracker.examiner import archives, signs
from tracker.examiner.refusals import Refusal, Refused
from tracker.examiner.traces import MOST_RECORDS, Examined, Record, Trace, shown, unique
from tracker.vocabulary import FileKind

_PIECE = 64 * 1024
_MOST_UNPACKED = 4 * 1024 * 1024 * 1024
_LARGEST_LIST = 10 * 1024 * 1024


class _Count:
    """Records read so far, over all the WARCs of one file."""

    def __init__(self) -> None:
        self.kept: list[Record] = []
        self.traces: list[Trace] = []
        self.total = self.bad = self.unpacked = 0


def examine(file: BinaryIO, kind: FileKind) -> Examined:
    """Decide that this is a web archive whose records can all be read, and list them with their digests checked."""
    count = _Count()
    if kind is FileKind.WARC:
        data = signs.mapped(file)
        signs.require(data, kind)
        file.seek(0)
        _read(file, count)
    else:
        archive = archives.open_archive(file, kind, nesting=True)
        _check_list(archive, count)
        for name in _warcs(archive):
            with archive.open(name) as content:
                _read(content, count)
    if count.total == 0:
        raise Refused(Refusal.WEB_ARCHIVE, record=1)
    return Examined(
        kind,
        unique(count.traces),
        records=tuple(count.kept),
        records_total=count.total,
        records_bad=count.bad,
    )


def _read(stream: Any, count: _Count) -> None:
    """Read every record to its end, which is what checks its digests."""
    try:
        for record in ArchiveIterator(stream, check_digests=True):
            if not (record.rec_type and record.rec_headers.get_header("Content-Length")):
                raise Refused(Refusal.WEB_ARCHIVE, record=count.total + 1)
            size = 0
            while piece := record.raw_stream.read(_PIECE):
                size += len(piece)
                count.unpacked += len(piece)
                if count.unpacked > _MOST_UNPACKED:
                    raise Refused(Refusal.BOMB)
            passed = cast("bool | None", record.digest_checker.passed)
            if getattr(record.raw_stream, "limit", 0) > 0:
                # The file ended before the record did.
                passed = False
            count.total += 1
            count.bad += passed is False
            headers = record.rec_headers
            if len(count.kept) < MOST_RECORDS:
                count.kept.append(
                    Record(
                        shown(headers.get_header("WARC-Target-URI") or "", 2000),
                        shown(record.rec_type, 40),
                        shown(headers.get_header("WARC-Date") or "", 40),
                        passed,
                        size,
                    )
                )
            if address := headers.get_header("WARC-IP-Address"):
                count.traces.append(Trace("network", f"Server: {address}"))
            if record.http_headers and (cookie := record.http_headers.get_header("Cookie")):
                count.traces.append(Trace("metadata", f"Cookie: {shown(cookie, 60)}"))
            del count.traces[100:]
    except (Refused, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - warcio lets through whatever a broken header leads it to.
        raise Refused(Refusal.WEB_ARCHIVE, record=count.total + 1) from None


def _warcs(archive: zipfile.ZipFile) -> list[str]:
    names = [name for name in archive.namelist() if re.fullmatch(r"archive/[^/]+\.warc(\.gz)?", name)]
    if not names:
        raise Refused(Refusal.PART, name="archive/*.warc.gz")
    return names


def _check_list(archive: zipfile.ZipFile, count: _Count) -> None:
    """Compare every file with the hash that the archive's own list gives for it (WACZ 1.1.1, datapackage.json)."""
    listed = archives.part(archive, "datapackage.json", _LARGEST_LIST)
    if "datapackage-digest.json" in archive.namelist():
        digest = _json(archives.part(archive, "datapackage-digest.json", _LARGEST_LIST)).get("hash")
        if digest != "sha256:" + hashlib.sha256(listed).hexdigest():
            raise Refused(Refusal.LISTED, name="datapackage.json")
    hashes = {}
    resources = _json(listed).get("resources")
    for resource in resources if isinstance(resources, list) else []:
        if isinstance(resource, dict):
            hashes[str(resource.get("path"))] = str(resource.get("hash"))
    for name in _warcs(archive):
        if name not in hashes:
            raise Refused(Refusal.LISTED, name=shown(name, 60))
    for name, expected in hashes.items():
        if name not in archive.namelist() or expected != "sha256:" + _hash(archive, name):
            raise Refused(Refusal.LISTED, name=shown(name, 60))
    free = {"datapackage.json", "datapackage-digest.json"}
    count.traces += [
        Trace("attachment", f"not in the archive's list: {name}")
        for name in archive.namelist()
        if name not in hashes and name not in free and not name.endswith("/")
    ]


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise Refused(Refusal.DAMAGED) from None
    if not isinstance(value, dict):
        raise Refused(Refusal.DAMAGED)
    return value


def _hash(archive: zipfile.ZipFile, name: str) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(archive, name):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    try:
        with archive.open(name) as content:
            while piece := content.read(_PIECE):
                yield piece
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, EOFError):
        raise Refused(Refusal.DAMAGED) from None
