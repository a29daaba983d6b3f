"""Assignments: who takes care of a thing next. The last one to assign it decides, and the page says who did."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import delete
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tracker.errors import Conflict, Invalid, NotFound
from tracker.models import Account, Assignment
from tracker.queries import teamwork
from tracker.queries.teamwork import Row
from tracker.services import activity
from tracker.vocabulary import EDITABLE, N_, State


def assign(session: Session, row: Row, to: Account, *, by: Account, now: dt.datetime) -> None:
    """Give it to somebody: what waits for review to a reviewer who did not write it, a draft to who may finish it."""
    _check(session, row, by)
    if row.state not in (*EDITABLE, State.SUBMITTED):
        raise Conflict(N_("Nothing is left to be done with it."))
    if not teamwork.can_take(session, row, to):
        raise Invalid(
            N_("%(name)s cannot take it: what waits for review goes to a reviewer who may see it and did not write it."),
            "account",
            name=to.name,
        )  # fmt: skip
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    values = {"account_id": to.id, "assigned_by_id": by.id, "assigned_at": now}
    session.execute(
        insert(Assignment)
        .values(subject=teamwork.subject(row), **values)
        .on_conflict_do_update(index_elements=[Assignment.subject], set_=values)
    )
    noun = type(row).__name__.lower()
    activity.record(session, by, f"{noun}-assigned", teamwork.subject(row), now=now, reason=to.name)


def release(session: Session, row: Row, *, by: Account, now: dt.datetime) -> None:
    """Take the assignment away. Nothing happens if there is none."""
    _check(session, row, by)
    subject = teamwork.subject(row)
    gone = session.execute(delete(Assignment).where(Assignment.subject == subject))
    if gone.rowcount:  # type: ignore[attr-defined]
        activity.record(session, by, f"{type(row).__name__.lower()}-unassigned", subject, now=now)


def _check(session: Session, row: Row, by: Account) -> None:
    if not teamwork.may_see(session, row, by):
        raise NotFound(
            N_("There is no such page. It may have been withdrawn, or the address has a mistake in it.")
        )
