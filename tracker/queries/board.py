"""The board: where every recommendation of a report stands, read in a handful of statements."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, contains_eager, joinedload, selectinload

from tracker import permissions
from tracker.errors import NotFound
from tracker.models import (
    Addressee,
    Bearing,
    Clause,
    Evidence,
    Finding,
    Recommendation,
    Reply,
    ReplyTarget,
    Report,
)
from tracker.roll_up import roll_up
from tracker.timeliness import Timeliness, timeliness
from tracker.vocabulary import N_, Access, Grade, State

NO_SUCH_PAGE = N_("There is no such page. It may have been withdrawn, or the address has a mistake in it.")


@dataclass(frozen=True)
class Row:
    """One recommendation with everything the board says of it. The four axes stay four things."""

    recommendation: Recommendation
    findings: dict[int | None, Finding]  # Current ones by clause id; by None where there are no clauses.
    reply: Reply | None
    evidence_count: int
    timeliness: Timeliness

    def finding(self, clause: Clause | None = None) -> Finding | None:
        """The current finding of a clause, or of the recommendation itself where it has no clauses."""
        return self.findings.get(clause.id if clause else None)

    @cached_property
    def grades(self) -> list[Grade | None]:
        """The grade of each clause in order, or the recommendation's own where it has none."""
        clauses: Sequence[Clause | None] = self.recommendation.clauses or [None]
        current = [self.finding(clause) for clause in clauses]
        return [finding.grade if finding else None for finding in current]

    @cached_property
    def grade(self) -> Grade | None:
        """The roll-up."""
        return roll_up(self.grades)

    @property
    def assessed(self) -> int:
        """How many clauses have a finding."""
        return sum(grade is not None for grade in self.grades)

    @property
    def newest(self) -> Finding | None:
        """The current finding that looked last."""
        return max(self.findings.values(), key=_as_of, default=None)

    @property
    def access(self) -> Access | None:
        """What could be observed, as the newest current finding says."""
        return self.newest.access if self.newest else None


@dataclass(frozen=True)
class Board:
    """A report with its rows in the order of the document."""

    report: Report
    rows: list[Row]

    @property
    def groups(self) -> list[tuple[Addressee, list[Row]]]:
        """The rows by addressee."""
        found: dict[Addressee, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.recommendation.addressee, []).append(row)
        return sorted(found.items(), key=lambda group: group[0].position)

    @property
    def tally(self) -> dict[Grade | None, int]:
        """How many recommendations show each grade, zeros included; None counts those not yet assessed."""
        grades = [row.grade for row in self.rows]
        return {grade: grades.count(grade) for grade in (*Grade, None)}

    @property
    def assessed(self) -> int:
        """How many recommendations show a grade."""
        return sum(row.grade is not None for row in self.rows)

    @property
    def next_due(self) -> dt.date | None:
        """The day of the next review that is due."""
        return min((row.timeliness.due_on for row in self.rows if row.timeliness.due_on), default=None)


def every_report(session: Session) -> Sequence[Report]:
    """All reports with their recommendations, in the order in which they were entered."""
    query = select(Report).options(selectinload(Report.recommendations)).order_by(Report.id)
    return session.scalars(query).all()


def find_report(session: Session, slug: str) -> Report:
    """The report at an address, or NotFound."""
    # PostgreSQL cannot even be asked for a text with a NUL in it.
    report = (
        None if "\0" in slug else session.scalars(select(Report).where(Report.slug == slug)).one_or_none()
    )
    if report is None:
        raise NotFound(NO_SUCH_PAGE)
    return report


def find_recommendation(session: Session, slug: str, number: str) -> Recommendation:
    """The recommendation at an address, with its report, or NotFound."""
    recommendation = (
        None
        if "\0" in slug + number
        else session.scalars(
            select(Recommendation)
            .join(Recommendation.report)
            .where(Report.slug == slug, Recommendation.number == number)
            .options(contains_eager(Recommendation.report))
        ).one_or_none()
    )
    if recommendation is None:
        raise NotFound(NO_SUCH_PAGE)
    return recommendation


