"""Files to upload, made on the spot: honest ones, ones that tell too much, and ones made to do harm.

Everything in them is about the fictional Republic of Arvenia. CANARY stands wherever something can hide.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterable

import pikepdf
from PIL import ExifTags, Image, ImageCms, ImageDraw
from PIL.PngImagePlugin import PngInfo

from tracker.vocabulary import FileKind

CANARY = "Vera-Lind-of-Arvenia"
COPYABLE = (FileKind.JPEG, FileKind.PNG, FileKind.WEBP, FileKind.PDF)
_XMP = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmp:CreatorTool="{CANARY} editor"><dc:creator><rdf:Seq><rdf:li>{CANARY}</rdf:li></rdf:Seq></dc:creator>
</rdf:Description></rdf:RDF></x:xmpmeta>""".encode()


def picture(mode: str = "RGB", size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A picture that looks different whichever way it is turned."""
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.rectangle((4, 4, size[0] // 3, size[1] // 4), fill=(200, 30, 30))
    draw.rectangle((size[0] // 2, size[1] // 2, size[0] - 8, size[1] - 4), fill=(20, 60, 200))
    return image.convert(mode)


def exif(*, thumbnail: bool = True, orientation: int = 6) -> bytes:
    """EXIF of a telephone: its make, its number, its owner, the place, and a small picture of its own."""
    block = Image.Exif()
    block[ExifTags.Base.Make] = f"{CANARY} Phones"
    block[ExifTags.Base.Model] = "Arvenia 7"
    block[ExifTags.Base.Software] = f"{CANARY} camera"
    block[ExifTags.Base.Artist] = CANARY
    block[ExifTags.Base.DateTime] = "2024:03:02 10:11:12"
    block[ExifTags.Base.Orientation] = orientation
    block.get_ifd(ExifTags.IFD.Exif)[0xA431] = f"{CANARY}-serial"
    block.get_ifd(ExifTags.IFD.Exif)[0x9286] = b"ASCII\0\0\0" + CANARY.encode()
    gps = block.get_ifd(ExifTags.IFD.GPSInfo)
    gps[1], gps[2], gps[3], gps[4] = "N", (41.0, 30.0, 0.0), "E", (12.0, 15.0, 36.0)
    gps[29] = CANARY
    data = block.tobytes()
    if not thumbnail:
        return data
    return _with_thumbnail(data, encoded(picture(size=(16, 16)), "JPEG", comment=CANARY.encode()))


def _with_thumbnail(data: bytes, small: bytes) -> bytes:
    """Hang a second directory with a JPEG behind the first one of this EXIF block."""
    start = data.startswith(b"Exif\0\0") * 6
    head, tiff = data[:start], bytearray(data[start:])
    order = "<" if tiff[:2] == b"II" else ">"
    first = struct.unpack_from(order + "I", tiff, 4)[0]
    place = first + 2 + 12 * struct.unpack_from(order + "H", tiff, first)[0]
    struct.pack_into(order + "I", tiff, place, len(tiff))
    after = len(tiff) + 2 + 12 * 3 + 4
    entries = (
        (0x0103, 3, 1, 6 if order == "<" else 6 << 16),
        (0x0201, 4, 1, after),
        (0x0202, 4, 1, len(small)),
    )
    tiff += struct.pack(order + "H", 3) + b"".join(struct.pack(order + "HHII", *entry) for entry in entries)
    return head + bytes(tiff) + struct.pack(order + "I", 0) + small


def profile(description: str = "sRGB") -> bytes:
    """A colour profile of a monitor. The text of its description is changed in place, with its length kept."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    old = "sRGB built-in"
    new = description.ljust(len(old))[: len(old)]
    return made.replace(old.encode("utf-16-be"), new.encode("utf-16-be")).replace(old.encode(), new.encode())


def swapped_profile() -> bytes:
    """sRGB with the tags of red's and blue's colours exchanged: who ignores it sees other colours."""
    made = profile()
    return made.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


def encoded(image: Image.Image, how: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, how, **options)
    return out.getvalue()


def jpeg(*, mode: str = "RGB", size: tuple[int, int] = (96, 64), **options: object) -> bytes:
    return encoded(picture(mode, size), "JPEG", **options)


def telling_jpeg(*, orientation: int = 6, trailing: bytes = b"\0\0" + CANARY.encode()) -> bytes:
    """A photograph that tells everything a photograph can."""
    made = jpeg(
        exif=exif(orientation=orientation),
        comment=f"<script>{CANARY}</script>",
        xmp=_XMP,
        icc_profile=profile(CANARY),
        quality=95,
    )
    iptc = b"\x1c\x02\x50" + struct.pack(">H", len(CANARY)) + CANARY.encode()
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    body = b"Photoshop 3.0\0" + resource
    return made[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + made[2:] + trailing


def png(*, mode: str = "RGB", size: tuple[int, int] = (96, 64), **options: object) -> bytes:
    return encoded(picture(mode, size), "PNG", **options)


def text() -> PngInfo:
    """The chunks of a PNG that hold words."""
    chunks = PngInfo()
    chunks.add_text("Author", CANARY)
    chunks.add_text("Comment", CANARY, zip=True)
    chunks.add_itxt("XML:com.adobe.xmp", _XMP.decode())
    chunks.add(b"prVt", CANARY.encode())
    return chunks


def telling_png(*, mode: str = "RGB") -> bytes:
    made = png(mode=mode, pnginfo=text(), exif=exif(), icc_profile=profile(CANARY))
    return made + b"\0" + CANARY.encode()


def chunk(name: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def flood_png(width: int = 50_000, height: int = 50_000) -> bytes:
    """A small PNG of very many pixels: 2.5 GB of nothing, packed well."""
    row = zlib.compress(b"\0" * (width // 8 + 1), 9)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


def webp(*, mode: str = "RGB", **options: object) -> bytes:
    return encoded(picture(mode), "WEBP", **options)


def telling_webp() -> bytes:
    return webp(exif=exif(), xmp=_XMP, icc_profile=profile(CANARY), quality=95) + b"\0" + CANARY.encode()


def pdf(pages: int = 1, *, size: tuple[float, float] = (300, 400), words: str = "Arvenia") -> bytes:
    """A plain PDF of a line of text a page."""
    made = pikepdf.new()
    for number in range(pages):
        page = made.add_blank_page()
        page.MediaBox = pikepdf.Array([0, 0, *size])
        font = pikepdf.Dictionary(
            Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica
        )
        page.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F=made.make_indirect(font)))
        line = f"BT /F 24 Tf 40 {size[1] - 60} Td ({words} {number + 1}) Tj ET"
        page.Contents = made.make_stream(line.encode())
    return saved(made)


def saved(made: pikepdf.Pdf, **options: object) -> bytes:
    out = io.BytesIO()
    made.save(out, **options)
    return out.getvalue()


def telling_pdf() -> bytes:
    """A PDF with something in every place where a reader does not look."""
    made = pikepdf.open(io.BytesIO(pdf()))
    for name in ("/Author", "/Title", "/Producer", "/Company"):
        made.docinfo[name] = CANARY
    made.docinfo["/CreationDate"] = "D:20240302101112"
    made.Root.Metadata = made.make_stream(_XMP, Type=pikepdf.Name.Metadata, Subtype=pikepdf.Name.XML)
    made.attachments[f"{CANARY}.txt"] = pikepdf.AttachedFileSpec(
        made, CANARY.encode(), filename=f"{CANARY}.txt"
    )
    made.Root.AF = pikepdf.Array([made.attachments[f"{CANARY}.txt"].obj])
    made.Root.OpenAction = pikepdf.Dictionary(
        S=pikepdf.Name.JavaScript, JS=pikepdf.String(f"app.alert('{CANARY}')")
    )
    with made.open_outline() as outline:
        outline.root.append(pikepdf.OutlineItem(CANARY, 0))
    page = made.pages[0]
    image = made.make_stream(
        telling_jpeg(orientation=1, trailing=b""),
        Type=pikepdf.Name.XObject,
        Subtype=pikepdf.Name.Image,
        Width=96,
        Height=64,
        ColorSpace=pikepdf.Name.DeviceRGB,
        BitsPerComponent=8,
        Filter=pikepdf.Name.DCTDecode,
    )
    page.Resources.XObject = pikepdf.Dictionary(I=image)
    page.Contents = made.make_stream(page.Contents.read_bytes() + b" q 96 0 0 64 40 100 cm /I Do Q")
    note = pikepdf.Dictionary(
        Type=pikepdf.Name.Annot,
        Subtype=pikepdf.Name.Text,
        Rect=[200, 10, 220, 30],
        T=pikepdf.String(CANARY),
        Contents=pikepdf.String(f"{CANARY} said so"),
    )
    page.Annots = made.make_indirect(pikepdf.Array([made.make_indirect(note)]))
    page.PieceInfo = pikepdf.Dictionary(X=pikepdf.Dictionary(Private=pikepdf.String(CANARY)))
    return saved(made, compress_streams=False) + f"\n% {CANARY}\n".encode()


def locked_pdf() -> bytes:
    made = pikepdf.open(io.BytesIO(pdf()))
    return saved(made, encryption=pikepdf.Encryption(user="open", owner="own"))


def zipped(
    entries: Iterable[tuple[str | zipfile.ZipInfo, bytes]], *, comment: bytes = b"", packed: bool = True
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
        archive.comment = comment
    return out.getvalue()


_TYPES = """<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Override
 PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.{}+xml"/>
</Types>"""
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_RELATIONS = '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'


def docx(
    *extra: tuple[str, bytes],
    kind: str = "document.main",
    body: str = "<w:p><w:r><w:t>Arvenia</w:t></w:r></w:p>",
    without: str = "",
) -> bytes:
    document = f'<?xml version="1.0"?><w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>'
    parts = [
        ("[Content_Types].xml", _TYPES.format(kind).encode()),
        ("_rels/.rels", _RELATIONS.format("").encode()),
        ("word/document.xml", document.encode()),
        *extra,
    ]
    return zipped((name, content) for name, content in parts if name != without)


def telling_docx() -> bytes:
    core = f"""<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:creator>{CANARY}</dc:creator>
<cp:lastModifiedBy>{CANARY} the second</cp:lastModifiedBy></cp:coreProperties>"""
    template = '<Relationship Id="r" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/{}" Target="{}" TargetMode="External"/>'
    relations = template.format("attachedTemplate", "http://arvenia.example/t.dotx") + template.format(
        "hyperlink", "http://arvenia.example/page"
    )
    return docx(
        ("docProps/core.xml", core.encode()),
        ("docProps/thumbnail.jpeg", jpeg()),
        ("word/vbaProject.bin", b"macro"),
        ("word/media/image1.jpg", telling_jpeg()),
        ("word/_rels/settings.xml.rels", _RELATIONS.format(relations).encode()),
        body=f'<w:p><w:ins w:author="{CANARY}" w:date="2024-03-02T10:00:00Z"><w:r/></w:ins></w:p>',
    )


def odt(
    *extra: tuple[str, bytes],
    mimetype: bytes = b"application/vnd.oasis.opendocument.text",
    manifest: bytes = b"<m/>",
) -> bytes:
    content = b'<?xml version="1.0"?><office:document-content xmlns:office="urn:o"><office:body/></office:document-content>'
    return zipped(
        [("mimetype", mimetype), ("META-INF/manifest.xml", manifest), ("content.xml", content), *extra]
    )


def telling_odt() -> bytes:
    meta = f'<office:meta xmlns:office="urn:o" xmlns:m="urn:m" xmlns:dc="urn:d"><m:initial-creator>{CANARY}</m:initial-creator><m:generator>Writer</m:generator></office:meta>'
    return odt(
        ("meta.xml", meta.encode()), ("Thumbnails/thumbnail.png", png()), ("Basic/Standard/x.xml", b"<x/>")
    )


def eml(
    *, headers: str = "From: Vera <vera@arvenia.example>\r\nDate: Sat, 2 Mar 2024 10:11:12 +0000\r\n"
) -> bytes:
    return (
        headers + "To: office@arvenia.example\r\nSubject: Visit\r\nX-Mailer: ArvMail 3\r\n"
        "Received: from desk ([203.0.113.9]) by mx.arvenia.example\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n'
        '<img src="https://arvenia.example/pixel"><script>x</script>\r\n--b\r\nContent-Type: application/pdf\r\n'
        'Content-Disposition: attachment; filename="list.pdf"\r\n\r\nx\r\n--b--\r\n'
    ).encode()


def warc(*, packed: bool = True, spoil: bool = False, records: int = 2, body: bytes = b"") -> bytes:
    """A web archive of pages of a site in Arvenia; `spoil` changes a letter of each page after it was hashed."""
    made = [
        _warc_record(number, body or b"<p>Decree %d of Arvenia</p>" % number) for number in range(records)
    ]
    if spoil:
        made = [record.replace(b"<p>Decree", b"<p>Dekree") for record in made]
    return b"".join(gzip.compress(record, mtime=0) if packed else record for record in made)


def _warc_record(number: int, body: bytes) -> bytes:
    def digest(data: bytes) -> bytes:
        return b"sha1:" + base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest())

    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
    head = (
        b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://arvenia.example/%d\r\n"
        b"WARC-Date: 2024-03-02T10:11:12Z\r\nWARC-IP-Address: 203.0.113.9\r\nWARC-Payload-Digest: %s\r\n"
        b"WARC-Block-Digest: %s\r\nWARC-Record-ID: <urn:uuid:12345678-1234-4234-8234-%012d>\r\n"
        b"Content-Type: application/http; msgtype=response\r\nContent-Length: %d\r\n\r\n"
    )
    return head % (number, digest(body), digest(block), number, len(block)) + block + b"\r\n\r\n"


def wacz(
    *,
    content: bytes | None = None,
    spoil: bool = False,
    listed: bool = True,
    extra: tuple[str, bytes] | None = None,
) -> bytes:
    content = warc() if content is None else content
    resources = [
        {
            "name": "data.warc.gz",
            "path": "archive/data.warc.gz",
            "hash": "sha256:" + hashlib.sha256(content + b"x" * spoil).hexdigest(),
            "bytes": len(content),
        }
    ]
    package = json.dumps(
        {"profile": "data-package", "wacz_version": "1.1.1", "resources": resources if listed else []}
    )
    entries: list[tuple[str | zipfile.ZipInfo, bytes]] = [
        ("archive/data.warc.gz", content),
        ("datapackage.json", package.encode()),
    ]
    return zipped([*entries, *([extra] if extra else [])], packed=False)


def box(name: bytes, body: bytes) -> bytes:
    """One box of an MP4."""
    return struct.pack(">I", len(body) + 8) + name + body


def mp4(*, brand: bytes = b"isom", fields: bytes = b"", media: bytes = b"\0" * 64) -> bytes:
    made = struct.pack(">I", 0) + struct.pack(">II", 3_800_000_000, 0) + b"\0" * 84
    return (
        box(b"ftyp", brand + b"\0\0\2\0isommp41")
        + box(b"moov", box(b"mvhd", made) + (box(b"udta", fields) if fields else b""))
        + box(b"mdat", media)
    )


def telling_mp4() -> bytes:
    def field(name: bytes, value: str) -> bytes:
        return box(name, struct.pack(">HH", len(value), 0x15C7) + value.encode())

    value = box(b"data", struct.pack(">II", 1, 0) + CANARY.encode())
    keys = b"\0\0\0\0\0\0\0\1" + box(b"mdta", b"com.apple.quicktime.model")
    meta = box(b"meta", b"\0\0\0\0" + box(b"keys", keys) + box(b"ilst", box(b"\0\0\0\1", value)))
    return mp4(fields=field(b"\xa9xyz", "+41.5000+012.2600/") + field(b"\xa9mak", CANARY) + meta)


def element(number: str, body: bytes) -> bytes:
    """One EBML element; `number` in hexadecimal digits."""
    return bytes.fromhex(number) + struct.pack(">Q", len(body) | 1 << 56) + body


def webm(*, doctype: bytes = b"webm", info: bytes = b"") -> bytes:
    segment = (
        element("1549A966", element("4D80", b"libarvenia") + info)
        + element("1654AE6B", element("AE", element("D7", b"\1")))
        + element("1F43B675", element("E7", b"\0"))
    )
    return element("1A45DFA3", element("4282", doctype)) + element("18538067", segment)


def mp3(*, frames: int = 5, tag: bytes = b"", end: bytes = b"") -> bytes:
    frame = b"\xff\xfb\x90\x00" + b"\0" * 413
    return tag + frame * frames + end


def id3(**frames: str) -> bytes:
    body = b"".join(
        name.encode() + struct.pack(">IH", len(value) + 1, 0) + b"\3" + value.encode()
        for name, value in frames.items()
    )
    return b"ID3\3\0\0" + bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0)) + body


def ogg(*, codec: bytes = b"OpusHead", comments: Iterable[str] = ()) -> bytes:
    lines = [line.encode() for line in comments]
    tags = b"OpusTags" + struct.pack("<I", 3) + b"lib" + struct.pack("<I", len(lines))
    tags += b"".join(struct.pack("<I", len(line)) + line for line in lines)
    return b"".join(
        _page(number, packet) for number, packet in enumerate((codec + b"\1\2", tags, b"\0" * 40))
    )


def _page(number: int, packet: bytes) -> bytes:
    lengths = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
    head = b"OggS\0" + bytes([2 if number == 0 else 0]) + struct.pack("<QIII", 0, 7, number, 0)
    return head + bytes([len(lengths)]) + lengths + packet


def bomb() -> bytes:
    """A ZIP of a few kilobytes that would unpack to a hundred megabytes."""
    return zipped([("decrees.txt", b"\0" * 100_000_000)])


def overlapping() -> bytes:
    """A ZIP whose hundred entries are all the same bytes, as in Fifield's bombs."""
    made = zipped([("0", b"Arvenia " * 1000 + bytes(range(256)) * 100)])
    end = made.rfind(b"PK\5\6")
    start = int.from_bytes(made[end + 16 : end + 20], "little")
    entry = made[start:end]
    entries = b"".join(entry[:46] + f"{number:1x}"[-1:].encode() for number in range(16))
    tail = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 16, 16, len(entries), start, 0)
    return made[:start] + entries + tail
