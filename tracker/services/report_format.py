"""What may stand in a report file: every table, every key, and what its value must look like.

Each refusal is the end of a sentence that begins with the key: "title has 240 characters; 200 fit."
The same is told to people in docs/report-format.md.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from tracker import text
from tracker.errors import Invalid
from tracker.services import evidence
from tracker.vocabulary import (
    Access,
    AddresseeKind,
    Credibility,
    Direction,
    Grade,
    Position,
    Precision,
    Reliability,
    SourceType,
    Visibility,
    Word,
)


class When(NamedTuple):
    """A date as exactly as it is known. Month and year are held as their first day."""

    day: dt.date
    precision: Precision


def refusal(sentence: str) -> PydanticCustomError:
    """An error whose sentence is shown as it is, braces and all."""
    return PydanticCustomError("rule", "{sentence}", {"sentence": sentence})


def _words(most: int, *, least: int = 1, paragraphs: bool = False) -> PlainValidator:
    """Text by the policy of `tracker.text`. A line break counts as a space, an empty line starts a paragraph."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise refusal("must be text in quotes.")
        parts = re.split(r"\n[ \t]*\n\s*", value.replace("\r\n", "\n").strip())
        try:
            words = text.clean(
                "\n\n".join(re.sub(r"[ \t]*\n[ \t]*", " ", part) for part in parts), lines=paragraphs
            )
        except Invalid as error:
            raise refusal(f"cannot be stored. {error}") from None
        if len(words) < least:
            raise refusal("is empty.")
        if len(words) > most:
            raise refusal(f"has {len(words)} characters; {most} fit.")
        return words

    return PlainValidator(check)


def _like(pattern: str, description: str) -> PlainValidator:
    """A short name that is compared letter by letter."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise refusal("must be text in quotes.")
        if not re.fullmatch(pattern, value):
            raise refusal(f"is “{value[:80]}”; it must be {description}.")
        return value

    return PlainValidator(check)


def _web_address(value: Any) -> str:
    if not isinstance(value, str):
        raise refusal("must be text in quotes.")
    try:
        evidence.check_link(text.clean(value, lines=False))
    except Invalid as error:
        raise refusal(f"is refused. {error}") from None
    if len(value) > 2000:
        raise refusal(f"has {len(value)} characters; 2000 fit.")
    return value


def _one_of(kind: type[Word]) -> PlainValidator:
    """A word of the vocabulary, written as it is stored."""

    def check(value: Any) -> Word:
        for word in kind:
            if word.value == value:
                return word
        raise refusal(f"is “{str(value)[:80]}”; it must be one of: {', '.join(word.value for word in kind)}.")

    return PlainValidator(check)


def _when(value: Any, info: ValidationInfo) -> When:
    written = value.isoformat() if type(value) is dt.date else str(value) if type(value) is int else value
    if not isinstance(written, str) or not re.fullmatch(r"[0-9]{4}(-[0-9]{2}){0,2}", written):
        raise refusal('must be a date: 2024-08-27 for a day, "2024-08" for a month, "2024" for a year.')
    parts = [int(part) for part in written.split("-")]
    try:
        day = dt.date(*[*parts, 1, 1][:3])
    except ValueError:
        raise refusal(f"is {written}, which does not exist.") from None
    if day > (info.context or {})["today"]:
        raise refusal(f"is {written}, which is in the future.")
    return When(day, (Precision.YEAR, Precision.MONTH, Precision.DAY)[len(parts) - 1])


def _day(value: Any, info: ValidationInfo) -> dt.date:
    when = _when(value, info)
    if when.precision is not Precision.DAY:
        raise refusal("must be a day, for example 2024-08-27.")
    return when.day


_hyphens = r"[a-z0-9]+(-[a-z0-9]+)*"
Line = Annotated[str, _words(300)]
Title = Annotated[str, _words(200)]
Short = Annotated[str, _words(120)]
Prose = Annotated[str, _words(20_000, paragraphs=True)]
Remark = Annotated[str, _words(20_000, least=0, paragraphs=True)]
Slug = Annotated[
    str, _like(f"(?=.{{1,64}}$){_hyphens}", "small letters, digits and single hyphens, 64 characters at most")
]
Number = Annotated[
    str, _like(f"(?=.{{1,40}}$){_hyphens}", "small letters, digits and single hyphens, such as 151-ii")
]
Reference = Annotated[str, _words(40)]
Label = Annotated[
    str, _like("(?!all$)[a-z0-9]{1,8}", "a letter or number, such as a or 2, and not the word all")
]
Id = Annotated[str, _like(r"(?=.{1,40}$)[A-Za-z0-9]+([._-][A-Za-z0-9]+)*", "letters and digits, such as E12")]
Language = Annotated[
    str, _like("(?=.{0,35}$)([A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*)?", "a language code, such as en or zh-Hans")
]
Hash = Annotated[str, _like("[0-9a-f]{64}", "a SHA-256 of 64 small hexadecimal digits")]
Link = Annotated[str, PlainValidator(_web_address)]
Day = Annotated[dt.date, PlainValidator(_day)]
Date = Annotated[When, PlainValidator(_when)]
Months = Annotated[int, Field(ge=1, le=60)]


class Table(BaseModel):
    """Parent of every table: unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


