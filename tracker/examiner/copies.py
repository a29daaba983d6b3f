"""Public copies and previews: new files made of pixels alone. Why: docs/decisions/0006-public-copies.md."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import BinaryIO

from PIL import ExifTags, Image, ImageCms, ImageFilter

from tracker.examiner import images
from tracker.examiner.refusals import Refusal, Refused
from tracker.vocabulary import FileKind

_DOTS_PER_INCH = 150
#: Below this, print on a scaled-down page can no longer be read.
_FEWEST_DOTS = 60
_MOST_PAGE_PIXELS = 16_000_000
_MOST_PAGES = 300
_POINTS_PER_INCH = 72
_PREVIEW = (1000, 1000)


def make_copy(file: BinaryIO, kind: FileKind, result: BinaryIO) -> FileKind:
    """Write what can be seen of a picture or a PDF; what was lossless stays so. Returns what it became."""
    if kind is FileKind.PDF:
        _write_pdf(_pages(file), result)
        return FileKind.PDF
    image = images.open_image(file, kind)
    lossless = kind is FileKind.PNG or _is_lossless_webp(file)
    image = _seen(image)
    if lossless or image.mode in ("LA", "RGBA"):
        image.save(result, "PNG", optimize=False)
        return FileKind.PNG
    image.save(result, "JPEG", quality=92, subsampling=0, optimize=True)
    return FileKind.JPEG


def make_preview(file: BinaryIO, kind: FileKind, result: BinaryIO, *, blurred: bool) -> None:
    """Write a small JPEG of a picture or of a PDF's first page."""
    if kind is FileKind.PDF:
        image = next(_pages(file, first_only=True))[2]
    else:
        image = images.open_image(file, kind)
        # A JPEG can be decoded at an eighth of its size, which saves most of the work.
        image.draft(None, _PREVIEW)
        images.load(image)
        if image.mode in ("L", "RGB", "RGBA", "CMYK"):
            image.thumbnail(_PREVIEW)
        image = _seen(image)
    image.thumbnail(_PREVIEW)
    if image.mode in ("LA", "RGBA"):
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    if blurred:
        # Sixteen points across are all that is left, whatever somebody does to the file afterwards.
        size = image.size
        image = image.convert("L")
        image.thumbnail((16, 16), Image.Resampling.BOX)
        image = image.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(max(size) / 60))
    _fresh(image).save(result, "JPEG", quality=80)


def _is_lossless_webp(file: BinaryIO) -> bool:
    file.seek(0)
    # The picture's chunk follows the header, or the extended header and what belongs before it.
    return b"VP8L" in file.read(64)


def _seen(image: Image.Image) -> Image.Image:
    """The picture as somebody sees it: upright, in sRGB, in 8 bits, with nothing behind what is transparent."""
    profile, turned = image.info.get("icc_profile"), _orientation(image)
    images.load(image)
    transparent = image.has_transparency_data
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow would cut 16 bits off at 255 instead of scaling them.
        image = image.convert("I").point(lambda level: level / 256).convert("L")
        transparent, profile = False, None
    grey = image.mode in ("1", "L", "LA")
    if profile and image.mode in ("L", "RGB", "RGBA", "CMYK"):
        converted = _in_srgb(image, profile, grey=grey)
        image = converted or image
    if image.mode not in ("L", "LA", "RGB", "RGBA") or (transparent and image.mode in ("L", "RGB")):
        image = image.convert(("LA" if transparent else "L") if grey else ("RGBA" if transparent else "RGB"))
    elif image.mode in ("LA", "RGBA") and not transparent:
        image = image.convert(image.mode[:-1])
    image = _upright(image, turned)
    if transparent:
        # Editors keep what they only made invisible; it would be a leak to copy it.
        alpha = image.getchannel("A")
        nothing = Image.new(image.mode, image.size, 0)
        image = Image.composite(image, nothing, alpha.point(lambda level: 255 if level else 0))
    return _fresh(image)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - Pillow raises whatever a broken block of EXIF leads it to.
        return 1


def _upright(image: Image.Image, turned: int) -> Image.Image:
    ways = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return image.transpose(ways[turned]) if turned in ways else image


