"""Report files: TOML that a person can read, edit and send by mail, checked whole before anything is loaded.

A file is data and never code. `read` gives back what stands in it, or raises InvalidFile with every mistake and its
place. What the keys mean stands in docs/report-format.md.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tracker.errors import InvalidFile
from tracker.services import report_checks
from tracker.services.report_checks import Item, Reading, T
from tracker.services.report_format import (
    SENTENCES,
    AddresseeTable,
    EvidenceTable,
    FindingTable,
    RecommendationTable,
    ReplyTable,
    ReportTable,
)
from tracker.vocabulary import N_

MOST_BYTES = 20 * 1024 * 1024
INCLUDED = ("evidence", "replies", "findings")


@dataclass(frozen=True)
class ReportFile:
    """A checked report with all that came with it."""

    report: ReportTable
    addressees: list[AddresseeTable]
    recommendations: list[RecommendationTable]
    evidence: list[EvidenceTable]
    replies: list[ReplyTable]
    findings: list[FindingTable]

    @property
    def drafts(self) -> dict[tuple[str, str | None], FindingTable]:
        """Draft findings by (recommendation, clause's label); clause "all" gives one for each clause."""
        labels = {item.number: [clause.label for clause in item.clauses] for item in self.recommendations}
        return {
            (draft.recommendation, clause): draft
            for draft in self.findings
            for clause in report_checks.clauses(draft, labels)
        }


@dataclass
class _Source:
    """One file: its name, its text, and what stands in it."""

    name: str
    text: str
    tables: dict[str, Any]


def read(path: Path, *, today: dt.date) -> ReportFile:
    """The report in this file and in the files that it includes. Raises InvalidFile; reads nothing else."""
    reading = Reading(today)
    main = _toml(reading, path)
    found = _read_tables(reading, path, main) if main else None
    if found is None or reading.problems:
        raise InvalidFile(
            N_("%(name)s was not loaded, and nothing was changed. Problems found: %(count)d."),
            reading.problems, name=path.name, count=len(reading.problems),
        )  # fmt: skip
    return found


def _read_tables(reading: Reading, path: Path, main: _Source) -> ReportFile | None:
    _known_keys(
        reading, main.name, main.tables, ("include", "report", "addressees", "recommendations", *INCLUDED)
    )
    sources = [main, *_includes(reading, path, main.tables.get("include", {}))]
    report = _report(reading, main)
    addressees = _items(reading, sources, "addressees", "slug", AddresseeTable)
    recommendations = _items(reading, sources, "recommendations", "number", RecommendationTable)
    evidence = _items(reading, sources, "evidence", "id", EvidenceTable)
    replies = _items(reading, sources, "replies", "id", ReplyTable)
    findings = _items(reading, sources, "findings", "recommendation", FindingTable)
    labels = report_checks.labels(recommendations)
    report_checks.check_recommendations(reading, main.name, addressees, recommendations)
    report_checks.check_evidence(reading, evidence, labels)
    report_checks.check_replies(reading, replies, evidence, labels)
    report_checks.check_findings(reading, findings, evidence, labels)
    if report is None:
        return None
    return ReportFile(
        report, _good(addressees), _good(recommendations), _good(evidence), _good(replies), _good(findings)
    )


def _good(items: Iterable[Item[T]]) -> list[T]:
    return [item.table for item in items if item.table is not None]


def _toml(reading: Reading, path: Path) -> _Source | None:
    """A file's text and tables. None if it cannot be read, which is then among the problems."""
    try:
        if path.is_dir():
            reading.refuse(path.name, "is a folder. Name the report file in it, such as report.toml.")
        elif not path.is_file():
            reading.refuse(path.name, "there is no such file.")
        elif path.stat().st_size > MOST_BYTES:
            reading.refuse(path.name, f"has more than {MOST_BYTES // 1024 // 1024} MB.")
        else:
            # Some editors put a byte order mark first, which is no part of the text.
            text = path.read_bytes().decode("utf-8-sig")
            return _Source(path.name, text, tomllib.loads(text))
    except OSError as error:
        reading.refuse(path.name, f"cannot be read: {error.strerror}.")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        reading.refuse(f"{path.name}, line {line}", "is not UTF-8 text. Save the file as UTF-8.")
    except RecursionError:
        reading.refuse(path.name, "is not TOML: too many brackets inside each other.")
    except ValueError as error:
        reading.refuse(path.name, f"is not TOML: {error}.")
    return None


def _known_keys(reading: Reading, place: str, tables: Iterable[str], known: Iterable[str]) -> None:
    for key in tables:
        if key not in known:
            reading.refuse(place, f"“{key[:80]}” is not known here. Known: {', '.join(known)}.")


def _includes(reading: Reading, path: Path, include: Any) -> Iterator[_Source]:
    """The files that [include] names, which must lie in the report file's own folder."""
    if not isinstance(include, dict):
        reading.refuse(path.name, "include must be a table: write [include] in single brackets.")
        return
    _known_keys(reading, f"{path.name}, include", include, INCLUDED)
    folder, seen = path.resolve().parent, {path.resolve()}
    for key in INCLUDED:
        if key not in include:
            continue
        name, source = include[key], None
        # Resolved, so that neither ".." nor a symbolic link leads out of the folder.
        if not isinstance(name, str) or "\0" in name or not (folder / name).resolve().is_relative_to(folder):
            reading.refuse(
                f"{path.name}, include", f"{key} must name a file in the folder of the report file."
            )
        elif (folder / name).resolve() in seen:
            reading.refuse(f"{path.name}, include", f"{key} names {name} a second time.")
        else:
            seen.add((folder / name).resolve())
            source = _toml(reading, folder / name)
        if source is not None:
            _known_keys(reading, source.name, source.tables, (key,))
            yield source
        elif key == "evidence":
            reading.evidence_unread = True


def _report(reading: Reading, main: _Source) -> ReportTable | None:
    if not isinstance(main.tables.get("report"), dict):
        reading.refuse(main.name, "the table [report] is missing.")
        return None
    return _checked(reading, f"{main.name}, report", main.tables["report"], ReportTable)


def _items(
    reading: Reading, sources: Iterable[_Source], key: str, named_by: str, kind: type[T]
) -> list[Item[T]]:
    """Every table of one kind in all files, each with its place and checked by itself."""
    items: list[Item[T]] = []
    for source in sources:
        rows = source.tables.get(key, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            reading.refuse(source.name, f"write [[{key}]] in double brackets, once for each.")
            continue
        lines = _lines(source.text, key)
        for index, row in enumerate(rows):
            # Tables written in another way than [[…]] are named without a line.
            line = f", line {lines[index]}" if len(lines) == len(rows) else ""
            name = row.get(named_by)
            shown = name[:40] if isinstance(name, str) else f"no. {index + 1}"
            place = f"{source.name}{line}, {key} {shown}"
            items.append(Item(place, row, _checked(reading, place, row, kind)))
    return items


def _lines(text: str, key: str) -> list[int]:
    """The lines at which [[key]] stands."""
    header = re.compile(rf"[ \t]*\[\[[ \t]*{key}[ \t]*\]\]")
    return [number for number, line in enumerate(text.split("\n"), 1) if header.match(line)]


def _checked(reading: Reading, place: str, row: dict[str, Any], kind: type[T]) -> T | None:
    try:
        return kind.model_validate(row, context={"today": reading.today})
    except ValidationError as error:
        for item in error.errors():
            where = _where(item["loc"], row)
            say = SENTENCES.get(item["type"])
            sentence = say(item.get("ctx") or {}) if say else f"is refused: {item['msg']}."
            reading.refuse(place, f"{where} {sentence}" if where else sentence)
        return None


def _where(loc: tuple[int | str, ...], row: dict[str, Any]) -> str:
    """("clauses", 1, "text") as words: clause b, text."""
    words: list[str] = []
    for index, part in enumerate(loc):
        if part == "[key]":
            continue
        if isinstance(part, str):
            words.append(part)
            continue
        item = row["clauses"][part] if loc[index - 1] == "clauses" else None
        if isinstance(item, dict) and isinstance(item.get("label"), str):
            words[-1] = f"clause {item['label'][:8]}"
        else:
            words.append(f"no. {part + 1}")
    return ", ".join(words)
