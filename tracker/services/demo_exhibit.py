"""One piece of the demonstration that shows the rest: a file and its public copy, hidden parts, remarks, a dissent.

Like all of it, invented, and made by the services that people use.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.examiner.traces import Examined
from tracker.models import Bearing, Evidence, Finding, Recommendation, Report
from tracker.services import comments, copies, dissent, evidence, exhibits, findings, harm
from tracker.services.demo import account
from tracker.vocabulary import (
    CopyMethod,
    Credibility,
    Detail,
    Direction,
    FileKind,
    Precision,
    Reliability,
    Role,
    SourceType,
    State,
    Visibility,
)

if TYPE_CHECKING:
    from tracker.storage import Incoming, Store

FILE_NAME = "gate of the quarry.jpg"
TITLE = "The gate of the quarry stands open"
MONTH = dt.date(2024, 3, 1)
_HARMLESS = dict.fromkeys(findings.HARM_QUESTIONS, "no")


@dataclass(frozen=True)
class Photo:
    """A photo and the copy of it for the public, both in the store already."""

    original: Incoming
    examined: Examined
    copy: Incoming
    kind: FileKind
    method: CopyMethod


def missing(session: Session, name: str, *, now: dt.datetime) -> bool:
    """Whether the report of this name has no such piece yet, and its day has come."""
    found = (
        select(Evidence.id)
        .join(Bearing, Bearing.evidence_id == Evidence.id)
        .join(Recommendation, Recommendation.id == Bearing.recommendation_id)
        .join(Report, Report.id == Recommendation.report_id)
        .where(Report.slug == name, Evidence.title == TITLE)
    )
    return now.date() >= MONTH and session.scalar(found.limit(1)) is None


def show(session: Session, name: str, photo: Photo, *, store: Store, now: dt.datetime) -> Evidence:
    """Make the piece, with everything that hangs on it, for the first recommendation of a report. It is public then."""
    row = session.scalars(
        select(Recommendation)
        .join(Recommendation.report)
        .where(Report.slug == name)
        .order_by(Recommendation.position)
    ).first()
    assert row is not None
    monitor = account(session, "monitor", Role.MONITOR, now)
    reviewer = account(session, "reviewer", Role.REVIEWER, now)
    second = account(session, "second reviewer", Role.REVIEWER, now)
    # The services ask whether the people may do this. Nobody else ever sees them active: it is one transaction.
    monitor.active = reviewer.active = second.active = True
    fields = evidence.Fields(
        title=TITLE,
        summary="A photo shows the gate of the quarry open, and nobody near it.",
        occurred_on=MONTH,
        date_precision=Precision.MONTH,
        place="Lower Valley",
        publisher="Valley Legal Aid",
        source_type=SourceType.IMAGE,
        reliability=Reliability.B,
        credibility=Credibility.TWO,
        visibility=Visibility.PUBLIC,
        remark="Invented for the demonstration.",
        team_note="The shadow of the mill would give the hour away: it is not on the public copy’s page.",
        details={
            Detail.EXACT_DATE: ("14 March 2024, 06:40", Visibility.TEAM),
            Detail.EXACT_PLACE: ("Kestrel Street 14, Orlen", Visibility.TEAM),
            Detail.NAMES: ("The guard: Ilan Mork", Visibility.RESTRICTED),
        },
        bearings=[evidence.Bears(row.id, None, Direction.CONTEXT)],
    )
    piece = evidence.draft(session, fields, author=monitor, now=now)
    session.flush()
    exhibit = exhibits.attach(
        session, piece, photo.original, photo.examined, name=FILE_NAME, account=monitor, store=store, now=now
    )
    copies.prepare(
        session, exhibit, photo.copy, photo.kind, photo.method,
        description="A wooden gate between two walls of stone stands open. Nobody is near it.",
        account=monitor, store=store, now=now,
    )  # fmt: skip
    session.refresh(piece)
    evidence.submit(session, piece, author=monitor, now=now)
    comments.add(session, piece, "Is the month sure?", author=reviewer, now=now)
    comments.add(session, piece, "Yes: the snow on the hills is that of March.", author=monitor, now=now)
    looked = harm.fingerprint(harm.warnings(session, piece, keys=None))
    evidence.accept(session, piece, reviewer=reviewer, harm=harm.Harm(_HARMLESS, looked=looked), now=now)

    closed = replace(
        fields,
        title="What is known of the gate’s guard",
        summary="Invented: nobody but the people named may read this.",
        visibility=Visibility.RESTRICTED,
        team_note="",
        details={},
        reader_ids=[reviewer.id],
    )
    sealed = evidence.draft(session, closed, author=monitor, now=now)
    evidence.submit(session, sealed, author=monitor, now=now)
    evidence.accept(session, sealed, reviewer=reviewer, now=now)

    finding = session.scalars(
        select(Finding)
        .where(Finding.recommendation_id == row.id, Finding.state == State.ACCEPTED)
        .order_by(Finding.id)
    ).first()
    if finding is not None:
        note = dissent.attach(
            session,
            finding,
            "People who came home are no release while the order to hold them stands.",
            author=second,
            now=now,
        )
        dissent.release(session, note, reviewer=reviewer, harm=_HARMLESS, now=now)
    monitor.active = reviewer.active = second.active = False
    session.flush()
    return piece
