"""A real mail server takes our mails, pipelined, and delivers them as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email import message_from_bytes, policy

import pytest

from tests.postfix import Postfix, postfix
from tracker import mailer
from tracker.config import Config
from tracker.mailer import Outcome, Parcel

LEAVE = "<https://tracker.arvenia.example/follow/leave/" + "k7f2" * 40 + ">"


@pytest.fixture(scope="module")
def server() -> Iterator[Postfix]:
    with postfix() as server:
        yield server


def digest(number: int, recipient: str = "reader@arvenia.example") -> Parcel:
    lines = [
        "From: Compliance Tracker <digest@tracker.arvenia.example>",
        f"To: {recipient}",
        f"Subject: Digest {number}",
        f"Message-ID: <{number:032x}@tracker.arvenia.example>",
        "Date: Mon, 23 Nov 2026 07:00:00 +0000",
        f"List-Unsubscribe: {LEAVE}",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        "MIME-Version: 1.0",
        'Content-Type: text/plain; charset="utf-8"',
        "Content-Transfer-Encoding: quoted-printable",
        "",
        "The decree is still in force =E2=80=93 recommendation 12.",
        ".",
        "..two dots",
        ".hidden",
        *["x" * 70] * 280,
    ]
    return Parcel(
        number,
        f"bounce+{number}@tracker.arvenia.example",
        recipient,
        f"<{number:032x}@tracker.arvenia.example>",
        "\r\n".join([*lines, ""]).encode(),
    )


def test_postfix_delivers_a_batch_and_refuses_only_whom_it_does_not_know(
    server: Postfix, make_config: Callable[..., Config]
) -> None:
    connection = mailer.connect(make_config(smtp_url=server.url, mail_from="digest@tracker.arvenia.example"))
    batch = [digest(number) for number in range(20)]
    batch[7] = digest(7, "nobody@arvenia.example")
    results = connection.send(batch)
    again = connection.send([digest(20)])
    connection.close()

    refused = results.pop(7)
    assert (refused.outcome, refused.answer) == (Outcome.RECIPIENT_REFUSED, "550 RCPT")
    assert {result.outcome for result in results + again} == {Outcome.SENT}

    mails = server.mails(20)
    assert len(mails) == 20
    for number, mail in zip([*range(7), *range(8, 21)], sorted(mails, key=_number), strict=True):
        sent = digest(number).message.replace(b"\r\n", b"\n")
        # Postfix puts its own lines before ours and changes none of them: nothing is folded, encoded or unstuffed.
        assert mail.endswith(sent)
        assert f"Return-Path: <bounce+{number}@tracker.arvenia.example>".encode() in mail
        assert (
            f"\nList-Unsubscribe: {LEAVE}\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\n".encode()
            in mail
        )
        assert b"\nReceived: from tracker.arvenia.example (" in mail  # Nothing else names this machine.
        read = message_from_bytes(mail, policy=policy.default)
        assert read.defects == []
        assert "– recommendation 12." in read.get_content()


def _number(mail: bytes) -> int:
    return int(mail.partition(b"Subject: Digest ")[2].partition(b"\n")[0])
