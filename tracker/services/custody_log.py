"""The custody log of an exhibit: one line after another, each with a hash over its words and the hash of the line before.

So a line that was changed, put in, moved or taken out breaks the chain, and the exhibit's row knows how many lines there
are and which is the newest. What a line's hash covers, and how it is checked, stands in `tracker/verifier.py`; why it
covers a salted hash of the bytes instead of their SHA-256, in `docs/decisions/0008-custody-chain.md`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tracker import verifier
from tracker.models import Account, CustodyLine, Exhibit
from tracker.vocabulary import CustodyAction


def append(
    session: Session,
    exhibit_id: int,
    action: CustodyAction,
    *,
    account: Account | None,
    sha256: str = "",
    note: str = "",
    now: dt.datetime,
) -> None:
    """Write the next line of an exhibit's log. `account` None: the program itself. `sha256` is that of the bytes."""
    # Held until the commit, so that of two who write at once the second one builds on the first one's line.
    held = (
        select(Exhibit.key, Exhibit.salt, Exhibit.custody_count, Exhibit.custody_head)
        .where(Exhibit.id == exhibit_id)
        .with_for_update(key_share=True)
    )
    exhibit = session.execute(held).one()
    line = CustodyLine(
        exhibit_id=exhibit_id,
        position=exhibit.custody_count + 1,
        at=now.astimezone(dt.UTC),
        account_id=account.id if account else None,
        action=action,
        sha256=sha256,
        commitment=verifier.commitment(exhibit.salt, sha256) if sha256 else "",
        note=note,
    )
    told = plain(line, account.key if account else None)
    line.line_hash = verifier.custody_hash(exhibit.key, told, exhibit.custody_head)
    session.add(line)
    # In SQL and not through the row: nothing of it is to be opened or sealed for this.
    session.execute(
        update(Exhibit)
        .where(Exhibit.id == exhibit_id)
        .values(custody_count=line.position, custody_head=line.line_hash)
        .execution_options(synchronize_session=False)
    )


def hold(session: Session, exhibit_ids: Iterable[int]) -> None:
    """Let nobody else write into these logs until this transaction ends.

    Whoever writes into several logs, or changes a public copy and then writes a line about it, does this first: it is
    taken in the order of the exhibits, and before their copies, so that no two wait for each other.
    """
    ids = sorted(set(exhibit_ids))
    held = select(Exhibit.id).where(Exhibit.id.in_(ids)).order_by(Exhibit.id)
    session.execute(held.with_for_update(key_share=True)).all()


def plain(line: Any, account: str | None) -> dict[str, Any]:
    """A line, or a row of its columns, as the verifier reads it. `account` is the key of whoever did it."""
    return {
        "position": line.position,
        "at": line.at.isoformat(),
        "account": account,
        "action": line.action.value,
        "sha256": line.sha256,
        "commitment": line.commitment,
        "note": line.note,
        "line_hash": line.line_hash,
    }
