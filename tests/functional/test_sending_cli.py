"""The operator sees what is owed and held, and releases it, from the command line; the doctor says what is wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from click.testing import Result
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.mail import Events, follower
from tests.mailing import mail
from tracker import clock, journal_rounds
from tracker.cli import doctor
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Delivery, Heartbeat, Sending
from tracker.services import issues, sending
from tracker.vocabulary import DeliveryState, HoldReason, Role

Run = Callable[..., Result]
DAY = dt.timedelta(days=1)
TOMORROW = "2026-11-23T12:30"


@pytest.fixture
def owed(session: Session, make: Factory, keys: Keyring, config: Config, now: dt.datetime) -> Events:
    events = Events(session, make.report(), now)
    follower(session, keys, config, now)
    events.evidence(1)
    return events


def rows(session: Session) -> list[object]:
    session.rollback()
    session.expire_all()
    return [session.get_one(Sending, 1).journal, *session.scalars(select(Delivery.id))]


def test_a_dry_run_says_what_would_be_sent_and_changes_nothing(
    run: Run, owed: Events, session: Session, config: Config
) -> None:
    before = rows(session)

    said = run("digests", "send", "--dry-run", "--now", TOMORROW).output

    assert "Would send: 1 × Digest (Daily)" in said
    assert "Court register 1" in said
    assert "arvenia.example" not in said
    assert rows(session) == before
    assert not config.outbox_path.exists()
    assert not config.journal_path.exists()
    assert run("digests", "send", "--dry-run", "--now", "2026-11-22T12:31").output == "Nothing is owed.\n"


def test_what_is_held_is_said_and_released_by_an_admin(
    run: Run, owed: Events, make: Factory, session: Session, config: Config, now: dt.datetime
) -> None:
    make.account(Role.ADMIN, email="ada@arvenia.example", password_hash="x")
    make.account(Role.REVIEWER, email="rafa@arvenia.example", password_hash="x")
    issue = issues.open_issue(session, config_hold="one", now=now)
    session.commit()
    mail(session, now, issue=issue)

    assert "Issue 1 is held, 1 mails: Every issue waits for its release here." in run("digests", "due").output
    assert "1  2026-11-22T12:00Z  held  0 digests, pending 1" in run("digests", "issues").output
    assert "Only an admin" in run("digests", "release", "1", "--as", "rafa@arvenia.example", code=1).output
    assert "no account" in run("digests", "release", "1", "--as", "nobody@arvenia.example", code=1).output
    assert "no issue" in run("digests", "release", "7", "--as", "ada@arvenia.example", code=1).output
    run("digests", "release", "first", "--as", "ada@arvenia.example", code=2)
    run("digests", "release", "1", "--consider-sent", "--as", "ada@arvenia.example", code=2)
    assert run("digests", "release", "1", "--as", "Ada@arvenia.example").output == "Issue 1 goes out.\n"
    assert "not held" in run("digests", "release", "1", "--as", "ada@arvenia.example", code=1).output


def test_two_admins_each_run_it_where_two_are_needed(
    run: Run, make: Factory, session: Session, now: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_HOLD_DIGESTS", "two")
    for name in ("ada", "alan"):
        make.account(Role.ADMIN, email=f"{name}@arvenia.example", password_hash="x")
    sending.hold(session, HoldReason.RESTORED, now=now)
    session.commit()

    assert "All sending is held" in run("digests", "due").output
    first = run("digests", "release", "all", "--consider-sent", "--as", "ada@arvenia.example").output
    assert first == "Noted. Mails go out when a second admin releases, too.\n"
    assert (
        "Consider it sent" in run("digests", "release", "all", "--as", "alan@arvenia.example", code=1).output
    )
    second = run("digests", "release", "all", "--consider-sent", "--as", "alan@arvenia.example").output
    assert second == "Mails go out.\n"


def test_while_everything_is_held_sending_says_so_and_fails(
    run: Run, owed: Events, session: Session, config: Config, now: dt.datetime
) -> None:
    sending.hold(session, HoldReason.CLOCK, now=now)
    session.commit()

    assert "The clock jumped forward" in run("digests", "send", "--now", TOMORROW, code=1).output
    assert not config.outbox_path.exists()
    assert "none of this would go out" in run("digests", "send", "--dry-run", "--now", TOMORROW).output


def test_a_sender_that_may_not_read_the_mailers_keys_says_so(
    run: Run, owed: Events, config: Config, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("TRACKER_MAILER_KEYS_DIR", str(tmp_path / "elsewhere"))

    assert "no mailer keys" in run("digests", "send", code=1).output


def test_the_doctor_says_what_is_held_in_doubt_or_late(
    app: object, session: Session, config: Config, now: dt.datetime
) -> None:
    moment = clock.now()
    issue = issues.open_issue(session, config_hold="one", now=moment)
    sending.hold(session, HoldReason.CLOCK, now=moment)
    session.add(Heartbeat(name="scheduler", at=moment))
    session.commit()
    mail(session, moment, issue=issue)
    mail(session, moment, state=DeliveryState.UNCERTAIN)
    late = mail(session, moment - DAY)
    journal_rounds.begin(app, moment)  # type: ignore[arg-type]
    (config.journal_path / "journal.jsonl").unlink()

    said = "\n".join(doctor.problems(config))

    assert "All sending is held: The clock jumped forward" in said
    assert "Issue 1 is held, 1 mails wait" in said
    assert "Mails that were perhaps sent twice: 1" in said
    assert "journal.jsonl is missing" in said
    assert "The oldest mail" not in said  # Of course it waits, while all is held.
    session.get_one(Sending, 1).held_because = None
    session.commit()
    assert "The oldest mail has waited for 24 hours" in "\n".join(doctor.problems(config))
    session.delete(late)
    session.commit()
    assert "The oldest mail" not in "\n".join(doctor.problems(config))


def test_the_doctor_tells_the_web_process_that_it_cannot_read_the_mailers_keys(
    make_config: Callable[..., Config], database_url: str, tmp_path
) -> None:  # type: ignore[no-untyped-def]
    config = make_config(database_url=database_url, mailer_keys_dir=tmp_path / "mailer")
    (tmp_path / "mailer").mkdir()

    assert "That is right for the web process" in "\n".join(doctor.notes(config))
    assert doctor.notes(make_config(database_url=database_url))


def test_the_doctor_says_which_bounces_nobody_reads(make_config: Callable[..., Config]) -> None:
    def said(**values: str) -> str:
        return "\n".join(doctor.notes(make_config(**values)))

    assert said() == ""
    assert "No bounce_address" in said(smtp_url="smtp://127.0.0.1:25")
    assert "No bounce_mailbox" in said(
        smtp_url="smtp://127.0.0.1:25", bounce_address="bounce@arvenia.example"
    )


def test_somebody_of_the_team_chooses_no_more_reminders(
    as_somebody: Callable[..., object], session: Session, make: Factory
) -> None:
    mona, ada = make.account(Role.MONITOR), make.account(Role.ADMIN)
    client = as_somebody(mona)
    client.send("/account", {"reminders": None}, form=3)  # type: ignore[attr-defined]

    session.rollback()
    session.refresh(mona)
    assert not mona.reminders
    assert "You get no more reminders." in client.get("/account").text  # type: ignore[attr-defined]
    client.send("/account", {"reminders": "yes"}, form=3)  # type: ignore[attr-defined]
    session.rollback()
    session.refresh(mona)
    assert mona.reminders
    assert "Reminders" not in as_somebody(ada).get("/account").text  # type: ignore[attr-defined]
