"""Uploads against a real server: large, too large, broken off, slow; what stays in memory and on the disk."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tracker import clock, sessions
from tracker.config import Config
from tracker.models import Blob, Evidence, Exhibit
from tracker.services import sign_ins
from tracker.storage import open_store
from tracker.vocabulary import Role, State

ROOT = Path(__file__).resolve().parents[2]
MB = 1024 * 1024
BOUNDARY = "arvenia"


@dataclass
class Server:
    """A web server of the tracker with somebody signed in, and a piece of evidence to attach files to."""

    port: int
    pid: int
    cookie: str
    piece: Evidence

    def get(self, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers={"Cookie": self.cookie})
        body = connection.getresponse().read().decode()
        connection.close()
        return body

    def form(self) -> tuple[str, str]:
        """(where to send the file to, the form's token)"""
        page = self.get(f"/workspace/evidence/{self.piece.key}/exhibits/new")
        action = re.search(r'action="([^"]+\?upload=\w+)"', page)
        token = re.search(r'name="form_token" value="([^"]+)"', page)
        assert action
        assert token
        return action.group(1), token.group(1)

    def begin(self, size: int, name: str = "long.txt") -> tuple[socket.socket, bytes, str]:
        """Open a connection and send everything before the file's bytes."""
        action, token = self.form()
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n{token}\r\n'
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: text/plain\r\n\r\n"
        ).encode()
        tail = f"\r\n--{BOUNDARY}--\r\n".encode()
        link = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        link.sendall(
            f"POST {action} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nCookie: {self.cookie}\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
            f"Content-Length: {len(head) + size + len(tail)}\r\nConnection: close\r\n\r\n".encode()
            + head
        )
        return link, tail, action

    def upload(self, size: int) -> tuple[int, str]:
        """Send a text file of so many bytes; (status, page)."""
        link, tail, _action = self.begin(size)
        line = b"Arvenia is a republic that nobody can find on a map, as was said. \n"
        block = line * (MB // len(line))
        with link:
            left = size
            while left:
                piece = block[:left]
                link.sendall(piece)
                left -= len(piece)
            link.sendall(tail)
            return answer(link)

    def memory(self) -> int:
        """The bytes that the server's processes hold, children included."""
        total = 0
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                words = status.read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if f"PPid:\t{self.pid}\n" in words or status.parent.name == str(self.pid):
                found = re.search(r"VmHWM:\s+(\d+) kB", words)
                total += int(found.group(1)) * 1024 if found else 0
        return total


def answer(link: socket.socket) -> tuple[int, str]:
    told = b""
    while piece := link.recv(65536):
        told += piece
    return int(told.split(b" ", 2)[1]), told.decode("utf-8", "replace")


@pytest.fixture
def server(
    make_config: Callable[..., Config], database_url: str, session: Session, make: Factory, tmp_path: Path
) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = make_config(database_url=database_url, port=port)
    mona = make.account(Role.MONITOR)
    piece = make.evidence(make.report().recommendations[0], state=State.SUBMITTED, created_by_id=mona.id)
    token = sign_ins.start(session, mona, now=clock.now(), hours=1)
    session.commit()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")} | {
        "TRACKER_DATA_DIR": str(config.data_dir),
        "TRACKER_DATABASE_URL": database_url,
        "TRACKER_PORT": str(port),
        "PYTHONPATH": str(ROOT),
    }
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tracker", "web"], cwd=ROOT, env=environ, stdout=out, stderr=out
        )
    cookie = f"{sessions.cookie_name(config.model_copy(update={'base_url': ''}))}={token}"
    found = Server(port, process.pid, cookie, piece)
    try:
        for _ in range(200):
            try:
                found.get("/health")
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
        yield found
    finally:
        process.terminate()
        process.wait(20)


def test_a_large_file_is_taken_without_being_held_in_memory(server: Server, session: Session) -> None:
    server.upload(MB)
    before = server.memory()
    status, page = server.upload(60 * MB)
    assert status == 303, page[-500:]
    # What the server holds at most grows by less than a quarter of the file.
    assert server.memory() - before < 15 * MB
    assert session.scalars(select(Exhibit.size).order_by(Exhibit.id)).all() == [MB, 60 * MB]


def test_a_file_over_the_limit_is_refused_with_a_sentence(
    server: Server, session: Session, config: Config
) -> None:
    status, page = server.upload(201 * MB)
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
    assert server.upload(MB)[0] == 303  # And the place is free for the next one.


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
        page = server.get(f"/workspace/evidence/{server.piece.key}/exhibits/progress/{upload}")
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
