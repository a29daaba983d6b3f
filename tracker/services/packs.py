"""Evidence packs: what goes into one, for the public and for the team, and the slice of the ledger that proves it.

A public pack holds what the public pages show and nothing else. A pack for the team also holds the evidence that
somebody chose among what they may see, with its originals; that they left the server stands in their custody logs.
What is written of it stands in `services/pack_record.py`; `tracker/packs.py` writes the file.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, or_, select
from sqlalchemy.orm import Session, joinedload, selectinload

from tracker import consent, permissions
from tracker.errors import Conflict, Invalid, NotAllowed
from tracker.models import (
    Account,
    Bearing,
    Checkpoint,
    Citation,
    DissentingNote,
    Evidence,
    EvidenceDetail,
    EvidenceReader,
    Exhibit,
    Finding,
    PublicCopy,
    Recommendation,
    Reply,
    ReplyTarget,
    Report,
    Timestamp,
)
from tracker.queries import board, changes
from tracker.queries import evidence as public
from tracker.queries import recommendation as recommendations
from tracker.queries.changes import About
from tracker.queries.exhibits import told_copies
from tracker.services import activity, custody_log, exhibits, ledger
from tracker.vocabulary import N_, ConsentScope, CustodyAction, State

#: The plain ZIP format ends at 2 GB where old programs must read it, and at 65,535 files.
MOST_BYTES = 1900 * 2**20
MOST_FILES = 60_000

CHANGED = N_("The record changed while the pack was being made. Ask for it once more.")


@dataclass(frozen=True)
class Wanted:
    """What a pack is about and for whom: a report, or one recommendation of it.

    `viewer` None: for everybody. Else for this person of the team, with the evidence in `chosen` (keys), and with its
    original files if `originals`.
    """

    report: str
    recommendation: str | None = None
    viewer: Account | None = None
    chosen: frozenset[str] = frozenset()
    originals: bool = False

    @property
    def scope(self) -> str:
        return f"{self.report}/{self.recommendation}" if self.recommendation else self.report


@dataclass(frozen=True)
class File:
    """One file from the store, and where it stands in the pack. `key` is that of the public copy or the exhibit."""

    path: str
    sha256: str
    size: int
    key: str


@dataclass(frozen=True)
class Piece:
    """One piece of evidence in a pack. `name` is its number, or its key while it has none."""

    evidence: Evidence
    name: str
    copies: list[tuple[PublicCopy, File]]
    originals: list[tuple[Exhibit, File]] = field(default_factory=list)
    details: list[EvidenceDetail] = field(default_factory=list)


@dataclass(frozen=True)
class Contents:
    """Everything a pack says, read in one transaction."""

    wanted: Wanted
    report: Report
    rows: list[board.Row]
    cited: dict[int, list[Evidence]]  # By finding id.
    dissent: dict[int, list[DissentingNote]]  # By finding id.
    replies: list[Reply]
    pieces: list[Piece]
    withdrawn: list[Evidence]
    checkpoint: Checkpoint
    stamp: Timestamp | None

    @property
    def files(self) -> list[File]:
        """Every file that comes from the store."""
        return [file for piece in self.pieces for _, file in (*piece.copies, *piece.originals)]

    def replies_to(self, recommendation: Recommendation) -> list[Reply]:
        """The replies to a recommendation, those to the report as a whole last."""
        mine = [
            reply
            for reply in self.replies
            if recommendation.id in [target.recommendation_id for target in reply.targets]
        ]
        return mine + [reply for reply in self.replies if not reply.targets]

    def pieces_on(self, recommendation: Recommendation) -> list[Piece]:
        """The evidence in the pack that bears on a recommendation."""
        return [
            piece
            for piece in self.pieces
            if recommendation.id in [bearing.recommendation_id for bearing in piece.evidence.bearings]
        ]


def find(session: Session, wanted: Wanted) -> tuple[Report, Recommendation | None]:
    """The report and, if only one is wanted, the recommendation; or NotFound."""
    report = board.find_report(session, wanted.report)
    if wanted.recommendation is None:
        return report, None
    return report, board.find_recommendation(session, wanted.report, wanted.recommendation)


def covered(session: Session, wanted: Wanted) -> bool:
    """Whether the newest checkpoint covers everything published about the report."""
    report, _ = find(session, wanted)
    newest = ledger.newest_checkpoint(session)
    return newest is not None and newest.size >= changes.last_seq(session, About(report))


@dataclass(frozen=True)
class Mark:
    """What a public pack's bytes depend on: two packs with the same mark say the same."""

    scope: str
    seq: int  # The newest entry about the report.
    checkpoint: int
    stamp: int
    # Without their versions, which tell that the team works on them.
    evidence: tuple[tuple[int | None, int | None], ...]
    copies: tuple[tuple[str, str, str, str], ...]


