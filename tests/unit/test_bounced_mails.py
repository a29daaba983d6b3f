"""What a bounce does to the person: once, and only if it is about a mail that we sent them."""

from __future__ import annotations

import datetime as dt
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tests.bounced import BOUNCE_ADDRESS, sender, sent, someone
from tracker import db, keyring
from tracker.errors import ConfigError
from tracker.keyring import Keyring
from tracker.models import Account, Delivery, Subscriber
from tracker.services import bounces
from tracker.services.bounces import Outcome, Report, Taken
from tracker.vocabulary import DeliveryKind, DeliveryState, SubscriberState

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
Bounce = Callable[..., Taken]


@pytest.fixture
def bounce(session: Session, keys: Keyring, now: dt.datetime) -> Bounce:
    """A bounce of a delivery, with everything about it as usual but what the test says."""

    def take(
        delivery: Delivery, status: str = "5.1.1", action: str = "failed", *, at: dt.datetime = now
    ) -> Taken:
        token = bounces.token(delivery.id, delivery.message_id, keys)
        taken = bounces.take(session, Report((token,), (Outcome(action, status),)), keys=keys, now=at)
        session.commit()
        session.expire_all()
        return taken

    return take


def test_the_sender_names_the_delivery_and_nobody_else_can_make_it(keys: Keyring, tmp_path: Path) -> None:
    made = bounces.sender(46655, "<a@x>", config_address=BOUNCE_ADDRESS, keys=keys)

    assert re.fullmatch(r"bounce\+zzz-[0-9a-f]{20}@tracker\.arvenia\.example", made)
    keyring.create(tmp_path)
    other = keyring.load(tmp_path)
    assert made != bounces.sender(46655, "<a@x>", config_address=BOUNCE_ADDRESS, keys=other)
    assert made != bounces.sender(46655, "<b@x>", config_address=BOUNCE_ADDRESS, keys=keys)
    assert bounces.sender(1, "<a@x>", config_address="", keys=keys) == ""
    longest = bounces.sender(2**31 - 1, "<a@x>", config_address=f"{'b' * 30}@x", keys=keys)
    assert len(longest.partition("@")[0]) <= 64
    for name in ("mailer.key", "mailer.secret"):
        (tmp_path / name).unlink()
    with pytest.raises(ConfigError):
        bounces.token(1, "<a@x>", keyring.load(tmp_path))


def test_a_hard_bounce_stops_the_person_and_what_waits_for_them(
    session: Session, now: dt.datetime, bounce: Bounce
) -> None:
    subscriber, other = someone(session, now), someone(session, now)
    delivery = sent(session, subscriber, now - HOUR)
    waiting = sent(
        session, subscriber, now, state=DeliveryState.PENDING, attempts=0, done_at=None, message_sealed=b"x"
    )
    others = sent(session, other, now, state=DeliveryState.PENDING, attempts=0, done_at=None)

    assert bounce(delivery) is Taken.STOPPED

    assert subscriber.state is SubscriberState.FAILED
    assert subscriber.left_at == now
    assert subscriber.next_local_date is subscriber.next_due_at is None
    assert (delivery.state, delivery.bounced_at, delivery.last_answer) == (
        DeliveryState.SENT,
        now,
        "bounced 5.1.1",
    )
    assert (waiting.state, waiting.message_sealed) == (DeliveryState.CANCELLED, None)
    assert others.state is DeliveryState.PENDING
    assert other.state is SubscriberState.CONFIRMED


@pytest.mark.parametrize(
    "status",
    ["5.0.0", "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.0", "5.2.1", "5.4.1", "5.4.4", "5.4.310"],
)
def test_that_a_mailbox_is_gone_is_hard(status: str) -> None:
    assert bounces.is_hard(status)


@pytest.mark.parametrize(
    "status",
    ["4.1.1", "4.2.2", "4.4.7", "5.1.7", "5.1.8", "5.2.2", "5.2.3", "5.3.0", "5.3.4", "5.4.6", "5.4.14", "5.5.1", "5.6.0",
     "5.7.0", "5.7.1", "5.7.26", "5.7.509", "5", "x", ""],
)  # fmt: skip
def test_what_is_about_us_or_the_mail_or_passes_drops_nobody_at_once(
    status: str,
) -> None:
    assert not bounces.is_hard(status)


