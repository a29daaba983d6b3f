"""Evidence from a table (CSV): checked whole, then handed to the reviewers as one person's work, or not at all.

What the columns mean stands in docs/evidence-import.md. Importing the same file again adds nothing.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import permissions, text
from tracker.errors import Invalid, InvalidFile, NotAllowed
from tracker.models import Account, Evidence, Report
from tracker.queries import queue
from tracker.services import evidence as pieces
from tracker.services import ledger
from tracker.services.evidence import Bears, Fields
from tracker.vocabulary import (
    N_,
    Credibility,
    Direction,
    Precision,
    Reliability,
    SourceType,
    Visibility,
    Word,
)

MOST_BYTES = 20 * 1024 * 1024
MOST_ROWS = 10_000

#: The columns with the longest text that each may hold.
COLUMNS = {
    "id": 200,
    "report": 80,
    "title": 200,
    "date": 20,
    "place": 200,
    "summary": 4000,
    "publisher": 300,
    "source_type": 40,
    "language": 35,
    "reliability": 1,
    "credibility": 1,
    "bearings": 4000,
    "links": 8000,
    "remark": 500,
    "team_note": 8000,
    "visibility": 10,
}
REQUIRED = ("id", "report", "title", "date", "summary", "publisher", "source_type", "reliability", "credibility", "bearings")  # fmt: skip
_LINES = ("summary", "team_note", "links", "bearings")
#: Where the services call a field otherwise than the table does.
_COLUMN_OF = {"occurred": "date", "readers": "visibility"}


@dataclass(frozen=True)
class Line:
    """One row of the table: the line on which it begins, and its cells by column."""

    number: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """How many pieces were added, and how many stood there already."""

    added: int
    known: int


def read(data: bytes) -> list[Line]:
    """The rows of a CSV file in UTF-8. Raises InvalidFile with every cell that cannot be taken, by line and column."""
    if len(data) > MOST_BYTES:
        raise _refused(["The file is larger than 20 MB. Split it."])
    try:
        words = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = data.count(b"\n", 0, error.start) + 1
        raise _refused([f"Line {place}: this is not UTF-8. Save the table as CSV in UTF-8."]) from None
    rows = _rows(words)
    _, header = next(rows, (1, []))
    problems = _header_problems(header)
    if problems:
        raise _refused(problems)
    lines = []
    for number, cells in rows:
        if not any(cells):
            continue
        if len(cells) != len(header):
            problems.append(f"Line {number}: it has {len(cells)} cells, and the header {len(header)}.")
            continue
        line = Line(number, {})
        for column, cell in zip(header, cells, strict=True):
            try:
                line.cells[column] = _clean(column, cell)
            except Invalid as error:
                problems.append(f"Line {number}, column {column}: {error}")
        lines.append(line)
        if len(lines) > MOST_ROWS:
            raise _refused([f"The table has more than {MOST_ROWS} rows. Split it."])
    first: dict[str, int] = {}
    for line in lines:
        name = line.cells.get("id", "")
        if name and name in first:
            problems.append(f"Line {line.number}, column id: the same id stands on line {first[name]}.")
        first.setdefault(name, line.number)
    if problems:
        raise _refused(problems)
    return lines


def load(session: Session, lines: list[Line], *, author: Account, now: dt.datetime) -> Outcome:
    """Send every piece that is not there yet to the reviewers, as this person's. Raises InvalidFile with every fault."""
    if not permissions.is_team(author):
        raise NotAllowed(N_("Only monitors and reviewers log evidence."))
    ledger.lock(
        session
    )  # Two imports of one file come one after the other, and the second finds what the first added.
    names = [imported_as(line.cells["id"]) for line in lines]
    known = {
        name
        for start in range(0, len(names), 500)
        for name in session.scalars(
            select(Evidence.imported_as).where(Evidence.imported_as.in_(names[start : start + 500]))
        )
    }
    reports: dict[str, Report | None] = {}
    problems: list[str] = []
    added = 0
    for line in lines:
        name = imported_as(line.cells["id"])
        if name in known:
            continue
        slug = line.cells["report"]
        if slug not in reports:
            reports[slug] = queue.report(session, slug) if slug else None
        fields, faults = _fields(line, reports[slug], today=now.date())
        if not faults:
            faults = _add(session, fields, name, author=author, now=now)
            added += 1
        for fault in faults:
            column = _COLUMN_OF.get(fault.field or "", fault.field)
            place = f"Line {line.number}, column {column}" if column else f"Line {line.number}"
            problems.append(f"{place}: {fault}")
    if problems:
        raise _refused(problems)
    return Outcome(added, len(known))


def imported_as(name: str) -> str:
    """How a piece remembers which row it came from, without repeating what the row calls it."""
    return f"csv-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _rows(words: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(words, newline=""), strict=True)
    begins = 1
    try:
        for cells in reader:
            yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        raise _refused([f"Line {begins}: this row cannot be read ({error})."]) from None


