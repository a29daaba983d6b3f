"""Do the rows that pages show still say what the ledger published? For `tracker ledger verify` on a live database."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, joinedload, selectinload

from tracker import permissions
from tracker.models import (
    Bearing,
    Citation,
    DissentingNote,
    Evidence,
    Finding,
    LedgerEntry,
    LedgerTopic,
    Recommendation,
    Reply,
    ReplyTarget,
    Report,
)
from tracker.services import dissent, evidence, findings, ledger, replies, reports
from tracker.vocabulary import SILENT, WITHDRAWALS, EntryKind, State, Visibility

Facts = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """One published thing as its rows have it: what its newest entry says, if nobody touched them."""

    subject: str
    seq: int | None  # The entry that the row points to. Reports point to none.
    withdrawn: bool
    facts: Facts
    words: Facts
    hour: dt.datetime | None = None  # The hour in which it was published, where the row has one of its own.


def problems(session: Session) -> Iterator[str]:
    """One sentence for each published thing whose rows differ from its newest ledger entry, or that lacks one."""
    newest = _newest(session)
    seen: set[str] = set()
    for shown in (
        *_reports(session),
        *_evidence(session),
        *_findings(session),
        *_dissent(session),
        *_replies(session),
    ):
        seen.add(shown.subject)
        entry = newest.get(shown.subject)
        if entry is None:
            yield f"{shown.subject} is shown in public and has no ledger entry."
        elif shown.withdrawn != (entry.kind in WITHDRAWALS):
            yield f"{shown.subject}: entry {entry.seq} and the database disagree about its withdrawal."
        elif shown.seq not in (None, entry.seq):
            yield f"{shown.subject}: the database points to entry {shown.seq}, its newest entry is {entry.seq}."
        elif shown.hour not in (None, entry.recorded_at):
            yield f"{shown.subject} was changed in the database: its day differs from entry {entry.seq}."
        else:
            yield from _difference(shown, entry)
    for subject, entry in newest.items():
        if subject not in seen:
            yield f"{subject}: entry {entry.seq} published it, and it is gone from the database."
    yield from _emptied(session)
    yield from _misfiled(session)


def _difference(shown: Shown, entry: LedgerEntry) -> Iterator[str]:
    recorded, published = ledger.facts_of(entry), ledger.content_of(entry)
    pairs = [(recorded, shown.facts)]
    if published is not None:  # Erased words are nothing to compare with.
        pairs.append((published, shown.words))
    for then, now in pairs:
        for name, value in now.items():
            if then.get(name) != value:
                yield f"{shown.subject} was changed in the database: “{name}” differs from entry {entry.seq}."
                return


def _newest(session: Session) -> dict[str, LedgerEntry]:
    told = LedgerEntry.kind.not_in(SILENT)
    last = select(func.max(LedgerEntry.seq)).where(told).group_by(LedgerEntry.subject)
    query = select(LedgerEntry).where(LedgerEntry.seq.in_(last)).options(selectinload(LedgerEntry.content))
    return {entry.subject: entry for entry in session.scalars(query)}


def _reports(session: Session) -> Iterator[Shown]:
    entered = select(Report).options(
        selectinload(Report.addressees),
        selectinload(Report.recommendations).joinedload(Recommendation.addressee),
        selectinload(Report.recommendations).selectinload(Recommendation.clauses),
    )
    for report in session.scalars(entered.order_by(Report.id)):
        yield Shown(reports.subject(report), None, False, {"report": report.slug}, reports.content(report))


def _evidence(session: Session) -> Iterator[Shown]:
    pieces = (
        select(Evidence)
        .where(or_(Evidence.number.is_not(None), permissions.PUBLIC_EVIDENCE))
        .options(
            selectinload(Evidence.links),
            selectinload(Evidence.bearings)
            .joinedload(Bearing.recommendation)
            .joinedload(Recommendation.report),
            selectinload(Evidence.bearings).joinedload(Bearing.clause),
        )
    )
    for row in session.scalars(pieces.order_by(Evidence.id)):
        facts = {**evidence.facts(row), **_place(*(item.recommendation for item in row.bearings))}
        if (row.state, row.visibility) != (State.ACCEPTED, Visibility.PUBLIC):
            facts["visibility"] = (
                row.visibility.value
            )  # Hidden from the pages, and the ledger knows nothing of it.
        # Told also where it is empty, so that a place that was taken away is noticed.
        words = {"place": None, **evidence.content(row)}
        yield _shown(row, f"evidence/{row.number}", facts, words)


def _findings(session: Session) -> Iterator[Shown]:
    made = (
        select(Finding)
        .where(Finding.state.in_([State.ACCEPTED, State.SUPERSEDED, State.WITHDRAWN]))
        .options(
            joinedload(Finding.recommendation).joinedload(Recommendation.report),
            joinedload(Finding.clause),
            joinedload(Finding.replaces),
            selectinload(Finding.citations).joinedload(Citation.evidence),
        )
    )
    replaced = _replaced(session)
    for row in session.scalars(made.order_by(Finding.id)):
        facts = {**findings.facts(row), **_place(row.recommendation)}
        if (row.state is State.SUPERSEDED) != (row.key in replaced):
            facts["state"] = row.state.value  # It stands, or stands no more, without an entry that says so.
        yield _shown(row, findings.subject(row), facts, findings.content(row))


def _dissent(session: Session) -> Iterator[Shown]:
    written = (
        select(DissentingNote)
        .where(DissentingNote.state.in_([State.ACCEPTED, State.WITHDRAWN]))
        .options(
            joinedload(DissentingNote.finding).options(
                joinedload(Finding.clause),
                joinedload(Finding.recommendation).joinedload(Recommendation.report),
            )
        )
    )
    for row in session.scalars(written.order_by(DissentingNote.id)):
        facts = {**dissent.facts(row), **_place(row.finding.recommendation)}
        gone = row.state is State.WITHDRAWN
        # Why it was withdrawn stands in the ledger alone.
        words = {} if gone else dissent.content(row)
        yield Shown(dissent.subject(row), row.ledger_seq, gone, facts, words)


def _replies(session: Session) -> Iterator[Shown]:
    given = (
        select(Reply)
        .where(Reply.state.in_([State.ACCEPTED, State.WITHDRAWN]))
        .options(
            selectinload(Reply.quotations),
            joinedload(Reply.evidence),
            joinedload(Reply.report),
            selectinload(Reply.targets)
            .joinedload(ReplyTarget.recommendation)
            .joinedload(Recommendation.report),
        )
    )
    for row in session.scalars(given.order_by(Reply.id)):
        place = _place(*(target.recommendation for target in row.targets), report=row.report)
        yield _shown(row, replies.subject(row), {**replies.facts(row), **place}, replies.content(row))


def _shown(row: Evidence | Finding | Reply, subject: str, facts: Facts, words: Facts) -> Shown:
    if row.state in (State.WITHDRAWN, State.ERASED):
        return Shown(subject, row.ledger_seq, True, {}, {"reason": row.withdrawal_reason})
    approved_at = row.approved_at if isinstance(row, Finding) else None
    hour = approved_at and approved_at.replace(minute=0, second=0, microsecond=0)
    return Shown(subject, row.ledger_seq, False, facts, words, hour)


def _place(*recommendations: Recommendation, report: Report | None = None) -> Facts:
    """What it is about, as `ledger.append` records it."""
    reports_of = {recommendation.report.slug for recommendation in recommendations}
    return {
        "report": ", ".join(sorted(reports_of | ({report.slug} if report else set()))),
        "recommendations": sorted({recommendation.number for recommendation in recommendations}),
    }


def _replaced(session: Session) -> set[str]:
    """The keys of the findings that a newer one took the place of."""
    kinds = (EntryKind.FINDING_PUBLISHED, EntryKind.FINDING_CORRECTED)
    payloads = session.scalars(select(LedgerEntry.payload).where(LedgerEntry.kind.in_(kinds)))
    return {key for payload in payloads if (key := json.loads(payload).get("replaces"))}


def _emptied(session: Session) -> Iterator[str]:
    """Words may be missing only where a later entry says that they were erased."""
    erased = select(LedgerEntry.subject, func.max(LedgerEntry.seq)).where(
        LedgerEntry.kind == EntryKind.EVIDENCE_ERASED
    )
    until = dict(session.execute(erased.group_by(LedgerEntry.subject)).all())
    missing = select(LedgerEntry.seq, LedgerEntry.subject).where(~LedgerEntry.content.has())
    for seq, subject in session.execute(missing.order_by(LedgerEntry.seq)):
        if seq >= until.get(subject, 0):
            yield f"Entry {seq} has lost its words, and no entry says that {subject} was erased."
    kept = select(LedgerEntry.seq, LedgerEntry.subject).where(
        LedgerEntry.subject.in_(until), LedgerEntry.content.has()
    )
    for seq, subject in session.execute(kept.order_by(LedgerEntry.seq)):
        if seq < until[subject]:
            yield f"Entry {seq} still has its words, though {subject} was erased."


def _misfiled(session: Session) -> Iterator[str]:
    """The table by which feeds and digests find entries must say of each what the entry itself says."""
    filed: dict[int, set[tuple[str, str | None]]] = defaultdict(set)
    topics = (
        select(LedgerTopic.seq, Report.slug, Recommendation.number)
        .join(Report, Report.id == LedgerTopic.report_id)
        .outerjoin(Recommendation, Recommendation.id == LedgerTopic.recommendation_id)
    )
    for seq, slug, number in session.execute(topics):
        filed[seq].add((slug, number))
    for seq, payload in session.execute(
        select(LedgerEntry.seq, LedgerEntry.payload).order_by(LedgerEntry.seq)
    ):
        facts = json.loads(payload)
        about = {(facts["report"], number) for number in facts["recommendations"] or [None]}
        if filed[seq] != (about if facts["report"] is not None else set()):
            yield f"Entry {seq} is filed under something else than it is about."