def _in_srgb(image: Image.Image, profile: bytes, *, grey: bool) -> Image.Image | None:
    """The picture with the profile's colours turned into sRGB's, so that it looks the same without a profile."""
    mode = "L" if grey else ("RGBA" if image.mode == "RGBA" else "RGB")
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        made = ImageCms.profileToProfile(
            image, given, ImageCms.createProfile("sRGB"), outputMode="RGB" if grey else mode
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        # A profile that does not fit is ignored by browsers too.
        return None
    return made.convert("L") if grey and made else made


def _fresh(image: Image.Image) -> Image.Image:
    """A new picture of the same pixels. Pillow writes comments and profiles that cling to the old one."""
    fresh = Image.new(image.mode, image.size)
    fresh.paste(image)
    return fresh


def _pages(file: BinaryIO, *, first_only: bool = False) -> Iterator[tuple[float, float, Image.Image]]:
    """Width and height in points, and the picture, of each page as a reader would see it."""
    import pypdfium2 as pdfium  # type: ignore[import-untyped]

    file.seek(0)
    try:
        pdf = pdfium.PdfDocument(file)
    except pdfium.PdfiumError as error:
        locked = "password" in str(error).lower()
        raise Refused(Refusal.PASSWORD if locked else Refusal.DAMAGED) from None
    if len(pdf) > _MOST_PAGES and not first_only:
        raise Refused(Refusal.PAGES, pages=len(pdf), limit=_MOST_PAGES)
    # What was filled into a form is drawn by the form's own part of PDFium. This build runs no scripts.
    pdf.init_forms()
    for number in range(len(pdf)):
        try:
            page = pdf[number]
            width, height = page.get_size()
            scale = _scale(width, height, number + 1)
            image = page.render(scale=scale, may_draw_forms=True).to_pil().convert("RGB")
            page.close()
        except pdfium.PdfiumError:
            raise Refused(Refusal.DAMAGED) from None
        yield width, height, image
        if first_only:
            return


def _scale(width: float, height: float, number: int) -> float:
    area = width * height
    if not (area > 0 and math.isfinite(area)):
        raise Refused(Refusal.DAMAGED)
    scale = min(_DOTS_PER_INCH / _POINTS_PER_INCH, math.sqrt(_MOST_PAGE_PIXELS / area))
    # JPEG counts to 65,535; a page that is one long strip would pass the bound on its area.
    if scale < _FEWEST_DOTS / _POINTS_PER_INCH or max(width, height) * scale > 60_000:
        raise Refused(Refusal.PAGE_SIZE, page=number)
    return scale


def _write_pdf(pages: Iterator[tuple[float, float, Image.Image]], result: BinaryIO) -> None:
    """A PDF of one JPEG a page. Written here, line by line, so that nothing is in it but this (ISO 32000-2, 7.5).

    No date, no producer, no identifier: the same pages make the same bytes on every machine.
    """
    offsets: dict[int, int] = {}
    place = 0

    def write(data: bytes) -> None:
        nonlocal place
        result.write(data)
        place += len(data)

    def write_object(number: int, body: bytes, stream: bytes | None = None) -> None:
        offsets[number] = place
        write(b"%d 0 obj\n%s\n" % (number, body))
        if stream is not None:
            write(b"stream\n%s\nendstream\n" % stream)
        write(b"endobj\n")

    write(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    kids: list[bytes] = []
    for width, height, image in pages:
        page = 3 + 3 * len(kids)
        kids.append(b"%d 0 R" % page)
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=80, optimize=True)
        box = b"%.2f %.2f" % (width, height)
        write_object(
            page,
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %s] /Resources << /XObject << /I %d 0 R >> >> "
            b"/Contents %d 0 R >>" % (box, page + 1, page + 2),
        )
        write_object(
            page + 1,
            b"<< /Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceRGB /BitsPerComponent 8 "
            b"/Filter /DCTDecode /Length %d >>" % (image.width, image.height, jpeg.tell()),
            jpeg.getvalue(),
        )
        draw = b"%.2f 0 0 %.2f 0 0 cm /I Do" % (width, height)
        write_object(page + 2, b"<< /Length %d >>" % len(draw), draw)
    write_object(1, b"<< /Type /Catalog /Pages 2 0 R >>")
    write_object(2, b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids)))
    start = place
    write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(offsets) + 1))
    for number in sorted(offsets):
        write(b"%010d 00000 n \n" % offsets[number])
    write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(offsets) + 1, start))
