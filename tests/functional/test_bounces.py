"""Bounces from where they come: a Maildir, a mailbox on a server, files on the command line."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from tests import bounced
from tests.bounced import BOUNCE_ADDRESS, sender, sent, someone
from tests.imap import Mailbox, imap_server
from tests.mail import Inbox, follower, smtp_server
from tracker import bounce_mailbox, create_app, dispatch, jobs
from tracker.cli import main
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Subscriber
from tracker.services import bounces as service
from tracker.services import deliveries
from tracker.vocabulary import DeliveryKind, SubscriberState

HOUR, FIVE = dt.timedelta(hours=1), dt.timedelta(minutes=5)
USER = "bounces%40arvenia.example"
STOPPED = service.Taken.STOPPED.value
Open = Callable[[str], Flask]


@pytest.fixture
def open_app(make_config: Callable[..., Config], database_url: str) -> Iterator[Open]:
    """The app with a mailbox of bounces."""
    apps = []

    def start(mailbox: str) -> Flask:
        config = make_config(database_url=database_url, bounce_address=BOUNCE_ADDRESS, bounce_mailbox=mailbox)
        apps.append(create_app(config))
        return apps[-1]

    yield start
    for app in apps:
        app.extensions["engine"].dispose()


@pytest.fixture
def people(session: Session, now: dt.datetime) -> list[Subscriber]:
    return [someone(session, now) for _ in range(3)]


@pytest.fixture
def mails(session: Session, keys: Keyring, people: list[Subscriber], now: dt.datetime) -> list[bytes]:
    """A bounce of a mail to each of the three, and two other mails."""
    to = [sender(sent(session, one, now - HOUR), keys) for one in people]
    return [bounced.postfix(to[0]), bounced.holiday(to[0]), bounced.exim(to[1]), b"From: spam\r\n\r\nHello\r\n",
            bounced.postfix(to[2], "4.2.2", code="452")]  # fmt: skip


def states(session: Session, people: list[Subscriber]) -> list[SubscriberState]:
    session.expire_all()
    return [one.state for one in people]


AFTER = [SubscriberState.FAILED, SubscriberState.FAILED, SubscriberState.CONFIRMED]


def maildir(folder: Path, mails: list[bytes]) -> Path:
    for name in ("new", "cur", "tmp"):
        (folder / name).mkdir(parents=True)
    for number, mail in enumerate(mails):
        (folder / "new" / f"{number}.mail").write_bytes(mail)
    return folder


def test_a_maildir_is_read_by_the_tick_and_only_other_mails_stay(
    open_app: Open,
    session: Session,
    people: list[Subscriber],
    mails: list[bytes],
    now: dt.datetime,
    tmp_path: Path,
) -> None:
    folder = maildir(tmp_path / "Maildir", mails)
    app = open_app(f"maildir:{folder}")

    with capture_logs() as logs:
        done = jobs.read_bounces(app, now)

    assert done == {STOPPED: 2, service.Taken.RESTS.value: 1}
    assert states(session, people) == AFTER
    assert sorted(os.listdir(folder / "cur")) == ["1.mail:2,S", "3.mail:2,S"]
    assert os.listdir(folder / "new") == []
    assert "arvenia.example" not in str(logs)
    assert "secret" not in str(logs)

    # Not again before five minutes are over.
    (folder / "new" / "late").write_bytes(mails[0])
    assert not jobs.read_bounces(app, now + FIVE / 2)
    assert jobs.read_bounces(app, now + FIVE) == {service.Taken.KNOWN.value: 1}
    assert os.listdir(folder / "new") == []


def test_the_tick_looks_for_bounces(
    open_app: Open,
    session: Session,
    people: list[Subscriber],
    mails: list[bytes],
    now: dt.datetime,
    tmp_path: Path,
) -> None:
    jobs.tick(open_app(f"maildir:{maildir(tmp_path / 'Maildir', mails)}"), now)

    assert states(session, people) == AFTER


@pytest.mark.parametrize("uidplus", [True, False])
def test_a_mailbox_on_a_server_is_read_and_what_was_handled_is_deleted(
    open_app: Open,
    session: Session,
    people: list[Subscriber],
    mails: list[bytes],
    now: dt.datetime,
    uidplus: bool,
) -> None:
    box = Mailbox(*mails)
    box.uidplus = uidplus
    box.flags[14] = {"\\Seen"}
    with imap_server(box) as port:
        app = open_app(f"imap://{USER}:hush%20%22x%22@127.0.0.1:{port}/Bounces%20%22new%22")

        assert jobs.read_bounces(app, now) == {STOPPED: 2, service.Taken.RESTS.value: 1}

    assert states(session, people) == AFTER
    assert box.mails == {12: mails[1], 14: mails[3]}
    assert box.flags == {12: {"\\Seen"}, 14: {"\\Seen"}}
    assert any(line == r'LOGIN bounces@arvenia.example "hush \"x\""' for line in box.said)
    assert r'SELECT "Bounces \"new\""' in box.said
    assert box.said[-1] == "LOGOUT"


def test_a_crash_before_the_deletion_only_means_that_a_bounce_is_read_again(
    open_app: Open, session: Session, people: list[Subscriber], mails: list[bytes], now: dt.datetime
) -> None:
    box = Mailbox(*mails)
    box.refuse = {"STORE"}
    with imap_server(box) as port:
        app = open_app(f"imap://{USER}:hush@127.0.0.1:{port}/")
        with capture_logs() as logs:
            jobs.read_bounces(app, now)
        box.refuse = set()
        done = jobs.read_bounces(app, now + FIVE)

    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["bounce-mailbox-failed"]
    assert done == {service.Taken.KNOWN.value: 1, STOPPED: 1, service.Taken.RESTS.value: 1}
    assert states(session, people) == AFTER


@pytest.mark.parametrize("refused", ["LOGIN", "SELECT", "SEARCH", "FETCH", "EXPUNGE"])
@pytest.mark.only("sqlite")
def test_a_mailbox_that_fails_is_one_line_without_an_address_and_stops_nothing(
    open_app: Open, mails: list[bytes], now: dt.datetime, refused: str
) -> None:
    box = Mailbox(*mails)
    box.refuse = {refused}
    with imap_server(box) as port, capture_logs() as logs:
        app = open_app(f"imap://{USER}:hush@127.0.0.1:{port}/")
        jobs.read_bounces(app, now)

    why = "(error)" if refused != "LOGIN" else "(the server refuses the user or the password)"
    lines = [line for line in logs if line["event"] == "bounce-mailbox-failed"]
    assert lines == [{"event": "bounce-mailbox-failed", "log_level": "error",
                      "reason": f"The mailbox of bounces cannot be read {why}."}]  # fmt: skip
    assert "hush" not in str(logs)
    assert "arvenia.example" not in str(logs)


@pytest.mark.only("sqlite")
def test_a_server_that_is_not_there_and_a_folder_that_is_not_there_are_one_line(
    open_app: Open, now: dt.datetime, tmp_path: Path
) -> None:
    with imap_server(Mailbox()) as port:
        pass
    for place in (f"imap://{USER}:hush@127.0.0.1:{port}/", f"maildir:{tmp_path / 'none'}"):
        with capture_logs() as logs:
            jobs.read_bounces(open_app(place), now)
        assert [line["event"] for line in logs] == ["bounce-mailbox-failed"]
        now += FIVE


def test_without_tls_nothing_is_said_to_a_server_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Mailbox()
    with imap_server(box) as port:
        mailbox = bounce_mailbox.BounceMailbox(None, "127.0.0.1", port, False, "reader", "hush")
        # Loopback stands for another machine, which offers no STARTTLS.
        monkeypatch.setattr(bounce_mailbox, "_is_loopback", lambda host: False)
        with pytest.raises(bounce_mailbox.MailboxFailed):
            bounce_mailbox.visit(mailbox, lambda mail: True)
        tls = bounce_mailbox.BounceMailbox(None, "127.0.0.1", port, True, "reader", "hush")
        with pytest.raises(bounce_mailbox.MailboxFailed):
            bounce_mailbox.visit(tls, lambda mail: True)

    assert not any("hush" in line for line in box.said)


def test_of_50_megabytes_a_server_sends_one_and_a_visit_ends_after_its_limit() -> None:
    box = Mailbox(b"x" * 50 * 2**20, *[b"y"] * 10)
    seen: list[int] = []

    def handle(mail: bytes) -> bool:
        seen.append(len(mail))
        return True

    with imap_server(box) as port:
        mailbox = bounce_mailbox.BounceMailbox(None, "127.0.0.1", port, False, "reader", "hush")
        bounce_mailbox.visit(mailbox, handle, most=4)
        assert seen == [2**20, 1, 1, 1]
        assert box.sent_bytes == 2**20 + 3
        assert len(box.mails) == 7
        bounce_mailbox.visit(mailbox, handle, stopping=lambda: len(seen) >= 6)

    assert len(box.mails) == 5


@pytest.mark.only("sqlite")
def test_a_mail_that_cannot_be_taken_now_stays_and_the_others_go_on(
    open_app: Open, mails: list[bytes], now: dt.datetime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = maildir(tmp_path / "Maildir", mails)
    take = service.take
    calls: list[int] = []

    def failing(*words: object, **values: object) -> service.Taken:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("disk full")
        return take(*words, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(service, "take", failing)

    done = jobs.read_bounces(open_app(f"maildir:{folder}"), now)

    assert (done["failed"], done[STOPPED]) == (1, 1)
    assert os.listdir(folder / "new") == ["0.mail"]


@pytest.fixture
def run(config: Config, database_url: str) -> Callable[..., Result]:
    """`tracker …` in this process, on the test's database."""
    environ = {
        "TRACKER_DATA_DIR": str(config.data_path),
        "TRACKER_DATABASE_URL": database_url,
        "TRACKER_BOUNCE_ADDRESS": BOUNCE_ADDRESS,
    }
    return lambda *words, **values: CliRunner().invoke(main, words, env=environ, **values)


