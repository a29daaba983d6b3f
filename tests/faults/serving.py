"""A real web server of the tracker, with somebody signed in who uploads files to a piece of evidence."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import Record
from tracker import clock, sessions
from tracker.config import Config
from tracker.services import sign_ins

ROOT = Path(__file__).resolve().parents[2]
MB = 1024 * 1024
BOUNDARY = "arvenia"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


class Server:
    """`tracker web` as a process of its own, which can be killed and started again. `key`: the evidence's."""

    process: subprocess.Popen[bytes]

    def __init__(self, config: Config, session: Session, log: Path) -> None:
        record = Record(session, Factory(session, clock.now()), clock.now())
        piece = record.submitted(record.first)
        token = sign_ins.start(session, record.mona, now=clock.now(), hours=1)
        session.commit()
        self.config, self.port, self.log, self.key = config, config.port, log, piece.key
        name = sessions.cookie_name(config.model_copy(update={"base_url": ""}))
        self.cookie = f"{name}={token}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")} | {
            "TRACKER_DATA_DIR": str(self.config.data_dir),
            "TRACKER_DATABASE_URL": self.config.sqlalchemy_url,
            "TRACKER_PORT": str(self.port),
            "PYTHONPATH": str(ROOT),
        }
        with self.log.open("a") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tracker", "web"],
                cwd=ROOT, env=environ, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        for _ in range(600):
            try:
                self.get("/health")
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.05)
        raise TimeoutError(self.log.read_text())

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def kill(self) -> None:
        """kill -9 of the command and of the processes that answer."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def get(self, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers={"Cookie": self.cookie})
        body = connection.getresponse().read().decode()
        connection.close()
        return body

    def form(self) -> tuple[str, str]:
        """(where to send the file to, the form's token)"""
        page = self.get(f"/workspace/evidence/{self.key}/exhibits/new")
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


def finish(link: socket.socket, pieces: Iterable[bytes], tail: bytes) -> tuple[int, str]:
    """Send the file's bytes and the rest; (status, head and page). Raises OSError if the server goes away."""
    with link:
        for piece in pieces:
            link.sendall(piece)
        link.sendall(tail)
        return answer(link)


def answer(link: socket.socket) -> tuple[int, str]:
    """(status, head and page). Raises ConnectionError if there is no whole head."""
    told = b""
    while piece := link.recv(65536):
        told += piece
    if b"\r\n\r\n" not in told:
        raise ConnectionError("The server went away without an answer.")
    return int(told.split(b" ", 2)[1]), told.decode("utf-8", "replace")
