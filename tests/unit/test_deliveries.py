"""A mail is claimed by one sender, fenced before the dot, and doubted once at most."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tests import mailing
from tests.mail import follower
from tracker import db
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Delivery, Issue, Subscriber
from tracker.services import deliveries, subscriptions
from tracker.services.deliveries import LEASE, Claimed, Mail, Ready
from tracker.vocabulary import DeliveryKind, DeliveryState, IssueState, SubscriberState

MINUTE = dt.timedelta(minutes=1)
DIGEST = DeliveryKind.DIGEST


@pytest.fixture
def reader(session: Session, keys: Keyring, config: Config, now: dt.datetime) -> Subscriber:
    return follower(session, keys, config, now)


@pytest.fixture
def queued(session: Session, reader: Subscriber, keys: Keyring, now: dt.datetime) -> Delivery:
    delivery = deliveries.enqueue(
        session, Mail("<m1@localhost>", b"words"), kind=DIGEST, keys=keys, now=now, subscriber=reader
    )
    session.commit()
    return delivery


def claim(session: Session, now: dt.datetime) -> Claimed | None:
    found = deliveries.claim(session, most=5, now=now)
    session.commit()
    return found[0] if found else None


def held(session: Session, now: dt.datetime) -> Claimed:
    found = claim(session, now)
    assert found is not None
    return found


def note(session: Session, one: Claimed, now: dt.datetime, sha256: str = "0" * 64) -> bool:
    """Note that it is about to leave; whether it may."""
    found = deliveries.data_sent(session, [Ready(one, sha256)], now=now)
    session.commit()
    return found == {one.id}


def look(session: Session) -> Delivery:
    session.rollback()
    session.expire_all()
    return session.scalars(select(Delivery)).one()


def test_the_stored_mail_opens_for_its_own_message_id_only(queued: Delivery, keys: Keyring) -> None:
    assert b"words" not in (queued.message_sealed or b"")
    assert keys.mailer.unlock(queued.message_sealed or b"", deliveries.context("<m1@localhost>")) == b"words"
    with pytest.raises(ValueError, match="does not open"):
        keys.mailer.unlock(queued.message_sealed or b"", deliveries.context("<m2@localhost>"))


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
    assert claim(session, now + LEASE + MINUTE) is not None
    assert look(session).ambiguous == 0


def test_a_sender_that_wakes_after_its_lease_may_not_send_the_dot(
    queued: Delivery, session: Session, now: dt.datetime
) -> None:
    asleep = held(session, now)
    deliveries.recover(session, now=now + LEASE + MINUTE)
    awake = held(session, now + LEASE + MINUTE)

    assert not note(session, asleep, now + LEASE + MINUTE)
    assert note(session, awake, now + LEASE + MINUTE)
    deliveries.sent(session, asleep.lease_owner, [asleep.id], answer="250", now=now + LEASE + MINUTE)
    assert session.scalars(select(Delivery.state)).one() is DeliveryState.DATA_SENT


def test_a_mail_lost_after_the_dot_is_sent_once_more_and_then_left_to_a_person(
    queued: Delivery, session: Session, now: dt.datetime
) -> None:
    for ambiguous in (1, 2):
        assert note(session, held(session, now), now)
        now += LEASE + MINUTE
        assert deliveries.recover(session, now=now) == 1
        session.commit()
        assert look(session).ambiguous == ambiguous

    assert look(session).state is DeliveryState.UNCERTAIN
    assert look(session).message_sealed is not None
    assert claim(session, now) is None


def test_what_was_sent_is_not_kept(queued: Delivery, session: Session, now: dt.datetime) -> None:
    one = held(session, now)
    note(session, one, now)
    deliveries.sent(session, one.lease_owner, [one.id], answer="250 end of DATA", now=now)
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
    while (one := claim(session, now)) is not None:
        deliveries.retry(session, one.lease_owner, one.id, answer="451 RCPT", now=now)
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


def test_when_a_mail_is_given_up_the_next_digest_tells_all_that_came_after_it(
    session: Session, reader: Subscriber, now: dt.datetime
) -> None:
    reader.seen_seq = 9
    rows, senders = [], []
    for from_seq in (2, 4, 6):
        created_at = now - deliveries.GIVE_UP_AFTER if from_seq == 2 else now
        rows.append(mailing.mail(session, now, subscriber=reader, from_seq=from_seq, created_at=created_at))
        senders.append(held(session, now))
    waiting = mailing.mail(session, now, subscriber=reader, from_seq=8)
    old, noting, failing = senders

    deliveries.retry(session, old.lease_owner, old.id, answer="451 RCPT", now=now)
    session.commit()
    session.expire_all()
    assert (reader.seen_seq, rows[0].state) == (2, DeliveryState.EXPIRED)
    assert waiting.state is DeliveryState.CANCELLED

    # What other senders had in their hands.
    assert not note(session, noting, now)
    deliveries.retry(session, failing.lease_owner, failing.id, answer="451 RCPT", now=now)
    session.commit()
    session.expire_all()
    assert {rows[1].state, rows[2].state} == {DeliveryState.CANCELLED}


def test_a_refused_address_gets_nothing_more_until_it_asks_anew(
    queued: Delivery, session: Session, reader: Subscriber, now: dt.datetime
) -> None:
    one = held(session, now)
    deliveries.refused(session, one.lease_owner, one.id, answer="550 RCPT", now=now)
    session.commit()

    assert look(session).state is DeliveryState.FAILED
    assert (reader.state, reader.next_due_at) == (SubscriberState.FAILED, None)


def test_who_leaves_gets_no_mail_that_is_already_claimed(
    queued: Delivery, session: Session, reader: Subscriber, now: dt.datetime
) -> None:
    one = held(session, now)
    subscriptions.leave(session, reader, now=now)
    session.commit()

    assert not note(session, one, now)
    assert look(session).state is DeliveryState.CANCELLED


def test_who_is_erased_gets_no_mail_that_is_already_claimed(
    queued: Delivery, session: Session, reader: Subscriber, now: dt.datetime
) -> None:
    one = held(session, now)
    subscriptions.erase(session, reader)
    session.commit()

    assert not note(session, one, now)


def test_a_confirmation_is_sent_only_while_its_link_works(
    session: Session, reader: Subscriber, keys: Keyring, now: dt.datetime
) -> None:
    reader.confirm_token_hash, reader.confirm_expires_at = "x" * 64, now + MINUTE
    deliveries.enqueue(
        session, Mail("<m@x>", b"x"), kind=DeliveryKind.CONFIRMATION, keys=keys, now=now, subscriber=reader
    )
    session.commit()

    one = held(session, now)
    assert not note(session, one, now + MINUTE)
    assert look(session).state is DeliveryState.CANCELLED


def test_a_second_attempt_with_other_bytes_waits_for_a_person(
    queued: Delivery, session: Session, now: dt.datetime
) -> None:
    assert note(session, held(session, now), now, "1" * 64)
    deliveries.recover(session, now=now + LEASE + MINUTE)
    session.commit()

    assert not note(session, held(session, now + LEASE + MINUTE), now + LEASE + MINUTE, "2" * 64)
    assert look(session).state is DeliveryState.UNCERTAIN


def test_an_issue_that_is_held_after_a_claim_is_laid_back_and_not_sent(
    queued: Delivery, session: Session, now: dt.datetime
) -> None:
    issue = Issue(hour=now.replace(minute=0))
    session.add(issue)
    queued.issue = issue
    session.commit()
    one = held(session, now)
    issue.state = IssueState.HELD
    session.commit()

    assert not note(session, one, now)
    assert look(session).state is DeliveryState.PENDING
    assert claim(session, now) is None
    issue.state = IssueState.OPEN
    session.commit()
    assert claim(session, now) is not None


def test_a_mailbox_that_rests_gets_nothing_until_its_rest_is_over(
    queued: Delivery, session: Session, reader: Subscriber, now: dt.datetime
) -> None:
    reader.rest_until = now + MINUTE
    session.commit()

    assert claim(session, now) is None
    assert claim(session, now + MINUTE) is not None


def test_what_is_put_off_counts_as_no_attempt(queued: Delivery, session: Session, now: dt.datetime) -> None:
    one = held(session, now)
    deliveries.put_back(session, one.lease_owner, [one.id], due_at=now + MINUTE, tried=False)
    session.commit()

    assert (look(session).attempts, claim(session, now)) == (0, None)
    assert held(session, now + MINUTE).attempts == 1


def test_a_mail_sealed_by_an_older_release_is_opened_too(
    queued: Delivery, session: Session, keys: Keyring, now: dt.datetime
) -> None:
    queued.message_sealed = keys.seal(b"old words", deliveries.context(queued.message_id))
    session.commit()

    assert deliveries.opened(held(session, now), keys) == b"old words"
