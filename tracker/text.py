"""Text that people type: one policy for forms, files and the API, the same on both databases.

NFC; no control characters except line break and tab, no bidirectional overrides or isolates (they can make a
sentence read as another), no unpaired surrogates, no noncharacters, no tag characters, no long stacks of
combining marks. ZWJ and ZWNJ stay: Uyghur, Persian and emoji need them. Source: Unicode TR 36, Trojan Source.
"""

from __future__ import annotations

import re
import unicodedata

from tracker.errors import Invalid
from tracker.vocabulary import N_

_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff\ufdd0-\ufdef\ufff9-\ufffb"
    "\U000e0000-\U000e007f]|[\ud800-\udfff]|[\ufffe\uffff\U0001fffe\U0001ffff]"
)
_MAX_MARKS = 8


def clean(value: str, *, field: str | None = None, lines: bool = True) -> str:
    """The text as it is stored: NFC, ends stripped, line breaks as \\n. Raises Invalid with the character's place."""
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    found = _FORBIDDEN.search(value)
    if found:
        raise Invalid(
            N_(
                "Character %(place)d (U+%(code)s) cannot be stored: it is invisible or changes the direction of "
                "other text. Delete it and type the place again."
            ),
            field,
            place=found.start() + 1,
            code=f"{ord(found.group()):04X}",
        )
    value = unicodedata.normalize("NFC", value).strip()
    marks = 0
    for place, character in enumerate(value, 1):
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > _MAX_MARKS:
            raise Invalid(
                N_("Character %(place)d: too many accents on one letter. Delete some of them."),
                field,
                place=place,
            )
    if not lines and "\n" in value:
        raise Invalid(N_("Write this in one line."), field)
    return value
