"""Who did what: one line for the team's eyes, written with every act."""

from __future__ import annotations

import datetime as dt

from sqlalchemy.orm import Session

from tracker.models import Account, Activity


def record(
    session: Session,
    account: Account | None,
    action: str,
    subject: str,
    *,
    now: dt.datetime,
    reason: str = "",
) -> None:
    """Note that `account` did `action` to `subject` ("evidence/7h2k…"). None: the operator, from the command line."""
    session.add(
        Activity(
            at=now, account_id=account.id if account else None, action=action, subject=subject, reason=reason
        )
    )
