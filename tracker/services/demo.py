"""The demonstration: a report on the fictional Republic of Arvenia, of any size, made by the real services.

It exists to look at and to measure with. Every page about it says that it is invented. The two accounts that make
its findings cannot sign in: they have no password, and they are active only while a batch is being written.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from tracker.models import Account, Bearing, Clause, Evidence, Recommendation, ReplyTarget, Report
from tracker.services import evidence, findings, replies, reports
from tracker.services.demo_story import COUNTRY, PIECES, PUBLISHED_ON, Step, Story, stories
from tracker.services.harm import Harm
from tracker.services.report_file import ReportFile
from tracker.services.report_format import AddresseeTable, RecommendationTable, ReportTable
from tracker.vocabulary import (
    Credibility,
    Direction,
    Grade,
    Precision,
    Reliability,
    Role,
    SourceType,
    Visibility,
)

BATCH = 50
DIRECTIONS = {
    Grade.A: Direction.PROGRESS,
    Grade.B: Direction.PROGRESS,
    Grade.C: Direction.NO_CHANGE,
    Grade.D: Direction.REFUSAL,
    Grade.E: Direction.REGRESS,
    Grade.V: Direction.CONTEXT,
}
ADDRESSEES = (
    {"slug": "government", "name": "Government of Arvenia", "kind": "government", "chapeau": "It is recommended that the Government:"},
    {"slug": "business", "name": "Business", "kind": "business", "chapeau": "It is recommended that buyers and sellers:"},
    {"slug": "international", "name": "Other States", "kind": "international", "chapeau": "It is recommended that other States:"},
)  # fmt: skip


@dataclass(frozen=True)
class _Team:
    """The two made-up people, and the moment at which they work."""

    monitor: Account
    reviewer: Account
    now: dt.datetime


def slug(recommendations: int, seed: int) -> str:
    """The report's name in addresses, one for each size and seed."""
    return f"arvenia-{recommendations}-{seed}"


def make(session: Session, *, recommendations: int, seed: int, now: dt.datetime) -> Iterator[int]:
    """Make the demonstration in batches; yields how many recommendations are told. The caller commits at each yield.

    Safe to repeat: what is there already is left as it is, so that an interrupted one is finished.
    """
    told = stories(recommendations, seed)
    reports.load(session, _report(told, slug(recommendations, seed), now), now=now)
    yield 0
    for start in range(0, recommendations, BATCH):
        _tell(session, slug(recommendations, seed), told[start : start + BATCH], now)
        yield min(start + BATCH, recommendations)
        session.expunge_all()  # What is committed need not be kept in memory.


def _report(told: list[Story], name: str, now: dt.datetime) -> ReportFile:
    context = {"today": max(now.date(), PUBLISHED_ON)}
    report = {
        "slug": name,
        "title": "Assessment of the situation in the Lower Valley (invented)",
        "short_title": "Lower Valley, 2023 (invented)",
        "issuer": "Office of Assessments",
        "country": COUNTRY,
        "published_on": PUBLISHED_ON,
        "language": "en",
        "notes": "The Republic of Arvenia does not exist. Everything said about it is invented, to show how the tracker works.",
        "demonstration": True,
    }
    tables = [
        {
            "number": story.number,
            "reference": story.reference,
            "addressee": story.addressee,
            "title": story.title,
            "text": story.text,
            "page": 41 + place // 8,
            "clauses": [
                {"label": "abcdefgh"[index], "title": title, "text": words}
                for index, (title, words) in enumerate(story.clauses)
            ],
        }
        for place, story in enumerate(told)
    ]
    return ReportFile(
        report=ReportTable.model_validate(report, context=context),
        addressees=[AddresseeTable.model_validate(item) for item in ADDRESSEES],
        recommendations=[RecommendationTable.model_validate(item) for item in tables],
        evidence=[],
        replies=[],
        findings=[],
    )


def _tell(session: Session, name: str, told: list[Story], now: dt.datetime) -> None:
    """What became of some recommendations: evidence, findings and replies, in the order of their days."""
    report = session.scalars(select(Report).where(Report.slug == name)).one()
    rows = session.scalars(
        select(Recommendation)
        .where(Recommendation.report == report, Recommendation.number.in_([story.number for story in told]))
        .options(selectinload(Recommendation.clauses))
    ).all()
    ids = [row.id for row in rows]
    begun = {
        *session.scalars(select(Bearing.recommendation_id).where(Bearing.recommendation_id.in_(ids))),
        *session.scalars(select(ReplyTarget.recommendation_id).where(ReplyTarget.recommendation_id.in_(ids))),
    }
    by_number = {row.number: row for row in rows if row.id not in begun}
    monitor = account(session, "monitor", Role.MONITOR, now)
    reviewer = account(session, "reviewer", Role.REVIEWER, now)
    # The services ask whether the people may do this. Nobody else ever sees them active: the batch is one transaction.
    monitor.active = reviewer.active = True
    team = _Team(monitor, reviewer, now)
    for story in told:
        row = by_number.get(story.number)
        if row is None:
            continue
        for step in story.steps:
            if step.day <= now.date():
                _assess(session, row, story, step, team)
        if story.position is not None and story.replied_on is not None and story.replied_on <= now.date():
            _reply(session, report, row, story, team)
    monitor.active = reviewer.active = False
    session.flush()


