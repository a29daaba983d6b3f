"""What is read of a bounce, whoever wrote it; and that nothing else is one."""

from __future__ import annotations

import io
import os
import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import bounced
from tracker import bounces
from tracker.services.bounces import Outcome, Report

TOKEN = "2n9c-0123456789abcdef0123"
TO = f"bounce+{TOKEN}@tracker.arvenia.example"
HARD = Report((TOKEN,), (Outcome("failed", "5.1.1"),))


@pytest.mark.parametrize("write", [bounced.postfix, bounced.exim, bounced.sendmail, bounced.gmail])
def test_a_bounce_says_which_mail_it_is_and_that_the_mailbox_is_gone(write: Callable[[str], bytes]) -> None:
    assert bounces.read(write(TO)) == HARD
    # As some servers store it, with lines that end otherwise.
    assert bounces.read(write(TO).replace(b"\r\n", b"\n")) == HARD
    # Some write all addresses in capitals, or all small.
    assert bounces.read(write(TO.upper())) == HARD


def test_exchange_has_numbers_of_its_own() -> None:
    assert bounces.read(bounced.exchange(TO)) == Report((TOKEN,), (Outcome("failed", "5.1.10"),))


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("550 5.7.1 Looks like spam", "5.7.1"),
        ("550 No such user [192.5.1.1]", "5.0.0"),
        ("452 4.2.2 Full", "5.0.0"),
    ],
)
def test_where_the_status_says_only_failed_the_other_server_says_why(said: str, status: str) -> None:
    assert bounces.read(bounced.exim(TO, said)) == Report((TOKEN,), (Outcome("failed", status),))


def test_the_token_may_stand_in_the_envelopes_name_alone() -> None:
    mail = bounced.postfix("bounces@tracker.arvenia.example")
    named = mail.replace(b"Reporting-MTA:", f"Original-Envelope-Id: {TOKEN}\r\nReporting-MTA:".encode())

    assert bounces.read(mail) == Report((), (Outcome("failed", "5.1.1"),))
    assert bounces.read(named) == HARD


def test_a_token_in_the_mail_that_came_back_counts_for_nothing() -> None:
    mail = bounced.postfix("postmaster@arvenia.example").replace(b"A secret digest.", f"To: {TO}".encode())

    assert bounces.read(mail) == Report((), (Outcome("failed", "5.1.1"),))


def test_every_recipient_has_an_outcome_and_delays_are_told_apart() -> None:
    two = b"Action: failed\r\nStatus: 5.1.1\r\n"
    mail = bounced.postfix(TO, "4.4.1", "delayed", "451").replace(
        b"\r\n\r\n--4F2C11E0C5A.1795350667/mx.arvenia.example\r\nContent-Description: Undelivered",
        b"\r\n\r\n"
        + two
        + b"\r\n--4F2C11E0C5A.1795350667/mx.arvenia.example\r\nContent-Description: Undelivered",
    )

    assert bounces.read(mail) == Report((TOKEN,), (Outcome("delayed", "4.4.1"), Outcome("failed", "5.1.1")))


@pytest.mark.parametrize("coding", ["base64", "quoted-printable"])
def test_the_part_about_the_delivery_may_be_coded(coding: str) -> None:
    import base64
    import quopri

    plain = b"Reporting-MTA: dns; mx.arvenia.example\r\n\r\nFinal-Recipient: utf-8; l\xc3\xa9cteur@arvenia.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    coded = base64.encodebytes(plain) if coding == "base64" else quopri.encodestring(plain)
    mail = (
        f"To: {TO}\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x\r\n"
        f"Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: {coding}\r\n\r\n"
    ).encode() + coded + b"\r\n--x--\r\n"  # fmt: skip

    assert bounces.read(mail) == HARD


@pytest.mark.parametrize("write", [bounced.holiday, bounced.opened])
def test_holiday_notices_and_receipts_are_no_bounces(write: Callable[[str], bytes]) -> None:
    assert bounces.read(write(TO)) is None


GOOD = bounced.postfix(TO)


@pytest.mark.parametrize(
    "mail",
    [
        b"", b"\0", b"\r\n" * 10, b"\xff" * 5000, b"From: x\r\n", b":" * 100_000, b"a: b\r\n" * 100_000,
        GOOD.replace(b"multipart/report", b"multipart/mixed"),
        GOOD.replace(b"report-type=delivery-status", b"report-type*0*=''delivery-status"),
        GOOD.replace(b'boundary="4F2C11E0C5A.1795350667/mx.arvenia.example"', b'boundary=""'),
        GOOD.replace(b'boundary="4F2C11E0C5A.1795350667/mx.arvenia.example"', b'boundary="other"'),
        GOOD.replace(b'boundary="4F2C', b"boundary*=utf-16''%ff\"4F2C"),
        GOOD.replace(b"message/delivery-status", b"message/rfc822"),
        GOOD[:700], b"Subject: " + b"x" * 2**20 + b"\r\n" + GOOD,
    ],
)  # fmt: skip
def test_garbage_is_no_bounce_and_no_error(mail: bytes) -> None:
    assert bounces.read(mail) is None


