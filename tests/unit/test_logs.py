"""Logs hold no addresses, no IP numbers, no tokens, and nothing that breaks their lines."""

from __future__ import annotations

import pytest

from tracker import logs


@pytest.mark.parametrize(
    "secret",
    [
        "vera@arvenia.example",
        "192.168.10.77",
        "2001:db8:85a3::8a2e",
        "9esc7Sw9eHyZOBgFnKJXKrMXfYS6r7527EIdF1",
    ],
)
def test_a_secret_in_a_value_is_blanked(secret: str) -> None:
    event = logs.redact(None, "", {"event": f"could not send to {secret} today", "count": 3})

    assert secret not in str(event)
    assert event["count"] == 3


def test_control_characters_cannot_reach_the_log() -> None:
    assert logs.redact(None, "", {"event": "a\nb\x1b[31m\u2028"})["event"] == "a�b�[31m�"


def test_routes_and_kinds_of_errors_stay_readable() -> None:
    event = {"event": "unexpected", "route": "/follow/manage/<token>", "error": "OperationalError"}

    assert logs.redact(None, "", dict(event)) == event