def boards(session: Session, *, today: dt.date, review_months: int) -> list[Board]:
    """Every report, the demonstrations last, newest first."""
    reports = session.scalars(
        select(Report).order_by(Report.demonstration, Report.published_on.desc(), Report.id)
    ).all()
    rows = read_rows(session, Recommendation.report_id.is_not(None), today=today, review_months=review_months)
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.recommendation.report_id].append(row)
    return [Board(report, found[report.id]) for report in reports]


def board(session: Session, report: Report, *, today: dt.date, review_months: int) -> Board:
    """One report's board."""
    condition = Recommendation.report_id == report.id
    return Board(report, read_rows(session, condition, today=today, review_months=review_months))


def read_rows(
    session: Session, condition: ColumnElement[bool], *, today: dt.date, review_months: int
) -> list[Row]:
    """The rows of the recommendations that meet a condition, in six statements however many there are."""
    recommendations = session.scalars(
        select(Recommendation)
        .where(condition)
        .options(
            joinedload(Recommendation.report),
            joinedload(Recommendation.addressee),
            selectinload(Recommendation.clauses),
        )
        .order_by(Recommendation.report_id, Recommendation.position)
    ).all()
    mine = select(Recommendation.id).where(condition)
    findings: dict[int, dict[int | None, Finding]] = defaultdict(dict)
    for finding in session.scalars(
        select(Finding).where(Finding.recommendation_id.in_(mine), Finding.state == State.ACCEPTED)
    ):
        findings[finding.recommendation_id][finding.clause_id] = finding
    pieces = dict(
        session.execute(
            select(Bearing.recommendation_id, func.count(Evidence.id.distinct()))
            .join(Bearing.evidence)
            .where(permissions.visible_evidence(None), Bearing.recommendation_id.in_(mine))
            .group_by(Bearing.recommendation_id)
        ).all()
    )
    replies = _newest_replies(
        session.execute(
            select(ReplyTarget.recommendation_id, Reply)
            .join(Reply, Reply.id == ReplyTarget.reply_id)
            .where(permissions.visible_replies(None), ReplyTarget.recommendation_id.in_(mine))
        )
    )
    return [
        _row(
            recommendation,
            findings[recommendation.id],
            replies.get(recommendation.id),
            pieces.get(recommendation.id, 0),
            review_months=review_months,
            today=today,
        )
        for recommendation in recommendations
    ]


def _row(
    recommendation: Recommendation,
    findings: dict[int | None, Finding],
    reply: Reply | None,
    evidence_count: int,
    *,
    review_months: int,
    today: dt.date,
) -> Row:
    parts: Sequence[int | None] = [clause.id for clause in recommendation.clauses] or [None]
    current = {part: findings[part] for part in parts if part in findings}
    return Row(
        recommendation,
        current,
        reply,
        evidence_count,
        timeliness(
            [finding.approved_at.date() for finding in current.values() if finding.approved_at],
            months=recommendation.review_months or recommendation.report.review_months or review_months,
            today=today,
        ),
    )


def _newest_replies(pairs: Iterable[tuple[int, Reply]]) -> dict[int, Reply]:
    newest: dict[int, Reply] = {}
    for recommendation_id, reply in pairs:
        if recommendation_id not in newest or said_on(newest[recommendation_id]) < said_on(reply):
            newest[recommendation_id] = reply
    return newest


def said_on(reply: Reply) -> tuple[dt.date, int]:
    """What replies are ordered by: when the State spoke, then when we published it."""
    return reply.replied_on or dt.date.min, reply.ledger_seq or 0


def _as_of(finding: Finding) -> tuple[dt.date, int]:
    return finding.as_of or dt.date.min, finding.ledger_seq or 0
