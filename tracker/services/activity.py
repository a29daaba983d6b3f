"""Who did what: one line for the team's eyes, written with every act."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy.orm import Session

from tracker.models import Account, Activity
from tracker.vocabulary import Need


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


def listed(needs: Sequence[Need]) -> str:
    """What is wanting, as a row keeps it: the values, separated by commas."""
    return ",".join(str(need.value) for need in dict.fromkeys(needs))


def with_needs(reason: str, needs: Sequence[Need]) -> str:
    """Why something was returned, with what is wanting, as the activity keeps it."""
    return f"{reason} [{listed(needs).replace(',', ', ')}]" if needs else reason
