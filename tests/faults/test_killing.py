"""kill -9 of the web server while people upload: whatever was answered with 303 is there and whole afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tests.faults import killing
from tests.faults.serving import Server, free_port
from tracker.config import Config


def test_what_was_answered_with_303_survives_kill_9_of_the_server(
    make_config: Callable[..., Config], database_url: str, engine: Engine, session: Session, tmp_path: Path
) -> None:
    """`python -m tests.faults.killing` does this 30 times."""
    config = make_config(database_url=database_url, port=free_port())
    server, seen = Server(config, session, tmp_path / "log"), killing.Killed()
    for _ in range(3):
        killing.a_round(server, seen)
        killing.look(engine, config, seen)
    assert seen.problems == []
    assert seen.other == [], server.log.read_text()
    assert seen.acknowledged
    assert seen.cut


def test_the_look_sees_what_was_lost(
    make_config: Callable[..., Config], database_url: str, engine: Engine, session: Session, tmp_path: Path
) -> None:
    config = make_config(database_url=database_url, port=free_port())
    Server(config, session, tmp_path / "log")
    seen = killing.Killed(acknowledged={"0" * 12: "0" * 64})
    killing.look(engine, config, seen)
    assert seen.problems == [f"lost: exhibit {'0' * 12}"]