def test_no_change_of_a_few_bytes_makes_an_error() -> None:
    chance = random.Random(4)
    for _ in range(3000):
        mail = bytearray(GOOD)
        for _ in range(chance.randrange(1, 30)):
            place = chance.randrange(len(mail))
            mail[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))

        found = bounces.read(bytes(mail))

        assert found is None or all(token == token.lower() for token in found.tokens)


def test_parts_in_parts_and_parts_without_end_cost_nothing() -> None:
    nested = b"".join(
        b"--%d\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=%d\r\n\r\n"
        % (n, n + 1)
        for n in range(10_000)
    )
    head = f"To: {TO}\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=0\r\n\r\n".encode()
    many = b"--0\r\nContent-Type: text/plain\r\n\r\nx\r\n" * 25_000
    groups = b"--0\r\nContent-Type: message/delivery-status\r\n\r\n" + b"Action: failed\r\n\r\n" * 50_000
    tokens = (
        b"To: "
        + b"a+1-0123456789abcdef0123@b, " * 2000
        + b"\r\n"
        + head
        + b"--0\r\nContent-Type: message/delivery-status\r\n\r\nAction: failed\r\n"
    )
    started = time.process_time()

    assert bounces.read(head + nested) is None
    assert bounces.read(head + many) is None
    assert bounces.read(b"To: x\r\n" * 5000 + head + many) is None
    found = bounces.read(head + groups)
    assert found is not None
    assert len(found.outcomes) <= 50
    found = bounces.read(tokens)
    assert found is not None
    assert len(found.tokens) <= 10

    assert time.process_time() - started < 5


def test_of_50_megabytes_only_the_first_is_ever_in_memory(tmp_path: Path) -> None:
    large = tmp_path / "large.eml"
    with large.open("wb") as file:
        file.write(GOOD.removesuffix(b"--\r\n"))
        for _ in range(50):
            file.write(b"x" * 2**20)
    mbox = tmp_path / "mbox"
    with mbox.open("wb") as file:
        file.write(b"From MAILER-DAEMON Sun Nov 22 12:31:07 2026\n")
        file.write(large.read_bytes())
        file.write(b"\n\nFrom MAILER-DAEMON Sun Nov 22 12:31:08 2026\n" + GOOD)
    (tmp_path / "Maildir" / "new").mkdir(parents=True)
    os.link(large, tmp_path / "Maildir" / "new" / "1.large")
    tracemalloc.start()
    try:
        assert [bounces.read(mail) for mail in bounces.messages(large)] == [HARD]
        assert [bounces.read(mail) for mail in bounces.messages(mbox)] == [HARD, HARD]
        assert [bounces.read(mail) for mail in bounces.messages(tmp_path / "Maildir")] == [HARD]
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


def test_an_mbox_holds_many_mails_and_a_plain_file_one() -> None:
    mbox = b"".join(
        b"From MAILER-DAEMON\n" + write(TO) + b"\n"
        for write in (bounced.postfix, bounced.exim, bounced.gmail)
    )

    assert [bounces.read(mail) for mail in bounces.split(io.BytesIO(mbox))] == [HARD] * 3
    # A line that begins like the start of a mail, but follows no blank line.
    quoted = GOOD.replace(b"A secret digest.", b"A line\r\nFrom here on")
    assert len(list(bounces.split(io.BytesIO(b"From x\n" + quoted)))) == 1
    assert list(bounces.split(io.BytesIO(GOOD))) == [GOOD]
    assert list(bounces.split(io.BytesIO(b""))) == []


def test_of_a_maildir_what_nobody_has_seen_is_read_and_no_link_or_pipe(tmp_path: Path) -> None:
    for folder in ("new", "cur", "tmp"):
        (tmp_path / folder).mkdir()
    for name in (
        "new/2.b",
        "cur/1.a:2,",
        "cur/3.c:2,R",
        "cur/4.d:2,S",
        "cur/5.e:2,FT",
        "new/.hidden",
        "tmp/6.f",
    ):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "new" / "7.link").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "new" / "8.pipe")

    assert list(bounces.messages(tmp_path)) == [b"cur/1.a:2,", b"new/2.b", b"cur/3.c:2,R"]
