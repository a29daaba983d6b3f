"""Reading what an SMTP server says, within limits: of a line, of a reply, and of the time for all of it."""

from __future__ import annotations

import re
import socket
import ssl
from time import monotonic

# RFC 5321 says 512 bytes; some servers write longer lines. Nobody needs more than this.
_LINE_BYTES = 8192
_REPLY_BYTES = 65536
_FORM = re.compile(rb"[2-5][0-9][0-9](?:[ -].*)?").fullmatch


class GarbledReply(Exception):
    """What came is no SMTP reply, or does not end."""


class Reader:
    """The replies on one connection. `by` is a moment of `time.monotonic`: slow drips do not prolong it."""

    def __init__(self) -> None:
        self._held = b""

    def reply(self, sock: socket.socket, by: float) -> tuple[int, list[bytes]]:
        """The next reply: its code and the text of its lines. Raises OSError or GarbledReply."""
        code, lines, size = b"", [], 0
        while True:
            line = self._line(sock, by)
            size += len(line)
            if size > _REPLY_BYTES or not _FORM(line) or (code and line[:3] != code):
                raise GarbledReply
            code = line[:3]
            lines.append(line[4:].strip())
            if line[3:4] != b"-":
                return int(code), lines

    @property
    def waiting(self) -> bool:
        """Whether something was received that nobody has read."""
        return bool(self._held)

    def early(self, sock: socket.socket) -> bool:
        """Whether the server has said something already. Raises OSError if it has left."""
        if self._held:
            return True
        sock.settimeout(0)
        try:
            more = sock.recv(4096)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        if not more:
            raise ConnectionResetError
        self._held = more
        return True

    def _line(self, sock: socket.socket, by: float) -> bytes:
        while (end := self._held.find(b"\n")) < 0:
            if len(self._held) > _LINE_BYTES:
                raise GarbledReply
            left = by - monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
            more = sock.recv(4096)
            if not more:
                raise ConnectionResetError
            self._held += more
        if end > _LINE_BYTES:
            raise GarbledReply
        line, self._held = self._held[:end], self._held[end + 1 :]
        return line.rstrip(b"\r")
