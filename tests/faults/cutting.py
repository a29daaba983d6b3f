"""A line to a server that is cut, or goes dead, after so many bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


class Line:
    """Passes connections on to a port of this machine. Set `after` to cut it once that many bytes went either way."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.after: int | None = None
        self.dead = False
        self.then: Callable[[], object] = lambda: None
        self.passed = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, after: int, *, dead: bool = False, then: Callable[[], object] = lambda: None) -> None:
        """After so many further bytes close all connections and take no new ones; `dead`: fall silent instead."""
        self.passed, self.after, self.dead, self.then = 0, after, dead, then

    def mend(self) -> None:
        """Pass everything on again."""
        self.after = None

    @property
    def is_cut(self) -> bool:
        return self.after is not None and self.passed > self.after

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if self.is_cut and not self.dead:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target), timeout=60)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._open |= {near, far}
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                was_cut = self.is_cut
                self.passed += len(data)
                if self.is_cut:
                    if not was_cut:
                        self.then()
                    if not self.dead:
                        self._close()
                    return
                other.sendall(data)
        if not self.is_cut:
            for end in (one, other):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        with self._lock:
            for end in self._open:
                # A reset and no orderly end, as when a machine is gone.
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._open.clear()

    def end(self) -> None:
        """Close everything."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._close()


@contextlib.contextmanager
def line_to(port: int) -> Iterator[Line]:
    """A line to this port, closed afterwards."""
    line = Line(port)
    try:
        yield line
    finally:
        line.end()
