"""Without a relay, mails land whole in a folder that only their owner reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tracker import mailer
from tracker.config import Config
from tracker.mailer import Outcome, Parcel, Result, Unreachable

PARCEL = Parcel(
    3, "digest@localhost", "reader@arvenia.example", f"<{'a' * 32}@localhost>", b"A: b\r\n\r\n.\r\nc\r\n"
)


@pytest.fixture
def settings(make_config: Callable[..., Config]) -> Config:
    return make_config()


def test_the_outbox_holds_whole_mails_that_only_their_owner_reads(settings: Config) -> None:
    for _ in range(2):
        connection = mailer.connect(settings)
        assert connection.alive()
        other = replace(PARCEL, number=4, message_id=f"<{'b' * 32}@localhost>")
        assert connection.send([PARCEL, other]) == [
            Result(3, Outcome.SENT, "outbox"),
            Result(4, Outcome.SENT, "outbox"),
        ]
        connection.close()

    assert sorted(
        (path.name, path.read_bytes(), path.stat().st_mode & 0o777) for path in settings.outbox_path.iterdir()
    ) == [("a" * 32 + ".eml", PARCEL.message, 0o600), ("b" * 32 + ".eml", PARCEL.message, 0o600)]


def test_a_mail_that_cannot_be_written_is_tried_later_and_leaves_nothing(settings: Config) -> None:
    connection = mailer.connect(settings)
    (settings.outbox_path / f"{'a' * 32}.eml").mkdir()

    other = replace(PARCEL, number=4, message_id=f"<{'b' * 32}@localhost>")
    assert connection.send([PARCEL, other]) == [
        Result(3, Outcome.LATER, "IsADirectoryError outbox"),
        Result(4, Outcome.SENT, "outbox"),
    ]
    assert {path.suffix for path in settings.outbox_path.iterdir()} == {".eml"}


def test_no_file_is_begun_when_the_time_is_over(settings: Config) -> None:
    assert mailer.connect(settings).send([PARCEL], seconds=0) == [Result(3, Outcome.NOT_TRIED, "out of time")]
    assert list(settings.outbox_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_unreachable(settings: Config) -> None:
    settings.outbox_path.write_text("in the way")
    with pytest.raises(Unreachable, match="FileExistsError outbox"):
        mailer.connect(settings)


def test_a_folder_that_went_away_means_later(settings: Config, tmp_path: Path) -> None:
    connection = mailer.connect(settings)
    settings.outbox_path.rmdir()
    assert connection.send([PARCEL]) == [Result(3, Outcome.LATER, "FileNotFoundError outbox")]


@pytest.mark.parametrize("message_id", ["<../../etc/passwd@x>", "<x@y>", "<>", f"<{'A' * 32}@x>"])
def test_no_message_id_names_a_file_elsewhere(message_id: str) -> None:
    assert set(mailer.outbox_name(message_id)) <= set("0123456789abcdef")