def test_soft_bounces_in_a_row_rest_2_to_64_hours_and_the_seventh_stops(
    session: Session, now: dt.datetime, bounce: Bounce
) -> None:
    subscriber = someone(session, now)
    for number in range(1, 7):
        at = now + number * DAY

        assert bounce(sent(session, subscriber, at - HOUR), "4.2.2", at=at) is Taken.RESTS

        assert subscriber.soft_bounces == number
        assert subscriber.rest_until == at + dt.timedelta(hours=2**number)
        assert subscriber.state is SubscriberState.CONFIRMED
    waiting = sent(session, subscriber, now + 7 * DAY, state=DeliveryState.PENDING, attempts=0)

    assert bounce(sent(session, subscriber, now + 7 * DAY), "5.7.1", at=now + 7 * DAY) is Taken.GAVE_UP

    assert subscriber.state is SubscriberState.FAILED
    assert subscriber.next_due_at is None
    assert waiting.state is DeliveryState.CANCELLED


def test_a_mail_that_arrived_in_between_lets_the_count_begin_anew(
    session: Session, now: dt.datetime, bounce: Bounce
) -> None:
    subscriber, other = someone(session, now), someone(session, now)
    first, second = (sent(session, subscriber, now - (9 - n) * DAY) for n in range(2))
    sent(session, other, now - 7 * DAY)
    bounce(first, "4.2.2")
    bounce(second, "4.2.2")
    assert subscriber.soft_bounces == 2
    sent(session, subscriber, now - 6 * DAY)
    fourth = sent(session, subscriber, now - 5 * DAY)

    bounce(fourth, "4.2.2")

    assert subscriber.soft_bounces == 1
    assert subscriber.rest_until == now + 2 * HOUR


def test_the_same_bounce_again_changes_nothing(session: Session, now: dt.datetime, bounce: Bounce) -> None:
    subscriber = someone(session, now)
    delivery = sent(session, subscriber, now - HOUR)
    bounce(delivery, "4.2.2")

    assert bounce(delivery, "4.2.2", at=now + HOUR) is Taken.KNOWN
    assert bounce(delivery, "5.1.1", at=now + HOUR) is Taken.KNOWN

    assert subscriber.soft_bounces == 1
    assert subscriber.rest_until == now + 2 * HOUR
    assert subscriber.state is SubscriberState.CONFIRMED


def test_a_delay_or_a_success_does_nothing_and_a_later_failure_counts(
    session: Session, now: dt.datetime, bounce: Bounce
) -> None:
    subscriber = someone(session, now)
    delivery = sent(session, subscriber, now - HOUR)

    for action in ("delayed", "delivered", "relayed", "expanded", ""):
        assert bounce(delivery, "4.4.1", action) is Taken.NOT_FAILED

    assert subscriber.soft_bounces == 0
    assert bounce(delivery, "4.4.7") is Taken.RESTS


def test_a_forged_bounce_does_nothing(
    session: Session, keys: Keyring, now: dt.datetime, bounce: Bounce
) -> None:
    subscriber = someone(session, now)
    delivery, other = sent(session, subscriber, now - HOUR), sent(session, subscriber, now - HOUR)
    never = sent(session, subscriber, now, state=DeliveryState.PENDING, attempts=0, done_at=None)
    good = bounces.token(delivery.id, delivery.message_id, keys)
    number, _, proof = good.partition("-")
    theirs = bounces.token(other.id, other.message_id, keys)
    forged = [
        f"{number}-{'0' * 20}", f"{theirs.partition('-')[0]}-{proof}", f"{number}-{proof[:-1]}", f"{number}-{proof}0",
        f"zzzzzzzzzzzz-{proof}", f"0-{proof}", "", "-", proof, f"{number} -{proof}", f"-{number}-{proof}",
        f"{number}-{keys.keyed_hash('bounce', delivery.message_id)[:20]}",
    ]  # fmt: skip
    failed = (Outcome("failed", "5.1.1"),)

    for token in forged:
        assert bounces.take(session, Report((token,), failed), keys=keys, now=now) is Taken.FORGED
    assert bounces.take(session, Report((), failed), keys=keys, now=now) is Taken.FORGED
    assert bounce(never) is Taken.FORGED
    assert subscriber.state is SubscriberState.CONFIRMED

    # The good one among others is found, in capitals too.
    mixed = Report((forged[0], good.upper()), failed)
    assert bounces.take(session, mixed, keys=keys, now=now) is Taken.STOPPED


