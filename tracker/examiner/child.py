"""The child's own work: read one file, answer with one line of JSON, end.

Started as `python -I -c START ROOT action kind seconds [descriptor]`: the file is descriptor 0, the answer goes to
descriptor 1, and what it makes (a copy, a preview) to the descriptor named last. It opens no path that it is told.
The answer is {"done": …}, {"refused": reason, "values": …} or {"failed": kind of error}.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from tracker.examiner import sandbox
from tracker.examiner.refusals import Refused
from tracker.examiner.traces import Examined
from tracker.vocabulary import IMAGES, FileKind


def main() -> None:
    """Give up everything that is not needed, do what the arguments say, and answer."""
    action, kind, seconds = sys.argv[1], FileKind(sys.argv[2]), int(sys.argv[3])  # type: ignore[call-arg]
    sandbox.limit(seconds)
    sandbox.confine(Path(__file__).parents[1])
    answer: dict[str, Any]
    try:
        with os.fdopen(0, "rb") as file:
            if action == "examine":
                answer = {"done": dataclasses.asdict(examine(file, kind)) | {"kind": kind.value}}
            else:
                with os.fdopen(int(sys.argv[4]), "wb") as result:
                    answer = {"done": make(action, file, kind, result)}
    except Refused as refused:
        answer = {"refused": refused.refusal.value, "values": refused.values}
    except Exception as error:  # noqa: BLE001 - whatever a hostile file provokes.
        answer = {"failed": type(error).__name__}
    with os.fdopen(1, "wb") as out:
        out.write(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
    # Parsers leave things behind whose tidying up can crash; nothing of it is needed.
    os._exit(0)


def examine(file: BinaryIO, kind: FileKind) -> Examined:
    """Read the file as what its name says it is. Raises Refused if it is not, or not only that."""
    # Each kind's parsers are imported when they are needed: starting is most of what a small file costs.
    if kind in IMAGES:
        from tracker.examiner import images

        return images.examine(file, kind)
    if kind is FileKind.PDF:
        from tracker.examiner import pdf

        return pdf.examine(file)
    if kind in (FileKind.MP4, FileKind.WEBM):
        from tracker.examiner import videos

        return videos.examine(file, kind)
    if kind in (FileKind.MP3, FileKind.OGG):
        from tracker.examiner import sounds

        return sounds.examine(file, kind)
    if kind in (FileKind.TXT, FileKind.CSV, FileKind.EML):
        from tracker.examiner import texts

        return texts.examine(file, kind)
    if kind in (FileKind.DOCX, FileKind.ODT):
        from tracker.examiner import documents

        return documents.examine(file, kind)
    if kind in (FileKind.WARC, FileKind.WACZ):
        from tracker.examiner import web_archives

        return web_archives.examine(file, kind)
    from tracker.examiner import archives

    return archives.examine(file)


def make(action: str, file: BinaryIO, kind: FileKind, result: BinaryIO) -> str:
    """Write a public copy or a preview to `result`; the kind of what was made."""
    from tracker.examiner import copies

    if action == "copy":
        return str(copies.make_copy(file, kind, result).value)
    copies.make_preview(file, kind, result, blurred=action == "blurred-preview")
    return str(FileKind.JPEG.value)
