"""Following takes effect by confirmation only, and whoever follows can change, pause, leave and be forgotten."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.mail import DAILY, EVERYTHING, Events, follower, following
from tracker.config import Config
from tracker.errors import Invalid
from tracker.keyring import Keyring
from tracker.models import Delivery, Follow, Recommendation, SignUp, Subscriber, Theme
from tracker.services import choices as chosen
from tracker.services import pauses, sign_ups, subscriptions
from tracker.services.choices import Choices, Followed
from tracker.services.deliveries import Mail
from tracker.services.schedule import Rhythm
from tracker.services.subscriptions import Confirmation
from tracker.vocabulary import (
    Channel,
    DeliveryKind,
    DeliveryState,
    Disclosure,
    Frequency,
    Scope,
    SubscriberState,
)

ADDRESS = "reader@arvenia.example"
WEEKLY = Choices(Rhythm(Frequency.WEEKLY, 2, 1, 18, "Asia/Kathmandu"))
DAY = dt.timedelta(days=1)


class Asker:
    """Enters the public form, lets the mailer take it, and keeps what would be mailed."""

    def __init__(self, session: Session, keys: Keyring, now: dt.datetime) -> None:
        self.session, self.keys, self.now = session, keys, now
        self.mails: list[Confirmation] = []
        self.done: list[dict[str, int]] = []

    def ask(
        self,
        address: str = ADDRESS,
        choices: Choices = EVERYTHING,
        after: dt.timedelta = dt.timedelta(),
        **values: Any,
    ) -> int:
        """How many confirmation mails are queued now."""
        sign_ups.ask(self.session, address, choices, keys=self.keys, now=self.now + after, **values)
        self.session.commit()
        return self.take(after)

    def take(self, after: dt.timedelta = dt.timedelta()) -> int:
        """The mailer opens what waits."""
        done = sign_ups.take_sign_ups(
            self.session,
            keys=self.keys,
            compose=self._compose,
            confirm_for=dt.timedelta(hours=48),
            now=self.now + after,
        )
        self.session.commit()
        self.done.append(dict(done))
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


@pytest.fixture
def reader(session: Session, keys: Keyring, config: Config, now: dt.datetime) -> Subscriber:
    return follower(session, keys, config, now)


def only(session: Session) -> Subscriber:
    session.expire_all()
    return session.scalars(select(Subscriber)).one()


def count(session: Session, model: Any) -> int:
    return session.scalar(select(func.count()).select_from(model)) or 0


# Asking and confirming


def test_nothing_is_followed_before_the_link_is_confirmed(asker: Asker, session: Session) -> None:
    assert asker.ask() == 1

    subscriber = only(session)
    assert (subscriber.state, subscriber.next_due_at, subscriber.follows) == (
        SubscriberState.PENDING,
        None,
        [],
    )
    assert count(session, SignUp) == 0


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
    assert subscriber.follow_key == subscriptions.follow_key(subscriber.follows)


def test_a_link_works_once_and_not_after_its_time(asker: Asker) -> None:
    asker.ask()
    token = asker.mails[0].token

    assert asker.confirm(token, dt.timedelta(hours=48)) is None
    assert asker.confirm("x" + token) is None
    assert asker.confirm(token) is not None
    assert asker.confirm(token) is None


def test_one_mailbox_gets_one_confirmation_a_day_however_it_is_written(
    asker: Asker, session: Session
) -> None:
    assert asker.ask() == 1
    assert asker.ask("Reader@Arvenia.Example") == 1
    assert asker.ask("reader+1@arvenia.example") == 1
    assert asker.ask(after=dt.timedelta(hours=23)) == 1
    assert count(session, Subscriber) == 1
    assert asker.ask(after=dt.timedelta(hours=24)) == 2
    assert asker.ask("other@arvenia.example") == 3


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        ("a.n.n@gmail.com", "ann@gmail.com"),
        ("A.Nn+news@GoogleMail.com", "ann@gmail.com"),
        ("a.n.n@arvenia.example", "a.n.n@arvenia.example"),
        ("Ann+x+y@Arvenia.example", "ann@arvenia.example"),
        ("+@arvenia.example", "+@arvenia.example"),
        ("...@gmail.com", "...@gmail.com"),
    ],
)
def test_spellings_of_one_mailbox_are_one_text(typed: str, same: str) -> None:
    assert sign_ups.canonical(typed) == same


def test_mails_go_to_the_address_as_it_was_typed(asker: Asker, session: Session, keys: Keyring) -> None:
    asker.ask("Rea.Der+News@GMail.com")

    assert asker.mails[0].recipient == "Rea.Der+News@GMail.com"
    assert subscriptions.address(only(session), keys) == "Rea.Der+News@GMail.com"


def test_asking_again_changes_nothing_until_it_is_confirmed(asker: Asker, session: Session) -> None:
    asker.ask()
    asker.confirm(asker.mails[0].token)

    asker.ask(choices=WEEKLY, after=2 * DAY)

    assert only(session).frequency is Frequency.DAILY
    assert asker.mails[-1].manage_token == subscriptions.manage_token(only(session), asker.keys)
    asker.confirm(asker.mails[-1].token, 2 * DAY)
    assert only(session).frequency is Frequency.WEEKLY


def test_somebody_elses_tag_cannot_take_over_an_address_nor_get_its_links(
    asker: Asker, session: Session, keys: Keyring, now: dt.datetime
) -> None:
    asker.ask()
    asker.confirm(asker.mails[0].token)

    asker.ask("reader+evil@arvenia.example", after=2 * DAY)

    assert asker.mails[-1].recipient == ADDRESS
    assert subscriptions.address(only(session), keys) == ADDRESS
    subscriptions.leave(session, only(session), now=now)
    session.commit()
    asker.ask("reader+evil@arvenia.example", after=4 * DAY)
    assert asker.mails[-1].recipient == ADDRESS


def test_somebody_who_left_comes_back_by_confirming_and_hears_only_what_is_new(
    asker: Asker, session: Session, make: Factory, now: dt.datetime
) -> None:
    asker.ask()
    asker.confirm(asker.mails[0].token)
    subscriptions.leave(session, only(session), now=now)
    session.commit()
    Events(session, make.report(), now).evidence(1)

    asker.ask(after=2 * DAY)
    assert only(session).state is SubscriberState.LEFT
    asker.confirm(asker.mails[-1].token, 2 * DAY)

    assert (only(session).state, only(session).seen_seq) == (SubscriberState.CONFIRMED, 1)


# What is stored


def test_the_row_holds_no_address_and_no_token(asker: Asker, session: Session, keys: Keyring) -> None:
    asker.ask(certificate="-----BEGIN reader-----")

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


def test_a_key_that_was_entered_is_used_once_confirmed_and_stays_where_none_is_entered(
    asker: Asker, session: Session, keys: Keyring
) -> None:
    asker.ask(certificate="the public key")
    assert only(session).openpgp_sealed is None
    asker.confirm(asker.mails[-1].token)
    assert subscriptions.certificate(only(session), keys) == "the public key"

    asker.ask(after=2 * DAY)
    asker.confirm(asker.mails[-1].token, 2 * DAY)

    # Asking anew never falls back to plain text.
    assert subscriptions.certificate(only(session), keys) == "the public key"
    subscriptions.set_certificate(only(session), None, keys)
    session.commit()
    assert only(session).openpgp_sealed is None


# What can be chosen


def theme(session: Session, recommendation: Recommendation) -> Theme:
    found = Theme(slug="detention", name="Arbitrary detention")
    recommendation.themes.append(found)
    session.commit()
    return found


def test_several_things_are_followed_at_once(
    asker: Asker, session: Session, make: Factory, keys: Keyring
) -> None:
    report = make.report()
    theme(session, report.recommendations[0])
    wanted = following(
        Followed(Scope.SEARCH, value="quarry"),
        Followed(Scope.COUNTRY, value="Republic of Arvenia"),
        Followed(Scope.THEME, value="detention"),
        Followed(Scope.RECOMMENDATION, None, report.recommendations[1].id),
        Followed(Scope.REPORT, report.id),
        disclosure=Disclosure.NOTICE,
    )

    asker.ask(choices=wanted)
    subscriber = asker.confirm(asker.mails[0].token)

    assert subscriber is not None
    assert chosen.current(subscriber) == wanted
    assert count(session, Follow) == 5
    assert subscriber.disclosure is Disclosure.NOTICE


def test_the_same_follows_have_the_same_key_in_whatever_order() -> None:
    one = [Followed(Scope.REPORT, 2), Followed(Scope.SEARCH, value="quarry"), Followed(Scope.REPORT, 10)]

    assert subscriptions.follow_key(one) == subscriptions.follow_key(reversed(one))
    assert subscriptions.follow_key(one) != subscriptions.follow_key(one[:2])
    # As migration 0009 computes it.
    rows = sorted([["search", None, None, "quarry"], ["report", 2, None, ""]], key=json.dumps)
    assert subscriptions.follow_key(one[:2]) == hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def test_whoever_follows_everything_follows_nothing_besides() -> None:
    assert chosen.tidy([Followed(Scope.REPORT, 1), Followed(Scope.EVERYTHING)]) == chosen.EVERYTHING


@pytest.mark.parametrize(
    "follows",
    [
        (),
        (Followed(Scope.REPORT, 99),),
        (Followed(Scope.REPORT),),
        (Followed(Scope.RECOMMENDATION, None, 99),),
        (Followed(Scope.THEME, value="nothing"),),
        (Followed(Scope.COUNTRY, value="Atlantis"),),
        (Followed(Scope.SEARCH, value="x"),),
        (Followed(Scope.SEARCH, value="x" * 201),),
        (Followed(Scope.SEARCH, value="two\nlines"),),
        (Followed(Scope.SEARCH, value="a\u202eb"),),
    ],
)
def test_what_cannot_be_followed_is_refused(
    follows: tuple[Followed, ...], asker: Asker, session: Session
) -> None:
    with pytest.raises(Invalid):
        asker.ask(choices=Choices(DAILY, follows))
    session.rollback()

    assert count(session, SignUp) == count(session, Subscriber) == 0


def test_choices_of_an_older_release_that_wait_for_confirmation_are_understood() -> None:
    rhythm = {"frequency": "weekly", "weekday": 2, "month_day": 1, "hour": 18, "timezone": "Asia/Kathmandu"}

    assert (
        chosen.from_plain({**rhythm, "scope": "everything", "report": None, "recommendations": []}) == WEEKLY
    )
    old = {**rhythm, "scope": "recommendation", "report": None, "recommendations": [3, 2]}
    assert chosen.from_plain(old).follows == (
        Followed(Scope.RECOMMENDATION, None, 2),
        Followed(Scope.RECOMMENDATION, None, 3),
    )
    assert chosen.from_plain({**rhythm, "scope": "report", "report": 3, "recommendations": []}).follows == (
        Followed(Scope.REPORT, 3),
    )


# Pausing


def waiting(
    session: Session, subscriber: Subscriber, now: dt.datetime, from_seq: int, **values: Any
) -> Delivery:
    delivery = Delivery(
        **{
            "kind": DeliveryKind.DIGEST,
            "subscriber": subscriber,
            "period": f"daily/{from_seq}",
            "from_seq": from_seq,
            "message_id": f"<{from_seq}>",
            "message_sealed": b"x",
            "created_at": now,
            "due_at": now,
            **values,
        }
    )
    session.add(delivery)
    session.commit()
    return delivery


def test_a_pause_moves_the_next_digest_and_loses_nothing(
    session: Session, reader: Subscriber, now: dt.datetime
) -> None:
    reader.timezone, reader.seen_seq = "Pacific/Auckland", 9
    first = waiting(session, reader, now, 4)
    sent = waiting(session, reader, now, 2, state=DeliveryState.SENT)
    doubtful = waiting(session, reader, now, 3, ambiguous=1)

    pauses.pause(session, reader, dt.date(2027, 1, 10), now=now)
    session.commit()

    session.expire_all()
    # Seven o'clock on the 11th there.
    assert reader.next_due_at == dt.datetime(2027, 1, 10, 18, tzinfo=dt.UTC)
    assert (reader.next_local_date, reader.paused_until) == (dt.date(2027, 1, 11), dt.date(2027, 1, 10))
    # What waited is told anew after the pause, what may have been sent is not.
    assert (first.state, sent.state, doubtful.state) == (
        DeliveryState.CANCELLED,
        DeliveryState.SENT,
        DeliveryState.PENDING,
    )
    assert reader.seen_seq == 4

    subscriptions.change(session, reader, EVERYTHING, now=now)
    assert reader.next_local_date == dt.date(2027, 1, 11)
    pauses.resume(session, reader, now=now)
    assert reader.next_local_date == dt.date(2026, 11, 23)
    assert reader.paused_until is None


def test_a_pause_ends_with_a_full_hour_for_those_who_hear_as_it_happens(
    session: Session, reader: Subscriber, now: dt.datetime
) -> None:
    subscriptions.change(
        session, reader, Choices(Rhythm(Frequency.IMMEDIATE, 0, 1, 7, "Asia/Kathmandu")), now=now
    )
    assert reader.next_due_at == dt.datetime(2026, 11, 22, 13, tzinfo=dt.UTC)

    pauses.pause(session, reader, dt.date(2026, 11, 25), now=now)

    # Midnight in Kathmandu is 18:15.
    assert reader.next_due_at == dt.datetime(2026, 11, 25, 19, tzinfo=dt.UTC)


@pytest.mark.parametrize("days", [-1, 367, 5000])
def test_a_pause_lies_ahead_and_within_a_year(
    days: int, session: Session, reader: Subscriber, now: dt.datetime
) -> None:
    with pytest.raises(Invalid, match="within a year"):
        pauses.pause(session, reader, now.date() + dt.timedelta(days=days), now=now)


def test_whoever_left_has_nothing_to_pause(session: Session, reader: Subscriber, now: dt.datetime) -> None:
    subscriptions.leave(session, reader, now=now)

    with pytest.raises(Invalid, match="nothing to pause"):
        pauses.pause(session, reader, now.date(), now=now)


# Leaving and forgetting


def test_leaving_twice_is_leaving_once_and_cancels_what_waits(
    session: Session, reader: Subscriber, now: dt.datetime
) -> None:
    delivery = waiting(session, reader, now, 1)

    for _ in range(2):
        subscriptions.leave(session, reader, now=now)

    session.expire_all()
    assert (reader.state, reader.left_at, reader.next_due_at) == (SubscriberState.LEFT, now, None)
    assert (delivery.state, delivery.message_sealed) == (DeliveryState.CANCELLED, None)


def test_erasing_leaves_nothing_of_the_person_and_the_links_stay_dead(
    session: Session, keys: Keyring, config: Config, now: dt.datetime, reader: Subscriber
) -> None:
    token = subscriptions.manage_token(reader, keys)
    waiting(session, reader, now, 1)

    subscriptions.erase(session, reader)
    session.commit()

    assert [count(session, table) for table in (Subscriber, Follow, Delivery)] == [0, 0, 0]
    follower(session, keys, config, now)
    assert subscriptions.by_manage_token(session, token) is None


def test_unconfirmed_people_are_forgotten_after_a_week_and_left_ones_after_a_month(
    asker: Asker, session: Session, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    asker.ask()
    follower(session, keys, config, now, "stays@arvenia.example")
    subscriptions.leave(session, follower(session, keys, config, now, "left@arvenia.example"), now=now)
    sign_ups.ask(session, "waits@arvenia.example", EVERYTHING, keys=keys, now=now)

    def left_after(**time: int) -> Any:
        subscriptions.forget_expired(session, now=now + dt.timedelta(**time))
        return count(session, Subscriber)

    assert left_after(days=6, hours=23) == 3
    assert count(session, SignUp) == 1
    assert left_after(days=7, seconds=1) == 2
    assert count(session, SignUp) == 0
    assert left_after(days=29) == 2
    assert left_after(days=30, seconds=1) == 1
    assert only(session).state is SubscriberState.CONFIRMED


def test_once_a_year_somebody_is_asked_and_without_an_answer_forgotten(
    session: Session, reader: Subscriber, now: dt.datetime
) -> None:
    assert subscriptions.due_for_renewal(session, now + 365 * DAY) == []
    later = now + 366 * DAY
    assert subscriptions.due_for_renewal(session, later) == [reader]
    assert subscriptions.renewal_asked(session, reader, now=later)
    # A second mailer asks nobody twice.
    assert not subscriptions.renewal_asked(session, reader, now=later)
    session.commit()
    session.expire_all()
    assert subscriptions.due_for_renewal(session, later) == []
    assert subscriptions.forget_unrenewed(session, now=later + 30 * DAY) == 0

    subscriptions.renew(reader, now=later + 30 * DAY)
    session.commit()
    assert subscriptions.forget_unrenewed(session, now=later + 31 * DAY) == 0
    assert (reader.renewed_at.hour, reader.renewed_at.minute) == (0, 0)  # type: ignore[union-attr]
    again = later + 397 * DAY
    assert subscriptions.due_for_renewal(session, again) == [reader]
    subscriptions.renewal_asked(session, reader, now=again)
    assert subscriptions.forget_unrenewed(session, now=again + 31 * DAY) == 1
    assert count(session, Subscriber) == 0


def test_a_feed_is_asked_by_itself_and_has_three_months(
    session: Session, reader: Subscriber, now: dt.datetime
) -> None:
    reader.channel = Channel.FEED
    session.commit()
    later = now + 366 * DAY
    subscriptions.forget_expired(session, now=later)
    session.commit()
    session.expire_all()

    assert subscriptions.due_for_renewal(session, later) == []
    assert reader.renewal_asked_at == later
    assert subscriptions.forget_unrenewed(session, now=later + 90 * DAY) == 0
    assert subscriptions.forget_unrenewed(session, now=later + 91 * DAY) == 1
