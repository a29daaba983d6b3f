"""Dissenting notes: why another reviewer sees a finding differently, published with it and without a name."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, true, update
from sqlalchemy.orm import Session

from tracker import permissions
from tracker.errors import Conflict, Invalid, NotAllowed
from tracker.models import Account, DissentingNote, Finding, LedgerEntry
from tracker.services import activity, ledger
from tracker.services.harm import QUESTIONS
from tracker.vocabulary import N_, EntryKind, State

LONGEST = 4000
OPEN = (State.SUBMITTED, State.ACCEPTED)

_DECIDED = N_(
    "Somebody has decided this meanwhile, or it is no longer in a state that allows it. Look at it again."
)


def attach(
    session: Session,
    finding: Finding,
    body: str,
    *,
    author: Account,
    seen: int | None = None,
    now: dt.datetime,
) -> DissentingNote:
    """Attach a note to a proposal, which is published with it, or to a finding that stands, for a second person to
    release. By a reviewer who neither proposed nor approved it; one note each.

    `seen` is the version of the finding that the author looked at. The finding moves on by one version, so that nobody
    publishes a note which they have not seen.
    """
    if not permissions.can_dissent(author, finding):
        raise NotAllowed(
            N_("Only a reviewer who neither proposed nor approved a finding attaches a note, while it waits or stands.")
        )  # fmt: skip
    if not body:
        raise Invalid(N_("Say how you see it differently, and why."), "body")
    if len(body) > LONGEST:
        raise Invalid(
            N_("Shorten this to %(most)s characters; it has %(length)s."),
            "body",
            most=LONGEST,
            length=len(body),
        )
    # The claim also lets two notes, or a note and an approval, come one after the other.
    as_seen = true() if seen is None else Finding.version == seen
    claimed = session.execute(
        update(Finding)
        .where(Finding.id == finding.id, Finding.state == finding.state, as_seen)
        .values(version=Finding.version + 1)
        .execution_options(synchronize_session=False)
    )
    session.refresh(finding)
    if claimed.rowcount != 1:  # type: ignore[attr-defined]
        raise Conflict(_DECIDED)
    own = select(DissentingNote).where(
        DissentingNote.finding_id == finding.id, DissentingNote.author_id == author.id
    )
    for earlier in session.scalars(own.execution_options(populate_existing=True)).all():
        if earlier.state in OPEN:
            raise Conflict(N_("You have attached a note to this finding already."))
        if earlier.state is State.RETURNED:
            session.delete(earlier)  # The new one takes the place of the one that came back.
    note = DissentingNote(finding_id=finding.id, author_id=author.id, written_at=now, body=body)
    session.add(note)
    session.flush()
    activity.record(session, author, "dissent-attached", _of(finding), now=now)
    return note


def take_back(session: Session, note: DissentingNote, *, author: Account, now: dt.datetime) -> None:
    """Delete one's own note, while it has not been published."""
    if note.author_id != author.id:
        raise NotAllowed(N_("Only the person who wrote a note takes it back."))
    _move(session, note, State.RETURNED, State.SUBMITTED, State.RETURNED)
    activity.record(session, author, "dissent-taken-back", _of(note.finding), now=now)
    session.delete(note)
    session.flush()


def release(
    session: Session, note: DissentingNote, *, reviewer: Account, harm: Mapping[str, str], now: dt.datetime
) -> LedgerEntry:
    """Publish a note on a finding that stands already. `harm` answers each harm question with "no"."""
    _check_reviewer(reviewer, note)
    if any(harm.get(question) != "no" for question in QUESTIONS):
        raise Invalid(
            N_(
                "It is not published while a harm question is answered with anything but No. Return it with a reason."
            ),
            "harm",
        )
    ledger.lock(session)  # From here on nothing else is published or withdrawn.
    session.refresh(note.finding)
    if note.finding.state is not State.ACCEPTED:
        raise Conflict(N_("The finding does not stand, so nothing is published with it."))
    return publish(session, note, reviewer=reviewer, now=now)


def send_back(
    session: Session, note: DissentingNote, *, reviewer: Account, reason: str, now: dt.datetime
) -> None:
    """Return a note on a finding that stands to its author with a reason, which only the team sees."""
    _check_reviewer(reviewer, note)
    if not reason:
        raise Invalid(N_("Say why you return it."), "reason")
    _move(session, note, State.RETURNED, State.SUBMITTED)
    activity.record(session, reviewer, "dissent-returned", _of(note.finding), now=now, reason=reason)


