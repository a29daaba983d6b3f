"""An SMTP server on loopback that does what a script says: refuses, hangs, hangs up, drips, lies; and is quick else.

    with smtp_server(Script().on("RCPT", "550 5.1.1 unknown", recipient="b@x.example")) as server:
        ...                      # server.url is the setting smtp_url
    server.received              # a Mail for each recipient, in the order of their dots
    server.connections           # a Visit for each connection, with what was said on it

Stages are "connect", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "body" (its first bytes have come), "dot",
"RSET", "NOOP" and "QUIT". What is done there is an answer ("451 4.7.1 greylisted", bytes for what is no answer), or one
of HANG, DROP, RESET, LOSE, KEEP, Drip, Late. `python -m tests.smtp` is a sink that prints its address and keeps nothing.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

from tests.smtp_script import DROP, HANG, KEEP, LOSE, RESET, Action, Do, Drip, Late, Rule, Script

__all__ = [
    "DROP",
    "HANG",
    "KEEP",
    "LOSE",
    "RESET",
    "Drip",
    "Late",
    "Mail",
    "Rule",
    "Script",
    "Server",
    "Visit",
    "smtp_server",
]


@dataclass(frozen=True)
class Mail:
    """A mail as it was taken for one recipient: whole, with CRLF, without dot-stuffing."""

    sender: str
    recipient: str
    message: bytes
    connection: int
    tls: bool


@dataclass
class Visit:
    """One connection and the commands that came on it."""

    number: int
    commands: list[bytes] = field(default_factory=list)
    writes: int = 0  # How often the server answered: with pipelining, seldom.
    tls: bool = False
    mails: int = 0


class _Over(Exception):
    """The visit has ended."""


class Server:
    """See the module. Make one with `smtp_server`."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.received: list[Mail] = []
        self.connections: list[Visit] = []
        self.count = 0
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What smtp_url should be."""
        return self.url_at("127.0.0.1")

    def url_at(self, host: str) -> str:
        """The same with another name for this machine."""
        who = "" if self.script.login is None else ":".join(self.script.login) + "@"
        return f"smtp{'s' if self.script.tls_from_the_start else ''}://{who}{host}:{self.port}"

    def to(self, recipient: str) -> list[Mail]:
        """What was taken for this recipient."""
        return [mail for mail in self.received if mail.recipient == recipient]

    def take(self, visit: Visit, sender: str, recipients: list[str], message: bytes) -> None:
        """A mail has come."""
        visit.mails += 1
        with self._lock:
            self.count += len(recipients)
            if self.script.keep:
                self.received += [Mail(sender, one, message, visit.number, visit.tls) for one in recipients]

    def opened(self, sock: socket.socket) -> None:
        """Something that has to be closed in the end."""
        self._open.append(sock)

    def rule(self, stage: str, visit: Visit, recipients: list[str]) -> Action | None:
        """What the script says about this moment."""
        if not self.script.rules:
            return None
        with self._lock:
            for rule in self.script.rules:
                if rule.stage != stage or rule.times == 0 or rule.connection not in (None, visit.number):
                    continue
                if rule.recipient is not None and rule.recipient not in recipients:
                    continue
                if rule.after:
                    rule.after -= 1
                    continue
                if rule.times is not None:
                    rule.times -= 1
                return rule.action
        return None

    def close(self) -> None:
        """Stop, and wait until nobody is served any more."""
        self.closing.set()
        # Closing alone does not wake a thread that waits in accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            visit = Visit(len(self.connections))
            self.connections.append(visit)
            self.opened(connection)
            thread = threading.Thread(target=self._serve, args=(connection, visit), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, visit: Visit) -> None:
        dialogue = _Dialogue(self, connection, visit)
        # Visitors leave in the middle of a word.
        with contextlib.suppress(OSError, _Over, ValueError):
            dialogue.run()
        with contextlib.suppress(OSError):
            dialogue.sock.close()


class _Dialogue:
    """One connection. Answers are gathered and written together when there is nothing more to read."""

    def __init__(self, server: Server, sock: socket.socket, visit: Visit) -> None:
        self.server, self.script, self.sock, self.visit = server, server.script, sock, visit
        self.got = bytearray()
        self.out: list[bytes] = []
        self.known = self.script.login is None
        self.sender: str | None = None
        self.refused = 0
        self.recipients: list[str] = []

    def run(self) -> None:
        """From hello to the end."""
        if self.script.tls_from_the_start:
            self._protect()
        self._answer("connect", "220 relay.arvenia.example ESMTP")
        handlers = {
            b"EHLO": self._ehlo,
            b"HELO": self._ehlo,
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"STARTTLS": self._starttls,
            b"AUTH": self._auth,
            b"RSET": self._rset,
            b"NOOP": lambda _: self._answer("NOOP", "250 2.0.0 OK"),
        }
        while True:
            line = self._line()
            self.visit.commands.append(line)
            word = line.partition(b" ")[0].upper()
            if word == b"QUIT":
                self._answer("QUIT", "221 2.0.0 Bye")
                self._flush()
                return
            handler = handlers.get(word)
            if handler is None:
                self._say("502 5.5.2 What?")
            else:
                handler(line)

    def _ehlo(self, _line: bytes) -> None:
        self._reset()
        offers = ["relay.arvenia.example", *self.script.extensions]
        if self.script.pipelining:
            offers.append("PIPELINING")
        if self.script.tls is not None and not self.visit.tls:
            offers.append("STARTTLS")
        if self.script.login is not None:
            offers.append("AUTH PLAIN")
        lines = [f"250-{offer}" for offer in offers[:-1]] + [f"250 {offers[-1]}"]
        self._answer("EHLO", "\r\n".join(lines))

    def _starttls(self, _line: bytes) -> None:
        if self.script.tls is None or self.visit.tls:
            self._say("502 5.5.1 No")
        elif self._answer("STARTTLS", "220 2.0.0 Go ahead"):
            self._flush()
            self._protect()
            self.got.clear()

    def _protect(self) -> None:
        assert self.script.tls is not None
        self.sock = self.script.tls.wrap_socket(self.sock, server_side=True)
        self.visit.tls = True
        self.server.opened(self.sock)

    def _auth(self, line: bytes) -> None:
        words = line.split()
        if len(words) == 2:
            self._say("334 ")
            words.append(self._line())
        said = base64.b64decode(words[2]).decode().split("\0")[1:]
        if self.script.login is None or said != list(self.script.login):
            self._say("535 5.7.8 Wrong")
        else:
            self.known = self._answer("AUTH", "235 2.7.0 Welcome")

    def _mail(self, line: bytes) -> None:
        if not self.known:
            self._say("530 5.7.0 Log in first")
        elif self.sender is not None:
            self._say("503 5.5.1 There is a mail already")
        elif self._answer("MAIL", "250 2.1.0 OK"):
            self.sender = _address(line)

    def _rcpt(self, line: bytes) -> None:
        recipient = _address(line)
        if self.sender is None:
            self._say("503 5.5.1 MAIL comes first")
        elif self._answer("RCPT", "250 2.1.5 OK", recipient):
            self.recipients.append(recipient)
        else:
            self.refused += 1

    def _data(self, _line: bytes) -> None:
        if not self.recipients and not (self.script.data_after_refusal and self.refused):
            self._say("554 5.5.1 No valid recipients")
            return
        if not self._answer("DATA", "354 Go ahead"):
            return
        message = self._message()
        if not self.recipients:
            self._say("554 5.5.1 No valid recipients")
        else:
            self._answer("dot", "250 2.0.0 Queued", message=message)
        self._reset()

    def _rset(self, _line: bytes) -> None:
        if self._answer("RSET", "250 2.0.0 OK"):
            self._reset()

    def _reset(self) -> None:
        self.sender, self.refused, self.recipients = None, 0, []

    def _message(self) -> bytes:
        self._flush()
        if not self.got:
            self._more()
        action = self.server.rule("body", self.visit, self.recipients)
        if action is not None:
            self._do(action)
        looked = 0
        while True:
            if self.got.startswith(b".\r\n"):
                del self.got[:3]
                return b""
            end = self.got.find(b"\r\n.\r\n", looked)
            if end >= 0:
                break
            looked = max(0, len(self.got) - 4)
            self._more()
        message = bytes(self.got[: end + 2])
        del self.got[: end + 5]
        if not self.script.keep:
            return b""
        return message.replace(b"\r\n.", b"\r\n") if not message.startswith(b".") else _unstuffed(message)

    def _answer(
        self, stage: str, usual: str, recipient: str | None = None, message: bytes | None = None
    ) -> bool:
        """Say what is usual here, or do what the script wants. Whether it was a yes; a `message` is taken then."""
        about = self.recipients if recipient is None else [recipient]
        action = self.server.rule(stage, self.visit, about)
        return self._do(usual if action is None else action, message)

    def _do(self, action: Action, message: bytes | None = None) -> bool:
        if isinstance(action, Do):
            self._misbehave(action, message)
        if isinstance(action, Late | Drip):
            self._flush()
        if isinstance(action, Late):
            self.server.closing.wait(action.seconds)
            action = action.answer
        words = action.text if isinstance(action, Drip) else action
        text = words.encode() if isinstance(words, str) else words
        yes = text[:1] in (b"2", b"3")
        if yes and message is not None:
            # Before the other side can know.
            self._take(message)
        if isinstance(action, str):
            self._say(action)
        elif isinstance(action, bytes):
            self.out.append(action)
        else:
            self._drip(action)
        return yes

    def _misbehave(self, action: Do, message: bytes | None) -> NoReturn:
        self._flush()
        if action in (LOSE, KEEP) and message is not None:
            self._take(message)
        if action in (HANG, KEEP):
            self.server.closing.wait()
        if action is RESET:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
        raise _Over

    def _drip(self, action: Drip) -> None:
        for byte in action.text:
            self.sock.sendall(bytes([byte]))
            if self.server.closing.wait(action.pause):
                raise _Over

    def _take(self, message: bytes) -> None:
        self.server.take(self.visit, self.sender or "", self.recipients, message)

    def _say(self, text: str) -> None:
        self.out.append(text.encode() + b"\r\n")
        if not self.script.pipelining:
            self._flush()

    def _line(self) -> bytes:
        while (end := self.got.find(b"\r\n")) < 0:
            self._flush()
            self._more()
        line = bytes(self.got[:end])
        del self.got[: end + 2]
        return line

    def _more(self) -> None:
        more = self.sock.recv(65536)
        if not more:
            raise _Over
        self.got += more

    def _flush(self) -> None:
        if self.out:
            if self.script.delay:
                time.sleep(self.script.delay)
            self.visit.writes += 1
            self.sock.sendall(b"".join(self.out))
            self.out.clear()


def _address(line: bytes) -> str:
    return line[line.index(b"<") + 1 : line.index(b">")].decode()


def _unstuffed(message: bytes) -> bytes:
    return message[1:].replace(b"\r\n.", b"\r\n")


@contextmanager
def smtp_server(script: Script | None = None) -> Iterator[Server]:
    """A server that ends with the block."""
    server = Server(script or Script())
    try:
        yield server
    finally:
        server.close()


if __name__ == "__main__":
    with smtp_server(Script(keep=False, pipelining="--plain" not in sys.argv)) as sink:
        print(sink.url, flush=True)
        sys.stdin.read()
        print(sink.count, flush=True)
