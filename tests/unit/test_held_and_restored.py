"""The whole way, from what was published to the outbox: held issues, downtime, and yesterday's backup."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.mail import Events, follower
from tests.unit.test_journal import Backup
from tracker import create_app, jobs
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Delivery, Issue
from tracker.services import issues, sending, subscriptions
from tracker.vocabulary import DeliveryState, HoldReason, IssueState, ReleaseWay, Role, SubscriberState

DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)


@pytest.fixture
def config(request: pytest.FixtureRequest, make_config: Callable[..., Config], database_url: str) -> Config:
    return make_config(
        database_url=database_url, hold_digests=getattr(request, "param", "no"), digest_jitter_minutes=0
    )


@pytest.fixture
def app(config: Config) -> Iterator[Flask]:
    app = create_app(config)
    yield app
    app.extensions["engine"].dispose()


@pytest.fixture
def backup(app: Flask, session: Session, database_url: str, tmp_path: Path) -> Backup:
    return Backup(app, session, database_url, tmp_path)


@pytest.fixture
def events(session: Session, make: Factory, now: dt.datetime) -> Events:
    return Events(session, make.report(), now)


def outbox(config: Config) -> list[Path]:
    return sorted(config.outbox_path.glob("*.eml"))


@pytest.mark.parametrize("config", ["two"], indirect=True)
def test_a_held_issue_waits_through_restarts_and_goes_out_after_two_people(
    app: Flask,
    session: Session,
    make: Factory,
    keys: Keyring,
    config: Config,
    events: Events,
    now: dt.datetime,
) -> None:
    ada, alan = (make.account(Role.ADMIN, password_hash="x") for _ in range(2))
    follower(session, keys, config, now)
    events.evidence(1)

    jobs.tick(app, now + DAY)
    restarted = create_app(config)
    jobs.tick(restarted, now + DAY + HOUR)
    restarted.extensions["engine"].dispose()
    assert outbox(config) == []
    session.rollback()
    (issue,) = issues.held(session)
    for account in (ada, alan):
        issues.release(session, issue, account=account, needed=2, now=now + DAY)
        session.commit()
    jobs.tick(app, now + DAY + 2 * HOUR)

    assert len(outbox(config)) == 1
    jobs.tick(app, now + DAY + 3 * HOUR)
    assert len(outbox(config)) == 1


@pytest.mark.parametrize("config", ["one"], indirect=True)
def test_what_was_discarded_stands_in_the_next_digest_once(
    app: Flask,
    session: Session,
    make: Factory,
    keys: Keyring,
    config: Config,
    events: Events,
    now: dt.datetime,
) -> None:
    ada = make.account(Role.ADMIN, password_hash="x")
    follower(session, keys, config, now)
    events.evidence(1)
    jobs.tick(app, now + DAY)
    session.rollback()
    issues.discard(session, issues.held(session)[0], account=ada, now=now + DAY)
    session.commit()
    events.evidence(2)

    jobs.tick(app, now + 2 * DAY)
    session.rollback()
    issues.release(session, issues.held(session)[0], account=ada, needed=1, now=now + 2 * DAY)
    session.commit()
    jobs.tick(app, now + 2 * DAY + HOUR)

    (mail,) = outbox(config)
    words = mail.read_text()
    assert words.count("Court register 1") == words.count("Court register 2") > 0
    session.rollback()
    states = session.scalars(select(Issue.state).order_by(Issue.id)).all()
    assert list(states) == [IssueState.DISCARDED, IssueState.OPEN]


@pytest.mark.parametrize("away", [3 * HOUR, 9 * DAY])
def test_downtime_makes_one_digest_with_nothing_missing(
    app: Flask,
    session: Session,
    keys: Keyring,
    config: Config,
    events: Events,
    now: dt.datetime,
    away: dt.timedelta,
) -> None:
    follower(session, keys, config, now)
    for number in range(1, 4):
        events.evidence(number)

    for _ in range(3):
        jobs.tick(app, now + DAY + away)

    (mail,) = outbox(config)
    assert all(f"Court register {number}" in mail.read_text() for number in range(1, 4))


@pytest.mark.parametrize("reason", [HoldReason.CLOCK, HoldReason.RESTORED])
def test_while_everything_is_held_nothing_is_composed_or_sent(
    app: Flask,
    session: Session,
    keys: Keyring,
    config: Config,
    events: Events,
    now: dt.datetime,
    reason: HoldReason,
) -> None:
    follower(session, keys, config, now)
    events.evidence(1)
    sending.hold(session, reason, now=now)
    session.commit()

    jobs.tick(app, now + 40 * DAY)

    session.rollback()
    assert session.scalars(select(Delivery)).all() == []
    assert outbox(config) == []


@pytest.mark.parametrize("way", list(ReleaseWay))
def test_nothing_that_was_sent_goes_out_again_after_a_restore_until_a_person_says_so(
    app: Flask,
    session: Session,
    make: Factory,
    keys: Keyring,
    config: Config,
    events: Events,
    backup: Backup,
    now: dt.datetime,
    way: ReleaseWay,
) -> None:
    ada = make.account(Role.ADMIN, password_hash="x")
    stays = follower(session, keys, config, now)
    leaves = follower(session, keys, config, now, "other@arvenia.example")
    events.evidence(1)
    backup.take()
    jobs.tick(app, now + DAY)
    for mail in outbox(config):
        mail.unlink()
    session.rollback()
    session.expire_all()
    subscriptions.leave(session, leaves, now=now + DAY)
    session.commit()
    jobs.tick(app, now + DAY + HOUR)
    backup.restore()

    for hours in (2, 3, 30):
        jobs.tick(app, now + DAY + hours * HOUR)
        assert outbox(config) == []
    session.rollback()
    session.expire_all()
    assert sending.held(session) is HoldReason.RESTORED
    assert session.get_one(type(leaves), leaves.id).state is SubscriberState.LEFT
    sending.release(session, account=ada, needed=1, way=way, now=now + 3 * DAY)
    session.commit()
    events.evidence(2)
    jobs.tick(app, now + 3 * DAY)

    (mail,) = outbox(config)
    assert "Court register 2" in mail.read_text()
    # Told twice only where people chose that.
    assert ("Court register 1" in mail.read_text()) is (way is ReleaseWay.SEND)
    session.rollback()
    sent = session.scalars(select(Delivery).where(Delivery.state == DeliveryState.SENT)).all()
    assert [one.subscriber_id for one in sent] == [stays.id]