def withdraw(
    session: Session, note: DissentingNote, *, reviewer: Account, reason: str, now: dt.datetime
) -> LedgerEntry:
    """Take a published note away and say why. One reviewer is enough: harm cannot wait."""
    if not permissions.is_reviewer(reviewer):
        raise NotAllowed(N_("Only reviewers withdraw dissenting notes."))
    if not reason:
        raise Invalid(N_("Say why it is withdrawn. The reason is public."), "reason")
    ledger.lock(session)
    _move(session, note, State.WITHDRAWN, State.ACCEPTED)
    activity.record(session, reviewer, "dissent-withdrawn", _of(note.finding), now=now, reason=reason)
    return _append(session, EntryKind.DISSENT_WITHDRAWN, note, {"reason": reason}, now)


def publish(session: Session, note: DissentingNote, *, reviewer: Account, now: dt.datetime) -> LedgerEntry:
    """Give it its ledger entry. The reviewer has answered the harm questions, about the note or with its finding."""
    if note.author_id == reviewer.id:
        raise NotAllowed(
            N_("You wrote a dissenting note on this finding. Another reviewer must decide about it.")
        )
    _move(session, note, State.ACCEPTED, State.SUBMITTED, approved_by_id=reviewer.id)
    activity.record(session, reviewer, "dissent-published", _of(note.finding), now=now)
    return _append(session, EntryKind.DISSENT_PUBLISHED, note, content(note), now)


def waiting(session: Session, finding: Finding) -> list[DissentingNote]:
    """The notes on a finding that are not published yet, as they stand in the database now."""
    return list(
        session.scalars(
            select(DissentingNote)
            .where(DissentingNote.finding_id == finding.id, DissentingNote.state == State.SUBMITTED)
            .order_by(DissentingNote.id)
            .execution_options(populate_existing=True)
        )
    )


def give_back(session: Session, finding: Finding) -> None:
    """The proposal they speak about goes back to its author, so its notes go back to theirs."""
    for note in waiting(session, finding):
        _move(session, note, State.RETURNED, State.SUBMITTED)


def facts(note: DissentingNote) -> dict[str, Any]:
    """What the ledger keeps of it for good."""
    clause = note.finding.clause
    return {"finding": note.finding.key, "clause": clause.label if clause else None}


def content(note: DissentingNote) -> dict[str, Any]:
    """The words that are published, and can be erased."""
    return {"text": note.body}


def subject(note: DissentingNote) -> str:
    """How the ledger names it."""
    return f"dissent/{note.key}"


def _of(finding: Finding) -> str:
    # In the team's activity it stands with its finding.
    return f"finding/{finding.key}"


def _check_reviewer(reviewer: Account, note: DissentingNote) -> None:
    if not permissions.is_reviewer(reviewer):
        raise NotAllowed(N_("Only reviewers decide about dissenting notes."))
    if note.author_id == reviewer.id:
        raise NotAllowed(N_("You wrote this note yourself. Another reviewer must look at it."))
    if note.finding.state is not State.ACCEPTED:
        raise Conflict(N_("It is decided together with the proposal that it speaks about."))


def _move(session: Session, note: DissentingNote, to: State, *allowed: State, **values: Any) -> None:
    session.flush()
    claimed = session.execute(
        update(DissentingNote)
        .where(DissentingNote.id == note.id, DissentingNote.state.in_(allowed))
        .values(state=to, **values)
        .execution_options(synchronize_session=False)
    )
    if claimed.rowcount != 1:  # type: ignore[attr-defined]
        raise Conflict(_DECIDED)
    session.refresh(note)


def _append(
    session: Session, kind: EntryKind, note: DissentingNote, words: dict[str, Any], now: dt.datetime
) -> LedgerEntry:
    recommendation = note.finding.recommendation
    entry = ledger.append(
        session,
        kind,
        subject=subject(note),
        report=recommendation.report,
        recommendations=[recommendation],
        facts=facts(note),
        content=words,
        now=now,
    )
    note.ledger_seq = entry.seq
    return entry
