"""No mail and no password leaves before the relay is who it should be, by TLS unless it is this machine."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.smtp import DROP, HANG, RESET, Drip, Script, Server, smtp_server
from tests.web import make_authority, make_certificate
from tracker import mailer
from tracker.config import Config
from tracker.mailer import Outcome, Parcel, Patience, Unreachable
from tracker.mailer.opening import is_loopback

HOST = "relay.arvenia.example"
PARCEL = Parcel(
    1, "digest@arvenia.example", "reader@arvenia.example", "<1@arvenia.example>", b"A: b\r\n\r\nc\r\n"
)
LONG, SHORT = Patience(opening=20, stage=20, dot=20), Patience(opening=0.8, stage=0.6, dot=0.6)
Certificate = Callable[..., ssl.SSLContext]


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """Makes a server's certificate that this process trusts, if its name and days are right."""
    make_authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))

    def make(name: str = HOST, days: int = 5) -> ssl.SSLContext:
        return make_certificate(tmp_path, (name,), days)

    return make


@pytest.fixture
def _far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay has a name of its own, which leads to our servers."""
    look_up = socket.getaddrinfo

    def found(host: str, *args: object, **values: object) -> object:
        return look_up("127.0.0.1" if host == HOST else host, *args, **values)  # type: ignore[call-overload]

    monkeypatch.setattr(socket, "getaddrinfo", found)


@pytest.fixture
def send(make_config: Callable[..., Config]) -> Callable[..., Outcome]:
    def send(server: Server, host: str = HOST, url: str = "", patience: Patience = LONG) -> Outcome:
        config = make_config(smtp_url=url or server.url_at(host), mail_from="digest@arvenia.example")
        connection = mailer.connect(config, patience=patience)
        [result] = connection.send([PARCEL])
        connection.close()
        return result.outcome

    return send


Send = Callable[..., Outcome]


def said(server: Server) -> list[bytes]:
    return [command for visit in server.connections for command in visit.commands]


@pytest.mark.usefixtures("_far_away")
@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("from_the_start", [True, False])
def test_mails_and_password_go_by_tls(
    certificate: Certificate, send: Send, from_the_start: bool, pipelining: bool
) -> None:
    script = Script(
        tls=certificate(), tls_from_the_start=from_the_start, login=("me", "s3cret"), pipelining=pipelining
    )
    with smtp_server(script) as server:
        assert send(server) is Outcome.SENT
    [mail] = server.received
    assert (mail.tls, mail.message) == (True, PARCEL.message)
    if not from_the_start:
        assert [command.upper() for command in said(server)[:3]] == [
            b"EHLO ARVENIA.EXAMPLE", b"STARTTLS", b"EHLO ARVENIA.EXAMPLE",
        ]  # fmt: skip


@pytest.mark.usefixtures("_far_away")
def test_many_mails_go_by_tls_on_one_connection(
    certificate: Certificate, make_config: Callable[..., Config]
) -> None:
    big = b"A: b\r\n\r\n" + (b"x" * 76 + b"\r\n") * 3000
    parcels = [
        Parcel(number, "digest@arvenia.example", f"r{number}@arvenia.example", f"<{number}@x>", big)
        for number in range(40)
    ]
    with smtp_server(Script(tls=certificate())) as server:
        connection = mailer.connect(make_config(smtp_url=server.url_at(HOST)))
        results = connection.send(parcels[:20]) + connection.send(parcels[20:])
        connection.close()
    assert {result.outcome for result in results} == {Outcome.SENT}
    assert {mail.message for mail in server.received} == {big}
    assert len(server.connections) == 1


@pytest.mark.usefixtures("_far_away")
@pytest.mark.parametrize("from_the_start", [True, False])
@pytest.mark.parametrize(("name", "days"), [("other.arvenia.example", 5), (HOST, -5)])
def test_a_certificate_for_another_name_or_another_time_gets_nothing(
    certificate: Certificate, send: Send, from_the_start: bool, name: str, days: int
) -> None:
    script = Script(tls=certificate(name, days), tls_from_the_start=from_the_start, login=("me", "s3cret"))
    with smtp_server(script) as server, pytest.raises(Unreachable, match="SSLCertVerificationError"):
        send(server)
    assert not any(command.startswith((b"AUTH", b"MAIL")) for command in said(server))


@pytest.mark.usefixtures("_far_away")
def test_a_certificate_of_an_unknown_issuer_gets_nothing(
    certificate: Certificate, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(tls=certificate())
    monkeypatch.delenv("SSL_CERT_FILE")
    with smtp_server(script) as server, pytest.raises(Unreachable, match="SSLCertVerificationError STARTTLS"):
        send(server)


@pytest.mark.usefixtures("_far_away")
@pytest.mark.parametrize("login", [None, ("me", "s3cret")])
def test_a_relay_that_offers_no_starttls_gets_nothing(send: Send, login: tuple[str, str] | None) -> None:
    with smtp_server(Script(login=login)) as server, pytest.raises(Unreachable, match="STARTTLS"):
        send(server)
    assert [command[:4] for command in said(server)] == [b"ehlo"]


@pytest.mark.usefixtures("_far_away")
@pytest.mark.parametrize(
    "action",
    [
        "454 4.7.0 not now",
        "502 5.5.1 what",
        "421 bye",
        DROP,
        RESET,
        HANG,
        Drip(),
        b"220 go\r\nwhat",
        b"x\r\n",
    ],
)
def test_a_relay_that_drops_starttls_gets_nothing(
    certificate: Certificate, send: Send, action: object
) -> None:
    script = Script(tls=certificate()).on("STARTTLS", action)  # type: ignore[arg-type]
    with smtp_server(script) as server, pytest.raises(Unreachable):
        send(server, patience=SHORT)
    assert [command[:4].upper() for command in said(server)][:2] == [b"EHLO", b"STAR"]
    assert not any(command.startswith((b"AUTH", b"MAIL")) for command in said(server))


@pytest.mark.usefixtures("_far_away")
def test_what_somebody_slips_in_before_tls_is_not_taken_for_an_answer(
    certificate: Certificate, send: Send
) -> None:
    script = Script(tls=certificate(), login=("me", "s3cret"))
    script.on("STARTTLS", b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n")
    with smtp_server(script) as server, pytest.raises(Unreachable, match="GarbledReply STARTTLS"):
        send(server)
    assert not any(command.startswith(b"AUTH") for command in said(server))


@pytest.mark.usefixtures("_far_away")
def test_what_was_offered_before_tls_does_not_count(certificate: Certificate, send: Send) -> None:
    # Before TLS, an attacker may have claimed that the relay pipelines.
    script = Script(tls=certificate(), pipelining=False)
    script.on("EHLO", "250-x\r\n250-PIPELINING\r\n250 STARTTLS")
    with smtp_server(script) as server:
        assert send(server) is Outcome.SENT
    assert server.connections[0].writes >= 4


def test_a_relay_on_this_machine_needs_no_tls(send: Send) -> None:
    with smtp_server(Script(login=("me", "s3cret"))) as server:
        assert send(server, "127.0.0.1") is Outcome.SENT
        assert send(server, "localhost") is Outcome.SENT


def test_a_wrong_password_is_told_by_its_code(send: Send, certificate: Certificate) -> None:
    with smtp_server(Script(login=("me", "s3cret"))) as server:
        with pytest.raises(Unreachable, match=r"^535 AUTH$"):
            send(server, url=server.url_at("127.0.0.1").replace("s3cret", "other"))
        assert send(server, url=server.url_at("127.0.0.1").replace("s3cret", "s%33cret")) is Outcome.SENT


@pytest.mark.parametrize("stage", ["connect", "EHLO"])
@pytest.mark.parametrize(
    "action",
    [DROP, RESET, HANG, Drip(), "421 busy", "554 no", b"\xff\r\n", b"220-x\r\n" * 20_000, b"x" * 10_000],
)
def test_a_relay_that_does_not_say_hello_is_unreachable_within_the_time(
    send: Send, stage: str, action: object
) -> None:
    script = Script().on(stage, action, times=None)  # type: ignore[arg-type]
    started = time.monotonic()
    with smtp_server(script) as server, pytest.raises(Unreachable, match=r"connect|EHLO"):
        send(server, "127.0.0.1", patience=SHORT)
    assert time.monotonic() - started < 10


def test_an_old_relay_that_knows_helo_only_is_good_enough_on_this_machine(send: Send) -> None:
    with smtp_server(Script().on("EHLO", "502 what")) as server:
        assert send(server, "127.0.0.1") is Outcome.SENT


def test_nobody_there_is_unreachable(make_config: Callable[..., Config]) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with pytest.raises(Unreachable, match=r"^ConnectionRefusedError connect$"):
        mailer.connect(make_config(smtp_url=f"smtp://127.0.0.1:{port}"))


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
    assert is_loopback(host) is loopback