def mark(session: Session, wanted: Wanted) -> Mark:
    """The mark of the public pack as it would be built now."""
    report, recommendation = find(session, wanted)
    checkpoint = ledger.newest_checkpoint(session)
    stamp = _stamp(session, checkpoint) if checkpoint else None
    in_it = permissions.visible_evidence(None), _in_scope(report, recommendation)
    shown = session.execute(
        select(Evidence.number, Evidence.ledger_seq).where(*in_it).order_by(Evidence.number)
    )
    copies = session.execute(
        select(PublicCopy.key, PublicCopy.sha256, PublicCopy.damaged_at, PublicCopy.checked_at)
        .join(PublicCopy.exhibit)
        .join(Exhibit.evidence)
        .where(*in_it, _released())
        .order_by(PublicCopy.id)
    )
    return Mark(
        scope=wanted.scope,
        seq=changes.last_seq(session, About(report)),
        checkpoint=checkpoint.size if checkpoint else 0,
        stamp=stamp.id if stamp else 0,
        evidence=tuple((number, seq) for number, seq in shown),
        copies=tuple(
            (key, str(sha256), str(damaged), str(checked)) for key, sha256, damaged, checked in copies
        ),
    )


def newest_seq(session: Session, slug: str) -> str:
    """The newest entry about the report of this name, as text; "" if there is no such report."""
    report = session.scalars(select(Report).where(Report.slug == slug)).one_or_none()
    return str(changes.last_seq(session, About(report))) if report else ""


def gather(session: Session, wanted: Wanted, *, review_months: int, now: dt.datetime) -> Contents:
    """Read everything that goes into a pack. Raises Conflict if the newest checkpoint does not cover it."""
    report, recommendation = find(session, wanted)
    checkpoint = ledger.newest_checkpoint(session)
    if checkpoint is None or checkpoint.size < changes.last_seq(session, About(report)):
        raise Conflict(CHANGED)
    condition = (
        Recommendation.id == recommendation.id if recommendation else Recommendation.report_id == report.id
    )
    rows = board.read_rows(session, condition, today=now.date(), review_months=review_months)
    findings = [finding for row in rows for finding in row.findings.values()]
    contents = Contents(
        wanted=wanted,
        report=report,
        rows=rows,
        cited=public.cited_by(session, findings),
        dissent=recommendations.dissent_of(session, findings),
        replies=_replies(session, report, recommendation),
        pieces=_pieces(session, wanted, report, recommendation),
        withdrawn=list(
            session.scalars(
                select(Evidence)
                .where(public.WITHDRAWN, _in_scope(report, recommendation))
                .order_by(Evidence.number)
            )
        ),
        checkpoint=checkpoint,
        stamp=_stamp(session, checkpoint),
    )
    _check_size(contents)
    return contents


def candidates(session: Session, wanted: Wanted, *, viewer: Account) -> Sequence[Evidence]:
    """What this person can choose from for a pack: the evidence in its scope that they may see."""
    report, recommendation = find(session, wanted)
    return session.scalars(
        _evidence(permissions.visible_evidence(viewer))
        .where(
            _in_scope(report, recommendation),
            Evidence.state.not_in([State.WITHDRAWN, State.ERASED]),
        )
        .order_by(Evidence.number.is_(None), Evidence.number.desc(), Evidence.id.desc())
    ).all()