def account(session: Session, name: str, role: Role, now: dt.datetime) -> Account:
    """One of the made-up people, who can never sign in; made if there is none yet."""
    email = f"demonstration-{name}@arvenia.example"
    found = session.scalars(select(Account).where(Account.email == email)).one_or_none()
    if found is None:
        found = Account(email=email, name=f"Demonstration {name}", role=role, active=False, created_at=now)
        session.add(found)
        session.flush()
    return found


def _assess(session: Session, row: Recommendation, story: Story, step: Step, team: _Team) -> None:
    """One piece of evidence for each grade of a step, and a finding for each clause that rests on it."""
    pieces: dict[Grade, Evidence] = {}
    parts: list[tuple[Clause | None, Grade]] = [
        (clause, Grade(letter))  # type: ignore[call-arg]  # A word is found by its value alone.
        for clause, letter in zip(findings.targets(row), step.grades, strict=True)
        if letter != "–"
    ]
    for grade in dict.fromkeys(grade for _, grade in parts):
        pieces[grade] = _log(
            session, row, step, grade, [clause for clause, own in parts if own is grade], team
        )
    for clause, grade in parts:
        fields = findings.Fields(
            grade=grade,
            as_of=step.day,
            access=story.access,
            rationale=step.reason,
            would_change="A visit by people who may go where they wish would change what can be said.",
            evidence_ids=[pieces[grade].id],
        )
        draft = findings.draft(
            session, fields, author=team.monitor, recommendation=row, clause=clause, now=team.now
        )
        findings.submit(session, draft, author=team.monitor, now=team.now)
        harm = dict.fromkeys(findings.HARM_QUESTIONS, "no")
        findings.approve(session, draft, reviewer=team.reviewer, harm=harm, now=team.now)


def _log(
    session: Session, row: Recommendation, step: Step, grade: Grade, clauses: list[Clause | None], team: _Team
) -> Evidence:
    title, publisher, summary = PIECES[grade]
    fields = evidence.Fields(
        title=title.format(subject=f"matter of {row.reference}"),
        summary=f"{summary} {step.reason}",
        occurred_on=step.day - dt.timedelta(days=6),
        date_precision=Precision.DAY,
        publisher=publisher,
        source_type=SourceType.OFFICIAL_RECORD
        if grade in (Grade.A, Grade.B)
        else SourceType.ORGANISATION_REPORT,
        language="en",
        reliability=Reliability.B,
        credibility=Credibility.TWO,
        visibility=Visibility.PUBLIC,
        remark="Invented for the demonstration.",
        links=[f"https://records.arvenia.example/{row.number}/{step.day.isoformat()}/{grade.value.lower()}"],
        bearings=[
            evidence.Bears(row.id, clause.id if clause else None, DIRECTIONS[grade]) for clause in clauses
        ],
    )
    piece = evidence.draft(session, fields, author=team.monitor, now=team.now)
    evidence.submit(session, piece, author=team.monitor, now=team.now)
    harmless = Harm(dict.fromkeys(findings.HARM_QUESTIONS, "no"))
    evidence.accept(session, piece, reviewer=team.reviewer, harm=harmless, now=team.now)
    return piece


def _reply(session: Session, report: Report, row: Recommendation, story: Story, team: _Team) -> None:
    fields = replies.Fields(
        author=f"Government of Arvenia ({COUNTRY})",
        position=story.position,
        replied_on=story.replied_on,
        summary=f"Invented for the demonstration: what the Government says about recommendation {row.reference}.",
        quotations=[
            "All allegations have been examined by the competent authorities in accordance with the law."
        ],
        source_publisher="Permanent Mission of Arvenia",
        source_title="Note verbale",
        recommendation_ids=[row.id],
    )
    reply = replies.draft(session, fields, report=report, author=team.monitor, now=team.now)
    replies.submit(session, reply, author=team.monitor, now=team.now)
    replies.accept(session, reply, reviewer=team.reviewer, now=team.now)