class Dated(Table):
    """A table with a date that may be known roughly only. `precision = "about"` is written; the rest follows."""

    date: Date
    precision: Annotated[Precision | None, _one_of(Precision)] = None

    @model_validator(mode="after")
    def _agree(self) -> Dated:
        known = self.date.precision
        if self.precision not in (None, known) and (self.precision, known) != (
            Precision.ABOUT,
            Precision.DAY,
        ):
            raise refusal(
                f"precision does not fit the date, which names a {known.value}. Leave precision out."
            )
        return self

    @property
    def known_as(self) -> Precision:
        """How exactly the date is known."""
        return self.precision or self.date.precision


class ReportTable(Table):
    """[report]: the document itself."""

    slug: Slug
    title: Prose
    short_title: Short
    issuer: Line
    country: Short
    published_on: Day
    language: Language = ""
    symbol: Annotated[str | None, _words(80)] = None
    url: Link | None = None
    document_url: Link | None = None
    document_sha256: Hash | None = None
    notes: Prose | None = None
    demonstration: bool = False
    review_months: Months | None = None


class AddresseeTable(Table):
    """[[addressees]]: whom recommendations address."""

    slug: Slug
    name: Title
    kind: Annotated[AddresseeKind, _one_of(AddresseeKind)]
    chapeau: Remark = ""


class ClauseTable(Table):
    """[[recommendations.clauses]]: one demand that can be checked by itself."""

    label: Label
    title: Title
    text: Prose


class RecommendationTable(Table):
    """[[recommendations]]: the official words, with a reference and a short title of ours."""

    number: Number
    reference: Reference
    addressee: Slug
    title: Title
    text: Prose
    page: Annotated[int, Field(ge=1, le=100_000)] | None = None
    review_months: Months | None = None
    themes: Annotated[list[Short], Field(max_length=20)] = []
    clauses: list[ClauseTable] = []


class EvidenceTable(Dated):
    """[[evidence]]: one dated thing that somebody can point at."""

    id: Id
    title: Title
    publisher: Line
    source_type: Annotated[SourceType, _one_of(SourceType)]
    summary: Prose
    links: list[Link] = []
    bears_on: Annotated[dict[Annotated[Direction, _one_of(Direction)], list[str]], Field(min_length=1)]
    language: Language = ""
    reliability: Annotated[Reliability | None, _one_of(Reliability)] = None
    credibility: Annotated[Credibility | None, _one_of(Credibility)] = None
    remark: Remark = ""
    team_note: Remark = ""
    visibility: Annotated[Visibility, _one_of(Visibility)] = Visibility.PUBLIC

    @property
    def bearings(self) -> list[tuple[str, Direction]]:
        """(recommendation or recommendation/clause, direction), in the file's order."""
        return [(target, direction) for direction, targets in self.bears_on.items() for target in targets]


class SourceTable(Table):
    """source = { … }: where a reply was published, if no piece of evidence shows it."""

    publisher: Line
    title: Annotated[str, _words(300, least=0)] = ""
    url: Link | None = None


class ReplyTable(Dated):
    """[[replies]]: what the State itself says."""

    id: Id
    author: Title
    position: Annotated[Position, _one_of(Position)]
    summary: Prose
    quotations: list[Prose] = []
    recommendations: list[str] = []
    evidence: str | None = None
    source: SourceTable | None = None


class SearchTable(Table):
    """[findings.search]: what was looked for, where, in which languages, until when."""

    what: Prose
    where: Prose
    languages: Annotated[list[Language], Field(min_length=1, max_length=20)]
    until: Day


class FindingTable(Table):
    """[[findings]]: a draft that waits for two people."""

    recommendation: str
    clause: str | None = None
    grade: Annotated[Grade, _one_of(Grade)]
    as_of: Day
    access: Annotated[Access, _one_of(Access)]
    rationale: Prose
    would_change: Remark = ""
    cites: list[str] = []
    search: SearchTable | None = None


# What pydantic says of shapes, in our words. Anything else is said by `refusal` above.
SENTENCES: dict[str, Callable[[dict[str, Any]], str]] = {
    "rule": lambda said: str(said["sentence"]),
    "missing": lambda _: "is missing.",
    "extra_forbidden": lambda _: "is not a key of this table. See docs/report-format.md.",
    "string_type": lambda _: "must be text in quotes.",
    "int_type": lambda _: "must be a whole number without quotes.",
    "bool_type": lambda _: "must be true or false, without quotes.",
    "list_type": lambda _: "must be a list in square brackets.",
    "dict_type": lambda _: "must be a table.",
    "model_type": lambda _: "must be a table.",
    "greater_than_equal": lambda said: f"must be {said['ge']} or more.",
    "less_than_equal": lambda said: f"must be {said['le']} or less.",
    "too_short": lambda _: "is empty.",
    "too_long": lambda said: f"has too many items; {said['max_length']} fit.",
}
