"""Do the rows that pages show still say what the ledger published? For `tracker ledger verify` on a live database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from tracker.models import Bearing, Citation, Evidence, Finding, LedgerEntry, Reply, ReplyTarget
from tracker.services import evidence, findings, ledger, replies
from tracker.vocabulary import WITHDRAWALS, State


def problems(session: Session) -> Iterator[str]:
    """One sentence for each published thing whose row differs from its newest ledger entry, or lacks one."""
    newest = _newest(session)
    seen: set[str] = set()
    for subject, row, facts, words in _published(session):
        seen.add(subject)
        entry = newest.get(subject)
        if entry is None:
            yield f"{subject} is shown in public and has no ledger entry."
            continue
        withdrawn = row.state is State.WITHDRAWN
        if withdrawn != (entry.kind in WITHDRAWALS):
            yield f"{subject}: entry {entry.seq} and the database disagree about its withdrawal."
        elif row.ledger_seq != entry.seq:
            yield f"{subject}: the database points to entry {row.ledger_seq}, its newest entry is {entry.seq}."
        elif not withdrawn:
            yield from _differences(subject, entry, facts, words)
    for subject, entry in newest.items():
        if subject.split("/")[0] in ("evidence", "finding", "reply") and subject not in seen:
            yield f"{subject}: entry {entry.seq} published it, and it is gone from the database."


def _differences(
    subject: str, entry: LedgerEntry, facts: dict[str, Any], words: dict[str, Any]
) -> Iterator[str]:
    recorded = ledger.facts_of(entry)
    for name, value in facts.items():
        if recorded.get(name) != value:
            yield f"{subject} was changed in the database: “{name}” differs from entry {entry.seq}."
            return
    published = ledger.content_of(entry)
    if published is None:
        return  # Erased; nothing to compare with.
    for name, value in words.items():
        if published.get(name) != value:
            yield f"{subject} was changed in the database: “{name}” differs from entry {entry.seq}."
            return


def _newest(session: Session) -> dict[str, LedgerEntry]:
    last = select(func.max(LedgerEntry.seq)).group_by(LedgerEntry.subject)
    query = select(LedgerEntry).where(LedgerEntry.seq.in_(last)).options(selectinload(LedgerEntry.content))
    return {entry.subject: entry for entry in session.scalars(query)}


def _published(
    session: Session,
) -> Iterator[tuple[str, Evidence | Finding | Reply, dict[str, Any], dict[str, Any]]]:
    pieces = (
        select(Evidence)
        .where(Evidence.number.is_not(None))
        .options(
            selectinload(Evidence.links),
            selectinload(Evidence.bearings).joinedload(Bearing.recommendation),
            selectinload(Evidence.bearings).joinedload(Bearing.clause),
        )
        .order_by(Evidence.number)
    )
    for piece in session.scalars(pieces):
        yield f"evidence/{piece.number}", piece, evidence.facts(piece), evidence.content(piece)
    published = [State.ACCEPTED, State.SUPERSEDED, State.WITHDRAWN]
    made = (
        select(Finding)
        .where(Finding.state.in_(published))
        .options(selectinload(Finding.clause), selectinload(Finding.citations).joinedload(Citation.evidence))
        .order_by(Finding.id)
    )
    for finding in session.scalars(made):
        yield findings.subject(finding), finding, findings.facts(finding), findings.content(finding)
    given = (
        select(Reply)
        .where(Reply.state.in_(published))
        .options(
            selectinload(Reply.quotations),
            selectinload(Reply.evidence),
            selectinload(Reply.targets).joinedload(ReplyTarget.recommendation),
        )
        .order_by(Reply.id)
    )
    for reply in session.scalars(given):
        yield replies.subject(reply), reply, replies.facts(reply), replies.content(reply)
