"""Public copies: made by one person, released by another, published with an entry in the ledger.

What is prepared before the evidence is accepted is released by accepting it. What is made later is released by itself.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from tracker import consent, permissions
from tracker.errors import Conflict, Invalid, NotAllowed
from tracker.models import Account, Exhibit, LedgerEntry, PublicCopy
from tracker.services import activity, custody_log, evidence, exhibits, ledger, states
from tracker.services import harm as harm_check
from tracker.services.harm import Harm
from tracker.vocabulary import N_, CopyMethod, CustodyAction, EntryKind, FileKind, State, Visibility

if TYPE_CHECKING:
    from tracker.storage import Incoming, Store


def prepare(
    session: Session,
    exhibit: Exhibit,
    incoming: Incoming,
    kind: FileKind,
    method: CopyMethod,
    *,
    description: str,
    account: Account,
    store: Store,
    now: dt.datetime,
) -> PublicCopy:
    """Make a file that the store keeps already a public copy, which waits for its release. `description` tells what it shows; it is public."""
    states.hold(session, exhibit.evidence, account=account)
    exhibits.check_allowed(exhibit.evidence, account=account)
    if not description:
        raise Invalid(
            N_("Describe what the copy shows, for people who cannot see it. No names."), "description"
        )
    if incoming.sha256 == exhibit.sha256:
        raise Invalid(
            N_(
                "This is the original, byte for byte. A public copy is another file, without what must stay hidden."
            ),
            "file",
        )
    exhibits.record_blob(session, incoming, store=store, now=now)
    copy = PublicCopy(
        exhibit=exhibit,
        sha256=incoming.sha256,
        size=incoming.size,
        kind=kind,
        method=method,
        description=description,
        made_by_id=account.id,
        made_at=now,
    )
    session.add(copy)
    session.flush()
    action = CustodyAction.REDACTED if method is CopyMethod.CLEANED else CustodyAction.COPIED
    custody_log.append(
        session, exhibit.id, action, account=account, sha256=incoming.sha256, note=copy.key, now=now
    )
    activity.record(session, account, "public-copy-made", evidence.subject(exhibit.evidence), now=now)
    exhibits.touch(session, exhibit.evidence)
    return copy


def discard(session: Session, copy: PublicCopy, *, account: Account, now: dt.datetime) -> list[str]:
    """Throw away a copy that was never released. Its line in the custody log stays.

    Returns the SHA-256 of its blob, if nothing may use it any more; to be removed after the commit.
    """
    states.hold(session, copy.exhibit.evidence, account=account)
    exhibits.check_allowed(copy.exhibit.evidence, account=account)
    # Only while nobody has released it, whatever stood on the page.
    gone = session.execute(
        delete(PublicCopy)
        .where(PublicCopy.id == copy.id, PublicCopy.released_at.is_(None))
        .execution_options(synchronize_session=False)
    )
    if gone.rowcount != 1:  # type: ignore[attr-defined]
        raise Conflict(N_("This copy was released. It can be withdrawn, with a reason."))
    activity.record(
        session, account, "public-copy-discarded", evidence.subject(copy.exhibit.evidence), now=now
    )
    exhibits.touch(session, copy.exhibit.evidence)
    session.expire(copy.exhibit, ["copies"])
    session.expunge(copy)
    session.flush()
    return [copy.sha256] if copy.sha256 else []


def release(
    session: Session,
    copy: PublicCopy,
    *,
    reviewer: Account,
    seen: str,
    harm: Harm | None = None,
    now: dt.datetime,
) -> LedgerEntry | None:
    """Release a copy made after its evidence was accepted. Public evidence gets its ledger entry at once.

    `seen` is the hash of the bytes that the reviewer looked at. Public evidence needs the answers about `harm`, as
    when it was accepted: Invalid names each that is missing.
    """
    if not permissions.is_reviewer(reviewer):
        raise NotAllowed(N_("Only reviewers release public copies."))
    piece = copy.exhibit.evidence
    ledger.lock(session)
    # Before the exhibit's log, as everybody does who needs both.
    states.hold(session, piece, account=None)
    session.refresh(copy)
    if piece.state is not State.ACCEPTED:
        raise Conflict(N_("The evidence itself is not accepted. Its copies are released with it."))
    if copy.sha256 != seen:
        raise Conflict(N_("Somebody has decided this meanwhile. Look at it again."))
    exhibits.release(session, copy, reviewer=reviewer, now=now)
    if piece.visibility is Visibility.PUBLIC:
        found = harm_check.check(session, piece, harm)
        if harm is not None:
            harm_check.record(session, piece, harm, found, checked_by=reviewer, now=now)
        session.expire(piece, ["consents", "sources"])
        consent.check_publishable(piece, on=now.date())
    if piece.ledger_seq is None:
        return None
    return evidence.record_exhibits(session, piece, EntryKind.EXHIBIT_PUBLISHED, now=now)


def withdraw(
    session: Session, copy: PublicCopy, *, reviewer: Account, reason: str, now: dt.datetime
) -> LedgerEntry | None:
    """Take a released copy from the public, and say why. One reviewer is enough: harm cannot wait."""
    if not permissions.is_reviewer(reviewer):
        raise NotAllowed(N_("Only reviewers withdraw public copies."))
    if not reason:
        raise Invalid(N_("Say why it is withdrawn. The reason is public."), "reason")
    piece = copy.exhibit.evidence
    ledger.lock(session)
    # Before the exhibit's log, as everybody does who needs both.
    states.hold(session, piece, account=None)
    custody_log.hold(session, [copy.exhibit_id])
    taken = session.execute(
        update(PublicCopy)
        .where(
            PublicCopy.id == copy.id, PublicCopy.released_at.is_not(None), PublicCopy.withdrawn_at.is_(None)
        )
        .values(withdrawn_at=now)
        .execution_options(synchronize_session=False)
    )
    session.refresh(copy)
    if taken.rowcount != 1:  # type: ignore[attr-defined]
        raise Conflict(N_("This copy is not public, or it was withdrawn meanwhile."))
    custody_log.append(
        session,
        copy.exhibit_id,
        CustodyAction.WITHDRAWN,
        account=reviewer,
        sha256=copy.sha256 or "",
        note=copy.key,
        now=now,
    )
    activity.record(
        session, reviewer, "public-copy-withdrawn", evidence.subject(piece), now=now, reason=reason
    )
    if piece.ledger_seq is None or piece.state is not State.ACCEPTED:
        return None
    return evidence.record_exhibits(
        session, piece, EntryKind.EVIDENCE_CORRECTED, withdrawn=copy.key, correction=reason, now=now
    )