def test_files_are_read_on_the_command_line_and_reading_them_again_changes_nothing(
    run: Callable[..., Result], session: Session, people: list[Subscriber], keys: Keyring, tmp_path: Path
) -> None:
    fresh = dt.datetime.now(dt.UTC)
    to = [sender(sent(session, one, fresh - HOUR), keys) for one in people]
    (tmp_path / "one.eml").write_bytes(bounced.postfix(to[0]))
    (tmp_path / "mbox").write_bytes(
        b"From MAILER-DAEMON\n" + bounced.exim(to[1]) + b"\nFrom x\n" + bounced.holiday(to[2])
    )
    folder = maildir(tmp_path / "Maildir", [bounced.postfix(to[2], "5.7.1")])
    files = [str(tmp_path / "one.eml"), str(tmp_path / "mbox"), str(folder)]

    first = run(
        "bounces", "read", *files, "-", input=bounced.gmail("bounce+1-" + "0" * 20 + "@x.arvenia.example")
    )

    assert first.exit_code == 0, first.output
    assert sorted(first.output.splitlines()) == sorted(
        [
            "Stopped: the mailbox does not exist: 2",
            "Soft bounces: nothing is sent for some hours: 1",
            "No bounce: 1",
            "Not about a mail of ours: 1",
        ]
    )
    assert states(session, people) == AFTER
    again = run("bounces", "read", *files)
    assert again.output.splitlines() == ["No bounce: 1", "Read before: 3"]
    assert os.listdir(folder / "new") == ["0.mail"]


