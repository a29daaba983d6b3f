"""Reports: entered from a file, corrected from a later version of it, never silently.

Loading the same file twice changes nothing. What a corrected file says differently becomes dated changes in the
ledger; what is missing from it is told and kept. The caller has checked the file (`report_file.read`) and commits.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker import permissions
from tracker.models import (
    Addressee,
    Bearing,
    Clause,
    Evidence,
    LedgerTopic,
    Recommendation,
    Reply,
    Report,
)
from tracker.services import activity, ledger, report_parts, themes
from tracker.services.report_file import ReportFile
from tracker.services.report_format import ClauseTable, RecommendationTable
from tracker.vocabulary import EntryKind, State, Word

REPORT_KEYS = (
    "title", "short_title", "issuer", "country", "published_on", "language", "symbol", "url", "document_url",
    "document_sha256", "notes", "demonstration", "review_months",
)  # fmt: skip
RECOMMENDATION_KEYS = ("reference", "title", "text", "page", "review_months")


@dataclass
class Summary:
    """What loading a file did. The counts are the file's; `changes` is empty if there was nothing new."""

    slug: str
    recommendations: int
    clauses: int
    evidence: int
    replies: int
    findings: int
    new: bool = False
    changes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # What a person should know and perhaps act on.

    def __str__(self) -> str:
        """For the terminal: one line, and one more for each change of a report that was there before."""
        if self.new:
            first = (
                f"Loaded {self.slug}: {self.recommendations} recommendations, {self.clauses} clauses, "
                f"{self.evidence} pieces of evidence, {self.replies} replies, {self.findings} draft findings."
            )
            return "\n".join([first, *(f"  {note}" for note in self.notes)])
        first = (
            f"Loaded changes of {self.slug}: {len(self.changes)}."
            if self.changes
            else f"{self.slug}: Nothing new."
        )
        return "\n".join([first, *(f"  {line}" for line in [*self.changes, *self.notes])])


@dataclass(frozen=True)
class Overview:
    """One report in a list."""

    slug: str
    title: str
    recommendations: int
    clauses: int
    evidence: int
    replies: int
    newest_seq: int | None


def load(session: Session, parsed: ReportFile, *, now: dt.datetime) -> Summary:
    """Bring the database to what the file says, with one ledger entry for each thing published or corrected."""
    summary = Summary(
        slug=parsed.report.slug,
        recommendations=len(parsed.recommendations),
        clauses=sum(len(item.clauses) for item in parsed.recommendations),
        evidence=len(parsed.evidence),
        replies=len(parsed.replies),
        findings=len(parsed.drafts),
    )
    # Of two loads at once, the second waits here and then finds what the first one made.
    ledger.lock(session)
    report = session.scalars(select(Report).where(Report.slug == parsed.report.slug)).one_or_none()
    if report is None:
        summary.new = True
        report = _enter(session, parsed, now)
    else:
        summary.changes += _correct(session, report, parsed, summary.notes, now)
    parts = report_parts.Parts(session, report, summary.changes, summary.notes, now)
    parts.load_evidence(parsed.evidence)
    parts.load_replies(parsed.replies)
    parts.load_drafts(parsed.drafts)
    session.flush()
    if summary.new or summary.changes:
        activity.record(session, None, "report-loaded", subject(report), now=now)
    return summary


def overviews(session: Session) -> list[Overview]:
    """Every report with its counts and the ledger position of what last touched it."""
    own = Recommendation.report_id == Report.id
    query = select(
        Report.slug,
        Report.title,
        select(func.count()).where(own).scalar_subquery(),
        select(func.count()).where(own, Clause.recommendation_id == Recommendation.id).scalar_subquery(),
        select(func.count(Evidence.id.distinct()))
        .where(own, Bearing.recommendation_id == Recommendation.id, Bearing.evidence_id == Evidence.id)
        .where(permissions.PUBLIC_EVIDENCE)
        .scalar_subquery(),
        select(func.count())
        .where(Reply.report_id == Report.id, Reply.state == State.ACCEPTED)
        .scalar_subquery(),
        select(func.max(LedgerTopic.seq)).where(LedgerTopic.report_id == Report.id).scalar_subquery(),
    ).order_by(Report.slug)
    return [Overview(*row) for row in session.execute(query)]


