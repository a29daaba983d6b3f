"""Erasure: one person asks, another confirms, and what a piece of evidence said is gone for good.

Its key is destroyed, so that whatever copy of its sealed text exists cannot be opened; every word of it and of what
hangs on it goes from the tables; its files go from the store. A tombstone stays: that it existed, its number, who
erased it and why. The ledger keeps its hashes without the words, and still verifies.

Whoever calls `confirm` commits, and then removes each blob it returns (`fsck.remove_unused`). If the program dies in
between, the weekly check removes them.
"""

from __future__ import annotations

import datetime as dt
import secrets
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker import permissions
from tracker.errors import Conflict, Invalid, NotAllowed
from tracker.models import (
    Account,
    Activity,
    Assignment,
    Capture,
    Comment,
    Consent,
    CustodyLine,
    Delivery,
    DigestEntry,
    Erasure,
    Evidence,
    EvidenceDetail,
    EvidenceLink,
    Exhibit,
    FieldChange,
    HarmCheck,
    LedgerContent,
    LedgerEntry,
    Piece,
    PublicCopy,
    RecordKey,
)
from tracker.models.base import new_key
from tracker.models.source import evidence_source
from tracker.services import activity, custody_log, ledger, private_roots, states
from tracker.services import evidence as pieces
from tracker.vocabulary import EDITABLE, N_, CustodyAction, Precision, State, Visibility


def request(
    session: Session, evidence: Evidence, *, reason: str, account: Account, now: dt.datetime
) -> Erasure:
    """Ask for it. `reason` stays, in public if the evidence was public: it must not repeat what is to go."""
    if not permissions.is_team(account):
        raise NotAllowed(N_("Only monitors and reviewers ask for an erasure."))
    if not reason:
        raise Invalid(N_("Say why it must be erased. The reason stays."), "reason")
    if evidence.state in EDITABLE:
        raise Conflict(N_("This has not been sent for review. Its author can discard it."))
    if evidence.state is State.ERASED:
        raise Conflict(N_("It is erased already."))
    erasure = Erasure(evidence_id=evidence.id, reason=reason, requested_by_id=account.id, requested_at=now)
    try:
        with session.begin_nested():
            session.add(erasure)
    except IntegrityError:
        raise Conflict(N_("Somebody has asked for this already. Another person has to confirm it.")) from None
    activity.record(session, account, "erasure-requested", pieces.subject(evidence), now=now)
    return erasure


def refuse(session: Session, erasure: Erasure, *, account: Account, now: dt.datetime) -> None:
    """Keep the evidence: a reviewer says no, or whoever asked takes it back."""
    if erasure.requested_by_id != account.id and not permissions.is_reviewer(account):
        raise NotAllowed(N_("Only a reviewer, or the person who asked, can refuse an erasure."))
    _claim(session, erasure, refused_at=now)
    activity.record(session, account, "erasure-refused", pieces.subject(erasure.evidence), now=now)


def confirm(session: Session, erasure: Erasure, *, account: Account, now: dt.datetime) -> list[str]:
    """Do it. Returns the SHA-256 of every blob that may be used by nothing any more."""
    evidence = erasure.evidence
    if not permissions.is_reviewer(account) or not _may_see(account, evidence):
        raise NotAllowed(N_("Only a reviewer who may see this evidence can confirm its erasure."))
    if erasure.requested_by_id == account.id:
        raise NotAllowed(N_("You asked for this yourself. Another reviewer has to confirm it."))
    ledger.lock(session)
    _claim(session, erasure, confirmed_by_id=account.id, done_at=now)
    states.move(session, evidence, State.ERASED)
    if evidence.ledger_seq is not None:
        _erase_from_ledger(session, evidence, erasure.reason, now)
    activity.record(session, account, "evidence-erased", pieces.subject(evidence), now=now)
    session.flush()
    _destroy_key(session, evidence)
    _erase_words(session, evidence, erasure.reason)
    blobs = _erase_exhibits(session, evidence, account, now)
    # What the session still holds in memory is not written back, and is read anew: empty.
    session.expire_all()
    return blobs


def open_for(session: Session, evidence: Evidence) -> Erasure | None:
    """The erasure of this evidence that waits for a second person, if somebody asked for one."""
    return session.scalars(
        select(Erasure).where(
            Erasure.evidence_id == evidence.id, Erasure.done_at.is_(None), Erasure.refused_at.is_(None)
        )
    ).one_or_none()


def done_for(session: Session, evidence: Evidence) -> Erasure | None:
    """The erasure that was carried out, for the tombstone."""
    return session.scalars(
        select(Erasure).where(Erasure.evidence_id == evidence.id, Erasure.done_at.is_not(None))
    ).one_or_none()


def lately(session: Session, *, now: dt.datetime) -> bool:
    """Whether something was erased in the last day: then traces outside the tables are looked after again."""
    recent = Erasure.done_at > now - dt.timedelta(days=1)
    return session.scalar(select(Erasure.id).where(recent).limit(1)) is not None


def _may_see(account: Account, evidence: Evidence) -> bool:
    return evidence.visibility is not Visibility.RESTRICTED or permissions.is_named(account, evidence)


