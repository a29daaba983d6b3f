"""What changed between two texts, word by word, for a reviewer who compares them."""

from __future__ import annotations

import difflib
import re


def compare(old: str, new: str) -> list[tuple[str, str]]:
    """Pieces of text in reading order, each ("same" | "added" | "removed", text)."""
    before, after = re.findall(r"\s+|[^\s]+", old), re.findall(r"\s+|[^\s]+", new)
    pieces: list[tuple[str, str]] = []
    for tag, start, end, other_start, other_end in difflib.SequenceMatcher(
        None, before, after, False
    ).get_opcodes():
        if tag == "equal":
            pieces.append(("same", "".join(before[start:end])))
            continue
        if end > start:
            pieces.append(("removed", "".join(before[start:end])))
        if other_end > other_start:
            pieces.append(("added", "".join(after[other_start:other_end])))
    return pieces