def content(report: Report) -> dict[str, Any]:
    """Everything that pages show of a report itself, so that the record proves it."""
    return {
        **{key: _plain(getattr(report, key)) for key in REPORT_KEYS},
        "addressees": [
            {"slug": row.slug, "name": row.name, "kind": row.kind.value, "chapeau": row.chapeau}
            for row in report.addressees
        ],
        "recommendations": [
            {
                "number": row.number,
                "addressee": row.addressee.slug,
                **{key: getattr(row, key) for key in RECOMMENDATION_KEYS},
                # Reports that were entered before there were themes said nothing of them.
                **({"themes": [theme.name for theme in row.themes]} if row.themes else {}),
                "clauses": [
                    {"label": clause.label, "title": clause.title, "text": clause.text}
                    for clause in row.clauses
                ],
            }
            for row in report.recommendations
        ],
    }


def subject(report: Report) -> str:
    """How the ledger and the team's activity name it."""
    return f"report/{report.slug}"


def _enter(session: Session, parsed: ReportFile, now: dt.datetime) -> Report:
    report = Report(
        slug=parsed.report.slug, created_at=now, **{key: getattr(parsed.report, key) for key in REPORT_KEYS}
    )
    addressees = {
        item.slug: Addressee(
            report=report,
            slug=item.slug,
            name=item.name,
            kind=item.kind,
            chapeau=item.chapeau,
            position=place,
        )
        for place, item in enumerate(parsed.addressees, 1)
    }
    recommendations = [
        _new_recommendation(session, report, addressees, item, place)
        for place, item in enumerate(parsed.recommendations, 1)
    ]
    session.add(report)
    ledger.append(
        session,
        EntryKind.REPORT_LOADED,
        subject=subject(report),
        report=_flushed(session, report),
        facts={
            "recommendations_count": len(recommendations),
            "clauses_count": sum(len(row.clauses) for row in recommendations),
            "published_on": report.published_on.isoformat(),
            "document_sha256": report.document_sha256,
        },
        content=content(report),
        now=now,
    )
    return report


def _flushed(session: Session, report: Report) -> Report:
    session.flush()  # The ledger's topics name the report by its id.
    return report


def _new_recommendation(
    session: Session,
    report: Report,
    addressees: Mapping[str, Addressee],
    item: RecommendationTable,
    place: int,
) -> Recommendation:
    return Recommendation(
        report=report,
        addressee=addressees[item.addressee],
        number=item.number,
        position=place,
        clauses=[_new_clause(clause, position) for position, clause in enumerate(item.clauses, 1)],
        themes=themes.of_names(session, item.themes),
        **{key: getattr(item, key) for key in RECOMMENDATION_KEYS},
    )


def _new_clause(item: ClauseTable, place: int) -> Clause:
    return Clause(label=item.label, title=item.title, text=item.text, position=place)


