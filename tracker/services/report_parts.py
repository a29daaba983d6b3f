"""What comes with a report file: its evidence, replies and draft findings, brought to what the file says.

Every row remembers its name in the file (`imported_as`), so that it is found again and changed, never doubled.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.errors import Stale
from tracker.models import (
    Bearing,
    Citation,
    Clause,
    Evidence,
    EvidenceLink,
    Finding,
    Quotation,
    Recommendation,
    Reply,
    ReplyTarget,
    Report,
)
from tracker.services import evidence as evidence_service
from tracker.services import replies as reply_service
from tracker.services import states
from tracker.services.report_format import EvidenceTable, FindingTable, ReplyTable
from tracker.vocabulary import State, Visibility, Word

Row = TypeVar("Row", Evidence, Reply, Finding)
Values = dict[str, Any]
# Keys whose column has another name, as the file and so the public knows them.
NAMES = {
    "occurred_on": "date", "replied_on": "date", "date_precision": "precision", "source_type": "type of source",
    "source_publisher": "publisher of the source", "source_title": "title of the source",
    "source_url": "address of the source", "bears_on": "what it bears on", "links": "addresses",
}  # fmt: skip


@dataclass
class Parts:
    """One loading: the report whose parts they are, and what happened so far."""

    session: Session
    report: Report
    changes: list[str]
    notes: list[str]
    now: dt.datetime

    def __post_init__(self) -> None:
        self.recommendations = {row.number: row for row in self.report.recommendations}
        self.evidence: dict[str, Evidence] = {}

    def load_evidence(self, tables: Iterable[EvidenceTable]) -> None:
        """Public pieces are published in the file's order; changed ones are corrected."""
        self.evidence = self._existing(Evidence)
        vanished = dict(self.evidence)
        for table in tables:
            row, wanted = vanished.pop(table.id, None), _evidence_values(table)
            if row is None:
                row = Evidence(
                    imported_as=self._name(table.id),
                    state=State.ACCEPTED,
                    visibility=table.visibility,
                    created_at=self.now,
                )
                self._fill_evidence(row, wanted)
                self.session.add(row)
                self.evidence[table.id] = row
                self.changes.append(f"evidence {table.id} added")
                if table.visibility is Visibility.PUBLIC:
                    evidence_service.publish(self.session, row, now=self.now)
            else:
                self._correct_evidence(row, table, wanted)
        for name, row in vanished.items():
            if row.state is State.ACCEPTED:
                self.notes.append(
                    f"evidence {name} is no longer in the file; withdraw it in the browser if it was wrong."
                )

    def load_replies(self, tables: Iterable[ReplyTable]) -> None:
        """Published and corrected like evidence."""
        vanished = self._existing(Reply)
        for table in tables:
            row = vanished.pop(table.id, None)
            wanted = self._reply_values(table)
            if row is None:
                row = Reply(imported_as=self._name(table.id), report=self.report, created_at=self.now)
                self._fill_reply(row, wanted)
                self.session.add(row)
                self.session.flush()  # Its key is made then, and stands in the ledger.
                self.changes.append(f"reply {table.id} added")
                reply_service.publish(self.session, row, now=self.now)
            elif different := _differences(_reply_is(row), wanted):
                if row.state is not State.ACCEPTED:
                    self.notes.append(f"reply {table.id} was withdrawn; its change in the file was left out.")
                    continue
                self._fill_reply(row, {key: wanted[key] for key in different})
                row.version += 1
                if (
                    "evidence" in different
                ):  # The public knows evidence by its number, not by its name in the file.
                    different["evidence"] = (
                        self._number(different["evidence"][0]),
                        self._number(wanted["evidence"]),
                    )
                reply_service.correct(self.session, row, correction=_said(different), now=self.now)
                self.changes.append(f"reply {table.id} corrected")
        for name, row in vanished.items():
            if row.state is State.ACCEPTED:
                self.notes.append(
                    f"reply {name} is no longer in the file; withdraw it in the browser if it was wrong."
                )

    def load_drafts(self, drafts: Mapping[tuple[str, str | None], FindingTable]) -> None:
        """Drafts belong to nobody until somebody takes one up; from then on the file has no say in it."""
        vanished = self._existing(Finding)
        for (number, label), table in drafts.items():
            name = f"{number}/{label or '-'}"
            row, wanted = vanished.pop(name, None), self._finding_values(table)
            if row is None:
                recommendation, clause = self._target(f"{number}/{label}" if label else number)
                row = Finding(
                    imported_as=self._name(name),
                    recommendation=recommendation,
                    clause=clause,
                    created_at=self.now,
                )
                self._fill_finding(row, wanted)
                self.session.add(row)
                self.changes.append(f"draft finding {name} added")
            elif _untouched(row) and _differences(_finding_is(row), wanted) and self._claimed(row):
                row.citations.clear()
                self.session.flush()  # A citation may stand once only, so old ones go before new ones come.
                self._fill_finding(row, wanted)
                self.changes.append(f"draft finding {name} changed")
        for name, row in vanished.items():
            if _untouched(row):
                self.notes.append(f"draft finding {name} is no longer in the file; it stays as it was.")

    def _correct_evidence(self, row: Evidence, table: EvidenceTable, wanted: Values) -> None:
        different = _differences(_evidence_is(row), wanted)
        if row.state is not State.ACCEPTED:
            if different:
                gone = (
                    "erased; what the file says of it"
                    if row.state is State.ERASED
                    else "withdrawn; its change in the file"
                )
                self.notes.append(f"evidence {table.id} was {gone} was left out.")
            return
        if different:
            self._fill_evidence(row, {key: wanted[key] for key in different})
            row.version += 1
            self.changes.append(f"evidence {table.id} corrected")
        public = {key: values for key, values in different.items() if key != "team_note"}
        if row.ledger_seq is None and table.visibility is Visibility.PUBLIC:
            row.visibility = Visibility.PUBLIC
            self.changes.append(f"evidence {table.id} made public")
            evidence_service.publish(self.session, row, now=self.now)
        elif row.ledger_seq is not None and public:
            evidence_service.correct(self.session, row, correction=_said(public), now=self.now)
        if row.ledger_seq is not None and table.visibility is not Visibility.PUBLIC:
            self.notes.append(
                f"evidence {table.id} is public already; withdraw it in the browser if it must go."
            )

    def _fill_evidence(self, row: Evidence, values: Values) -> None:
        for key, value in values.items():
            if key == "links":
                row.links = [EvidenceLink(position=place, url=url) for place, url in enumerate(value, 1)]
            elif key == "bears_on":
                row.bearings.clear()
                self.session.flush()  # A bearing may stand once only, so old ones go before new ones come.
                for target, direction in value.items():
                    recommendation, clause = self._target(target)
                    row.bearings.append(
                        Bearing(recommendation=recommendation, clause=clause, direction=direction)
                    )
            else:
                setattr(row, key, value)

    def _fill_reply(self, row: Reply, values: Values) -> None:
        for key, value in values.items():
            if key == "quotations":
                row.quotations = [Quotation(position=place, text=text) for place, text in enumerate(value, 1)]
            elif key == "recommendations":
                row.targets.clear()
                self.session.flush()  # A recommendation may stand once only.
                row.targets = [ReplyTarget(recommendation=self.recommendations[number]) for number in value]
            elif key == "evidence":
                row.evidence = self.evidence[value] if value else None
            else:
                setattr(row, key, value)

    def _fill_finding(self, row: Finding, values: Values) -> None:
        for key, value in values.items():
            if key == "cites":
                row.citations = [Citation(evidence=self.evidence[name]) for name in value]
            else:
                setattr(row, key, value)

    def _claimed(self, row: Finding) -> bool:
        try:
            states.claim_version(self.session, row, row.version)
        except Stale:
            return False  # Somebody took it up at this very moment.
        return True

    def _reply_values(self, table: ReplyTable) -> Values:
        source = table.source
        return {
            "author": table.author,
            "position": table.position,
            "replied_on": table.date.day,
            "date_precision": table.known_as,
            "summary": table.summary,
            "source_publisher": source.publisher if source else "",
            "source_title": source.title if source else "",
            "source_url": (source.url or "") if source else "",
            "quotations": table.quotations,
            "recommendations": sorted(table.recommendations),
            "evidence": table.evidence or "",
        }

    def _finding_values(self, table: FindingTable) -> Values:
        search = table.search
        return {
            "grade": table.grade,
            "as_of": table.as_of,
            "access": table.access,
            "rationale": table.rationale,
            "would_change": table.would_change,
            "search_what": search.what if search else "",
            "search_where": search.where if search else "",
            "search_languages": ", ".join(search.languages) if search else "",
            "search_until": search.until if search else None,
            "cites": sorted(table.cites),
        }

    def _target(self, target: str) -> tuple[Recommendation, Clause | None]:
        """ "153/a" as its recommendation and clause."""
        number, _, label = target.partition("/")
        recommendation = self.recommendations[number]
        return recommendation, next((row for row in recommendation.clauses if row.label == label), None)

    def _number(self, name: str) -> str:
        return str(self.evidence[name].number) if name else ""

    def _name(self, name: str) -> str:
        return f"{self.report.slug}/{name}"

    def _existing(self, kind: type[Row]) -> dict[str, Row]:
        """The rows that earlier loads made, by their name in the file, locked until this load ends."""
        prefix = self._name("")
        rows = self.session.scalars(
            select(kind)
            .where(kind.imported_as.startswith(prefix, autoescape=True))
            .order_by(kind.id)
            # Leaves their keys free: whoever cites one of them just now need not wait for us, nor we for them.
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
        return {str(row.imported_as).removeprefix(prefix): row for row in rows}


def _evidence_values(table: EvidenceTable) -> Values:
    return {
        "title": table.title,
        "summary": table.summary,
        "occurred_on": table.date.day,
        "date_precision": table.known_as,
        "publisher": table.publisher,
        "source_type": table.source_type,
        "language": table.language,
        "reliability": table.reliability,
        "credibility": table.credibility,
        "remark": table.remark,
        "team_note": table.team_note,
        "links": table.links,
        "bears_on": dict(table.bearings),
    }


def _evidence_is(row: Evidence) -> Values:
    scalars = ("title", "summary", "occurred_on", "date_precision", "publisher", "source_type", "language")
    return {
        **{key: getattr(row, key) for key in (*scalars, "reliability", "credibility", "remark", "team_note")},
        "links": [link.url for link in row.links],
        "bears_on": {
            item.recommendation.number + (f"/{item.clause.label}" if item.clause else ""): item.direction
            for item in row.bearings
        },
    }


def _reply_is(row: Reply) -> Values:
    scalars = ("author", "position", "replied_on", "date_precision", "summary")
    return {
        **{key: getattr(row, key) for key in (*scalars, "source_publisher", "source_title", "source_url")},
        "quotations": [quotation.text for quotation in row.quotations],
        "recommendations": sorted(target.recommendation.number for target in row.targets),
        "evidence": _file_name(row.evidence),
    }


def _finding_is(row: Finding) -> Values:
    scalars = ("grade", "as_of", "access", "rationale", "would_change")
    searched = ("search_what", "search_where", "search_languages", "search_until")
    return {
        **{key: getattr(row, key) for key in (*scalars, *searched)},
        "cites": sorted(_file_name(citation.evidence) for citation in row.citations),
    }


def _file_name(evidence: Evidence | None) -> str:
    return (evidence.imported_as or "").partition("/")[2] if evidence else ""


def _untouched(row: Finding) -> bool:
    return row.state is State.DRAFT and row.proposed_by_id is None


def _differences(is_now: Values, wanted: Values) -> dict[str, tuple[Any, Any]]:
    return {key: (is_now[key], value) for key, value in wanted.items() if is_now[key] != value}


def _said(different: Mapping[str, tuple[Any, Any]]) -> str:
    """What was corrected, in sentences for the public."""
    return "\n".join(
        f"{NAMES.get(key, key).capitalize()} was {_shown(was)}, is now {_shown(now)}."
        for key, (was, now) in different.items()
    )


def _shown(value: Any) -> str:
    if isinstance(value, Word):
        return f"“{value.label}”"
    if isinstance(value, dict):
        return _shown([f"{target}: {direction.label}" for target, direction in value.items()])
    if isinstance(value, list):
        return "; ".join(f"“{item}”" for item in value) or "empty"
    if isinstance(value, dt.date):
        return value.isoformat()
    return f"“{value}”" if value else "empty"
