"""Following takes effect by confirmation only, and nobody learns from it who follows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.mail import DAILY, EVERYTHING, Events, follower
from tracker.config import Config
from tracker.errors import Invalid
from tracker.keyring import Keyring
from tracker.models import Delivery, Digest, Follow, Subscriber
from tracker.services import subscriptions
from tracker.services.deliveries import Mail
from tracker.services.schedule import Rhythm
from tracker.services.subscriptions import Choices, Confirmation
from tracker.vocabulary import DeliveryState, Frequency, Scope, SubscriberState

ADDRESS = "reader@arvenia.example"
WEEKLY = Choices(Rhythm(Frequency.WEEKLY, 2, 1, 18, "Asia/Kathmandu"), Scope.EVERYTHING)


class Asker:
    """Enters the public form, and keeps what would be mailed."""

    def __init__(self, session: Session, keys: Keyring, now: dt.datetime) -> None:
        self.session, self.keys, self.now = session, keys, now
        self.mails: list[Confirmation] = []

    def ask(
        self, address: str = ADDRESS, choices: Choices = EVERYTHING, after: dt.timedelta = dt.timedelta()
    ) -> int:
        """How many confirmation mails are queued now."""
        subscriptions.subscribe(
            self.session,
            address,
            choices,
            keys=self.keys,
            compose=self._compose,
            confirm_for=dt.timedelta(hours=48),
            now=self.now + after,
        )
        self.session.commit()
        return self.session.scalar(select(func.count()).select_from(Delivery)) or 0

    def _compose(self, asked: Confirmation) -> Mail:
        self.mails.append(asked)
        return Mail(f"<{asked.name}@localhost>", b"mail")

    def confirm(self, token: str, after: dt.timedelta = dt.timedelta()) -> Subscriber | None:
        found = subscriptions.confirm(self.session, token, now=self.now + after)
        self.session.commit()
        return found


@pytest.fixture
def asker(session: Session, keys: Keyring, now: dt.datetime) -> Asker:
    return Asker(session, keys, now)


def only(session: Session) -> Subscriber:
    session.expire_all()
    return session.scalars(select(Subscriber)).one()


def test_nothing_is_followed_before_the_link_is_confirmed(asker: Asker, session: Session) -> None:
    assert asker.ask() == 1

    subscriber = only(session)
    assert (subscriber.state, subscriber.next_due_at, subscriber.follows) == (
        SubscriberState.PENDING,
        None,
        [],
    )


def test_confirming_starts_at_the_ledgers_present_position(
    asker: Asker, session: Session, make: Factory, now: dt.datetime
) -> None:
    Events(session, make.report(), now).evidence(1)
    asker.ask(choices=WEEKLY)

    subscriber = asker.confirm(asker.mails[0].token)

    assert subscriber is not None
    assert (subscriber.state, subscriber.seen_seq) == (SubscriberState.CONFIRMED, 1)
    # Wednesday 18:00 in Kathmandu.
    assert subscriber.next_due_at == dt.datetime(2026, 11, 25, 12, 15, tzinfo=dt.UTC)
    assert [follow.scope for follow in subscriber.follows] == [Scope.EVERYTHING]


def test_a_link_works_once_and_not_after_its_time(asker: Asker) -> None:
    asker.ask()
    token = asker.mails[0].token

    assert asker.confirm(token, dt.timedelta(hours=48)) is None
    assert asker.confirm("x" + token) is None
    assert asker.confirm(token) is not None
    assert asker.confirm(token) is None


def test_one_mailbox_gets_one_confirmation_a_day_however_it_is_written(asker: Asker) -> None:
    assert asker.ask() == 1
    assert asker.ask("Reader@Arvenia.Example") == 1
    assert asker.ask("reader+1@arvenia.example") == 1
    assert asker.ask(after=dt.timedelta(hours=23)) == 1
    assert asker.ask(after=dt.timedelta(hours=24)) == 2
    assert asker.ask("other@arvenia.example") == 3


def test_asking_again_changes_nothing_until_it_is_confirmed(asker: Asker, session: Session) -> None:
    asker.ask()
    asker.confirm(asker.mails[0].token)

    asker.ask(choices=WEEKLY, after=dt.timedelta(days=2))

    assert only(session).frequency is Frequency.DAILY
    assert asker.mails[-1].manage_token == subscriptions.manage_token(only(session), asker.keys)
    asker.confirm(asker.mails[-1].token, dt.timedelta(days=2))
    assert only(session).frequency is Frequency.WEEKLY


def test_somebody_elses_tag_cannot_take_over_an_address(
    asker: Asker, session: Session, keys: Keyring
) -> None:
    asker.ask()
    asker.confirm(asker.mails[0].token)

    asker.ask("reader+evil@arvenia.example", after=dt.timedelta(days=2))

    assert subscriptions.address(only(session), keys) == ADDRESS


def test_the_row_holds_no_address_and_no_token(asker: Asker, session: Session, keys: Keyring) -> None:
    asker.ask()

    subscriber = only(session)
    stored = b" ".join(
        value if isinstance(value, bytes) else str(value).encode() for value in vars(subscriber).values()
    )
    for secret in (
        "reader",
        asker.mails[0].token,
        subscriptions.manage_token(subscriber, keys),
        subscriptions.leave_token(subscriber, keys),
    ):
        assert secret.encode() not in stored
    assert subscriptions.address(subscriber, keys) == ADDRESS


def test_an_address_moved_to_another_row_does_not_open(asker: Asker, session: Session, keys: Keyring) -> None:
    asker.ask()
    asker.ask("other@arvenia.example")
    one, two = session.scalars(select(Subscriber).order_by(Subscriber.id))
    one.address_sealed = two.address_sealed

    with pytest.raises(ValueError, match="does not open"):
        subscriptions.address(one, keys)


def test_leaving_twice_is_leaving_once_and_cancels_what_waits(
    session: Session, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    subscriber = follower(session, keys, config, now)
    session.add(
        Delivery(
            kind="digest",
            subscriber=subscriber,
            message_id="<1>",
            message_sealed=b"x",
            created_at=now,
            due_at=now,
        )
    )  # type: ignore[arg-type]
    session.flush()

    for _ in range(2):
        subscriptions.leave(session, subscriber, now=now)

    session.expire_all()
    delivery = session.scalars(select(Delivery)).one()
    assert (subscriber.state, subscriber.left_at, subscriber.next_due_at) == (SubscriberState.LEFT, now, None)
    assert (delivery.state, delivery.message_sealed) == (DeliveryState.CANCELLED, None)


def test_leaving_ends_a_link_that_waits_for_confirmation(asker: Asker, session: Session) -> None:
    asker.ask()
    subscriptions.leave(session, only(session), now=asker.now)

    assert asker.confirm(asker.mails[0].token) is None


def test_who_left_and_comes_back_hears_only_of_what_is_new(
    asker: Asker, session: Session, make: Factory, now: dt.datetime
) -> None:
    asker.ask()
    asker.confirm(asker.mails[0].token)
    subscriptions.leave(session, only(session), now=now)
    session.commit()
    Events(session, make.report(), now).evidence(1)

    asker.ask(after=dt.timedelta(days=2))
    assert only(session).state is SubscriberState.LEFT
    asker.confirm(asker.mails[-1].token, dt.timedelta(days=2))

    assert (only(session).state, only(session).seen_seq) == (SubscriberState.CONFIRMED, 1)


def test_erasing_leaves_nothing_of_the_person_and_the_links_stay_dead(
    session: Session, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    old = follower(session, keys, config, now)
    token = subscriptions.manage_token(old, keys)
    session.add(
        Digest(subscriber=old, period="daily/2026-11-22", from_seq=0, to_seq=1, changes=1, created_at=now)
    )
    session.commit()

    subscriptions.erase(session, old)
    session.commit()

    assert [
        session.scalar(select(func.count()).select_from(table)) for table in (Subscriber, Follow, Delivery)
    ] == [0, 0, 0]
    assert [(digest.period, digest.subscriber_id) for digest in session.scalars(select(Digest))] == [
        ("daily/2026-11-22", None)
    ]
    follower(session, keys, config, now)
    assert subscriptions.by_manage_token(session, token) is None


def test_unconfirmed_people_are_forgotten_after_a_week_and_left_ones_after_a_month(
    asker: Asker, session: Session, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    asker.ask()
    follower(session, keys, config, now, "stays@arvenia.example")
    subscriptions.leave(session, follower(session, keys, config, now, "left@arvenia.example"), now=now)

    def left_after(**time: int) -> Any:
        subscriptions.forget_expired(session, now=now + dt.timedelta(**time))
        return session.scalar(select(func.count()).select_from(Subscriber))

    assert left_after(days=6, hours=23) == 3
    assert left_after(days=7, seconds=1) == 2
    assert left_after(days=29) == 2
    assert left_after(days=30, seconds=1) == 1
    assert only(session).state is SubscriberState.CONFIRMED


@pytest.mark.parametrize("choices", [Choices(DAILY, Scope.RECOMMENDATION), Choices(DAILY, Scope.REPORT, 99)])
def test_following_nothing_is_refused(choices: Choices, asker: Asker, session: Session) -> None:
    with pytest.raises(Invalid):
        asker.ask(choices=choices)
    session.rollback()

    assert session.scalar(select(func.count()).select_from(Subscriber)) == 0
