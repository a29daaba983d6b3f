"""Addresses for machines."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator

import pytest
import time_machine
from flask import Flask
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import Record
from tracker import create_app
from tracker.config import Config
from tracker.models import Heartbeat


@pytest.fixture
def other_app(make_config: Callable[..., Config], database_url: str) -> Iterator[Callable[..., Flask]]:
    made = []

    def make(**values: str) -> Flask:
        made.append(create_app(make_config(**{"database_url": database_url, **values})))
        return made[-1]

    yield make
    for app in made:
        app.extensions["engine"].dispose()


def beat(session: Session, at: dt.datetime) -> None:
    session.merge(Heartbeat(name="scheduler", at=at))
    session.commit()


def test_a_running_site_is_healthy(client: Client, session: Session, make: Factory, now: dt.datetime) -> None:
    Record(session, make, now)
    beat(session, now - dt.timedelta(seconds=20))

    with time_machine.travel(now, tick=False):
        response = client.http.get("/health")

    assert response.status_code == 200
    assert response.json == {
        "status": "ok", "database": "ok", "ledger_position": 1,
        "scheduler": {"status": "ok", "heartbeat_age_seconds": 20},
    }  # fmt: skip
    assert response.headers["Cache-Control"] == "no-store"


def test_a_silent_scheduler_is_noticed(client: Client, session: Session, now: dt.datetime) -> None:
    beat(session, now)

    with time_machine.travel(now + dt.timedelta(hours=1), tick=False):
        response = client.http.get("/health")

    assert response.status_code == 503
    assert response.json["status"] == "degraded"
    assert response.json["scheduler"] == {"status": "silent", "heartbeat_age_seconds": 3600}


def test_a_scheduler_that_never_ran_is_noticed(client: Client) -> None:
    response = client.http.get("/health")

    assert (response.status_code, response.json["scheduler"]["status"]) == (503, "never seen")


def test_a_database_that_cannot_be_read_is_noticed_and_not_named(
    other_app: Callable[..., Flask], tmp_path
) -> None:  # type: ignore[no-untyped-def]
    app = other_app(database_url=f"sqlite:///{tmp_path / 'nowhere' / 'secret-name.db'}")

    response = app.test_client().get("/health")

    assert response.status_code == 503
    assert response.json["database"] == "unreachable"
    assert b"secret-name" not in response.data


def test_robots_may_read_public_pages(client: Client) -> None:
    response = client.http.get("/robots.txt")

    assert response.mimetype == "text/plain"
    assert "Allow: /\n" in response.get_data(as_text=True)
    assert "Disallow: /unsubscribe/" in response.get_data(as_text=True)


def test_security_txt_names_the_contact_and_expires_within_a_year(
    other_app: Callable[..., Flask], now: dt.datetime
) -> None:
    client = other_app(security_contact="mailto:security@tracker.example").test_client()

    with time_machine.travel(now, tick=False):
        lines = dict(
            line.split(": ", 1) for line in client.get("/.well-known/security.txt").text.splitlines()
        )

    assert lines["Contact"] == "mailto:security@tracker.example"
    assert lines["Canonical"] == "http://localhost/.well-known/security.txt"
    expires = dt.datetime.fromisoformat(lines["Expires"])
    assert now < expires < now + dt.timedelta(days=365)


def test_without_a_contact_there_is_no_security_txt(client: Client) -> None:
    client.get("/.well-known/security.txt", 404)
