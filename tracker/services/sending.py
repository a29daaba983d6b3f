"""Whether mails may go out at all. Held: nothing is composed or sent until people release it.

There is one row. What holds is the clock that jumped (`clock`) or a backup that was restored (`restored`): in both
cases the machine cannot know what is owed, and a person can.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import update
from sqlalchemy.orm import Session

from tracker.errors import Conflict, Invalid, NotAllowed
from tracker.models import Account, Delivery, Sending, Subscriber
from tracker.services import activity, ledger
from tracker.vocabulary import (
    N_,
    Channel,
    DeliveryKind,
    DeliveryState,
    HoldReason,
    ReleaseWay,
    Role,
    SubscriberState,
)

SUBJECT = "sending/1"
NOT_AN_ADMIN = N_("Only an admin who is active and has set up the account can release mails.")
SAME_PERSON = N_("You have released this already. A second admin has to release it too.")
_UNSENT = (DeliveryState.PENDING, DeliveryState.CLAIMED, DeliveryState.DATA_SENT)


def row(session: Session, *, lock: bool = False) -> Sending:
    """The one row."""
    found = session.get(Sending, 1, with_for_update=lock, populate_existing=lock)
    if found is None:
        found = Sending(id=1, journal=0)
        session.add(found)
        session.flush()
    return found


def rounds(session: Session) -> int:
    """How many rounds of the journal the database counts."""
    found = session.get(Sending, 1, populate_existing=True)
    return found.journal if found else 0


def count_round(session: Session, number: int) -> None:
    """Note that the journal has come so far."""
    found = row(session, lock=True)
    found.journal = max(found.journal, number)
    session.flush()


def held(session: Session) -> HoldReason | None:
    """Why nothing goes out, or None. Asked before anything is composed, and before every round of sending."""
    found = session.get(Sending, 1, populate_existing=True)
    return found.held_because if found else None


def hold(session: Session, reason: HoldReason, *, now: dt.datetime) -> bool:
    """Let nothing go out. True: it is held for this reason only now.

    A restored backup outweighs the clock: what was agreed about the clock is asked again.
    """
    found = row(session, lock=True)
    if found.held_because in (reason, HoldReason.RESTORED):
        return False
    found.held_because, found.held_at = reason, now
    found.first_releaser_id = found.second_releaser_id = found.way = None
    activity.record(session, None, "sending-held", SUBJECT, now=now, reason=str(reason.value))
    session.flush()
    return True


def release(session: Session, *, account: Account, needed: int, way: ReleaseWay, now: dt.datetime) -> bool:
    """Agree that mails go out again. True: they do from now on; False: a second admin has to agree as well.

    "Consider it sent": what was published until now is told to nobody by mail any more, and no mail that waits is sent
    but confirmations, which people wait for.
    """
    check_admin(account)
    found = row(session, lock=True)
    if found.held_because is None:
        raise Conflict(N_("Sending is not held any more."))
    if way is ReleaseWay.CONSIDER_SENT and found.held_because is not HoldReason.RESTORED:
        raise Invalid(N_("Only after a backup was restored can mails be considered sent."))
    if needed > 1 and found.first_releaser_id == account.id:
        raise Conflict(SAME_PERSON)
    if found.first_releaser_id is not None and found.way is not way:
        first = found.first_releaser
        assert first is not None
        assert found.way is not None
        raise Conflict(
            N_("%(name)s chose “%(way)s”. Choose the same, or press “Keep holding” to begin anew."),
            name=first.name,
            way=found.way.label,
        )  # fmt: skip
    done = needed < 2 or found.first_releaser_id is not None
    if found.first_releaser_id is None:
        found.first_releaser_id, found.way = account.id, way
    elif found.first_releaser_id != account.id:
        found.second_releaser_id = account.id
    activity.record(
        session,
        account,
        "sending-released" if done else "sending-release-agreed",
        SUBJECT,
        now=now,
        reason=f"{found.held_because.value}: {way.value}",
    )
    if done:
        found.held_because = found.held_at = None
        if way is ReleaseWay.CONSIDER_SENT:
            _consider_sent(session, now=now)
    session.flush()
    return done


def keep_holding(session: Session, *, account: Account, now: dt.datetime) -> None:
    """Take back what the first admin agreed to, as that person or another one: mails stay held."""
    check_admin(account)
    found = row(session, lock=True)
    if found.held_because is None:
        raise Conflict(N_("Sending is not held any more."))
    found.first_releaser_id = found.second_releaser_id = found.way = None
    activity.record(session, account, "sending-kept-held", SUBJECT, now=now)
    session.flush()


def check_admin(account: Account) -> None:
    """Only somebody who runs the place, and who can sign in, may release."""
    if account.role is not Role.ADMIN or not account.active or not account.is_set_up:
        raise NotAllowed(NOT_AN_ADMIN)


def _consider_sent(session: Session, *, now: dt.datetime) -> None:
    quiet = {"synchronize_session": False}
    session.execute(
        update(Delivery)
        .where(Delivery.state.in_(_UNSENT), Delivery.kind != DeliveryKind.CONFIRMATION)
        .values(
            state=DeliveryState.CANCELLED,
            message_sealed=None,
            lease_owner=None,
            lease_until=None,
            done_at=now,
        ),
        execution_options=quiet,
    )
    # Whoever reads on this site was sent nothing, and finds it there.
    session.execute(
        update(Subscriber)
        .where(Subscriber.channel == Channel.EMAIL, Subscriber.state == SubscriberState.CONFIRMED)
        .values(seen_seq=ledger.position(session)),
        execution_options=quiet,
    )