def _header_problems(header: list[str]) -> list[str]:
    problems = [f"Line 1: the column {name} is missing." for name in REQUIRED if name not in header]
    problems += [f"Line 1: there is no column “{name[:40]}”." for name in header if name not in COLUMNS]
    problems += [f"Line 1: the column {name} stands twice." for name in COLUMNS if header.count(name) > 1]
    return problems


def _clean(column: str, cell: str) -> str:
    value = text.clean(cell, lines=column in _LINES)
    if len(value) > COLUMNS[column]:
        raise Invalid(
            N_("Shorten this to %(most)s characters; it has %(length)s."),
            most=COLUMNS[column],
            length=len(value),
        )
    if column in ("id", "report", "title") and not value:
        raise Invalid(N_("This must not be empty."))
    return value


def _add(session: Session, fields: Fields, name: str, *, author: Account, now: dt.datetime) -> list[Invalid]:
    try:
        piece = pieces.draft(session, fields, author=author, now=now)
        piece.imported_as = name
        session.flush()
        pieces.submit(session, piece, author=author, now=now)
    except Invalid as error:
        return [error, *error.others]
    return []


def _fields(line: Line, report: Report | None, *, today: dt.date) -> tuple[Fields, list[Invalid]]:
    """What a row says, and what is wrong with it."""
    faults: list[Invalid] = []

    def take(column: str, make: Callable[[str], Any], default: Any = None) -> Any:
        try:
            return make(line.cells.get(column, ""))
        except Invalid as error:
            error.field = column
            faults.append(error)
            return default

    if report is None:
        faults.append(Invalid(N_("No report of this name is loaded."), "report"))
    day, precision = take("date", lambda value: _date(value, today), (None, Precision.DAY))
    words: dict[str, Any] = {
        name: line.cells.get(name, "")
        for name in ("title", "place", "summary", "publisher", "language", "remark", "team_note")
    }
    fields = Fields(
        **words,
        occurred_on=day,
        date_precision=precision,
        source_type=take("source_type", _source_type),
        reliability=take("reliability", lambda value: _word(Reliability, value)),
        credibility=take("credibility", lambda value: _word(Credibility, value)),
        visibility=take("visibility", _visibility, Visibility.TEAM),
        links=line.cells.get("links", "").split(),
        bearings=take("bearings", lambda value: _bearings(value, report), []) if report else [],
    )
    return fields, faults


def _date(value: str, today: dt.date) -> tuple[dt.date | None, Precision]:
    """ "2025", "2025-05", "2025-05-14", or "~2025-05-14" for about that day."""
    if not value:
        return None, Precision.DAY  # The service says that it is missing.
    found = re.fullmatch(r"(~?)([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?", value)
    try:
        if found is None:
            raise ValueError
        about, year, month, day = found.groups()
        date = dt.date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        raise Invalid(N_("Write a date as 2025, 2025-05, 2025-05-14 or ~2025-05-14.")) from None
    if about and not day:
        raise Invalid(N_("An approximate date needs a day."))
    if date > today + dt.timedelta(days=1):
        raise Invalid(N_("This date lies in the future. Check the year."))
    known = Precision.DAY if day else Precision.MONTH if month else Precision.YEAR
    return date, Precision.ABOUT if about else known


def _word(kind: type[Word], value: str) -> Word | None:
    if not value:
        return None
    for word in kind:
        if word.value == value:
            return word
    raise Invalid(N_("Use one of: %(words)s."), words=", ".join(str(word.value) for word in kind))


def _source_type(value: str) -> Word | None:
    if value == SourceType.TESTIMONY.value:
        raise Invalid(
            N_("What a person told the team is logged on its own page, together with their consent.")
        )
    return _word(SourceType, value)


def _visibility(value: str) -> Word:
    if value not in ("", Visibility.PUBLIC.value, Visibility.TEAM.value):
        raise Invalid(N_("Use public or team. Restricted evidence is logged on its own page."))
    return _word(Visibility, value) or Visibility.PUBLIC


def _bearings(value: str, report: Report | None) -> list[Bears]:
    """ "88-a/b: progress; 89: context": recommendation, clause if one is meant, direction."""
    found = []
    known = {item.number: item for item in report.recommendations} if report else {}
    for part in filter(None, (part.strip() for part in re.split(r"[;\n]", value))):
        place, _, direction = (piece.strip() for piece in part.partition(":"))
        number, _, label = place.partition("/")
        recommendation = known.get(number)
        if recommendation is None:
            raise Invalid(N_("The report has no recommendation “%(number)s”."), number=number[:40])
        clause = next((one for one in recommendation.clauses if one.label == label), None)
        if label and clause is None:
            raise Invalid(
                N_("Recommendation %(number)s has no clause “%(label)s”."), number=number, label=label[:40]
            )
        word = _word(Direction, direction)
        if word is None:
            raise Invalid(N_("Write a direction after each recommendation, for example 88-a/b: progress."))
        found.append(Bears(recommendation.id, clause.id if clause else None, word))  # type: ignore[arg-type]
    return found


def _refused(problems: list[str]) -> InvalidFile:
    return InvalidFile(N_("Nothing was imported: the file has faults."), problems[:200])
