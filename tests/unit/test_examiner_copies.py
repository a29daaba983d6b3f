"""A public copy shows what the original shows and holds nothing else; a preview is small, a blurred one says little."""

from __future__ import annotations

import hashlib
import io
import re
import struct
from pathlib import Path

import pikepdf
import pypdfium2 as pdfium
import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

from tests import files
from tracker import media
from tracker.errors import Invalid
from tracker.vocabulary import CopyMethod, FileKind

CANARY = files.CANARY.encode()
FORMS = (
    CANARY,
    CANARY.decode().encode("utf-16-le"),
    CANARY.decode().encode("utf-16-be"),
    b"Arvenia",
    CANARY[:13],
)


def copied(tmp_path: Path, content: bytes, kind: FileKind) -> tuple[bytes, FileKind, CopyMethod]:
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.write_bytes(content)
    before = hashlib.sha256(content).digest()
    made, method = media.make_copy(original, kind, copy)
    assert hashlib.sha256(original.read_bytes()).digest() == before
    return copy.read_bytes(), made, method


def pixels(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures' points, of 255."""
    assert one.size == other.size
    stat = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB")))
    return max(stat.mean)


def jpeg_markers(content: bytes) -> set[int]:
    return {match[1][0] for match in re.finditer(rb"\xff([^\x00\xff\xd0-\xd7])", content, re.DOTALL)}


def png_chunks(content: bytes) -> set[bytes]:
    place, names = 8, set()
    while place < len(content):
        names.add(content[place + 4 : place + 8])
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    return names


def nothing_told(path: Path, kind: FileKind) -> bool:
    return media.problems_of_public_copy(path, kind) == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_copy_of_a_photograph_is_upright_and_tells_nothing(tmp_path: Path, orientation: int) -> None:
    original = files.telling_jpeg(orientation=orientation)
    assert original.count(CANARY) >= 10
    copy, kind, method = copied(tmp_path, original, FileKind.JPEG)

    assert (kind, method) == (FileKind.JPEG, CopyMethod.PIXELS)
    assert not any(form in copy for form in FORMS)
    # Start, JFIF, tables, frame, scan, end: no APP1 to APP15, no comment, nothing behind the end.
    assert jpeg_markers(copy) <= {0xD8, 0xE0, 0xDB, 0xC0, 0xC2, 0xC4, 0xDA, 0xD9}
    assert copy.endswith(b"\xff\xd9")
    assert nothing_told(tmp_path / "copy", FileKind.JPEG)
    assert difference(pixels(copy), ImageOps.exif_transpose(pixels(original))) < 2


@pytest.mark.parametrize(
    "hidden", [{"comment": CANARY}, {"xmp": CANARY}, {"exif": files.exif(orientation=1)}]
)
def test_a_photograph_that_needs_no_change_keeps_nothing_either(
    tmp_path: Path, hidden: dict[str, bytes]
) -> None:
    # Pillow writes a comment again that it read, unless the pixels move to a new picture.
    original = files.jpeg(**hidden)
    assert CANARY in original
    copy, _, _ = copied(tmp_path, original, FileKind.JPEG)
    assert not any(form in copy for form in FORMS)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_a_copy_of_a_png_has_the_same_pixels_and_no_other_chunk(tmp_path: Path, mode: str) -> None:
    original = files.png(mode=mode, exif=files.exif(orientation=8), pnginfo=files.text())
    copy, kind, _ = copied(tmp_path, original, FileKind.PNG)

    seen = pixels(copy)
    wanted = ImageOps.exif_transpose(pixels(original)).convert(seen.mode)
    assert kind is FileKind.PNG
    assert png_chunks(copy) == {b"IHDR", b"IDAT", b"IEND"}
    assert seen.size == (64, 96)
    assert seen.tobytes() == wanted.tobytes()
    assert seen.mode == {"P": "RGB", "1": "L"}.get(mode, mode)


def test_a_copy_of_a_png_that_tells_everything_tells_nothing(tmp_path: Path) -> None:
    copy, _, _ = copied(tmp_path, files.telling_png(), FileKind.PNG)

    assert not any(form in copy for form in FORMS)
    assert nothing_told(tmp_path / "copy", FileKind.PNG)


def test_what_was_only_made_transparent_is_not_in_the_copy(tmp_path: Path) -> None:
    image = files.picture("RGBA")
    face = Image.effect_noise((32, 32), 80).convert("RGBA")
    face.putalpha(0)
    image.paste(face, (0, 0))
    copy, _, _ = copied(tmp_path, files.encoded(image, "PNG"), FileKind.PNG)

    hidden = pixels(copy).crop((0, 0, 32, 32))
    assert hidden.getextrema() == ((0, 0),) * 4
    assert pixels(copy).crop((32, 0, 96, 64)).tobytes() == image.crop((32, 0, 96, 64)).tobytes()


def test_a_sixteen_bit_picture_keeps_its_greys(tmp_path: Path) -> None:
    row = struct.pack("<H", 20_000) * 32 + struct.pack("<H", 60_000) * 32
    image = Image.frombytes("I;16", (64, 64), row * 64)
    copy, _, _ = copied(tmp_path, files.encoded(image, "PNG"), FileKind.PNG)

    assert (pixels(copy).getpixel((1, 1)), pixels(copy).getpixel((63, 1))) == (20_000 // 256, 60_000 // 256)


@pytest.mark.parametrize(("lossless", "kind"), [(True, FileKind.PNG), (False, FileKind.JPEG)])
def test_what_was_lossless_stays_so(tmp_path: Path, lossless: bool, kind: FileKind) -> None:
    original = files.webp(lossless=lossless, exif=files.exif(orientation=3))
    copy, made, _ = copied(tmp_path, original, FileKind.WEBP)

    assert made is kind
    assert not any(form in copy for form in FORMS)
    wanted = ImageOps.exif_transpose(pixels(original))
    assert difference(pixels(copy), wanted) == 0 if lossless else difference(pixels(copy), wanted) < 2


def test_a_webp_that_tells_everything_tells_nothing(tmp_path: Path) -> None:
    copy, made, _ = copied(tmp_path, files.telling_webp(), FileKind.WEBP)

    assert not any(form in copy for form in FORMS)
    assert nothing_told(tmp_path / "copy", made)


def test_the_colours_of_a_profile_are_turned_into_those_that_browsers_assume(tmp_path: Path) -> None:
    plain = files.jpeg(quality=95)
    swapped = files.jpeg(quality=95, icc_profile=files.swapped_profile())
    one, _, _ = copied(tmp_path, plain, FileKind.JPEG)
    other, _, _ = copied(tmp_path, swapped, FileKind.JPEG)

    # Red and blue change places in that profile, and so in the picture that everybody sees.
    red, _, blue = pixels(one).split()
    other_red, _, other_blue = pixels(other).split()
    assert difference(red, other_blue) < 8
    assert difference(blue, other_red) < 8
    assert difference(red, other_red) > 20
    assert b"ICC_PROFILE" not in other


def test_a_cmyk_photograph_and_a_broken_profile_are_copied_too(tmp_path: Path) -> None:
    copy, made, _ = copied(tmp_path, files.jpeg(mode="CMYK"), FileKind.JPEG)
    assert (made, pixels(copy).mode) == (FileKind.JPEG, "RGB")
    original = files.jpeg(icc_profile=b"nonsense" * 40)
    copy, _, _ = copied(tmp_path, original, FileKind.JPEG)
    assert difference(pixels(copy), pixels(original)) < 2


def test_a_pdf_becomes_pictures_of_its_pages_and_nothing_else(tmp_path: Path) -> None:
    original = files.telling_pdf()
    assert original.count(CANARY) >= 15
    copy, kind, method = copied(tmp_path, original, FileKind.PDF)

    assert (kind, method) == (FileKind.PDF, CopyMethod.RASTERISED)
    assert not any(form in copy for form in FORMS)
    assert nothing_told(tmp_path / "copy", FileKind.PDF)
    with pikepdf.open(io.BytesIO(copy)) as pdf:
        assert pdf.check_pdf_syntax() == []
        assert set(pdf.Root.keys()) == {"/Type", "/Pages"}
        assert set(pdf.trailer.keys()) == {"/Size", "/Root"}
        assert set(pdf.pages[0].keys()) == {"/Type", "/Parent", "/MediaBox", "/Resources", "/Contents"}
        image = pdf.pages[0].Resources.XObject.I
        assert set(image.keys()) == {
            "/Type", "/Subtype", "/Width", "/Height", "/ColorSpace", "/BitsPerComponent", "/Filter", "/Length",
        }  # fmt: skip
        assert jpeg_markers(image.read_raw_bytes()) <= {0xD8, 0xE0, 0xDB, 0xC0, 0xC2, 0xC4, 0xDA, 0xD9}


def test_the_pages_look_the_same_and_the_same_pages_make_the_same_bytes(tmp_path: Path) -> None:
    original = files.pdf(3)
    first, _, _ = copied(tmp_path, original, FileKind.PDF)
    second, _, _ = copied(tmp_path, original, FileKind.PDF)

    assert first == second
    before, after = pdfium.PdfDocument(original), pdfium.PdfDocument(first)
    assert len(after) == 3
    for number in range(3):
        assert after[number].get_size() == before[number].get_size()
        one, other = (pdf[number].render(scale=1).to_pil() for pdf in (before, after))
        assert difference(one, other) < 2
        # The page is not simply white.
        assert min(ImageStat.Stat(other).extrema)[0] < 100
    before.close()
    after.close()


def test_a_pdf_with_too_many_or_too_large_pages_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="has 301 pages; up to 300"):
        copied(tmp_path, files.pdf(301), FileKind.PDF)
    with pytest.raises(Invalid, match="Page 1 of the PDF is too large"):
        copied(tmp_path, files.pdf(size=(14_400, 14_400)), FileKind.PDF)
    with pytest.raises(Invalid, match="Page 1 of the PDF is too large"):
        copied(tmp_path, files.pdf(size=(3, 1_000_000)), FileKind.PDF)
    with pytest.raises(Invalid, match="password"):
        copied(tmp_path, files.locked_pdf(), FileKind.PDF)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("kind", [kind for kind in FileKind if kind not in files.COPYABLE])
def test_of_other_kinds_a_person_makes_the_copy(tmp_path: Path, kind: FileKind) -> None:
    (tmp_path / "original").write_bytes(b"x")
    with pytest.raises(Invalid, match="upload a cleaned copy"):
        media.make_copy(tmp_path / "original", kind, tmp_path / "copy")
    with pytest.raises(Invalid, match="no preview"):
        media.make_preview(tmp_path / "original", kind, tmp_path / "copy", blurred=False)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (files.telling_jpeg(trailing=b""), FileKind.JPEG),
        (files.telling_png(mode="RGBA"), FileKind.PNG),
        (files.telling_pdf(), FileKind.PDF),
    ],
    ids=["jpeg", "png", "pdf"],
)
def test_a_preview_is_a_small_jpeg_that_tells_nothing(tmp_path: Path, content: bytes, kind: FileKind) -> None:
    (tmp_path / "original").write_bytes(content)
    media.make_preview(tmp_path / "original", kind, tmp_path / "preview", blurred=False)

    preview = (tmp_path / "preview").read_bytes()
    assert not any(form in preview for form in FORMS)
    assert max(pixels(preview).size) <= 1000
    assert nothing_told(tmp_path / "preview", FileKind.JPEG)


