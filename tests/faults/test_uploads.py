"""Uploads against a real server: large, too large, broken off, slow; what stays in memory and on the disk."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.faults.serving import MB, Server, finish, free_port
from tracker.config import Config
from tracker.models import Blob, Exhibit
from tracker.storage import open_store


@pytest.fixture
def server(
    make_config: Callable[..., Config], database_url: str, session: Session, tmp_path: Path
) -> Iterator[Server]:
    server = Server(make_config(database_url=database_url, port=free_port()), session, tmp_path / "log")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def upload(server: Server, size: int) -> tuple[int, str]:
    """Send a text file of so many bytes; (status, page)."""
    line = b"Arvenia is a republic that nobody can find on a map, as was said. \n"
    block = line * (MB // len(line))
    link, tail, _action = server.begin(size)
    return finish(link, (block[: size - sent] for sent in range(0, size, len(block))), tail)


def memory(server: Server) -> int:
    """The bytes that the server's processes hold, children included."""
    total, parent = 0, server.process.pid
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            words = status.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"PPid:\t{parent}\n" in words or status.parent.name == str(parent):
            found = re.search(r"VmHWM:\s+(\d+) kB", words)
            total += int(found.group(1)) * 1024 if found else 0
    return total


def test_a_large_file_is_taken_without_being_held_in_memory(server: Server, session: Session) -> None:
    upload(server, MB)
    before = memory(server)
    status, page = upload(server, 60 * MB)
    assert status == 303, page[-500:]
    # What the server holds at most grows by less than a quarter of the file.
    assert memory(server) - before < 15 * MB
    assert session.scalars(select(Exhibit.size).order_by(Exhibit.id)).all() == [MB, 60 * MB]


def test_a_file_over_the_limit_is_refused_with_a_sentence(
    server: Server, session: Session, config: Config
) -> None:
    status, page = upload(server, 201 * MB)
    assert status == 413
    assert "larger than 200 MB" in page
    assert not list(open_store(config).names())
    assert not list(config.incoming_path.glob("*"))


def test_a_client_that_goes_away_at_the_end_leaves_nothing_behind(
    server: Server, session: Session, config: Config
) -> None:
    link, _tail, _action = server.begin(30 * MB)
    with link:
        for _ in range(29):
            link.sendall(b"Arvenia\n" * (MB // 8))
        assert wait(lambda: any(config.incoming_path.glob("*")))
    assert wait(lambda: not any(config.incoming_path.glob("*")))
    assert session.scalars(select(Exhibit)).all() == []
    assert session.scalars(select(Blob)).all() == []
    session.rollback()
    assert upload(server, MB)[0] == 303  # And the place is free for the next one.


def test_while_a_file_arrives_slowly_its_progress_is_shown_and_other_pages_answer(
    server: Server, config: Config
) -> None:
    link, _tail, action = server.begin(4 * MB)
    with link:
        link.sendall(b"Arvenia\n" * (2 * MB // 8))
        assert wait(
            lambda: sum(path.stat().st_size for path in config.incoming_path.glob("*")) >= 2 * MB - 65536
        )
        upload = action.rpartition("=")[2]
        page = server.get(f"/workspace/evidence/{server.key}/exhibits/progress/{upload}")
        assert re.search(r"(1\.9|2\.0) MB of 4\.0 MB", page)
        started = time.monotonic()
        assert "Ledger" in server.get("/ledger")
        assert time.monotonic() - started < 5


def wait(true: Callable[[], bool]) -> bool:
    for _ in range(200):
        if true():
            return True
        time.sleep(0.05)
    return False
