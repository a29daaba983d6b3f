"""Exhibits: files attached to evidence, what was done with them, and what the ledger says of them.

The bytes are in the store before the rows are written, and the rows before anybody is told that it worked. Originals
never change and are never public; `services/copies.py` makes and releases what the public may see.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import secrets
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker import permissions, verifier
from tracker.errors import Conflict, Invalid, NotAllowed, NotFound, StorageFailed
from tracker.models import Account, Blob, Evidence, Exhibit, PublicCopy
from tracker.services import activity, custody_log, private_roots, states
from tracker.vocabulary import N_, CustodyAction, State

if TYPE_CHECKING:
    from tracker.examiner.traces import Examined
    from tracker.storage import Incoming, Store

_DAY = dt.timedelta(days=1)


def check_allowed(evidence: Evidence, *, account: Account) -> None:
    """Raise NotAllowed unless this person may attach files to this evidence."""
    if not permissions.can_attach(account, evidence):
        raise NotAllowed(
            N_("Files are attached by monitors and reviewers, to evidence that is not withdrawn or erased.")
        )


def check_quota(
    session: Session, *, account: Account, expected: int, megabytes: int, now: dt.datetime
) -> None:
    """Raise Invalid if this person would upload more than so many megabytes within a day."""
    originals = select(func.coalesce(func.sum(Exhibit.size), 0)).where(
        Exhibit.uploaded_by_id == account.id, Exhibit.uploaded_at > now - _DAY
    )
    copies = select(func.coalesce(func.sum(PublicCopy.size), 0)).where(
        PublicCopy.made_by_id == account.id, PublicCopy.made_at > now - _DAY
    )
    used = session.scalar(originals) + session.scalar(copies)  # type: ignore[operator]
    if used + expected > megabytes * 1024 * 1024:
        raise Invalid(
            N_(
                "You have uploaded %(used)s MB since this time yesterday; with this file it would be more than the "
                "%(limit)s MB that one person may upload in a day. Try again later, or ask the operator."
            ),
            "file",
            used=used // 2**20,
            limit=megabytes,
        )


def attach(
    session: Session,
    evidence: Evidence,
    incoming: Incoming,
    examined: Examined,
    *,
    name: str,
    account: Account | None,
    store: Store,
    distressing: bool = False,
    captured_from: str = "",
    now: dt.datetime,
) -> Exhibit:
    """Make a file that the store keeps already an exhibit. `account` None: the program itself captured it.

    A reviewer who had the evidence open before must look again, because it has another version now.
    """
    states.hold(session, evidence, account=account)
    if account is not None:
        check_allowed(evidence, account=account)
    elif evidence.state in (State.WITHDRAWN, State.ERASED):
        raise Conflict(N_("The evidence was withdrawn or erased meanwhile."))
    record_blob(session, incoming, store=store, now=now)
    exhibit = Exhibit(
        evidence=evidence,
        sha256=incoming.sha256,
        salt=secrets.token_hex(32),
        size=incoming.size,
        kind=examined.kind,
        name=name,
        examined=remember(examined),
        captured_from=captured_from,
        distressing=distressing,
        uploaded_by_id=account.id if account else None,
        uploaded_at=now,
    )
    session.add(exhibit)
    session.flush()
    action = CustodyAction.CAPTURED if captured_from else CustodyAction.UPLOADED
    custody_log.append(session, exhibit.id, action, account=account, sha256=incoming.sha256, now=now)
    private_roots.commit(session, f"exhibit/{exhibit.key}", incoming.sha256, now=now)
    activity.record(session, account, "exhibit-attached", f"evidence/{evidence.key}", now=now)
    touch(session, evidence)
    return exhibit


def record_blob(session: Session, incoming: Incoming, *, store: Store, now: dt.datetime) -> None:
    """Make sure of the row of bytes that the store keeps already. The same bytes twice are one blob."""
    sha256, size = incoming.sha256, incoming.size
    if session.get(Blob, sha256) is None:
        # Somebody may be quicker with the same file: then theirs is the row.
        with contextlib.suppress(IntegrityError), session.begin_nested():
            session.add(Blob(sha256=sha256, size=size, kept_at=now))
    # Held until the end of the transaction, so that nobody deletes it as unused meanwhile.
    held = session.scalars(select(Blob).where(Blob.sha256 == sha256).with_for_update()).one_or_none()
    # Whoever deleted the bytes just before has to be noticed.
    if held is None or store.size(sha256) != size:
        raise StorageFailed(N_("The file could not be stored. Try again."))


def log_look(
    session: Session, exhibit: Exhibit, action: CustodyAction, *, account: Account, now: dt.datetime
) -> None:
    """Write that somebody looked at the original or took it along. Raises NotFound if it was erased meanwhile."""
    # Held until the commit: an erasure then comes after, and takes the hash out of the log again.
    held = select(Exhibit.sha256).where(Exhibit.id == exhibit.id).with_for_update(key_share=True)
    sha256 = session.scalar(held)
    if sha256 is None:
        raise NotFound(
            N_("There is no such page. It may have been withdrawn, or the address has a mistake in it.")
        )
    custody_log.append(session, exhibit.id, action, account=account, sha256=sha256, now=now)


def note_damage(session: Session, copy_id: int, *, now: dt.datetime) -> None:
    """Remember, once, that the bytes of a public copy are missing or differ, so that it is not served."""
    exhibit_ids = session.scalars(select(PublicCopy.exhibit_id).where(PublicCopy.id == copy_id)).all()
    custody_log.hold(session, exhibit_ids)
    noted = session.execute(
        update(PublicCopy)
        .where(PublicCopy.id == copy_id, PublicCopy.damaged_at.is_(None))
        .values(damaged_at=now)
        .execution_options(synchronize_session=False)
    )
    if noted.rowcount == 1:  # type: ignore[attr-defined]
        copy = session.get_one(PublicCopy, copy_id)
        custody_log.append(
            session,
            copy.exhibit_id,
            CustodyAction.DAMAGED,
            account=None,
            sha256=copy.sha256 or "",
            note=copy.key,
            now=now,
        )


def touch(session: Session, evidence: Evidence) -> None:
    """Give the evidence a new version, because something that belongs to it has changed."""
    session.execute(
        update(Evidence)
        .where(Evidence.id == evidence.id)
        .values(version=Evidence.version + 1)
        .execution_options(synchronize_session=False)
    )
    session.refresh(evidence, ["version"])


def remember(examined: Examined) -> str:
    """What the examiner found, as it is kept with the exhibit."""
    return json.dumps(
        {
            "traces": [{"what": trace.what, "value": trace.value} for trace in examined.warnings],
            "pages": examined.pages,
            "width": examined.width,
            "height": examined.height,
            "records": [
                {
                    "url": one.url,
                    "type": one.type,
                    "date": one.date,
                    "digest_ok": one.digest_ok,
                    "size": one.size,
                }
                for one in examined.records
            ],
            "records_total": examined.records_total,
            "records_bad": examined.records_bad,
        },
        ensure_ascii=False,
    )


def findings(exhibit: Exhibit) -> dict[str, Any]:
    """What the examiner found in the original: `traces`, `pages`, `width`, `height`, `records`."""
    found: dict[str, Any] = json.loads(exhibit.examined) if exhibit.examined else {}
    return {"traces": [], "records": [], **found}


def released(evidence: Evidence) -> list[PublicCopy]:
    """The public copies that the public may see as soon as it may see the evidence."""
    return [copy for exhibit in evidence.exhibits for copy in exhibit.copies if is_released(copy)]


def is_released(copy: PublicCopy) -> bool:
    """Whether a second person released it and nobody has withdrawn it."""
    return copy.released_at is not None and copy.withdrawn_at is None and copy.sha256 is not None


def release_prepared(session: Session, piece: Evidence, *, reviewer: Account, now: dt.datetime) -> None:
    """Release every copy that was prepared for evidence which this reviewer is about to make public."""
    for exhibit in piece.exhibits:
        for copy in exhibit.copies:
            if copy.released_at is None:
                release(session, copy, reviewer=reviewer, now=now)


def release(session: Session, copy: PublicCopy, *, reviewer: Account, now: dt.datetime) -> None:
    """Release one copy, by somebody who did not make it. Whoever calls this publishes it."""
    if copy.made_by_id == reviewer.id:
        raise NotAllowed(N_("You made this public copy yourself. Another reviewer must look at it."))
    if copy.damaged_at is not None:
        raise Conflict(N_("The bytes of this copy are damaged. Make it anew."))
    custody_log.hold(session, [copy.exhibit_id])
    taken = session.execute(
        update(PublicCopy)
        .where(PublicCopy.id == copy.id, PublicCopy.released_at.is_(None), PublicCopy.withdrawn_at.is_(None))
        .values(released_at=now, released_by_id=reviewer.id)
        .execution_options(synchronize_session=False)
    )
    session.refresh(copy)
    if taken.rowcount != 1:  # type: ignore[attr-defined]
        raise Conflict(N_("Somebody has decided this meanwhile. Look at it again."))
    custody_log.append(
        session,
        copy.exhibit_id,
        CustodyAction.RELEASED,
        account=reviewer,
        sha256=copy.sha256 or "",
        note=copy.key,
        now=now,
    )


def facts(evidence: Evidence) -> dict[str, Any]:
    """What the ledger keeps of the exhibits for good; nothing while there is no released copy.

    `copy` is the SHA-256 of the public copy. `original` commits to the original without telling its hash.
    """
    copies = [
        {
            "name": copy.key,
            "copy": copy.sha256,
            "size": copy.size,
            "kind": copy.kind.value,
            "method": copy.method.value,
            "original": verifier.commitment(copy.exhibit.salt, copy.exhibit.sha256 or ""),
        }
        for copy in released(evidence)
    ]
    return {"exhibits": copies} if copies else {}


def words(evidence: Evidence) -> dict[str, Any]:
    """What people wrote about the public copies, for the ledger's erasable part."""
    copies = [{"name": copy.key, "description": copy.description} for copy in released(evidence)]
    return {"exhibits": copies} if copies else {}
