"""What the examiner refuses, with which sentence, and what it finds in files that it takes.

These call the child's own function without the child around it, which `test_media` has: they are many and quick.
"""

from __future__ import annotations

import io
import random
import re
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pikepdf
import pytest
from PIL import Image

from tests import files
from tracker.examiner import child
from tracker.examiner.refusals import Refusal, Refused
from tracker.examiner.traces import TRACES, Examined, shown
from tracker.vocabulary import FileKind

Examine = Callable[[bytes, FileKind], Examined]


@pytest.fixture
def examine(tmp_path: Path) -> Examine:
    def run(content: bytes, kind: FileKind) -> Examined:
        path = tmp_path / "file"
        path.write_bytes(content)
        with path.open("rb") as file:
            return child.examine(file, kind)

    return run


def whats(examined: Examined) -> set[str]:
    return {trace.what for trace in examined.warnings}


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def encrypted() -> bytes:
    made = bytearray(files.zipped([("list.txt", b"Arvenia")]))
    for sign, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        made[made.find(sign) + place] |= 1
    return bytes(made)


def renamed(old: bytes, new: bytes) -> bytes:
    """A ZIP with a name in it that no honest tool writes."""
    return files.zipped([(old.decode(), b"Arvenia")]).replace(old, new)


def segment(marker: int, body: bytes) -> bytes:
    """A JPEG with one segment more."""
    made = files.jpeg()
    return made[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body + made[2:]


ZIP = files.zipped([("x.txt", b"Arvenia")])
HTML = b"<html><script>alert(1)</script></html>"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'
EXE = b"MZ" + b"\0" * 600
J, P, W, D = FileKind.JPEG, FileKind.PNG, FileKind.WEBP, FileKind.PDF
REFUSED: dict[str, tuple[FileKind, Callable[[], bytes], Refusal]] = {
    # Two files in one.
    "GIFAR": (J, lambda: files.jpeg() + ZIP, Refusal.TWO_FILES),
    "a ZIP after padding": (J, lambda: files.jpeg() + b"\0" * 100_000 + ZIP, Refusal.TWO_FILES),
    "a ZIP in a comment": (J, lambda: segment(0xFE, ZIP), Refusal.TWO_FILES),
    "a ZIP behind a PNG": (P, lambda: files.png() + ZIP, Refusal.TWO_FILES),
    "a ZIP in a chunk": (P, lambda: files.png()[:-12] + files.chunk(b"zzZz", ZIP) + files.png()[-12:], Refusal.TWO_FILES),
    "a ZIP behind WebP": (W, lambda: files.webp() + ZIP, Refusal.TWO_FILES),
    "a ZIP behind a PDF": (D, lambda: files.pdf() + ZIP, Refusal.TWO_FILES),
    "a ZIP behind a film": (FileKind.MP4, lambda: files.mp4() + ZIP, Refusal.TWO_FILES),
    "a ZIP in a film": (FileKind.MP4, lambda: files.mp4(media=ZIP), Refusal.TWO_FILES),
    "a ZIP behind WebM": (FileKind.WEBM, lambda: files.webm() + ZIP, Refusal.TWO_FILES),
    "a ZIP behind a sound": (FileKind.MP3, lambda: files.mp3(end=ZIP), Refusal.TWO_FILES),
    "a ZIP behind Ogg": (FileKind.OGG, lambda: files.ogg() + ZIP, Refusal.TWO_FILES),
    "a page behind a JPEG": (J, lambda: files.jpeg() + HTML, Refusal.TWO_FILES),
    "a page after line breaks": (J, lambda: files.jpeg() + b"\r\n \0" + HTML, Refusal.TWO_FILES),
    "a page after words": (J, lambda: files.jpeg() + b"hello " * 20 + HTML, Refusal.TWO_FILES),
    "a page behind a PDF": (D, lambda: files.pdf() + HTML, Refusal.TWO_FILES),
    "a page before a PDF": (D, lambda: HTML + files.pdf(), Refusal.TWO_FILES),
    "a line before a PDF": (D, lambda: b"\n" + files.pdf(), Refusal.TWO_FILES),
    "a PDF behind a JPEG": (J, lambda: files.jpeg() + files.pdf(), Refusal.TWO_FILES),
    "a program behind a PNG": (P, lambda: files.png() + EXE, Refusal.TWO_FILES),
    "a script behind a PNG": (P, lambda: files.png() + b"\n#!/bin/sh\n", Refusal.TWO_FILES),
    "a sound behind a PNG": (P, lambda: files.png() + files.ogg(), Refusal.TWO_FILES),
    # Something else under this name.
    "a page": (J, lambda: HTML, Refusal.LOOKS_LIKE),
    "a page before a JPEG": (J, lambda: HTML + files.jpeg(), Refusal.LOOKS_LIKE),
    "a drawing": (P, lambda: SVG, Refusal.LOOKS_LIKE),
    "a program": (D, lambda: EXE, Refusal.LOOKS_LIKE),
    "a PNG as JPEG": (J, files.png, Refusal.LOOKS_LIKE),
    "a PDF as ZIP": (FileKind.ZIP, files.pdf, Refusal.LOOKS_LIKE),
    "a page as text": (FileKind.TXT, lambda: b"\xef\xbb\xbf\n" + HTML, Refusal.MARKUP),
    "a page as UTF-16 text": (FileKind.TXT, lambda: "\n<!DOCTYPE html>".encode("utf-16"), Refusal.MARKUP),
    "a drawing as text": (FileKind.TXT, lambda: SVG, Refusal.MARKUP),
    "a script as text": (FileKind.TXT, lambda: b"#!/bin/sh\nrm -rf /", Refusal.MARKUP),
    "a program as text": (FileKind.TXT, lambda: EXE, Refusal.NOT_TEXT),
    "a ZIP as docx": (FileKind.DOCX, lambda: ZIP, Refusal.PART),
    "an odt as docx": (FileKind.DOCX, files.odt, Refusal.PART),
    "a docx as odt": (FileKind.ODT, files.docx, Refusal.PART),
    "a docm as docx": (FileKind.DOCX, lambda: files.docx(kind="macroEnabled.main"), Refusal.CONTENT),
    "an ods as odt": (FileKind.ODT, lambda: files.odt(mimetype=b"application/vnd.oasis.opendocument.spreadsheet"), Refusal.CONTENT),
    "a photograph as film": (FileKind.MP4, lambda: files.mp4(brand=b"heic"), Refusal.CONTENT),
    "Matroska": (FileKind.WEBM, lambda: files.webm(doctype=b"matroska"), Refusal.DOCTYPE),
    "Ogg video": (FileKind.OGG, lambda: files.ogg(codec=b"\x80theora"), Refusal.CODEC),
    "words as sound": (FileKind.MP3, lambda: b"ID3\3\0\0\0\0\0\0" + b"Arvenia" * 50, Refusal.LOOKS_LIKE),
    "words as mail": (FileKind.EML, lambda: b"Dear Vera,\n\n", Refusal.CONTENT),
    # Damaged, cut short.
    "half a JPEG": (J, lambda: files.jpeg()[:-200], Refusal.DAMAGED),
    "half a PNG": (P, lambda: files.png()[:-200], Refusal.DAMAGED),
    "a PNG with a changed byte": (P, lambda: files.png().replace(b"IDAT", b"IDAT\xff", 1), Refusal.DAMAGED),
    "half a WebP": (W, lambda: files.webp()[:-20], Refusal.DAMAGED),
    "half a PDF": (D, lambda: files.pdf()[:-300], Refusal.DAMAGED),
    "a PDF without pages": (D, lambda: files.saved(pikepdf.new()), Refusal.DAMAGED),
    "half a film": (FileKind.MP4, lambda: files.mp4()[:-20], Refusal.DAMAGED),
    "half a WebM": (FileKind.WEBM, lambda: files.webm()[:-4], Refusal.DAMAGED),
    "half an Ogg": (FileKind.OGG, lambda: files.ogg()[:-4], Refusal.DAMAGED),
    "half a ZIP": (FileKind.ZIP, lambda: ZIP[:-10], Refusal.DAMAGED),
    "a ZIP with bytes before": (FileKind.ZIP, lambda: b"PK\3\4" + b"x" * 30 + ZIP, Refusal.TWO_FILES),
    "a ZIP with bytes behind": (FileKind.ZIP, lambda: ZIP + b"x", Refusal.DAMAGED),
    "not WARC at all": (FileKind.WARC, lambda: b"WARC/1.0\r\nnonsense", Refusal.WEB_ARCHIVE),
    "half a WARC": (FileKind.WARC, lambda: files.warc(records=1)[:60], Refusal.WEB_ARCHIVE),
    # Made to do harm.
    "a flood of pixels": (P, files.flood_png, Refusal.PIXELS),
    "a few pixels too many": (P, lambda: files.flood_png(6400, 6251), Refusal.PIXELS),
    "a bomb": (FileKind.ZIP, files.bomb, Refusal.BOMB),
    "entries over each other": (FileKind.ZIP, files.overlapping, Refusal.BOMB),
    "a bomb as docx": (FileKind.DOCX, lambda: files.docx(("x.bin", b"\0" * 60_000_000)), Refusal.BOMB),
    "ten thousand and one files": (
        FileKind.ZIP, lambda: files.zipped(((str(n), b"") for n in range(10_001)), packed=False), Refusal.ENTRIES,
    ),
    "billion laughs": (
        FileKind.DOCX,
        lambda: files.docx(("docProps/core.xml", b'<!DOCTYPE x [<!ENTITY a "aaa"><!ENTITY b "&a;&a;">]><x>&b;</x>')),
        Refusal.DAMAGED,
    ),
    "an archive in an archive": (FileKind.ZIP, lambda: files.zipped([("a.zip", ZIP)]), Refusal.NESTED),
    "one that is not called so": (FileKind.ZIP, lambda: files.zipped([("a.txt", ZIP)]), Refusal.NESTED),
    "a link": (FileKind.ZIP, lambda: files.zipped([(link("a"), b"/etc/passwd")]), Refusal.LINK),
    "a way out": (FileKind.ZIP, lambda: files.zipped([("../../a.txt", b"x")]), Refusal.NAME),
    "a way out for Windows": (FileKind.ZIP, lambda: renamed(b"aa/aa.txt", b"..\\aa.txt"), Refusal.NAME),
    "an absolute name": (FileKind.ZIP, lambda: files.zipped([("/etc/cron", b"x")]), Refusal.NAME),
    "a name with a drive": (FileKind.ZIP, lambda: files.zipped([("C:x.txt", b"x")]), Refusal.NAME),
    "a name with a NUL": (FileKind.ZIP, lambda: renamed(b"a.txt.exe", b"a.txt\0exe"), Refusal.NAME),
    "a name turned round": (FileKind.ZIP, lambda: files.zipped([("gpj\u202e.exe", b"x")]), Refusal.NAME),
    "locked ZIP": (FileKind.ZIP, encrypted, Refusal.PASSWORD),
    "locked PDF": (D, files.locked_pdf, Refusal.PASSWORD),
    "locked odt": (FileKind.ODT, lambda: files.odt(manifest=b"<manifest:encryption-data/>"), Refusal.PASSWORD),
    # Rules of single kinds.
    "a docx without its text": (FileKind.DOCX, lambda: files.docx(without="word/document.xml"), Refusal.PART),
    "text with NUL": (FileKind.TXT, lambda: b"Arvenia\0", Refusal.NOT_TEXT),
    "text in another code": (FileKind.TXT, lambda: "Café".encode("latin-1"), Refusal.NOT_TEXT),
    "text cut in a letter": (FileKind.TXT, lambda: "é".encode()[:1], Refusal.NOT_TEXT),
    "half a surrogate": (FileKind.TXT, lambda: b"\xff\xfe\x00\xd8", Refusal.NOT_TEXT),
    "a table with an open quote": (FileKind.CSV, lambda: b'a,b\n"c,d\n', Refusal.TABLE),
    "a mail from nobody": (FileKind.EML, lambda: files.eml(headers="Date: today\r\n"), Refusal.MAIL),
    "a mail of no day": (FileKind.EML, lambda: files.eml(headers="From: vera\r\n"), Refusal.MAIL),
    "a WACZ without WARC": (FileKind.WACZ, lambda: files.zipped([("datapackage.json", b"{}")]), Refusal.PART),
    "a WACZ without list": (FileKind.WACZ, lambda: files.zipped([("archive/a.warc.gz", files.warc())]), Refusal.PART),
    "a WACZ with another hash": (FileKind.WACZ, lambda: files.wacz(spoil=True), Refusal.LISTED),
    "a WACZ that lists nothing": (FileKind.WACZ, lambda: files.wacz(listed=False), Refusal.LISTED),
    "a WACZ whose list was changed": (
        FileKind.WACZ, lambda: files.wacz(extra=("datapackage-digest.json", b'{"hash": "sha256:00"}')), Refusal.LISTED,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "content", "refusal"), REFUSED.values(), ids=REFUSED.keys())
def test_it_refuses(examine: Examine, kind: FileKind, content: Callable[[], bytes], refusal: Refusal) -> None:
    with pytest.raises(Refused) as refused:
        examine(content(), kind)
    assert refused.value.refusal is refusal
    # The sentence has a place for every value, and a value for every place.
    assert refusal.label % refused.value.values
    assert set(re.findall(r"%\((\w+)\)", refusal.label)) == set(refused.value.values)


@pytest.mark.parametrize("make", [files.telling_jpeg, files.telling_png, files.telling_webp])
def test_a_photograph_tells_where_when_with_what_and_by_whom(
    examine: Examine, make: Callable[[], bytes]
) -> None:
    kind = {files.telling_jpeg: J, files.telling_png: P, files.telling_webp: W}[make]
    found = {trace.what: trace.value for trace in reversed(examine(make(), kind).warnings)}

    assert {"gps", "device", "author", "date", "software", "comment", "thumbnail", "trailing"} <= set(found)
    assert found["gps"] == "41.50000 N, 12.26000 E"


@pytest.mark.parametrize("make", [files.jpeg, files.png, files.webp], ids=["jpeg", "png", "webp"])
def test_a_plain_picture_tells_nothing(examine: Examine, make: Callable[[], bytes]) -> None:
    kind = {files.jpeg: J, files.png: P, files.webp: W}[make]
    assert examine(make(), kind).warnings == ()


def test_what_telephones_hang_behind_a_photograph_is_kept_and_told(examine: Examine) -> None:
    for tail in (files.jpeg(), files.mp4()):
        (trace,) = examine(files.jpeg() + tail, J).warnings
        assert trace.what == "trailing"
        assert trace.value.endswith(f"{len(tail)} bytes")


def test_a_script_in_a_comment_is_told_and_the_photograph_kept(examine: Examine) -> None:
    (trace,) = examine(files.jpeg(comment=HTML), J).warnings
    assert (trace.what, trace.value) == ("comment", HTML.decode())


def test_a_pdf_tells_what_its_reader_does_not_see(examine: Examine) -> None:
    examined = examine(files.telling_pdf(), D)
    found = whats(examined)

    assert found >= {"author", "date", "software", "comment", "attachment", "script", "metadata", "trailing"}
    # Of the photograph on its page.
    assert found >= {"gps", "device", "thumbnail"}
    assert any(f"{files.CANARY}.txt" in trace.value for trace in examined.warnings)


def test_a_plain_pdf_tells_nothing_and_one_that_was_added_to_has_earlier_states(examine: Examine) -> None:
    plain = files.pdf(2)
    assert examine(plain, D).warnings == ()
    # An addition with nothing in it: a table of no entries that points back at the first.
    start = int(plain[plain.rfind(b"startxref") :].split()[1])
    trailer = plain[plain.rfind(b"trailer") :].split(b"startxref")[0]
    added = (
        plain
        + b"xref\n0 0\n"
        + trailer.replace(b"<<", b"<< /Prev %d" % start)
        + b"startxref\n%d\n%%%%EOF\n" % len(plain)
    )
    assert [(trace.what, trace.value) for trace in examine(added, D).warnings] == [("revisions", "1")]


def test_a_pdf_with_a_document_attached_is_not_taken_for_two_files(examine: Examine) -> None:
    made = pikepdf.open(io.BytesIO(files.pdf()))
    made.attachments["law.docx"] = pikepdf.AttachedFileSpec(made, files.docx())
    found = examine(files.saved(made, compress_streams=False), D)
    assert "attachment" in whats(found)


@pytest.mark.parametrize(
    ("kind", "make", "expected"),
    [
        (
            FileKind.DOCX,
            files.telling_docx,
            {"author", "macro", "thumbnail", "revisions", "remote", "gps", "device", "date"},
        ),
        (FileKind.ODT, files.telling_odt, {"author", "software", "macro", "thumbnail"}),
        (FileKind.MP4, files.telling_mp4, {"gps", "device", "date"}),
        (FileKind.WEBM, lambda: files.webm(info=files.element("7BA9", b"Visit")), {"software", "comment"}),
        (
            FileKind.MP3,
            lambda: files.mp3(tag=files.id3(TPE1="Vera", COMM="Visit", TSSE="ArvRec"), end=b"TAG" + b"Visit".ljust(125, b"\0")),
            {"author", "comment", "software"},
        ),
        (FileKind.OGG, lambda: files.ogg(comments=["ARTIST=Vera", "LOCATION=Port Sel"]), {"author", "gps", "software"}),
        (FileKind.CSV, lambda: b"a,b\n=HYPERLINK(1),-5\n@x,+1.5\n", {"formula"}),
        (FileKind.EML, files.eml, {"author", "date", "network", "software", "attachment", "script", "remote"}),
        (FileKind.WARC, files.warc, {"network"}),
        (FileKind.TXT, lambda: "a\u202eb".encode(), {"metadata"}),
        (FileKind.ZIP, lambda: files.zipped([("a.exe", b"MZ")], comment=b"hello"), {"program", "comment", "unread"}),
    ],
    ids=lambda value: value.value if isinstance(value, FileKind) else "",
)  # fmt: skip
def test_it_tells_what_is_in_other_kinds(
    examine: Examine, kind: FileKind, make: Callable[[], bytes], expected: set[str]
) -> None:
    examined = examine(make(), kind)
    assert whats(examined) >= expected
    assert whats(examined) <= set(TRACES)
    assert all(trace.value == shown(trace.value) for trace in examined.warnings)


def test_numbers_and_words_in_a_table_are_no_formulas(examine: Examine) -> None:
    table = b'name,number\nArvenia,-12.5\nPort Sel,+3\n-,\nnon-refoulement,"1,200"\n'
    assert [trace.value for trace in examine(table, FileKind.CSV).warnings] == ["4: -"]


def test_a_template_from_elsewhere_is_told_and_a_link_is_not(examine: Examine) -> None:
    remote = [
        trace.value
        for trace in examine(files.telling_docx(), FileKind.DOCX).warnings
        if trace.what == "remote"
    ]
    assert remote == ["http://arvenia.example/t.dotx"]


@pytest.mark.parametrize("packed", [True, False])
def test_records_whose_digests_do_not_match_are_counted_and_named(examine: Examine, packed: bool) -> None:
    whole = examine(files.warc(packed=packed), FileKind.WARC)
    assert [record.digest_ok for record in whole.records] == [True, True]
    spoiled = examine(files.warc(packed=packed, spoil=True), FileKind.WARC)
    assert [record.digest_ok for record in spoiled.records] == [False, False]
    assert (spoiled.records_total, spoiled.records_bad) == (2, 2)


def test_a_web_archive_that_ends_in_the_middle_of_a_page_says_so(examine: Examine) -> None:
    cut = examine(files.warc(packed=False)[:-12], FileKind.WARC)
    assert [record.digest_ok for record in cut.records] == [True, False]


def test_of_many_records_all_are_counted_and_two_thousand_kept(examine: Examine) -> None:
    many = examine(files.warc(records=2100, packed=False), FileKind.WARC)
    assert (len(many.records), many.records_total, many.records_bad) == (2000, 2100, 0)


def test_a_film_from_quicktime_and_one_with_numbers_of_64_bits_are_read(examine: Examine) -> None:
    big = struct.pack(">I", 1) + b"mdat" + struct.pack(">Q", 16 + 40) + b"\0" * 40
    open_ended = struct.pack(">I", 0) + b"mdat" + b"\0" * 40
    start = files.mp4(media=b"")[:-8]
    assert examine(start + big, FileKind.MP4).kind is FileKind.MP4
    assert examine(start + open_ended, FileKind.MP4).kind is FileKind.MP4


def test_the_largest_allowed_picture_is_read(examine: Examine) -> None:
    image = Image.new("L", (8000, 5000), 120)
    examined = examine(files.encoded(image, "PNG"), P)
    assert (examined.width, examined.height) == (8000, 5000)


SEEDS: dict[FileKind, Callable[[], bytes]] = {
    J: files.telling_jpeg,
    P: files.telling_png,
    W: files.telling_webp,
    D: files.telling_pdf,
    FileKind.DOCX: files.telling_docx,
    FileKind.ODT: files.telling_odt,
    FileKind.ZIP: lambda: ZIP,
    FileKind.EML: files.eml,
    FileKind.WARC: files.warc,
    FileKind.WACZ: files.wacz,
    FileKind.MP4: files.telling_mp4,
    FileKind.WEBM: files.webm,
    FileKind.MP3: lambda: files.mp3(tag=files.id3(TPE1="Vera", APIC="x"), end=b"TAG"),
    FileKind.OGG: lambda: files.ogg(comments=["ARTIST=Vera"]),
    FileKind.TXT: "Arvenia é".encode,
    FileKind.CSV: lambda: b"a,b\n=1,2\n",
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", SEEDS, ids=lambda kind: kind.value)
def test_a_spoiled_file_is_read_or_refused_and_nothing_else_happens(examine: Examine, kind: FileKind) -> None:
    chance, seed = random.Random(kind.value), SEEDS[kind]()
    for _ in range(150):
        spoiled = bytearray(seed)
        for _ in range(chance.choice((1, 3, 20))):
            place = chance.randrange(len(spoiled))
            if chance.random() < 0.7:
                spoiled[place] = chance.choice((0, 255, chance.randrange(256)))
            elif chance.random() < 0.5:
                del spoiled[max(place, 1) :]
            else:
                spoiled[place:place] = seed[chance.randrange(len(seed)) :][:30]
        try:
            examined = examine(bytes(spoiled), kind)
        except Refused as refused:
            assert refused.refusal.label % refused.values  # noqa: PT017 - either outcome is right.
        else:
            assert whats(examined) <= set(TRACES)


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("a\u202eb\u2066c\0d\re\u200bf\ufefff", "a b c d e f f"),
        ("می\u200cخواهم 👨\u200d👩", "می\u200cخواهم 👨\u200d👩"),
        ("\ud800\U000e0041x\ufdd0", "x"),
        ("x" * 1000, "x" * 200),
        ("cafe\u0301", "café"),
    ],
)
def test_a_hostile_text_is_shown_in_one_harmless_line(hostile: str, harmless: str) -> None:
    assert shown(hostile) == harmless
