"""`tracker demo`: the fictional Republic of Arvenia, of any size."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import click

from tracker.cli import common

SHOW_PROGRESS_ABOVE = 200


@click.command()
@click.option(
    "--recommendations", type=click.IntRange(1, 100_000), default=13, show_default=True, help="How many."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 999_999),
    default=1,
    show_default=True,
    help="Another seed, another story.",
)
def demo(recommendations: int, seed: int) -> None:
    """Make a demonstration report with evidence, replies and findings. Everything in it is invented, and says so.

    The same size and seed give the same report. Safe to repeat: it is made once, and an interrupted one is finished.
    """
    with common.open_tracker() as tracker:
        from tracker.services import demo as service
        from tracker.services import ledger

        before = ledger.position(tracker.session)
        made = service.make(tracker.session, recommendations=recommendations, seed=seed, now=tracker.now)
        if recommendations > SHOW_PROGRESS_ABOVE:
            from rich.console import Console
            from rich.progress import track

            # On stderr, so that what is printed at the end can be read by another program.
            steps = track(
                made,
                description="Inventing Arvenia",
                total=1 + -(-recommendations // service.BATCH),
                console=Console(stderr=True),
            )
        else:
            steps = made
        for _ in steps:
            tracker.session.commit()
        _show_exhibit(tracker, service.slug(recommendations, seed))
        added = ledger.position(tracker.session) - before
    address = f"{tracker.config.public_url}/reports/{service.slug(recommendations, seed)}"
    click.echo(f"{'Nothing new' if not added else f'{added} ledger entries added'}: {address}")


def _show_exhibit(tracker: common.Tracker, name: str) -> None:
    """The one piece with a file. The file goes the way of an upload: received, examined, stored, copied."""
    from tracker import media, storage
    from tracker.services import demo_exhibit

    session, config, now = tracker.session, tracker.config, tracker.now
    if not demo_exhibit.missing(session, name, now=now):
        return
    session.rollback()  # Nobody waits for the database while the file is looked at.
    store = storage.open_store(config)

    def stored(content: bytes) -> storage.Incoming:
        with storage.receive(config, limit=len(content)) as receiver:
            receiver.write(content)
            incoming = receiver.finish()
        store.keep(incoming)
        return incoming

    with tempfile.TemporaryDirectory() as folder:
        original, copy = Path(folder, "original"), Path(folder, "copy")
        original.write_bytes(picture())
        examined = media.examine(original, demo_exhibit.FILE_NAME)
        kind, method = media.make_copy(original, examined.kind, copy)
        photo = demo_exhibit.Photo(
            stored(original.read_bytes()), examined, stored(copy.read_bytes()), kind, method
        )
    try:
        demo_exhibit.show(session, name, photo, store=store, now=now)
        session.commit()
    finally:
        photo.original.discard()
        photo.copy.discard()


def picture() -> bytes:
    """A drawn photo of a gate, with a device and a place in its EXIF data, as a telephone writes them. Always the same."""
    from PIL import Image, ImageDraw

    made = Image.new("RGB", (960, 600), "#b9c7d3")
    draw = ImageDraw.Draw(made)
    draw.polygon([(0, 330), (260, 180), (520, 320), (760, 210), (960, 300), (960, 600), (0, 600)], "#8a9a86")
    draw.rectangle((0, 420, 960, 600), "#a59378")
    for left in (120, 620):
        draw.rectangle((left, 300, left + 220, 440), "#77736b", "#4d4a45", 4)
    draw.polygon([(340, 300), (420, 330), (420, 470), (340, 440)], "#5a4630", "#33271a")
    draw.polygon([(620, 300), (545, 335), (545, 475), (620, 440)], "#5a4630", "#33271a")
    exif = made.getexif()
    exif[0x010F], exif[0x0110] = "Arvenia Telephones", "Valley 7"
    exif.get_ifd(0x8825).update({1: "N", 2: (41.0, 30.0, 0.0), 3: "E", 4: (12.0, 15.0, 36.0)})
    out = io.BytesIO()
    made.save(out, "JPEG", quality=88, exif=exif)
    return out.getvalue()
