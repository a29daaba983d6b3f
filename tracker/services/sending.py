"""temporary: the operator branch brings the real one"""

from __future__ import annotations

from sqlalchemy.orm import Session

from tracker.models import Sending
from tracker.vocabulary import HoldReason


def held(session: Session) -> HoldReason | None:
    """Why nothing goes out."""
    found = session.get(Sending, 1, populate_existing=True)
    return found.held_because if found else None