def agreed(evidence: Evidence, *, on: dt.date) -> list[ConsentScope | None]:
    """What each person who gave it agrees to on that day; None: nothing. Empty where nobody has to agree."""
    if not consent.needed(evidence):
        return []
    lines = [consent.standing(lines) for lines in consent.people(evidence)]
    return [line.scope if line and not consent.has_run_out(line, on) else None for line in lines]


def may_leave(evidence: Evidence, *, on: dt.date) -> bool:
    """Whether nobody who gave it kept it for the team alone. What may not is left out unless somebody insists."""
    return not {None, ConsentScope.INTERNAL} & set(agreed(evidence, on=on))


def record_export(session: Session, contents: Contents, *, account: Account, now: dt.datetime) -> None:
    """Write into the custody log of every exhibit that it goes out. Commit before the pack does.

    Raises Conflict if one of them was erased, or its copy withdrawn, since the contents were read.
    """
    if not permissions.is_team(account):
        raise NotAllowed(N_("Only monitors and reviewers make packs with what is not public."))
    note = f"Pack {contents.wanted.scope}"[:200]
    goes_out = [copy.exhibit for piece in contents.pieces for copy, _ in piece.copies]
    goes_out += [exhibit for piece in contents.pieces for exhibit, _ in piece.originals]
    custody_log.hold(session, [exhibit.id for exhibit in goes_out])
    for piece in contents.pieces:
        for copy, file in piece.copies:
            _hold(session, select(PublicCopy.sha256).where(PublicCopy.id == copy.id, _released()), file)
            _log_export(session, copy.exhibit, file, account, note, now)
        for exhibit, file in piece.originals:
            _hold(session, select(Exhibit.sha256).where(Exhibit.id == exhibit.id), file)
            _log_export(session, exhibit, file, account, note, now)
    activity.record(session, account, "pack-exported", f"report/{contents.report.slug}", now=now)
    session.flush()


def _hold(session: Session, row: Select[Any], file: File) -> None:
    # Held until the commit: an erasure then comes after, and takes the hash out of the log again.
    if session.scalar(row.with_for_update(key_share=True)) != file.sha256:
        raise Conflict(CHANGED)


def _log_export(
    session: Session, exhibit: Exhibit, file: File, account: Account, note: str, now: dt.datetime
) -> None:
    action = CustodyAction.EXPORTED
    custody_log.append(session, exhibit.id, action, account=account, sha256=file.sha256, note=note, now=now)


# What is read.


def _pieces(
    session: Session, wanted: Wanted, report: Report, recommendation: Recommendation | None
) -> list[Piece]:
    viewer = wanted.viewer
    query = _evidence(permissions.visible_evidence(viewer)).where(_in_scope(report, recommendation))
    if viewer is not None:
        query = query.where(
            Evidence.key.in_(sorted(wanted.chosen)), Evidence.state.not_in([State.WITHDRAWN, State.ERASED])
        )
    found = session.scalars(query.order_by(Evidence.number.is_(None), Evidence.number, Evidence.id)).all()
    shown_to_all = set(
        session.scalars(
            select(Evidence.id).where(
                permissions.visible_evidence(None), Evidence.id.in_([row.id for row in found])
            )
        )
    )
    told = told_copies(session, [row for row in found if row.id in shown_to_all])
    return [_piece(row, wanted, row.id in shown_to_all, told) for row in found]