@pytest.mark.only("sqlite")
def test_a_file_that_is_not_there_is_one_line(run: Callable[..., Result], tmp_path: Path) -> None:
    done = run("bounces", "read", str(tmp_path / "none.eml"))

    assert done.exit_code == 1
    assert "none.eml cannot be read: No such file or directory." in done.output
    assert run("bounces", "read", "-", input=b"").output == "There was nothing to read.\n"
    assert run("bounces", "read").exit_code == 2


class Envelopes(Inbox):
    """Also remembers the senders on envelopes."""

    def __init__(self) -> None:
        super().__init__()
        self.senders: list[str] = []

    async def handle_MAIL(self, *words: Any) -> str:  # noqa: N802
        self.senders.append(words[3])
        return await super().handle_MAIL(*words)


def test_a_mail_that_was_sent_comes_back_and_the_person_gets_no_more(
    make_config: Callable[..., Config],
    database_url: str,
    session: Session,
    keys: Keyring,
    now: dt.datetime,
    tmp_path: Path,
) -> None:
    folder, relay = maildir(tmp_path / "Maildir", []), Envelopes()
    with smtp_server(relay) as url:
        config = make_config(
            database_url=database_url,
            bounce_address=BOUNCE_ADDRESS,
            bounce_mailbox=f"maildir:{folder}",
            smtp_url=url,
        )
        reader = follower(session, keys, config, now)
        for number in range(2):
            content = b"Subject: %d\r\n\r\nHello\r\n" % number
            mail = deliveries.Mail(f"<{number:032x}@arvenia.example>", content)
            deliveries.enqueue(
                session, mail, kind=DeliveryKind.RENEWAL, keys=keys, now=now, subscriber=reader,
                due_at=now + number * 2 * HOUR,
            )  # fmt: skip
        session.commit()
        app = create_app(config)
        assert dispatch.send_due(app, now)["sent"] == 1
        (folder / "new" / "1").write_bytes(bounced.postfix(relay.senders[0]))

        assert jobs.read_bounces(app, now + HOUR) == {STOPPED: 1}

        dispatch.send_due(app, now + 2 * HOUR)
        app.extensions["engine"].dispose()

    assert relay.senders[0].startswith("bounce+1-")
    assert len(relay.mails) == 1
    assert states(session, [reader]) == [SubscriberState.FAILED]