def test_a_large_picture_gets_smaller_and_a_blurred_preview_keeps_large_shapes_only(tmp_path: Path) -> None:
    # A chessboard of small fields, of which one half of the picture is bright and one dark.
    board = Image.effect_noise((2400, 1200), 120).point(lambda level: 255 if level > 128 else 0)
    board.paste(0, (0, 0, 1200, 1200), board.crop((0, 0, 1200, 1200)))
    (tmp_path / "original").write_bytes(files.encoded(board.convert("RGB"), "JPEG"))
    media.make_preview(tmp_path / "original", FileKind.JPEG, tmp_path / "clear", blurred=False)
    media.make_preview(tmp_path / "original", FileKind.JPEG, tmp_path / "blurred", blurred=True)

    clear, blurred = Image.open(tmp_path / "clear"), Image.open(tmp_path / "blurred")
    assert clear.size == blurred.size == (1000, 500)
    assert blurred.mode == "L"
    right = (600, 50, 950, 450)
    assert ImageStat.Stat(clear.convert("L").crop(right)).stddev[0] > 40
    assert ImageStat.Stat(blurred.crop(right)).stddev[0] < 12
    assert (
        ImageStat.Stat(blurred.crop(right)).mean[0]
        > ImageStat.Stat(blurred.crop((50, 50, 400, 450))).mean[0] + 50
    )
