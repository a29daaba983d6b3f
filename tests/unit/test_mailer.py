"""Every mail goes out whole, once, or its fate is told as it was: at each stage, with and without pipelining."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.smtp import DROP, HANG, KEEP, LOSE, RESET, Drip, Late, Script, Server, smtp_server
from tracker import mailer
from tracker.config import Config
from tracker.errors import ConfigError
from tracker.mailer import Connection, Outcome, Parcel, Patience, Result

MESSAGE = b"From: a@localhost\r\nSubject: x\r\n\r\nOne\r\n.\r\n..two\r\n.\r\nMAIL FROM:<>\r\n"
#: Long enough for a machine that is busy; short where a test waits for its end.
LONG = Patience(opening=20, stage=20, dot=20, idle=0.1)
SHORT = Patience(opening=0.6, stage=0.6, dot=0.6, idle=0.1)
SENT, LATER, DOUBTFUL = Outcome.SENT, Outcome.LATER, Outcome.DOUBTFUL
OURS, THEIRS, NOT_TRIED = Outcome.OURS_REFUSED, Outcome.RECIPIENT_REFUSED, Outcome.NOT_TRIED


def parcel(number: int, message: bytes = MESSAGE, sender: str = "digest@localhost") -> Parcel:
    return Parcel(number, sender, f"r{number}@arvenia.example", f"<{number}@localhost>", message)


def parcels(count: int) -> list[Parcel]:
    return [parcel(number) for number in range(count)]


def outcomes(results: list[Result]) -> list[Outcome]:
    assert [result.number for result in results] == list(range(len(results)))
    assert not any("@" in result.answer for result in results)
    return [result.outcome for result in results]


@pytest.fixture(params=[True, False], ids=["pipelined", "plain"])
def script(request: pytest.FixtureRequest) -> Script:
    return Script(pipelining=request.param)


@pytest.fixture
def talk(make_config: Callable[..., Config]) -> Callable[..., object]:
    """`with talk(script) as (server, connection)`."""

    @contextmanager
    def start(script: Script, patience: Patience = LONG) -> Iterator[tuple[Server, Connection]]:
        with smtp_server(script) as server:
            connection = mailer.connect(make_config(smtp_url=server.url), patience=patience)
            try:
                yield server, connection
            finally:
                connection.close()

    return start


Talk = Callable[..., "contextmanager[tuple[Server, Connection]]"]  # type: ignore[type-arg]


def test_the_relay_gets_the_same_bytes_one_mail_after_another(talk: Talk, script: Script) -> None:
    messages = [MESSAGE, b".", b"", b".\r\n.\r\n", b"\r\n.\r\n\r\n..", b"no end", b"\r\n" * 3, b"x" * 100_000]
    sent = [parcel(number, message) for number, message in enumerate(messages)]
    with talk(script) as (server, connection):
        assert {result.answer for result in connection.send(sent[:5])} == {"250 end of DATA"}
        connection.send(sent[5:])

    assert [(mail.sender, mail.recipient) for mail in server.received] == [
        ("digest@localhost", one.recipient) for one in sent
    ]
    ended = [message if message.endswith(b"\r\n") else message + b"\r\n" for message in messages]
    assert [mail.message for mail in server.received] == ended
    assert len(server.connections) == 1
    assert server.connections[0].commands[-1] == b"QUIT"


def test_pipelining_takes_one_round_trip_a_mail(talk: Talk) -> None:
    with talk(Script(delay=0.01)) as (server, connection):
        before = server.connections[0].writes
        assert outcomes(connection.send(parcels(20))) == [SENT] * 20
        # The first envelope, and then one for each mail.
        assert server.connections[0].writes - before <= 21 + 2


def test_a_server_that_does_not_offer_pipelining_is_never_sent_two_commands_at_once(talk: Talk) -> None:
    with talk(Script(pipelining=False)) as (server, connection):
        assert outcomes(connection.send(parcels(3))) == [SENT] * 3
    assert server.connections[0].writes >= 3 * 4


def test_the_envelope_may_name_another_sender_for_each_mail_and_none(talk: Talk, script: Script) -> None:
    with talk(script) as (server, connection):
        connection.send([parcel(0, sender="bounce+0-k7f2@arvenia.example"), parcel(1, sender="")])
    assert [mail.sender for mail in server.received] == ["bounce+0-k7f2@arvenia.example", ""]


@pytest.mark.parametrize("code", [421, 450, 451, 452, 550, 552, 554])
@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "dot"])
def test_a_refusal_is_what_it_is_and_the_mails_around_it_go_out(
    talk: Talk, script: Script, stage: str, code: int
) -> None:
    script.on(stage, f"{code} 5.1.1 <r1@arvenia.example> says the relay", after=1)
    with talk(script) as (server, connection):
        results = connection.send(parcels(4))

        refused = (THEIRS if stage == "RCPT" else OURS) if code >= 500 else LATER
        rest = NOT_TRIED if code == 421 else SENT
        assert outcomes(results) == [SENT, refused, rest, rest]
        assert results[1].answer == f"{code} {'end of DATA' if stage == 'dot' else stage}"
        assert connection.alive() is (code != 421)
    taken = [0, 2, 3] if code != 421 else [0]
    assert [mail.recipient for mail in server.received] == [f"r{number}@arvenia.example" for number in taken]


def test_a_refused_recipient_whose_message_is_asked_for_all_the_same_gets_a_lone_dot(talk: Talk) -> None:
    script = Script(data_after_refusal=True).on("RCPT", "550 5.1.1 unknown", recipient="r1@arvenia.example")
    with talk(script) as (server, connection):
        assert outcomes(connection.send(parcels(3))) == [SENT, THEIRS, SENT]
    assert [mail.message for mail in server.received] == [MESSAGE, MESSAGE]


def test_a_message_that_is_wanted_without_a_sender_is_not_given(talk: Talk) -> None:
    # The refused MAIL leaves no mail to DATA, but this server says 354 to everything.
    script = Script(data_after_refusal=True).on("MAIL", b"550 no\r\n250 RCPT\r\n354 come on\r\n")
    with talk(script) as (server, connection):
        assert outcomes(connection.send(parcels(2))) == [OURS, NOT_TRIED]
    assert server.received == []


def test_a_refusal_is_kept_when_the_connection_is_lost_right_after_it(talk: Talk, script: Script) -> None:
    one = {"recipient": "r1@arvenia.example"}
    with talk(script.on("RCPT", b"550 no\r\n554 no\r\n421 bye\r\n", **one)) as (_, connection):
        assert outcomes(connection.send(parcels(3))) == [SENT, THEIRS, NOT_TRIED]
    lone = Script(data_after_refusal=True).on("RCPT", "550 no", **one).on("body", DROP, after=1)
    with talk(lone) as (_, connection):
        assert outcomes(connection.send(parcels(3))) == [SENT, THEIRS, NOT_TRIED]


def test_any_yes_to_rcpt_is_a_yes(talk: Talk, script: Script) -> None:
    script.on("RCPT", "251 User not local; will forward").on("RCPT", "252 Perhaps")
    with talk(script) as (_, connection):
        assert outcomes(connection.send(parcels(3))) == [SENT] * 3


def test_replies_of_many_lines_are_one_reply(talk: Talk, script: Script) -> None:
    script.on("MAIL", "250-one\r\n250-two\r\n250 three").on("dot", "550-no\r\n550 really")
    with talk(script) as (_, connection):
        assert outcomes(connection.send(parcels(2))) == [OURS, SENT]


@pytest.mark.parametrize("how", [DROP, RESET, HANG, Drip(b"450-" + b"x" * 4000)])
@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "dot"])
def test_a_connection_lost_at_a_stage_leaves_only_the_dot_in_doubt(
    talk: Talk, script: Script, stage: str, how: object
) -> None:
    script.on(stage, how, after=1)  # type: ignore[arg-type]
    with talk(script, LONG if how in (DROP, RESET) else SHORT) as (server, connection):
        started = time.monotonic()
        results = connection.send(parcels(4))

        # Of a relay that is gone before it said anything about a mail, that mail knows nothing.
        there = {"MAIL": NOT_TRIED, "dot": DOUBTFUL}.get(stage, LATER)
        assert outcomes(results) == [SENT, there, NOT_TRIED, NOT_TRIED]
        assert time.monotonic() - started < 10
        assert not connection.alive()
        assert outcomes(connection.send(parcels(2))) == [NOT_TRIED] * 2
    assert len(server.received) == 1


@pytest.mark.parametrize("how", [LOSE, KEEP])
def test_a_lost_answer_to_the_dot_is_doubtful(talk: Talk, script: Script, how: object) -> None:
    script.on("dot", how)  # type: ignore[arg-type]
    with talk(script, LONG if how is LOSE else SHORT) as (server, connection):
        assert outcomes(connection.send(parcels(3))) == [DOUBTFUL, NOT_TRIED, NOT_TRIED]
    assert len(server.received) == 1


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
def test_the_first_mail_of_a_fresh_connection_is_never_untried(
    talk: Talk, script: Script, stage: str
) -> None:
    # Else a relay that says hello and leaves would be asked again at once, for ever.
    with talk(script.on(stage, DROP)) as (_, connection):
        assert outcomes(connection.send(parcels(2))) == [LATER, NOT_TRIED]
    with talk(Script().on("EHLO", b"250 x\r\n421 bye\r\n")) as (_, connection):
        assert outcomes(connection.send(parcels(2))) == [LATER, NOT_TRIED]


def test_a_message_cut_off_before_its_dot_had_left_is_not_in_doubt(talk: Talk, script: Script) -> None:
    big = parcel(0, b"x" * 76 + b"\r\n" + (b"y" * 76 + b"\r\n") * 200_000)
    with talk(script.on("body", DROP)) as (server, connection):
        assert outcomes(connection.send([big, parcel(1)])) == [LATER, NOT_TRIED]
    assert server.received == []


def test_a_server_that_stops_taking_a_message_does_not_hold_us_up(talk: Talk, script: Script) -> None:
    big = parcel(0, (b"y" * 76 + b"\r\n") * 200_000)
    with talk(script.on("body", HANG), SHORT) as (_, connection):
        assert connection.send([big])[0] == Result(0, LATER, "TimeoutError message")


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\r\n",
        b"999 what\r\n",
        b"250_OK\r\n",
        b"\r\n",
        b"\0\xff\r\n",
        b"250-a\r\n550 b\r\n",
        b"2" * 10_000,
        b"250-" + b"x" * 9_000 + b"\r\n250 OK\r\n",
        b"250-more\r\n" * 10_000,
    ],
)
@pytest.mark.parametrize(("stage", "outcome"), [("RCPT", LATER), ("dot", DOUBTFUL)])
def test_what_is_no_reply_is_no_answer(
    talk: Talk, script: Script, garbage: bytes, stage: str, outcome: Outcome
) -> None:
    with talk(script.on(stage, garbage, after=1)) as (_, connection):
        assert outcomes(connection.send(parcels(3))) == [SENT, outcome, NOT_TRIED]


@pytest.mark.parametrize(
    ("stage", "answer", "outcome"),
    [
        ("MAIL", "354 go", LATER),
        ("RCPT", "354 go", LATER),
        ("DATA", "250 OK", LATER),
        ("dot", "354 go", DOUBTFUL),
    ],
)
def test_an_answer_to_another_question_ends_the_conversation(
    talk: Talk, script: Script, stage: str, answer: str, outcome: Outcome
) -> None:
    with talk(script.on(stage, answer)) as (_, connection):
        assert outcomes(connection.send(parcels(2))) == [outcome, NOT_TRIED]
        assert not connection.alive()


def test_a_server_that_answers_before_it_is_asked_is_not_believed(talk: Talk) -> None:
    # Its second 250 would be taken for the answer to RCPT, and the refusal of RCPT for one of DATA.
    script = Script(pipelining=False).on("MAIL", b"250 OK\r\n250 early\r\n", after=1)
    with talk(script) as (server, connection):
        results = connection.send(parcels(3))
    assert outcomes(results) == [SENT, LATER, NOT_TRIED]
    assert results[1].answer == "250 early RCPT"
    assert len(server.received) == 1


def test_a_server_that_shuts_down_between_the_question_and_the_message_is_heard(
    talk: Talk, script: Script
) -> None:
    with talk(script.on("DATA", b"354 go\r\n421 4.3.2 shutting down\r\n")) as (server, connection):
        assert connection.send(parcels(1)) == [Result(0, LATER, "421 DATA")]
    assert server.received == []


def test_no_mail_is_begun_when_the_time_is_over(talk: Talk, script: Script) -> None:
    script.on("dot", Late(0.2, "250 OK"), times=None)
    with talk(script) as (server, connection):
        results = connection.send(parcels(5), seconds=0.3)
        assert outcomes(results)[0] is SENT
        assert outcomes(results)[-1] is NOT_TRIED
        assert results[-1].answer == "out of time"
        # What was begun in time is ended properly, and the connection goes on.
        first = len(server.received)
        assert outcomes(results) == [SENT] * first + [NOT_TRIED] * (5 - first)
        assert outcomes(connection.send(parcels(1))) == [SENT]
        assert outcomes(connection.send(parcels(2), seconds=0)) == [NOT_TRIED] * 2
        assert connection.send([]) == []
    assert len(server.connections) == 1


def test_a_dot_answered_long_after_the_time_takes_no_further_mail_with_it(talk: Talk) -> None:
    script = Script().on("dot", Late(1.5, "250 OK"))
    with talk(script, replace(LONG, stage=0.5)) as (server, connection):
        assert outcomes(connection.send(parcels(2), seconds=0.5)) == [SENT, NOT_TRIED]
    assert len(server.received) == 1


def test_an_idle_connection_is_asked_whether_it_is_still_there(talk: Talk, script: Script) -> None:
    with talk(script, replace(LONG, idle=0.5)) as (server, connection):
        connection.send(parcels(1))
        assert connection.alive()
        assert b"NOOP" not in server.connections[0].commands
        time.sleep(0.6)
        assert outcomes(connection.send(parcels(1))) == [SENT]
        assert server.connections[0].commands.count(b"NOOP") == 1


@pytest.mark.parametrize("how", [DROP, RESET, HANG, "421 4.4.2 idle for too long", "500 what"])
def test_an_idle_connection_that_died_takes_no_mail_with_it(talk: Talk, script: Script, how: object) -> None:
    patience = SHORT if how is HANG else LONG
    with talk(script.on("NOOP", how), patience) as (server, connection):  # type: ignore[arg-type]
        connection.send(parcels(1))
        time.sleep(0.15)
        assert outcomes(connection.send(parcels(3))) == [NOT_TRIED] * 3
    assert len(server.received) == 1


@pytest.mark.parametrize("words", [b"", b"421 4.4.2 idle for too long\r\n"])
def test_an_idle_connection_that_the_server_closed_is_noticed_before_a_word_is_said(
    talk: Talk, script: Script, words: bytes
) -> None:
    script.on("dot", b"250 OK\r\n" + words, after=1) if words else script
    with talk(script, replace(LONG, idle=60)) as (server, connection):
        assert outcomes(connection.send(parcels(2))) == [SENT] * 2
        time.sleep(0.05)
        if not words:
            server.close()
        assert not connection.alive()
        assert outcomes(connection.send(parcels(2))) == [NOT_TRIED] * 2


def test_an_error_of_ours_in_the_middle_closes_the_connection(
    talk: Talk, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    with talk(script) as (server, connection):
        broken = parcel(1)
        object.__setattr__(broken, "message", None)
        with pytest.raises(AttributeError):
            connection.send([parcel(0), broken])
        assert not connection.alive()
    assert len(server.received) == 1


@pytest.mark.parametrize("message", [b"a\nb\r\n", b"a\r\r\n", b"\r", b"x\r\n\n", b"\n.\r\nMAIL", b"a\0\r\n"])
def test_what_servers_might_read_as_two_mails_is_never_sent(message: bytes) -> None:
    with pytest.raises(ValueError, match="stands alone"):
        parcel(0, message)


@pytest.mark.parametrize(
    "address",
    [
        "", "a", "@b", "a@", "a b@c", "a@b>\r\nRCPT TO:<c@d", "a@b> SIZE=1", "a@b\n", "<a@b>", "ä@b", '"a b"@c', "a@b,c@d",
    ],
)  # fmt: skip
def test_an_address_that_is_more_than_one_is_never_said(address: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        replace(parcel(0), recipient=address)
    if address:
        with pytest.raises(ValueError, match="not an address"):
            replace(parcel(0), sender=address)


def test_a_parcel_shows_no_address() -> None:
    assert repr(parcel(7)) == "Parcel(7)"


@pytest.mark.parametrize(
    "url", ["http://host", "smtp://", "host:25", "smtp://host:99999", "smtp://host:x", "smtp://host%C3%A4"]
)
def test_an_address_that_cannot_be_used_stops_the_start_and_shows_no_password(
    url: str, make_config: Callable[..., Config]
) -> None:
    url = url.replace("host", "me:secret%C3%A4@host" if "%" in url else "me:secret@host")
    with pytest.raises(ConfigError, match="smtp_url") as refusal:
        mailer.check(make_config(smtp_url=url))
    assert "secret" not in str(refusal.value)
