"""Issues: the digests composed in one hour, held, released, discarded and counted together.

Senders claim only what belongs to an open issue, so that a held one stays held whatever is restarted. Once people have
begun to release an issue nothing more is put into it: what they saw is what goes out.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker.errors import Conflict, NotFound
from tracker.models import Account, Delivery, Issue, Subscriber
from tracker.services import activity, deliveries
from tracker.services.sending import SAME_PERSON, check_admin
from tracker.vocabulary import N_, DeliveryState, HoldReason, IssueState

# So many mails refused in a row for reasons that are ours: more would only be refused too.
HOLD_AFTER = 5
_HOUR = dt.timedelta(hours=1)


def open_issue(session: Session, *, config_hold: str, now: dt.datetime) -> Issue:
    """The issue that digests composed now belong to. With `config_hold` "one" or "two" it waits for people.

    An issue that somebody has begun to release, or that was discarded, is closed: what is composed after that belongs
    to the next hour's.
    """
    hour = now.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
    while True:
        # Shared: several processes may compose into it at once, and a release waits until they have committed.
        found = session.scalars(
            select(Issue)
            .where(Issue.hour == hour)
            .with_for_update(read=True)
            .execution_options(populate_existing=True)
        ).one_or_none()
        if found is None:
            found = _new(session, hour, config_hold)
        if found is not None:
            if found.state is not IssueState.DISCARDED and found.first_releaser_id is None:
                return found
            hour += _HOUR


def _new(session: Session, hour: dt.datetime, config_hold: str) -> Issue | None:
    issue = Issue(hour=hour, state=IssueState.OPEN)
    if config_hold != "no":
        issue.state, issue.held_because = IssueState.HELD, HoldReason.CONFIGURED
    try:
        with session.begin_nested():
            session.add(issue)
    except IntegrityError:
        return None  # Another process was quicker: read again what it made.
    return issue


def by_number(session: Session, number: int) -> Issue:
    """The issue of that number, or NotFound."""
    issue = session.get(Issue, number) if 0 < number < 2**31 else None
    if issue is None:
        raise NotFound(N_("There is no issue of that number."))
    return issue


def held(session: Session) -> list[Issue]:
    """The issues that wait for people, the oldest first."""
    return list(
        session.scalars(select(Issue).where(Issue.state == IssueState.HELD).order_by(Issue.hour, Issue.id))
    )


def size(session: Session, issue: Issue) -> int:
    """How many mails of it still wait."""
    waiting = Delivery.issue_id == issue.id, Delivery.state == DeliveryState.PENDING
    return session.scalar(select(func.count()).select_from(Delivery).where(*waiting)) or 0


def release(
    session: Session,
    issue: Issue,
    *,
    account: Account,
    needed: int,
    now: dt.datetime,
    seen: int | None = None,
) -> bool:
    """Agree that it goes out. True: it does from now on; False: a second admin has to agree as well.

    `seen` is how many mails the person was shown: if there are others by now, they look again.
    """
    check_admin(account)
    _lock(session, issue)
    if issue.state is not IssueState.HELD:
        raise Conflict(N_("This issue is not held any more."))
    if needed > 1 and issue.first_releaser_id == account.id:
        raise Conflict(SAME_PERSON)
    if seen is not None and seen != size(session, issue):
        raise Conflict(
            N_("The mails of this issue are not the same any more as on your page. Look at it again.")
        )
    done = needed < 2 or issue.first_releaser_id is not None
    if issue.first_releaser_id is None:
        issue.first_releaser_id = account.id
    elif issue.first_releaser_id != account.id:
        issue.second_releaser_id = account.id
    if done:
        issue.state, issue.held_because, issue.refused_in_a_row = IssueState.OPEN, None, 0
    activity.record(
        session, account, "issue-released" if done else "issue-release-agreed", subject(issue), now=now
    )
    session.flush()
    return done


def discard(session: Session, issue: Issue, *, account: Account, now: dt.datetime) -> int:
    """Send nothing more of it; how many mails that were. What they would have told stands in everybody's next digest.

    Nothing is kept from people this way: what should be told to nobody is withdrawn from the record, which everybody can
    see. So one admin is enough.
    """
    check_admin(account)
    _lock(session, issue)
    if issue.state is not IssueState.HELD:
        raise Conflict(N_("Only an issue that is held can be discarded."))
    issue.state, issue.held_because = IssueState.DISCARDED, None
    activity.record(session, account, "issue-discarded", subject(issue), now=now)
    session.flush()
    return sweep(session, now=now)


def sweep(session: Session, *, now: dt.datetime) -> int:
    """Cancel what waits in discarded issues, also what a sender still held when one was discarded; how many mails."""
    discarded = select(Issue.id).where(Issue.state == IssueState.DISCARDED)
    waiting = Delivery.issue_id.in_(discarded), Delivery.state == DeliveryState.PENDING
    quiet = {"synchronize_session": False}
    begins = (
        select(func.min(Delivery.from_seq))
        .where(Delivery.subscriber_id == Subscriber.id, Delivery.from_seq.is_not(None), *waiting)
        .scalar_subquery()
    )
    session.execute(update(Subscriber).where(Subscriber.seen_seq > begins).values(seen_seq=begins), execution_options=quiet)  # fmt: skip
    gone = session.execute(
        update(Delivery).where(*waiting).values(state=DeliveryState.CANCELLED, message_sealed=None, done_at=now),
        execution_options=quiet,
    )  # fmt: skip
    count = int(gone.rowcount)  # type: ignore[attr-defined]
    return count + deliveries.cancel_told_by_the_next(session, now=now) if count else 0


def hold(
    session: Session, issue: Issue, reason: HoldReason, *, now: dt.datetime, account: Account | None = None
) -> bool:
    """Let nothing more of it go out until people release it. True: it was open until now."""
    if account is not None:
        check_admin(account)
    _lock(session, issue)
    if issue.state is not IssueState.OPEN:
        return False
    issue.state, issue.held_because = IssueState.HELD, reason
    issue.first_releaser_id = issue.second_releaser_id = None
    activity.record(session, account, "issue-held", subject(issue), now=now, reason=str(reason.value))
    session.flush()
    return True


def note_refusal(session: Session, issue: Issue, *, now: dt.datetime) -> bool:
    """The relay refused a mail of it for a reason that is ours. True: that was the fifth in a row, and it is held now.

    Nobody is dropped: its mails wait. The caller logs `relay-refuses-our-mails`.
    """
    session.execute(
        update(Issue)
        .where(Issue.id == issue.id)
        .values(refused_in_a_row=Issue.refused_in_a_row + 1)
        .execution_options(synchronize_session=False)
    )
    _lock(session, issue)
    return issue.refused_in_a_row >= HOLD_AFTER and hold(session, issue, HoldReason.REFUSED, now=now)


def note_success(session: Session, issue: Issue) -> None:
    """The relay took one: those refused before were not in a row with those to come."""
    session.execute(
        update(Issue)
        .where(Issue.id == issue.id, Issue.refused_in_a_row > 0)
        .values(refused_in_a_row=0)
        .execution_options(synchronize_session=False)
    )


def decide(
    session: Session, delivery: Delivery, *, arrived: bool, account: Account, now: dt.datetime
) -> None:
    """A person has looked for an uncertain mail in the relay's log: it arrived, or it is sent once more."""
    check_admin(account)
    changed = session.execute(
        update(Delivery)
        .where(Delivery.id == delivery.id, Delivery.state == DeliveryState.UNCERTAIN)
        .values(
            state=DeliveryState.SENT if arrived else DeliveryState.PENDING,
            done_at=now if arrived else None,
            due_at=delivery.due_at if arrived else now,
            # It was doubted before: lost once more, it comes back to a person.
            ambiguous=Delivery.ambiguous if arrived else 1,
            **({"message_sealed": None} if arrived else {}),
        )
        .execution_options(synchronize_session=False)
    )
    if changed.rowcount != 1:  # type: ignore[attr-defined]
        raise Conflict(N_("Somebody has decided about this mail already."))
    act = "mail-arrived" if arrived else "mail-sent-again"
    activity.record(session, account, act, f"delivery/{delivery.id}", now=now)
    session.flush()


def subject(issue: Issue) -> str:
    """How the activity names it."""
    return f"issue/{issue.id}"


def _lock(session: Session, issue: Issue) -> None:
    session.flush()
    session.refresh(issue, with_for_update=True)