def _claim(session: Session, erasure: Erasure, **values: Any) -> None:
    claimed = session.execute(
        update(Erasure)
        .where(Erasure.id == erasure.id, Erasure.done_at.is_(None), Erasure.refused_at.is_(None))
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    session.refresh(erasure)
    if claimed.rowcount != 1:  # type: ignore[attr-defined]
        raise Conflict(N_("Somebody has decided about this erasure meanwhile. Look at it again."))


def _erase_from_ledger(session: Session, evidence: Evidence, reason: str, now: dt.datetime) -> None:
    """Say in the ledger that it was erased, and delete the words of its earlier entries."""
    entry = pieces.record_erasure(session, evidence, reason=reason, now=now)
    session.flush()
    earlier = select(LedgerEntry.seq).where(LedgerEntry.subject == entry.subject, LedgerEntry.seq < entry.seq)
    seqs = session.scalars(earlier).all()
    _execute(session, delete(LedgerContent).where(LedgerContent.seq.in_(seqs)))
    # Digests hold the words too. Those that are not sent yet are composed anew, without; of the others the piece stays
    # as a gap. Its hash would tell whoever guesses the words that they were these.
    for number in session.scalars(select(Piece.id).where(Piece.entry_seq.in_(seqs))).all():
        blank = {"text": b"", "html": b"", "sha256": secrets.token_hex(32)}
        _execute(session, update(Piece).where(Piece.id == number).values(**blank))
    telling = select(DigestEntry.digest_id).where(DigestEntry.seq.in_(seqs))
    _execute(session, update(Delivery).where(Delivery.digest_id.in_(telling)).values(message_sealed=None))


def _destroy_key(session: Session, evidence: Evidence) -> None:
    destroyed = _execute(
        session,
        update(RecordKey).where(RecordKey.evidence_id == evidence.id).values(wrapped=None),
    )
    if destroyed.rowcount == 0:
        # A destroyed key that never was keeps anybody from sealing something new for this evidence.
        session.add(RecordKey(evidence_id=evidence.id, name=new_key(), kid="", wrapped=None))
        session.flush()
    session.info.pop("record_keys", None)


def _erase_words(session: Session, evidence: Evidence, reason: str) -> None:
    name = pieces.subject(evidence)
    # In SQL and not through the rows: whatever was sealed has no key any more.
    for kind in (EvidenceLink, EvidenceDetail, Capture, Comment, FieldChange):
        _execute(session, delete(kind).where(kind.evidence_id == evidence.id))
    _execute(session, delete(Assignment).where(Assignment.subject == name))
    _execute(session, delete(evidence_source).where(evidence_source.c.evidence_id == evidence.id))
    _blank(session, Activity, Activity.subject == name, reason="")
    _blank(session, HarmCheck, HarmCheck.evidence_id == evidence.id, answers="", warnings="")
    _blank(session, Consent, Consent.evidence_id == evidence.id, note="", language="", source_id=None)
    words: dict[str, Any] = dict.fromkeys((*Evidence.SEALED, "needs"), "")
    unknown = dict.fromkeys(("occurred_on", "source_type", "reliability", "credibility", "not_before"))
    words |= unknown | {"date_precision": Precision.DAY, "withdrawal_reason": reason}
    _blank(session, Evidence, Evidence.id == evidence.id, **words)
    private_roots.forget(session, name)


def _erase_exhibits(session: Session, evidence: Evidence, account: Account, now: dt.datetime) -> list[str]:
    blobs: set[str] = set()
    for exhibit_id, key, sha256 in session.execute(
        select(Exhibit.id, Exhibit.key, Exhibit.sha256)
        .where(Exhibit.evidence_id == evidence.id, Exhibit.erased_at.is_(None))
        .order_by(Exhibit.id)
    ).all():
        copies = PublicCopy.exhibit_id == exhibit_id
        blobs |= {sha256, *session.scalars(select(PublicCopy.sha256).where(copies))} - {None}
        gone: dict[str, Any] = {"sha256": None, "size": 0, "damaged_at": None}
        nothing = dict.fromkeys(("salt", *Exhibit.SEALED), "")
        _blank(session, Exhibit, Exhibit.id == exhibit_id, **gone, **nothing, erased_at=now)
        withdrawn_at = func.coalesce(PublicCopy.withdrawn_at, now)
        _execute(
            session,
            update(PublicCopy).where(copies).values(**gone, description="", withdrawn_at=withdrawn_at),
        )
        _erase_custody(session, exhibit_id, account, now)
        private_roots.forget(session, f"exhibit/{key}")
    return sorted(blobs)


def _erase_custody(session: Session, exhibit_id: int, account: Account, now: dt.datetime) -> None:
    """Who did what stays; the hashes go, because they tell which file it was to anybody who has it.

    The lines stay chained: their own hashes cover commitments, which tell nothing now that the salt is gone.
    """
    hashed = CustodyLine.exhibit_id == exhibit_id, CustodyLine.sha256 != ""
    # The one edit of a line that the database lets pass, and only in an exhibit that is erased.
    _execute(session, update(CustodyLine).where(*hashed).values(sha256=""))
    custody_log.append(session, exhibit_id, CustodyAction.ERASED, account=account, now=now)
    session.flush()


def _blank(session: Session, kind: Any, which: ColumnElement[bool], **values: Any) -> None:
    """Empty these columns and throw away the ciphertext."""
    _execute(session, update(kind).where(which).values(sealed=None, **values))


def _execute(session: Session, statement: Any) -> Any:
    return session.execute(statement.execution_options(synchronize_session=False))
