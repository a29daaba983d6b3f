"""kill -9 at every point on a digest's way: none is lost, and none is doubled that had not reached the final dot."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from tests.factories import Factory
from tests.mail import Events, Inbox, follower, read, smtp_server
from tracker import create_app, jobs
from tracker.config import Config
from tracker.dispatch import Round
from tracker.keyring import Keyring
from tracker.models import Delivery, Digest, Issue, Report, Subscriber
from tracker.services import issues, subscriptions
from tracker.vocabulary import DeliveryState, EntryKind, HoldReason, IssueState, Role, SubscriberState

ROOT = Path(__file__).resolve().parents[2]
SEVEN = dt.datetime(2026, 11, 23, 7, 0, tzinfo=dt.UTC)
AFTER_LEASE = SEVEN + dt.timedelta(minutes=21)
MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def relayed(inbox: Inbox, make_config: Callable[..., Config], database_url: str) -> Iterator[Config]:
    """Settings whose mails go to a real SMTP server on loopback."""
    with smtp_server(inbox) as url:
        yield make_config(database_url=database_url, smtp_url=url)


@pytest.fixture
def app(relayed: Config) -> Iterator[Flask]:
    app = create_app(relayed)
    yield app
    app.extensions["engine"].dispose()


@pytest.fixture
def _owed(session: Session, make: Factory, keys: Keyring, config: Config, now: dt.datetime) -> None:
    """One digest to tell and one person to tell it to."""
    report = make.report()
    follower(session, keys, config, now)
    Events(session, report, now).finding()
    session.commit()


pytestmark = pytest.mark.usefixtures("_owed")


def start(point: str, config: Config, now: dt.datetime = SEVEN) -> subprocess.Popen[bytes]:
    environment = {
        "TRACKER_DATA_DIR": str(config.data_dir),
        "TRACKER_DATABASE_URL": config.sqlalchemy_url,
        "TRACKER_SMTP_URL": config.smtp_url.get_secret_value(),
        "TRACKER_BASE_URL": config.base_url,
        "TRACKER_DIGEST_JITTER_MINUTES": "0",
        "PATH": os.environ["PATH"],
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.child", point, now.isoformat()],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def delivery(session: Session) -> Delivery:
    session.rollback()
    session.expire_all()
    return session.scalars(select(Delivery)).one()


@pytest.mark.parametrize(
    ("point", "accepted", "ambiguous"),
    [
        ("before_generation_commit", 1, 0),
        ("after_generation", 1, 0),
        ("after_claim", 1, 0),
        ("before_data_sent", 1, 0),
        ("before_dot", 1, 1),
        ("after_dot", 2, 1),
        ("after_250", 2, 1),
        ("after_commit", 1, 0),
    ],
)
def test_a_process_that_is_killed_loses_nothing(
    point: str, accepted: int, ambiguous: int, app: Flask, relayed: Config, inbox: Inbox, session: Session
) -> None:
    child = start(point, relayed)
    assert child.wait(60) == -signal.SIGKILL

    # The next scheduler starts at once, and again when the dead one's lease is over.
    jobs.tick(app, SEVEN + MINUTE)
    jobs.tick(app, AFTER_LEASE)
    jobs.tick(app, AFTER_LEASE + MINUTE)

    found = delivery(session)
    assert (found.state, found.ambiguous) == (DeliveryState.SENT, ambiguous)
    assert len(inbox.mails) == accepted
    # Every copy is the same: same bytes, same Message-ID.
    assert len(set(inbox.mails)) == 1
    assert read(inbox.mails[0][1])["Message-ID"] == found.message_id
    assert session.scalar(select(func.count()).select_from(Digest)) == 1


def test_a_process_that_dies_twice_after_the_dot_leaves_the_mail_to_a_person(
    app: Flask, relayed: Config, inbox: Inbox, session: Session
) -> None:
    assert start("after_250", relayed).wait(60) == -signal.SIGKILL
    assert start("after_250", relayed, AFTER_LEASE).wait(60) == -signal.SIGKILL
    jobs.tick(app, AFTER_LEASE + 21 * MINUTE)
    jobs.tick(app, AFTER_LEASE + 600 * MINUTE)

    found = delivery(session)
    assert (found.state, found.ambiguous, len(inbox.mails)) == (DeliveryState.UNCERTAIN, 2, 2)


def test_two_schedulers_at_once_make_one_digest_and_one_mail(
    app: Flask,
    relayed: Config,
    inbox: Inbox,
    session: Session,
    keys: Keyring,
    config: Config,
    now: dt.datetime,
) -> None:
    for number in range(12):
        follower(session, keys, config, now, f"r{number}@arvenia.example").seen_seq = 0
    session.commit()

    children = [start("nowhere", relayed) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    jobs.tick(app, AFTER_LEASE)

    # The twelve and the one who was there before.
    assert len(inbox.mails) == 13
    assert len({recipient for recipient, _ in inbox.mails}) == 13
    session.rollback()
    # They follow the same, but the first one was told up to another place.
    assert session.scalar(select(func.count()).select_from(Digest)) <= 2
    assert set(session.scalars(select(Delivery.state))) == {DeliveryState.SENT}


def test_a_greylisted_mail_goes_out_later(app: Flask, inbox: Inbox, session: Session) -> None:
    inbox.answers["RCPT"] = ["451 4.7.1 come back later"] * 2

    jobs.tick(app, SEVEN)
    assert (delivery(session).state, delivery(session).last_answer) == (DeliveryState.PENDING, "451 RCPT")
    jobs.tick(app, SEVEN + MINUTE / 2)
    assert inbox.mails == []
    jobs.tick(app, SEVEN + 2 * MINUTE)
    jobs.tick(app, SEVEN + 6 * MINUTE)
    assert inbox.mails == []
    jobs.tick(app, SEVEN + 8 * MINUTE)

    assert (len(inbox.mails), delivery(session).state) == (1, DeliveryState.SENT)


def test_an_address_refused_for_good_is_not_written_to_again(
    app: Flask, inbox: Inbox, session: Session
) -> None:
    inbox.answers["RCPT"] = ["550 5.1.1 reader@arvenia.example does not exist"]

    for day in range(3):
        jobs.tick(app, SEVEN + dt.timedelta(days=day))

    found = delivery(session)
    assert (found.state, found.last_answer, inbox.mails) == (DeliveryState.FAILED, "550 RCPT", [])
    assert found.subscriber.state is SubscriberState.FAILED


def test_a_relay_that_refuses_us_is_left_alone_after_five_and_drops_nobody(
    app: Flask,
    inbox: Inbox,
    session: Session,
    keys: Keyring,
    config: Config,
    now: dt.datetime,
    make: Factory,
) -> None:
    ada = make.account(Role.ADMIN, password_hash="x")
    for number in range(7):
        follower(session, keys, config, now, f"r{number}@arvenia.example").seen_seq = 0
    session.commit()
    inbox.answers["MAIL"] = ["550 5.7.1 not from you always"]

    with capture_logs() as log:
        done = jobs.tick(app, SEVEN)

    assert done["refused by our relay"] == 5
    assert [entry["event"] for entry in log if entry["log_level"] == "error"] == ["relay-refuses-our-mails"]
    assert "@" not in str(log)
    inbox.answers.clear()
    # The issue waits until a person has looked; then everybody gets it.
    assert jobs.tick(app, SEVEN + 2 * MINUTE)["sent"] == 0
    issue = session.scalars(select(Issue)).one()
    assert (issue.state, issue.held_because) == (IssueState.HELD, HoldReason.REFUSED)
    issues.release(session, issue, account=ada, needed=1, now=SEVEN)
    session.commit()
    assert jobs.tick(app, SEVEN + 10 * MINUTE)["sent"] == 8


def test_a_relay_that_is_down_costs_time_and_nothing_else(
    make_config: Callable[..., Config], database_url: str, app: Flask, inbox: Inbox, session: Session
) -> None:
    down = create_app(make_config(database_url=database_url, smtp_url="smtp://127.0.0.1:1"))
    jobs.tick(down, SEVEN)
    down.extensions["engine"].dispose()
    assert delivery(session).state is DeliveryState.PENDING

    jobs.tick(app, SEVEN + 2 * MINUTE)
    assert (len(inbox.mails), delivery(session).state) == (1, DeliveryState.SENT)


def test_a_lost_answer_is_sent_once_more_with_the_same_bytes(
    app: Flask, inbox: Inbox, session: Session
) -> None:
    inbox.answers["after DATA"] = ["close"]

    for moment in (SEVEN, SEVEN + MINUTE, AFTER_LEASE):
        jobs.tick(app, moment)

    assert len(inbox.mails) == 2
    assert len(set(inbox.mails)) == 1
    assert (delivery(session).state, delivery(session).ambiguous) == (DeliveryState.SENT, 1)


def test_who_leaves_between_claim_and_sending_gets_nothing(
    app: Flask, inbox: Inbox, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = Round._prepare

    def leave_first(self: Round, *arguments: Any) -> Any:
        subscriptions.leave(session, session.scalars(select(Subscriber)).one(), now=SEVEN)
        session.commit()
        return prepare(self, *arguments)

    monkeypatch.setattr(Round, "_prepare", leave_first)
    jobs.tick(app, SEVEN)

    assert (inbox.mails, delivery(session).state) == ([], DeliveryState.CANCELLED)


def test_what_is_withdrawn_while_a_mail_is_being_sent_does_not_go_out(
    app: Flask,
    inbox: Inbox,
    session: Session,
    make: Factory,
    now: dt.datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = session.scalars(select(Report)).one()
    events = Events(session, report, now)
    events.evidence(7, title="A name that nobody may read")
    session.rollback()
    send = Round._send

    def withdraw_first(self: Round, *arguments: Any) -> Any:
        monkeypatch.setattr(Round, "_send", send)
        events.withdrawal(EntryKind.EVIDENCE_WITHDRAWN, "evidence/7")
        session.rollback()
        return send(self, *arguments)

    monkeypatch.setattr(Round, "_send", withdraw_first)
    jobs.tick(app, SEVEN)

    [(_, message)] = inbox.mails
    assert "A name" not in str(read(message))
    assert delivery(session).state is DeliveryState.SENT