def test_a_bounce_after_30_days_is_not_believed(session: Session, now: dt.datetime, bounce: Bounce) -> None:
    subscriber = someone(session, now, confirmed_at=now - 90 * DAY)
    old = sent(session, subscriber, now - 31 * DAY)
    held = sent(session, subscriber, now - 60 * DAY, done_at=now - 29 * DAY)

    assert bounce(old) is Taken.OLD
    assert subscriber.state is SubscriberState.CONFIRMED
    assert bounce(held) is Taken.STOPPED


def test_whoever_confirmed_after_the_mail_or_left_is_left_alone(
    session: Session, now: dt.datetime, bounce: Bounce
) -> None:
    again = someone(session, now, confirmed_at=now - HOUR)
    left = someone(session, now, state=SubscriberState.LEFT, left_at=now - DAY)

    assert bounce(sent(session, again, now - DAY)) is Taken.NOTED
    assert bounce(sent(session, left, now - DAY)) is Taken.NOTED

    assert again.state is SubscriberState.CONFIRMED
    assert (left.state, left.left_at) == (SubscriberState.LEFT, now - DAY)


def test_a_confirmation_that_comes_back_ends_the_matter(
    session: Session, now: dt.datetime, bounce: Bounce
) -> None:
    subscriber = someone(session, now, state=SubscriberState.PENDING, confirmed_at=None, next_due_at=None)

    assert bounce(sent(session, subscriber, now - HOUR, kind=DeliveryKind.CONFIRMATION)) is Taken.STOPPED
    assert subscriber.state is SubscriberState.FAILED


def test_a_bounce_from_somebody_of_the_team_is_noted(
    session: Session, now: dt.datetime, bounce: Bounce, make: object
) -> None:
    account: Account = make.account()  # type: ignore[attr-defined]
    delivery = sent(session, None, now - HOUR, account=account, kind=DeliveryKind.REMINDER)

    assert bounce(delivery) is Taken.NOTED
    assert delivery.bounced_at == now


def test_of_many_readers_at_once_one_takes_each_bounce(
    session: Session, engine: Engine, keys: Keyring, now: dt.datetime
) -> None:
    subscriber = someone(session, now)
    deliveries = [sent(session, subscriber, now - HOUR) for _ in range(3)]
    tokens = [bounces.token(one.id, one.message_id, keys) for one in deliveries] * 4
    taken: list[Taken] = []
    start = threading.Barrier(len(tokens))

    def read(token: str) -> None:
        start.wait()
        with db.new_session(engine) as own, own.begin():
            report = Report((token,), (Outcome("failed", "4.2.2"),))
            taken.append(bounces.take(own, report, keys=keys, now=now))

    session.rollback()
    threads = [threading.Thread(target=read, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken, key=lambda one: one.name) == [Taken.KNOWN] * 9 + [Taken.RESTS] * 3
    with db.new_session(engine) as own:
        found = own.get_one(Subscriber, subscriber.id)
        assert found.soft_bounces in (1, 2, 3)


def test_the_mailbox_is_looked_into_every_five_minutes_by_one_reader(
    session: Session, now: dt.datetime
) -> None:
    minute = dt.timedelta(minutes=1)

    assert bounces.claim(session, now=now)
    assert not bounces.claim(session, now=now)
    assert not bounces.claim(session, now=now + 4 * minute)
    assert bounces.claim(session, now=now + 5 * minute)
    # The clock was set back.
    assert bounces.claim(session, now=now - DAY)


def test_the_address_that_bounces_come_to_is_ours(session: Session, keys: Keyring, now: dt.datetime) -> None:
    delivery = sent(session, someone(session, now), now)

    assert sender(delivery, keys).endswith("@tracker.arvenia.example")