def _piece(evidence: Evidence, wanted: Wanted, is_public: bool, told: set[tuple[str, str | None]]) -> Piece:
    name = str(evidence.number) if is_public else evidence.key
    copies = []
    released = [copy for copy in exhibits.released(evidence) if (copy.key, copy.sha256) in told]
    for place, copy in enumerate(released if is_public else [], 1):
        path = f"exhibits/{name}/{place}.{copy.kind.endings[0]}"
        copies.append((copy, File(path, str(copy.sha256), copy.size, copy.key)))
    if wanted.viewer is None:
        return Piece(evidence, name, copies)
    originals = []
    held = [exhibit for exhibit in evidence.exhibits if exhibit.sha256 is not None]
    for place, exhibit in enumerate(held if wanted.originals else [], 1):
        path = f"originals/{name}/{place}.{exhibit.kind.endings[0]}"
        originals.append((exhibit, File(path, str(exhibit.sha256), exhibit.size, exhibit.key)))
    details = [
        detail for detail in evidence.details if permissions.can_read_detail(wanted.viewer, evidence, detail)
    ]
    return Piece(evidence, name, copies, originals, details)


def _evidence(visible: ColumnElement[bool]) -> Select[Evidence]:
    return (
        select(Evidence)
        .where(visible)
        .options(
            selectinload(Evidence.links),
            selectinload(Evidence.bearings).options(
                joinedload(Bearing.clause),
                joinedload(Bearing.recommendation).joinedload(Recommendation.report),
            ),
            selectinload(Evidence.exhibits).selectinload(Exhibit.copies),
            selectinload(Evidence.details),
            selectinload(Evidence.consents),
            selectinload(Evidence.sources),
            selectinload(Evidence.readers).joinedload(EvidenceReader.account),
        )
    )


def _in_scope(report: Report, recommendation: Recommendation | None) -> ColumnElement[bool]:
    """Evidence that bears on it, or that a current finding about it cites."""
    bears = select(Bearing.id).where(Bearing.evidence_id == Evidence.id)
    cites = select(Citation.evidence_id).join(Citation.finding).where(Citation.evidence_id == Evidence.id)
    cites = cites.where(Finding.state == State.ACCEPTED)
    if recommendation is not None:
        bears = bears.where(Bearing.recommendation_id == recommendation.id)
        cites = cites.where(Finding.recommendation_id == recommendation.id)
    else:
        bears = bears.join(Bearing.recommendation).where(Recommendation.report_id == report.id)
        cites = cites.join(Finding.recommendation).where(Recommendation.report_id == report.id)
    return or_(bears.exists(), cites.exists())


def _replies(session: Session, report: Report, recommendation: Recommendation | None) -> list[Reply]:
    query = select(Reply).where(permissions.visible_replies(None), Reply.report_id == report.id)
    if recommendation is not None:
        mine = select(ReplyTarget.reply_id).where(ReplyTarget.recommendation_id == recommendation.id)
        query = query.where(or_(Reply.id.in_(mine), ~Reply.targets.any()))
    query = query.options(
        selectinload(Reply.quotations),
        selectinload(Reply.targets).joinedload(ReplyTarget.recommendation),
        # The piece of evidence that is the source is named only if the public may see it.
        joinedload(Reply.evidence.and_(permissions.visible_evidence(None))),
    )
    return sorted(session.scalars(query), key=board.said_on, reverse=True)


def _released() -> ColumnElement[bool]:
    return (
        PublicCopy.released_at.is_not(None)
        & PublicCopy.withdrawn_at.is_(None)
        & PublicCopy.sha256.is_not(None)
    )


def _stamp(session: Session, checkpoint: Checkpoint) -> Timestamp | None:
    mine = select(Timestamp).where(Timestamp.subject == f"checkpoint/{checkpoint.size}")
    return session.scalars(mine.order_by(Timestamp.id.desc()).limit(1)).first()


def _check_size(contents: Contents) -> None:
    files = contents.files
    count = 3 * len(files) + len(contents.pieces) + len(contents.rows)
    size = sum(file.size for file in files)
    if size > MOST_BYTES or count > MOST_FILES:
        raise Invalid(
            N_(
                "This pack would hold %(count)d files with %(size)d MB together, which is more than one pack can. Make "
                "one for each recommendation."
            ),
            count=count,
            size=size // 2**20,
        )
