"""The yearly question to subscribers, and Monday's reminders to the team."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.mail import follower, parts, read
from tests.published import Record
from tracker import create_app, team_jobs
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Account, Delivery, Reminder, Subscriber
from tracker.services import deliveries, reminders, renewals, sending, subscriptions
from tracker.vocabulary import DeliveryKind, DeliveryState, Grade, HoldReason, Role, State

DAY = dt.timedelta(days=1)
YEAR = 366 * DAY
MONDAY = dt.datetime(2026, 11, 23, 7, 0, tzinfo=dt.UTC)


@pytest.fixture
def app(config: Config) -> Iterator[Flask]:
    app = create_app(config)
    yield app
    app.extensions["engine"].dispose()


def mails(session: Session) -> list[Delivery]:
    session.rollback()
    session.expire_all()
    return list(session.scalars(select(Delivery).order_by(Delivery.id)))


def words(delivery: Delivery, keys: Keyring) -> str:
    content = keys.mailer.unlock(delivery.message_sealed or b"", deliveries.context(delivery.message_id))
    text, html = parts(content)
    assert read(content)["Subject"] in ("What waits for you", "Do you still want these messages?")
    return text + html


# The yearly question


@pytest.fixture
def person(session: Session, keys: Keyring, config: Config, now: dt.datetime) -> Subscriber:
    return follower(session, keys, config, now)


def test_after_a_year_somebody_is_asked_once(
    app: Flask, session: Session, keys: Keyring, person: Subscriber, now: dt.datetime
) -> None:
    assert not team_jobs.ask_renewals(app, now + 364 * DAY)
    assert team_jobs.ask_renewals(app, now + YEAR) == {"asked to renew": 1}
    assert not team_jobs.ask_renewals(app, now + YEAR + DAY)

    (mail,) = mails(session)
    assert (mail.kind, mail.state, mail.subscriber_id) == (
        DeliveryKind.RENEWAL, DeliveryState.PENDING, person.id,
    )  # fmt: skip
    said = words(mail, keys)
    assert f"/follow/manage/{subscriptions.manage_token(person, keys)}" in said
    assert f"/unsubscribe/{subscriptions.leave_token(person, keys)}" in said
    assert "within 30 days" in said
    assert person.renewal_asked_at == now + YEAR


def test_while_sending_is_held_nobody_is_asked_or_reminded(
    app: Flask, session: Session, person: Subscriber, now: dt.datetime
) -> None:
    session.rollback()
    sending.hold(session, HoldReason.CLOCK, now=now)
    session.commit()

    assert not team_jobs.ask_renewals(app, now + YEAR)
    assert not team_jobs.remind(app, now + YEAR)
    assert mails(session) == []


def answered(session: Session, state: DeliveryState, at: dt.datetime | None) -> None:
    (mail,) = mails(session)
    mail.state, mail.done_at = state, at
    session.commit()


def later(session: Session, at: dt.datetime) -> tuple[int, bool]:
    """(how many were forgotten, whether the one who is left is to be asked anew)"""
    forgotten = renewals.forget_expired(session, now=at)
    session.commit()
    return forgotten, bool(subscriptions.due_for_renewal(session, at))


def test_who_does_not_answer_is_forgotten_thirty_days_after_the_question_arrived(
    app: Flask, session: Session, person: Subscriber, now: dt.datetime
) -> None:
    team_jobs.ask_renewals(app, now + YEAR)
    answered(session, DeliveryState.SENT, now + YEAR + 2 * DAY)

    assert later(session, now + YEAR + 31 * DAY) == (0, False)
    assert later(session, now + YEAR + 33 * DAY) == (1, False)
    assert session.scalars(select(Subscriber)).all() == []


def test_who_answers_stays(app: Flask, session: Session, person: Subscriber, now: dt.datetime) -> None:
    team_jobs.ask_renewals(app, now + YEAR)
    answered(session, DeliveryState.SENT, now + YEAR)
    subscriptions.renew(person, now=now + YEAR + DAY)
    session.commit()

    assert later(session, now + YEAR + 60 * DAY) == (0, False)


def test_a_question_that_never_arrived_forgets_nobody(
    app: Flask, session: Session, person: Subscriber, now: dt.datetime
) -> None:
    team_jobs.ask_renewals(app, now + YEAR)
    assert later(session, now + YEAR + 60 * DAY) == (0, False)  # Still waiting: an issue with the relay.
    answered(session, DeliveryState.EXPIRED, now + YEAR + 61 * DAY)

    assert later(session, now + YEAR + 62 * DAY) == (0, True)
    assert team_jobs.ask_renewals(app, now + YEAR + 62 * DAY) == {"asked to renew": 1}


# Reminders


@pytest.fixture
def team(session: Session, make: Factory, now: dt.datetime) -> Record:
    record = Record(session, make, now)
    for account in (record.mona, record.rafa):
        account.password_hash = "x"
    session.commit()
    return record


def first_start(app: Flask) -> None:
    assert not team_jobs.remind(app, MONDAY - 3 * DAY)


def told(session: Session, keys: Keyring) -> dict[str, str]:
    found = {}
    for mail in mails(session):
        account = session.get_one(Account, mail.account_id)
        found[account.name] = words(mail, keys)
    return found


@pytest.mark.parametrize(
    ("moment", "monday"),
    [
        ("2026-11-23T06:59", "2026-11-16"),
        ("2026-11-23T07:00", "2026-11-23"),
        ("2026-11-29T23:59", "2026-11-23"),
        ("2026-11-30T07:00", "2026-11-30"),
    ],
)
def test_a_week_begins_on_monday_at_seven(moment: str, monday: str) -> None:
    at = dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC)

    assert reminders.week(at) == dt.date.fromisoformat(monday)


def test_on_monday_each_is_told_what_is_new_for_them_and_nothing_that_is_not_public(
    app: Flask, session: Session, keys: Keyring, team: Record
) -> None:
    team.now = MONDAY - 120 * DAY
    team.finding(team.second, None, Grade.C, team.evidence(team.second))
    team.submitted(team.first, title="A secret proposal", submitted_at=MONDAY - DAY)
    team.submitted(team.first, title="Came back", state=State.RETURNED)
    first_start(app)

    assert not team_jobs.remind(app, MONDAY - dt.timedelta(minutes=1))
    assert team_jobs.remind(app, MONDAY + dt.timedelta(minutes=1)) == {"reminded": 2}

    said = told(session, keys)
    assert set(said) == {team.mona.name, team.rafa.name}
    for words_of in said.values():
        assert "88(b): Tell families" in words_of
        assert "REVIEW OVERDUE" in words_of
        assert "secret proposal" not in words_of
        assert "Came back" not in words_of
    assert "One more thing waits for a reviewer." in said[team.rafa.name]
    assert "waits for a reviewer" not in said[team.mona.name]
    assert "One thing of yours came back from review." in said[team.mona.name]
    (mail, _) = mails(session)
    assert (mail.kind, mail.period, mail.subscriber_id) == (
        DeliveryKind.REMINDER,
        "reminder/2026-11-23",
        None,
    )


def test_each_thing_is_told_once_and_a_quiet_week_has_no_mail(
    app: Flask, session: Session, keys: Keyring, team: Record
) -> None:
    team.submitted(team.first, submitted_at=MONDAY - DAY)
    first_start(app)
    assert team_jobs.remind(app, MONDAY) == {"reminded": 1}
    assert not team_jobs.remind(app, MONDAY + DAY)
    assert not team_jobs.remind(app, MONDAY + 7 * DAY)
    team.submitted(team.second, submitted_at=MONDAY + 8 * DAY)

    assert team_jobs.remind(app, MONDAY + 16 * DAY) == {"reminded": 1}

    assert "One more thing waits" in words(mails(session)[-1], keys)
    assert [mail.period for mail in mails(session)] == ["reminder/2026-11-23", "reminder/2026-12-07"]


def test_a_review_is_told_when_it_is_due_soon_and_again_when_it_is_overdue(
    app: Flask, session: Session, keys: Keyring, team: Record
) -> None:
    team.now = MONDAY - 75 * DAY  # Due about two weeks from Monday.
    team.finding(team.second, None, Grade.C, team.evidence(team.second))
    first_start(app)

    counts = [team_jobs.remind(app, MONDAY + week * 7 * DAY)["reminded"] for week in range(5)]

    assert counts == [2, 0, 2, 0, 0] or counts == [2, 0, 0, 2, 0]
    subjects = session.scalars(select(Reminder.subject).order_by(Reminder.id)).all()
    assert [one.partition("/")[0] for one in subjects] == ["due", "due", "overdue", "overdue"]


def test_who_wants_none_or_cannot_sign_in_gets_none(
    app: Flask, session: Session, make: Factory, team: Record
) -> None:
    team.submitted(team.first, submitted_at=MONDAY - DAY)
    make.account(Role.REVIEWER)
    make.account(Role.REVIEWER, password_hash="x", active=False)
    make.account(Role.ADMIN, password_hash="x")
    reminders.choose(session, team.rafa, wanted=False)
    session.commit()
    first_start(app)

    assert not team_jobs.remind(app, MONDAY)
    assert mails(session) == []


def test_the_first_start_in_the_middle_of_a_week_reminds_nobody(
    app: Flask, session: Session, team: Record
) -> None:
    team.submitted(team.first, submitted_at=MONDAY)

    assert not team_jobs.remind(app, MONDAY + 2 * DAY)
    assert not team_jobs.remind(app, MONDAY + 3 * DAY)
    assert team_jobs.remind(app, MONDAY + 7 * DAY) == {"reminded": 1}
