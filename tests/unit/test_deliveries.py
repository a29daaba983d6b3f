"""A mail is claimed by one sender, fenced before the dot, and doubted once at most."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tests.mail import follower
from tracker import db
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Delivery, Subscriber
from tracker.services import deliveries, subscriptions
from tracker.services.deliveries import LEASE, Mail
from tracker.vocabulary import DeliveryKind, DeliveryState, SubscriberState

MINUTE = dt.timedelta(minutes=1)
DIGEST = DeliveryKind.DIGEST


@pytest.fixture
def reader(session: Session, keys: Keyring, config: Config, now: dt.datetime) -> Subscriber:
    return follower(session, keys, config, now)


@pytest.fixture
def queued(session: Session, reader: Subscriber, keys: Keyring, now: dt.datetime) -> Delivery:
    delivery = deliveries.enqueue(
        session, reader, Mail("<m1@localhost>", b"words"), kind=DIGEST, keys=keys, now=now
    )
    session.commit()
    return delivery


def claim(session: Session, now: dt.datetime) -> Any:
    found = deliveries.claim(session, now=now)
    session.commit()
    if found is not None:
        session.expunge(found)
    return found


def look(session: Session) -> Delivery:
    session.rollback()
    session.expire_all()
    return session.scalars(select(Delivery)).one()


def test_the_stored_mail_opens_for_its_own_message_id_only(queued: Delivery, keys: Keyring) -> None:
    assert b"words" not in (queued.message_sealed or b"")
    assert keys.unseal(queued.message_sealed or b"", deliveries.context("<m1@localhost>")) == b"words"
    with pytest.raises(ValueError, match="does not open"):
        keys.unseal(queued.message_sealed or b"", deliveries.context("<m2@localhost>"))


def test_two_senders_never_hold_the_same_mail(
    queued: Delivery, session: Session, engine: Engine, now: dt.datetime
) -> None:
    first = claim(session, now)
    with db.new_session(engine) as other:
        second = claim(other, now)

    assert (first is None, second is None) == (False, True)


def test_a_mail_waits_for_its_time(queued: Delivery, session: Session, now: dt.datetime) -> None:
    assert claim(session, now - MINUTE) is None


def test_a_dead_senders_mail_is_free_after_its_lease_and_nothing_is_doubted(
    queued: Delivery, session: Session, now: dt.datetime
) -> None:
    claim(session, now)

    assert deliveries.recover(session, now=now + LEASE) == 0
    assert claim(session, now + LEASE) is None
    assert deliveries.recover(session, now=now + LEASE + MINUTE) == 0
    assert claim(session, now + LEASE + MINUTE).ambiguous == 0


def test_a_sender_that_wakes_after_its_lease_may_not_send_the_dot(
    queued: Delivery, session: Session, now: dt.datetime
) -> None:
    asleep = claim(session, now)
    deliveries.recover(session, now=now + LEASE + MINUTE)
    awake = claim(session, now + LEASE + MINUTE)

    assert not deliveries.data_sent(session, asleep, now=now + LEASE + MINUTE)
    assert deliveries.data_sent(session, awake, now=now + LEASE + MINUTE)
    deliveries.sent(session, asleep, answer="250", now=now + LEASE + MINUTE)
    assert session.scalars(select(Delivery.state)).one() is DeliveryState.DATA_SENT


def test_a_mail_lost_after_the_dot_is_sent_once_more_and_then_left_to_a_person(
    queued: Delivery, session: Session, now: dt.datetime
) -> None:
    for ambiguous in (1, 2):
        held = claim(session, now)
        assert deliveries.data_sent(session, held, now=now)
        now += LEASE + MINUTE
        assert deliveries.recover(session, now=now) == 1
        session.commit()
        assert look(session).ambiguous == ambiguous

    assert look(session).state is DeliveryState.UNCERTAIN
    assert look(session).message_sealed is not None
    assert claim(session, now) is None


def test_what_was_sent_is_not_kept(queued: Delivery, session: Session, now: dt.datetime) -> None:
    held = claim(session, now)
    deliveries.data_sent(session, held, now=now)
    deliveries.sent(session, held, answer="250 end of DATA", now=now)
    session.commit()

    found = look(session)
    assert (found.state, found.message_sealed, found.last_answer) == (
        DeliveryState.SENT,
        None,
        "250 end of DATA",
    )


def test_it_is_tried_again_later_and_later_for_three_days(
    queued: Delivery, session: Session, now: dt.datetime
) -> None:
    start, pauses = now, []
    while (held := claim(session, now)) is not None:
        deliveries.retry(session, held, answer="451 RCPT", now=now)
        session.commit()
        found = look(session)
        if found.state is DeliveryState.EXPIRED:
            break
        pauses.append(round((found.due_at - now) / MINUTE))
        now = found.due_at

    assert pauses[:6] == [1, 5, 15, 60, 120, 240]
    assert set(pauses[6:]) == {240}
    assert dt.timedelta(hours=72) <= now - start < dt.timedelta(hours=76)
    assert look(session).message_sealed is None


def test_a_refused_address_gets_nothing_more_until_it_asks_anew(
    queued: Delivery, session: Session, reader: Subscriber, now: dt.datetime
) -> None:
    deliveries.refused(session, claim(session, now), answer="550 RCPT", now=now)
    session.commit()

    assert look(session).state is DeliveryState.FAILED
    assert (reader.state, reader.next_due_at) == (SubscriberState.FAILED, None)


def test_who_leaves_gets_no_mail_that_is_already_claimed(
    queued: Delivery, session: Session, reader: Subscriber, now: dt.datetime
) -> None:
    held = claim(session, now)
    subscriptions.leave(session, reader, now=now)
    session.commit()

    assert not deliveries.wanted(session, held, now=now)
    session.commit()
    assert look(session).state is DeliveryState.CANCELLED


def test_who_is_erased_gets_no_mail_that_is_already_claimed(
    queued: Delivery, session: Session, reader: Subscriber, now: dt.datetime
) -> None:
    held = claim(session, now)
    subscriptions.erase(session, reader)
    session.commit()

    assert not deliveries.wanted(session, held, now=now)
    assert not deliveries.data_sent(session, held, now=now)


def test_a_confirmation_is_sent_only_while_its_link_works(
    session: Session, reader: Subscriber, keys: Keyring, now: dt.datetime
) -> None:
    reader.confirm_token_hash, reader.confirm_expires_at = "x" * 64, now + MINUTE
    deliveries.enqueue(
        session, reader, Mail("<m@x>", b"x"), kind=DeliveryKind.CONFIRMATION, keys=keys, now=now
    )
    session.commit()
    held = claim(session, now)

    assert deliveries.wanted(session, held, now=now)
    assert not deliveries.wanted(session, held, now=now + MINUTE)
