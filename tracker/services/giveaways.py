"""Patterns in a text that tell who or where somebody is: numbers of identity cards, telephones, coordinates."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Iterator

from tracker.vocabulary import N_

KINDS = {
    "id-number": N_("Number of an identity card"),
    "passport": N_("Number that looks like a passport’s"),
    "phone": N_("Telephone number"),
    "coordinates": N_("Exact coordinates"),
    "digits": N_("Long number"),
}

# Resident identity cards of China: 17 digits and a check character (GB 11643-1999), before that 15 digits.
_ID_18 = re.compile(r"(?<![\d.])\d(?:[ -]?\d){16}[ -]?[\dXx](?![\dA-Za-z])")
_ID_15 = re.compile(r"(?<![\d.,])[1-9]\d{14}(?!\d)")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_PASSPORT = re.compile(r"(?<![A-Za-z\d/.-])[A-Z][A-Z]?\d{7,8}(?![\dA-Za-z/])")
_DECIMAL = re.compile(
    r"(?<![\d.])([+-]?\d{1,3}[.]\d{3,})\s*°?\s*[NSEW]?\s*[,;/\s]\s*([+-]?\d{1,3}[.]\d{3,})(?!\d)"
)
_DEGREES = re.compile(
    r"(?<!\d)\d{1,3}\s*[°º]\s*(?:\d{1,2}(?:[.]\d+)?\s*['′’]\s*(?:\d{1,2}(?:[.]\d+)?\s*(?:[\"″”]|''|′′)?)?|[.]?\d*)"
    r"\s*[NSEWnsew北南东西](?![A-Za-z])"
)
_DECIMAL_DEGREES = re.compile(r"(?<![\d.])\d{1,3}[.]\d{3,}\s*[°º]")
# Open Location Code: eight characters of its alphabet, or four to six with a town beside it.
_PLUS_CODE = re.compile(
    r"(?<![A-Z\d])(?=[A-Z\d]*\d)(?=[A-Z\d]*[A-Z])[23456789CFGHJMPQRVWX]{4,8}\+[23456789CFGHJMPQRVWX]{2,3}(?![A-Z\d])"
)
# With a country's code: eight digits at least. `00` must stand apart, or every large round number would ring.
_ABROAD = re.compile(r"(?<![\d+])(?:\+|(?<![\d.,])00(?=[1-9]))\s?\d(?:[\s().-]{0,2}\d){7,14}(?!\d)")
_MOBILE = re.compile(r"(?<![\d.,+-])1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?![\d-])")
_NATIONAL = re.compile(r"(?<![\d.,+/-])\(?0\d{1,4}\)?[\s/-]{0,2}\d{3,4}(?:[\s-]?\d{2,4}){1,3}(?![\d-])")
_AMERICAN = re.compile(r"(?<![\d-])\(?[2-9]\d{2}\)?[\s.-]\d{3}[.-]\d{4}(?![\d-])")
_DIGITS = re.compile(r"(?<![\d.,])\d{9,}(?![\d]|[.,]\d)")
_SEPARATORS = re.compile(r"[\n,;،、，；]+")


def find(text: str, *, link: bool = False) -> Iterator[tuple[str, str]]:
    """(kind, excerpt) of everything in the text that looks like one. `link`: a web address, which is full of digits."""
    text = _plain(text)
    taken: list[tuple[int, int]] = []
    checks = [("id-number", _ids), ("coordinates", _coordinates)]
    if not link:
        checks += [("phone", _phones), ("passport", _passports), ("digits", _long_numbers)]
    for kind, check in checks:
        for match in check(text):
            # A part of what was named already is not named again.
            if not any(start < match.end() and match.start() < end for start, end in taken):
                taken.append(match.span())
                yield kind, " ".join(match.group().split())


def shared(hidden: str, public: str) -> Iterator[str]:
    """The parts of a hidden text (its lines, and what commas divide) that stand in a public one."""
    public = _folded(public)
    for part in dict.fromkeys(part.strip() for part in _SEPARATORS.split(hidden)):
        folded = _folded(part)
        # Two letters say something in Chinese only.
        if len(folded) >= (2 if not folded.isascii() else 3) and re.search(
            rf"(?<!\w){re.escape(folded)}(?!\w)" if folded.isascii() else re.escape(folded), public
        ):
            yield part


def _plain(text: str) -> str:
    """The same text with full-width and other digits as 0 to 9."""
    # The sign for degrees that some keyboards have instead would become the letter o.
    text = unicodedata.normalize("NFKC", text.replace("º", "°"))
    return "".join(
        str(unicodedata.decimal(one)) if not one.isascii() and one.isdecimal() else one for one in text
    )


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _ids(text: str) -> Iterator[re.Match[str]]:
    for match in _ID_18.finditer(text):
        digits = re.sub(r"[ -]", "", match.group()).upper()
        total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, digits, strict=False))
        if "10X98765432"[total % 11] == digits[17] and _is_day(digits[6:14]):
            yield match
    for match in _ID_15.finditer(text):
        if _is_day("19" + match.group()[6:12]):
            yield match


def _is_day(digits: str) -> bool:
    try:
        day = dt.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return False
    return day.year >= 1900


def _coordinates(text: str) -> Iterator[re.Match[str]]:
    for match in _DECIMAL.finditer(text):
        first, second = float(match[1]), float(match[2])
        # Both orders are written.
        if max(abs(first), abs(second)) <= 180 and min(abs(first), abs(second)) <= 90:
            yield match
    for pattern in (_DEGREES, _DECIMAL_DEGREES, _PLUS_CODE):
        yield from pattern.finditer(text)


def _phones(text: str) -> Iterator[re.Match[str]]:
    for pattern in (_ABROAD, _MOBILE, _NATIONAL, _AMERICAN):
        for match in pattern.finditer(text):
            if 8 <= sum(one.isdigit() for one in match.group()) <= 17:
                yield match


def _passports(text: str) -> Iterator[re.Match[str]]:
    yield from _PASSPORT.finditer(text)


def _long_numbers(text: str) -> Iterator[re.Match[str]]:
    yield from _DIGITS.finditer(text)