def _correct(
    session: Session, report: Report, parsed: ReportFile, notes: list[str], now: dt.datetime
) -> list[str]:
    """Take over what the file says differently, in one ledger entry. Gives the changes as sentences."""
    changes = _Changes()
    changes.set(report, {key: getattr(parsed.report, key) for key in REPORT_KEYS}, "")
    addressees = {row.slug: row for row in report.addressees}
    for item in parsed.addressees:
        place = f"addressees/{item.slug}"
        if (row := addressees.get(item.slug)) is not None:
            changes.set(row, {"name": item.name, "kind": item.kind, "chapeau": item.chapeau}, place)
        else:
            addressees[item.slug] = Addressee(
                report=report,
                slug=item.slug,
                name=item.name,
                kind=item.kind,
                chapeau=item.chapeau,
                position=0,
            )
            changes.changed(place, None, item.name)
    changes.order(addressees, [item.slug for item in parsed.addressees], "addressees", notes)
    rows = {row.number: row for row in report.recommendations}
    touched: list[Recommendation] = []
    for recommendation in parsed.recommendations:
        before = len(changes.found)
        place = f"recommendations/{recommendation.number}"
        if recommendation.number in rows:
            _correct_recommendation(
                session, changes, rows[recommendation.number], recommendation, addressees, notes
            )
        else:
            rows[recommendation.number] = _new_recommendation(session, report, addressees, recommendation, 0)
            session.add(rows[recommendation.number])
            changes.added(place, recommendation.text)
        if len(changes.found) > before:
            touched.append(rows[recommendation.number])
    changes.order(rows, [item.number for item in parsed.recommendations], "recommendations", notes)
    session.flush()
    if changes.found:
        # They are read in their new order from now on.
        session.expire(report, ["addressees", "recommendations"])
        for one in touched:
            session.expire(one, ["clauses"])
        ledger.append(
            session,
            EntryKind.REPORT_CORRECTED,
            subject=subject(report),
            report=report,
            recommendations=touched,
            facts={"changed": [change["what"] for change in changes.found]},
            content={"changes": changes.found, **content(report)},
            now=now,
        )
    return changes.said


def _correct_recommendation(
    session: Session,
    changes: _Changes,
    row: Recommendation,
    item: RecommendationTable,
    addressees: Mapping[str, Addressee],
    notes: list[str],
) -> None:
    place = f"recommendations/{item.number}"
    if row.addressee.slug != item.addressee:
        changes.changed(f"{place}/addressee", row.addressee.slug, item.addressee)
        row.addressee = addressees[item.addressee]
    changes.set(row, {key: getattr(item, key) for key in RECOMMENDATION_KEYS}, place)
    wanted = themes.of_names(session, item.themes)
    if row.themes != wanted:
        was, now = (", ".join(theme.name for theme in found) for found in (row.themes, wanted))
        changes.changed(f"{place}/themes", was or None, now or None)
        row.themes = wanted
    clauses = {clause.label: clause for clause in row.clauses}
    for clause in item.clauses:
        if clause.label in clauses:
            values = {"title": clause.title, "text": clause.text}
            changes.set(clauses[clause.label], values, f"{place}/clauses/{clause.label}")
        else:
            clauses[clause.label] = _new_clause(clause, 0)
            row.clauses.append(clauses[clause.label])
            changes.added(f"{place}/clauses/{clause.label}", clause.text)
    changes.order(clauses, [clause.label for clause in item.clauses], f"{place}/clauses", notes)


class _Changes:
    """What a corrected file changes in the report itself: what, was, now."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self.said: list[str] = []

    def changed(self, what: str, was: Any, now: Any) -> None:
        self.found.append({"what": what, "was": _plain(was), "now": _plain(now)})
        self.said.append(f"{what} corrected")

    def added(self, what: str, text: str) -> None:
        self.found.append({"what": what, "was": None, "now": text})
        self.said.append(f"{what} added")

    def set(self, row: Any, values: Mapping[str, Any], place: str) -> None:
        """Set what differs on a row."""
        for key, value in values.items():
            if getattr(row, key) != value:
                self.changed(f"{place}/{key}".lstrip("/"), getattr(row, key), value)
                setattr(row, key, value)

    def order(self, rows: Mapping[str, Any], wanted: Sequence[str], place: str, notes: list[str]) -> None:
        """Put rows into the file's order. What is no longer in the file stays, at the end, and is told."""
        before = sorted((row.position, key) for key, row in rows.items() if row.position)
        known = [key for _, key in before]
        if [key for key in known if key in wanted] != [key for key in wanted if key in known]:
            self.changed(f"{place}/order", ", ".join(known), ", ".join(wanted))
        vanished = [key for key in known if key not in wanted]
        for position, key in enumerate([*wanted, *vanished], 1):
            rows[key].position = position
        notes += [f"{place}/{key} is no longer in the file; it stays as it was." for key in vanished]


def _plain(value: Any) -> Any:
    if isinstance(value, Word):
        return value.value
    return value.isoformat() if isinstance(value, dt.date) else value
