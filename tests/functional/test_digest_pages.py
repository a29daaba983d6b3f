"""What was sent is public and names nobody; the outbox is for those who run the place."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.mail import Events, follower
from tracker import dispatch, jobs
from tracker.cli import main
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Account, Digest
from tracker.vocabulary import EntryKind, Role

DAY = dt.timedelta(days=1)


@pytest.fixture
def owed(session: Session, make: Factory, keys: Keyring, config: Config, now: dt.datetime) -> Events:
    """Something to tell, and somebody to tell it to on the next day."""
    events = Events(session, make.report(), now)
    follower(session, keys, config, now)
    events.evidence(1, title="<script>alert(1)</script> Court register")
    return events


@pytest.fixture
def ada(make: Factory) -> Account:
    account: Account = make.account(Role.ADMIN)
    return account


def test_past_digests_are_shown_by_day_without_anybodys_name(
    client: Client, app: Flask, owed: Events, now: dt.datetime
) -> None:
    assert "None yet" in client.get("/digests").text
    jobs.tick(app, now + DAY)

    page = client.get("/digests")

    assert "23 Nov 2026" in page.text
    assert "1 to 1" in page.text
    assert "fewer than 10" in page.text
    assert "arvenia.example" not in page.text


def test_a_period_with_nothing_new_is_not_shown(
    client: Client, app: Flask, owed: Events, now: dt.datetime
) -> None:
    jobs.tick(app, now + DAY)
    jobs.tick(app, now + 2 * DAY)

    assert "24 Nov 2026" not in client.get("/digests").text


@pytest.mark.parametrize(("count", "shown"), [(9, "fewer than 10"), (10, "10 or more"), (47, "40 or more")])
def test_how_many_there_were_is_rounded(
    count: int,
    shown: str,
    app: Flask,
    client: Client,
    session: Session,
    make: Factory,
    keys: Keyring,
    config: Config,
    now: dt.datetime,
) -> None:
    Events(session, make.report(), now).evidence(1)
    for number in range(count):
        follower(session, keys, config, now, f"r{number}@arvenia.example").seen_seq = 0
    session.commit()
    dispatch.compose_due(app, now + DAY)

    page = client.get("/digests")
    assert shown in page.text
    # A code that few people got is not listed: it would show what a few people follow.
    session.rollback()
    code = session.scalars(select(Digest.code)).one()
    assert (code in page.text) == (count >= 10)


def test_whoever_has_the_number_and_the_code_sees_what_the_digest_said(
    client: Client, app: Flask, owed: Events, session: Session, now: dt.datetime
) -> None:
    owed.finding("k1")
    jobs.tick(app, now + DAY)
    session.rollback()
    digest = session.scalars(select(Digest)).one()

    # As people type it, with letters that are read wrongly.
    typed = digest.code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    page = client.get(f"/digests?number={digest.issue_id}&code={typed}")
    assert "is ours" in page.text
    assert "<script>alert(1)</script> Court register" in page.text
    assert "Contrary action" in page.text
    assert "unsubscribe" not in page.text

    owed.withdrawal(EntryKind.EVIDENCE_WITHDRAWN, "evidence/1")
    page = client.get(f"/digests?number={digest.issue_id}&code={digest.code}")
    assert "Court register" not in page.text
    assert "Contrary action" in page.text


@pytest.mark.parametrize(
    "query",
    ["number=1&code=AAAA-AAAA", "number=x&code=", "number=99999999999&code=%7F", "number=1&code=\u0661"],
)
def test_a_forged_number_or_code_is_told(
    client: Client, app: Flask, owed: Events, now: dt.datetime, query: str
) -> None:
    jobs.tick(app, now + DAY)

    assert "We have sent no digest with this number and code" in client.get(f"/digests?{query}").text


def test_an_admin_reads_the_outbox(
    app: Flask, owed: Events, ada: Account, as_somebody: Callable[[Account], Client], now: dt.datetime
) -> None:
    admin = as_somebody(ada)
    assert "Nothing has been written here yet" in admin.get("/outbox").text
    jobs.tick(app, now + DAY)

    page = admin.get("/outbox")
    assert "Your digest of 23 November 2026" in page.text
    mail = admin.get(next(link for link in page.links if link.startswith("/outbox/")))
    assert "<script>alert(1)</script> Court register" in mail.text
    assert "reader@arvenia.example" in mail.text
    assert "List-Unsubscribe" in mail.text


def test_with_smtp_the_outbox_says_that_mails_go_elsewhere(
    make_config: Callable[..., Config], database_url: str, ada: Account
) -> None:
    from tracker import create_app

    app = create_app(make_config(database_url=database_url, smtp_url="smtp://127.0.0.1:1"))
    assert "An SMTP server is set" in Client(app).sign_in(ada).get("/outbox").text
    app.extensions["engine"].dispose()


@pytest.mark.parametrize("name", ["nothing", "../keys/secret", "..%2f..%2fkeys%2fsecret", "a" * 32, "A" * 32])
def test_the_outbox_opens_no_other_file(
    name: str, ada: Account, as_somebody: Callable[[Account], Client]
) -> None:
    as_somebody(ada).get(f"/outbox/{name}", 404)


def test_the_outbox_is_closed_to_the_public_and_to_the_team(
    client: Client, mona: Account, rafa: Account, as_somebody: Callable[[Account], Client]
) -> None:
    for address in ("/outbox", f"/outbox/{'a' * 32}"):
        client.get(address, 303)
        for person in (mona, rafa):
            as_somebody(person).get(address, 403)


@pytest.fixture
def command(config: Config, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("TRACKER_DATA_DIR", str(config.data_dir))
    monkeypatch.setenv("TRACKER_DATABASE_URL", config.sqlalchemy_url)
    monkeypatch.setenv("TRACKER_BASE_URL", config.base_url)
    monkeypatch.setenv("TRACKER_DIGEST_JITTER_MINUTES", "0")
    return lambda *words: CliRunner().invoke(main, ["digests", *words])


def test_the_command_says_what_is_owed_and_sends_it(
    command: Callable[..., Any], owed: Events, config: Config
) -> None:
    assert command("due", "--now", "2026-11-23T06:59").output == "Digests to compose: 0\nMails to send: 0\n"
    assert (
        command("due", "--now", "2026-11-23T08:00+01:00").output
        == "Digests to compose: 1\nMails to send: 0\n"
    )

    sent = command("send", "--now", "2026-11-23T07:00")
    assert (sent.exit_code, sent.stdout) == (0, "Queued: 1\nSent: 1\n")
    assert len(list(config.outbox_path.glob("*.eml"))) == 1
    assert command("send", "--now", "2026-11-23T07:00").stdout == "Nothing is owed.\n"


def test_a_time_that_is_none_is_one_clear_line(command: Callable[..., Any]) -> None:
    done = command("due", "--now", "tomorrow")

    assert done.exit_code == 2
    assert "'tomorrow' is not a time. Write it like 2026-11-23T07:00" in done.output
    assert "Traceback" not in done.output
