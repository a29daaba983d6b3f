"""Mails land whole in the outbox or go out in stages by SMTP, never without TLS, and never a word too much."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mail import Inbox, smtp_server
from tracker import mailer
from tracker.config import Config
from tracker.errors import ConfigError

MAIL = b"From: a@localhost\r\nSubject: x\r\n\r\nOne\r\n.\r\n.two\r\nMAIL FROM:<>\r\n"
ID = f"<{'a' * 32}@localhost>"


def agree() -> bool:
    return True


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def relay(inbox: Inbox) -> Iterator[mailer.Relay]:
    with smtp_server(inbox) as url:
        relay = mailer.Relay(url, "digest@localhost")
        yield relay
        relay.close()


def send(relay: mailer.Relay, before_end: Callable[[], bool] = agree, message: bytes = MAIL) -> str:
    return relay.send("reader@arvenia.example", ID, message, before_end)


def test_the_relay_gets_the_same_bytes_one_mail_after_another(relay: mailer.Relay, inbox: Inbox) -> None:
    assert send(relay) == "250 end of DATA"
    send(relay)

    assert inbox.mails == [("reader@arvenia.example", MAIL)] * 2


def test_without_agreement_there_is_no_dot_and_no_mail(relay: mailer.Relay, inbox: Inbox) -> None:
    with pytest.raises(mailer.TakenOver):
        send(relay, lambda: False)

    assert inbox.mails == []
    assert send(relay)
    assert len(inbox.mails) == 1


@pytest.mark.parametrize(
    ("stage", "answer", "error", "said"),
    [
        ("RCPT", "451 4.7.1 greylisted", mailer.TryLater, "451 RCPT"),
        ("RCPT", "550 5.1.1 reader@arvenia.example unknown", mailer.RecipientRefused, "550 RCPT"),
        ("MAIL", "421 4.3.2 busy", mailer.TryLater, "421 MAIL"),
        ("MAIL", "550 5.7.1 policy", mailer.SenderRefused, "550 MAIL"),
        ("DATA", "452 4.3.1 full", mailer.TryLater, "452 end of DATA"),
        ("DATA", "554 5.6.0 content", mailer.SenderRefused, "554 end of DATA"),
    ],
)
def test_every_refusal_is_what_it_is_and_the_next_mail_goes_out(
    stage: str, answer: str, error: type[mailer.NotSent], said: str, relay: mailer.Relay, inbox: Inbox
) -> None:
    inbox.answers[stage] = [answer]

    with pytest.raises(mailer.NotSent) as refusal:
        send(relay)

    assert type(refusal.value) is error
    # The code and the stage: what relays write may hold the address.
    assert refusal.value.answer == said
    assert send(relay) == "250 end of DATA"


def test_a_lost_answer_is_doubtful(relay: mailer.Relay, inbox: Inbox) -> None:
    inbox.answers["after DATA"] = ["close"]

    with pytest.raises(mailer.Doubtful):
        send(relay)
    assert len(inbox.mails) == 1


def test_nobody_there_is_unreachable() -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]

    with pytest.raises(mailer.Unreachable):
        send(mailer.Relay(f"smtp://127.0.0.1:{port}", "digest@localhost"))


def test_a_server_that_offers_no_tls_gets_nothing_unless_it_is_loopback(
    relay: mailer.Relay, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailer, "_is_loopback", lambda _host: False)

    with pytest.raises(mailer.Unreachable):
        send(relay)
    assert inbox.mails == []


def test_a_server_that_drops_starttls_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"220 x\r\n")
            said.append(connection.recv(1000))
            connection.sendall(b"250-x\r\n250 STARTTLS\r\n")
            said.append(connection.recv(1000))
            connection.sendall(b"454 4.7.0 not now\r\n")
            said.append(connection.recv(1000))

    monkeypatch.setattr(mailer, "_is_loopback", lambda _host: False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with pytest.raises(mailer.Unreachable):
            send(mailer.Relay(f"smtp://127.0.0.1:{listener.getsockname()[1]}", "digest@localhost"))
        thread.join()

    assert said[0] == b"ehlo localhost\r\n"
    assert b"MAIL" not in b"".join(said)


@pytest.mark.parametrize("url", ["http://host", "smtp://", "host:25", "smtp://host:99999", "smtp://host:x"])
def test_an_address_that_cannot_be_used_stops_the_start_and_shows_no_password(
    url: str, make_config: Callable[..., Config]
) -> None:
    with pytest.raises(ConfigError, match="smtp_url") as refusal:
        mailer.check(make_config(smtp_url=url.replace("host", "me:secret@host")))
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
    ],
)
def test_only_loopback_is_loopback(host: str, loopback: bool) -> None:
    assert mailer._is_loopback(host) is loopback


def test_the_outbox_holds_whole_mails_that_only_their_owner_reads(tmp_path: Path) -> None:
    outbox = mailer.Outbox(tmp_path / "outbox")

    outbox.send("reader@arvenia.example", ID, MAIL, agree)
    outbox.send("reader@arvenia.example", ID, MAIL, agree)

    (path,) = (tmp_path / "outbox").iterdir()
    assert (path.name, path.read_bytes(), path.stat().st_mode & 0o777) == ("a" * 32 + ".eml", MAIL, 0o600)


def test_the_outbox_is_left_alone_without_agreement(tmp_path: Path) -> None:
    with pytest.raises(mailer.TakenOver):
        mailer.Outbox(tmp_path).send("reader@arvenia.example", ID, MAIL, lambda: False)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("message_id", ["<../../etc/passwd@x>", "<x@y>", "<>", f"<{'A' * 32}@x>"])
def test_no_message_id_names_a_file_elsewhere(message_id: str) -> None:
    assert set(mailer.outbox_name(message_id)) <= set("0123456789abcdef")
