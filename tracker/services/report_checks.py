"""What must hold between the tables of a report file: names known, nothing twice, every clause in its text, rule 1."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tracker.services import findings as finding_rules
from tracker.services.report_format import (
    AddresseeTable,
    EvidenceTable,
    FindingTable,
    RecommendationTable,
    ReplyTable,
    Table,
)
from tracker.vocabulary import SourceType, Visibility

T = TypeVar("T", bound=Table)


@dataclass
class Item(Generic[T]):
    """One table of a file and where it stands; `table` is None if it was refused."""

    place: str
    raw: dict[str, Any]
    table: T | None


@dataclass
class Reading:
    """One attempt to read a report: what was found wrong so far."""

    today: dt.date
    problems: list[str] = field(default_factory=list)
    evidence_unread: bool = False  # Then nothing is said of evidence that seems to be missing.

    def refuse(self, place: str, sentence: str) -> None:
        # What somebody wrote may hold escape sequences, and problems are printed to a terminal.
        self.problems.append(
            "".join(one if one.isprintable() else "\ufffd" for one in f"{place}: {sentence}")
        )


def labels(recommendations: Iterable[Item[RecommendationTable]]) -> dict[str, list[str]]:
    """Clause labels by recommendation, taken also from refused tables, so that one mistake is told once."""
    found: dict[str, list[str]] = {}
    for item in recommendations:
        clauses = item.raw.get("clauses", [])
        found[str(item.raw.get("number"))] = [
            str(clause.get("label"))
            for clause in (clauses if isinstance(clauses, list) else [])
            if isinstance(clause, dict)
        ]
    return found


def _check_once(reading: Reading, items: Iterable[Item[Any]], key: str) -> None:
    seen: dict[str, str] = {}
    for item in items:
        value = item.raw.get(key)
        if isinstance(value, str) and value in seen:
            reading.refuse(item.place, f"{key} “{value[:80]}” stands already at {seen[value]}.")
        elif isinstance(value, str):
            seen[value] = item.place


def _repeated(values: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            yield value
        seen.add(value)


def check_recommendations(
    reading: Reading,
    name: str,
    addressees: list[Item[AddresseeTable]],
    recommendations: list[Item[RecommendationTable]],
) -> None:
    for items, key in ((addressees, "addressees"), (recommendations, "recommendations")):
        if not items:
            reading.refuse(name, f"there is no [[{key}]].")
    _check_once(reading, addressees, "slug")
    _check_once(reading, recommendations, "number")
    _check_once(reading, recommendations, "reference")
    slugs = [item.raw.get("slug") for item in addressees]
    for item in recommendations:
        if item.table is None:
            continue
        if item.table.addressee not in slugs:
            reading.refuse(item.place, f"addressee “{item.table.addressee}” is none of the [[addressees]].")
        for label in _repeated(clause.label for clause in item.table.clauses):
            reading.refuse(item.place, f"clause {label} stands twice.")
        for clause in item.table.clauses:
            if clause.text not in item.table.text:
                reading.refuse(
                    item.place,
                    f"clause {clause.label}, text is not a part of the recommendation's text. It must be, letter by letter.",
                )


def check_evidence(
    reading: Reading, evidence: list[Item[EvidenceTable]], labels: dict[str, list[str]]
) -> None:
    _check_once(reading, evidence, "id")
    for item in evidence:
        if item.table is None:
            continue
        targets = [target for target, _ in item.table.bearings]
        if not targets:
            reading.refuse(item.place, "bears_on names no recommendation.")
        for target in targets:
            number, _, label = target.partition("/")
            if number not in labels or ("/" in target and label not in labels[number]):
                reading.refuse(item.place, f"bears_on: there is no recommendation or clause “{target[:80]}”.")
        for target in _repeated(targets):
            reading.refuse(item.place, f"bears_on: “{target[:80]}” stands twice.")
        for link in _repeated(item.table.links):
            reading.refuse(item.place, f"links: “{link[:80]}” stands twice.")
        if item.table.visibility is Visibility.RESTRICTED:
            reading.refuse(
                item.place, "visibility “restricted” needs named readers: log such evidence in the browser."
            )
        if (
            item.table.visibility is Visibility.PUBLIC
            and item.table.source_type is SourceType.MEDIA
            and not item.table.links
        ):
            reading.refuse(item.place, "links is missing: enter the address where it was published.")


def _check_cited(
    reading: Reading, item: Item[Any], key: str, cited: str, evidence: list[Item[EvidenceTable]]
) -> None:
    """What a reply or a finding names must be public evidence of this report."""
    found = [other for other in evidence if other.raw.get("id") == cited]
    if not found and not reading.evidence_unread:
        reading.refuse(item.place, f"{key}: there is no evidence “{cited[:80]}”.")
    elif found and found[0].raw.get("visibility", "public") != "public":
        reading.refuse(item.place, f"{key}: evidence {cited} is not public, so this cannot rest on it.")


def check_replies(
    reading: Reading,
    replies: list[Item[ReplyTable]],
    evidence: list[Item[EvidenceTable]],
    labels: dict[str, list[str]],
) -> None:
    _check_once(reading, replies, "id")
    for item in replies:
        if item.table is None:
            continue
        for number in item.table.recommendations:
            if number not in labels:
                reading.refuse(item.place, f"recommendations: there is no recommendation “{number[:80]}”.")
        for number in _repeated(item.table.recommendations):
            reading.refuse(item.place, f"recommendations: “{number[:80]}” stands twice.")
        if (item.table.evidence is None) == (item.table.source is None):
            reading.refuse(item.place, "name either evidence or source: where the reply was published.")
        if item.table.evidence is not None:
            _check_cited(reading, item, "evidence", item.table.evidence, evidence)


def clauses(draft: FindingTable, labels: dict[str, list[str]]) -> list[str | None]:
    return [*labels.get(draft.recommendation, [])] if draft.clause == "all" else [draft.clause]


def check_findings(
    reading: Reading,
    findings: list[Item[FindingTable]],
    evidence: list[Item[EvidenceTable]],
    labels: dict[str, list[str]],
) -> None:
    seen: dict[tuple[str, str | None], str] = {}
    for item in findings:
        if item.table is None:
            continue
        number, clause, known = (
            item.table.recommendation,
            item.table.clause,
            labels.get(item.table.recommendation),
        )
        if known is None:
            reading.refuse(item.place, f"there is no recommendation “{number[:80]}”.")
        elif clause is None and known:
            reading.refuse(
                item.place, "clause is missing: this recommendation has clauses. Name one, or all."
            )
        elif clause is not None and (not known if clause == "all" else clause not in known):
            reading.refuse(item.place, f"there is no clause “{clause[:80]}” in recommendation {number}.")
        for label in clauses(item.table, labels):
            if (number, label) in seen:
                reading.refuse(
                    item.place, f"a draft for clause {label or '-'} stands already at {seen[number, label]}."
                )
            seen[number, label] = item.place
        for cited in _repeated(item.table.cites):
            reading.refuse(item.place, f"cites: “{cited[:80]}” stands twice.")
        for cited in item.table.cites:
            _check_cited(reading, item, "cites", cited, evidence)
        if not item.table.cites and item.table.grade in finding_rules.NEEDS_EVIDENCE:
            reading.refuse(
                item.place,
                f"cites is empty: grade {item.table.grade.value} needs at least one piece of evidence.",
            )
        elif not item.table.cites and item.table.search is None:
            reading.refuse(item.place, "needs evidence in cites, or a search log in [findings.search].")
