"""What an examination finds: the plain things that cross from the child to the program."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from tracker.vocabulary import N_, FileKind

#: What a trace can be, with the words that pages show for it.
TRACES = {
    "gps": N_("Place (GPS)"),
    "device": N_("Device"),
    "author": N_("Name of a person"),
    "date": N_("Date"),
    "software": N_("Program that made it"),
    "comment": N_("Text that does not show"),
    "thumbnail": N_("Small picture inside, perhaps of an earlier state"),
    "attachment": N_("File inside the file"),
    "script": N_("Script or action"),
    "macro": N_("Macro"),
    "remote": N_("Loads something from elsewhere when it is opened"),
    "network": N_("Network address"),
    "formula": N_("Cell that a spreadsheet program would run"),
    "program": N_("Program"),
    "trailing": N_("Data behind the end"),
    "revisions": N_("Earlier states"),
    "metadata": N_("Other data that does not show"),
    "unread": N_("Part that could not be looked into"),
}
MOST_TRACES = 100
MOST_RECORDS = 2_000


@dataclass(frozen=True)
class Trace:
    """Something in a file that could tell on somebody or do harm. `what` is a key of TRACES, `value` is for staff."""

    what: str
    value: str


@dataclass(frozen=True)
class Record:
    """One record of a web archive. `digest_ok` is None where it carries no digest; `size` is in bytes."""

    url: str
    type: str
    date: str
    digest_ok: bool | None
    size: int


@dataclass(frozen=True)
class Examined:
    """What a file is and what is in it. `warnings` are what a reader could learn from it unseen."""

    kind: FileKind
    warnings: tuple[Trace, ...] = ()
    pages: int | None = None
    width: int | None = None
    height: int | None = None
    records: tuple[Record, ...] = ()
    records_total: int = 0
    records_bad: int = 0


def shown(value: object, most: int = 200) -> str:
    """A hostile text as it may be shown in one line: no control, direction or unassigned characters, ≤ `most`."""
    text = str(value)[: most * 20]
    # ZWNJ and ZWJ belong to Uyghur, Persian and emoji; everything else of these categories only deceives.
    text = "".join(
        character if character in "\u200c\u200d" or unicodedata.category(character)[0] not in "CZ" else " "
        for character in text
    )
    return unicodedata.normalize("NFC", " ".join(text.split()))[:most]


def unique(found: Iterable[Trace]) -> tuple[Trace, ...]:
    """The traces without repetitions, cleaned, at most a hundred; reads no more of `found` than it needs."""
    kept: dict[Trace, None] = {}
    for trace in found:
        kept[Trace(trace.what, shown(trace.value))] = None
        if len(kept) == MOST_TRACES:
            break
    return tuple(kept)
