"""While sending is held nothing goes out; people release it, and say what becomes of what is due."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.mail import Events
from tests.mailing import mail, reader
from tracker.errors import Conflict, Invalid, NotAllowed
from tracker.models import Account, Activity
from tracker.services import sending
from tracker.vocabulary import (
    Channel,
    DeliveryKind,
    DeliveryState,
    HoldReason,
    ReleaseWay,
    Role,
    SubscriberState,
)

SEND, CONSIDER_SENT = ReleaseWay.SEND, ReleaseWay.CONSIDER_SENT


@pytest.fixture
def ada(make: Factory) -> Account:
    account: Account = make.account(Role.ADMIN, name="Ada", password_hash="x")
    return account


@pytest.fixture
def alan(make: Factory) -> Account:
    account: Account = make.account(Role.ADMIN, name="Alan", password_hash="x")
    return account


def acts(session: Session) -> list[str]:
    return list(session.scalars(select(Activity.action).order_by(Activity.id)))


def test_it_is_held_once_and_released_by_an_admin(session: Session, ada: Account, now: dt.datetime) -> None:
    assert sending.held(session) is None
    assert sending.hold(session, HoldReason.CLOCK, now=now)
    assert not sending.hold(session, HoldReason.CLOCK, now=now)
    assert sending.held(session) is HoldReason.CLOCK

    assert sending.release(session, account=ada, needed=1, way=SEND, now=now)

    assert sending.held(session) is None
    assert acts(session) == ["sending-held", "sending-released"]
    with pytest.raises(Conflict):
        sending.release(session, account=ada, needed=1, way=SEND, now=now)


def test_two_people_agree_on_one_way(session: Session, ada: Account, alan: Account, now: dt.datetime) -> None:
    sending.hold(session, HoldReason.RESTORED, now=now)

    assert not sending.release(session, account=ada, needed=2, way=SEND, now=now)
    with pytest.raises(Conflict, match="second admin"):
        sending.release(session, account=ada, needed=2, way=SEND, now=now)
    with pytest.raises(Conflict, match="Ada chose"):
        sending.release(session, account=alan, needed=2, way=CONSIDER_SENT, now=now)
    sending.keep_holding(session, account=alan, now=now)
    assert not sending.release(session, account=alan, needed=2, way=CONSIDER_SENT, now=now)
    assert sending.release(session, account=ada, needed=2, way=CONSIDER_SENT, now=now)
    assert sending.held(session) is None


def test_a_restored_backup_outweighs_the_clock(session: Session, ada: Account, now: dt.datetime) -> None:
    sending.hold(session, HoldReason.CLOCK, now=now)
    sending.release(session, account=ada, needed=2, way=SEND, now=now)

    assert sending.hold(session, HoldReason.RESTORED, now=now)
    assert not sending.hold(session, HoldReason.CLOCK, now=now)
    assert sending.held(session) is HoldReason.RESTORED
    assert sending.row(session).first_releaser_id is None


def test_only_admins_release_and_only_a_restored_backup_is_considered_sent(
    session: Session, ada: Account, make: Factory, now: dt.datetime
) -> None:
    reviewer = make.account(Role.REVIEWER, password_hash="x")
    sending.hold(session, HoldReason.CLOCK, now=now)

    with pytest.raises(NotAllowed):
        sending.release(session, account=reviewer, needed=1, way=SEND, now=now)
    with pytest.raises(Invalid):
        sending.release(session, account=ada, needed=1, way=CONSIDER_SENT, now=now)


def test_considered_sent_nobody_is_told_again_but_confirmations_go_out(
    session: Session, ada: Account, make: Factory, now: dt.datetime
) -> None:
    events = Events(session, make.report(), now)
    events.evidence(1)
    events.evidence(2)
    by_mail = reader(session, now)
    on_the_site = reader(session, now, channel=Channel.MAILBOX)
    gone = reader(session, now, state=SubscriberState.LEFT)
    digest, flying = mail(session, now), mail(session, now, state=DeliveryState.DATA_SENT, lease_owner="x")
    confirmation = mail(session, now, kind=DeliveryKind.CONFIRMATION, period=None)
    sending.hold(session, HoldReason.RESTORED, now=now)

    sending.release(session, account=ada, needed=1, way=CONSIDER_SENT, now=now)
    session.commit()
    session.expire_all()

    assert (digest.state, flying.state) == (DeliveryState.CANCELLED, DeliveryState.CANCELLED)
    assert confirmation.state is DeliveryState.PENDING
    assert (by_mail.seen_seq, on_the_site.seen_seq, gone.seen_seq) == (2, 0, 0)
