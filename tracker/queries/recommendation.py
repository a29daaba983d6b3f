"""One recommendation: its row of the board, its evidence, what those addressed said, its history."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, joinedload, selectinload

from tracker import permissions
from tracker.models import DissentingNote, Evidence, Finding, Recommendation, Reply, ReplyTarget
from tracker.queries import board, changes
from tracker.queries import evidence as pieces
from tracker.queries.changes import Change
from tracker.vocabulary import State


@dataclass(frozen=True)
class Page:
    """Everything the page of a recommendation says."""

    row: board.Row
    cited: dict[int, list[Evidence]]  # By finding id, in the order of their numbers.
    dissent: dict[int, list[DissentingNote]]  # By finding id, in the order of their publication.
    evidence: list[Evidence]
    withdrawn: list[Evidence]
    replies: list[Reply]
    to_the_whole_report: list[Reply]
    history: list[Change]

    @property
    def cited_numbers(self) -> set[int | None]:
        """The numbers that any current finding cites."""
        return {evidence.number for cited in self.cited.values() for evidence in cited}

    @property
    def receipt(self) -> Change | None:
        """The newest entry about this recommendation itself, or about its report while there is none."""
        own = [change for change in self.history if change.recommendations]
        return next(iter(own or self.history), None)


def page(session: Session, recommendation: Recommendation, *, today: dt.date, review_months: int) -> Page:
    """Read a recommendation's page, in a number of statements that does not grow with what is on it."""
    [row] = board.read_rows(
        session, Recommendation.id == recommendation.id, today=today, review_months=review_months
    )
    replies = _replies(session, recommendation)
    return Page(
        row=row,
        cited=pieces.cited_by(session, row.findings.values()),
        dissent=dissent_of(session, row.findings.values()),
        evidence=pieces.bearing_on(session, recommendation),
        withdrawn=pieces.withdrawn_from(session, recommendation),
        replies=[reply for reply in replies if reply.targets],
        to_the_whole_report=[reply for reply in replies if not reply.targets],
        history=changes.read(session, changes.About(recommendation.report, recommendation), limit=None),
    )


def dissent_of(session: Session, findings: Iterable[Finding]) -> dict[int, list[DissentingNote]]:
    found: dict[int, list[DissentingNote]] = defaultdict(list)
    for note in session.scalars(
        select(DissentingNote)
        .where(
            DissentingNote.finding_id.in_([finding.id for finding in findings]),
            DissentingNote.state == State.ACCEPTED,
            DissentingNote.ledger_seq.is_not(None),
        )
        .order_by(DissentingNote.ledger_seq)
    ):
        found[note.finding_id].append(note)
    return found


def _replies(session: Session, recommendation: Recommendation) -> list[Reply]:
    mine = select(ReplyTarget.reply_id).where(ReplyTarget.recommendation_id == recommendation.id)
    found = session.scalars(
        select(Reply)
        .where(
            permissions.visible_replies(None),
            Reply.report_id == recommendation.report_id,
            or_(Reply.id.in_(mine), ~Reply.targets.any()),
        )
        .options(
            selectinload(Reply.quotations),
            selectinload(Reply.targets),
            # The piece of evidence that is the source is named only if the public may see it.
            joinedload(Reply.evidence.and_(permissions.visible_evidence(None))),
        )
    )
    return sorted(found, key=board.said_on, reverse=True)
