"""A small IMAP server on loopback, for tests: one mailbox, what it was asked, and what it should refuse."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Mailbox:
    """Mails by UID with their flags, and what clients said."""

    def __init__(self, *mails: bytes) -> None:
        self.mails = dict(enumerate(mails, start=11))
        self.flags: dict[int, set[str]] = {uid: set() for uid in self.mails}
        self.said: list[str] = []
        self.uidplus = True
        self.refuse: set[str] = set()
        self.sent_bytes = 0

    def expunge(self, uids: set[int] | None) -> None:
        for uid in list(self.mails):
            if "\\Deleted" in self.flags[uid] and (uids is None or uid in uids):
                del self.mails[uid], self.flags[uid]


class _Client(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        box: Mailbox = self.server.box  # type: ignore[attr-defined]
        self._say("* OK ready")
        while line := self.rfile.readline(65536).decode().rstrip("\r\n"):
            tag, _, command = line.partition(" ")
            box.said.append(command)
            verb = re.sub(r"^UID ", "", command.upper()).partition(" ")[0]
            if verb in box.refuse:
                self._say(f"{tag} NO reader@arvenia.example may not")
                continue
            if verb == "HANG":
                return
            self._answer(box, verb, command)
            self._say(f"{tag} OK done")
            if verb == "LOGOUT":
                return

    def _answer(self, box: Mailbox, verb: str, command: str) -> None:
        if verb == "CAPABILITY":
            self._say("* CAPABILITY IMAP4rev1" + (" UIDPLUS" if box.uidplus else ""))
        elif verb == "SELECT":
            self._say(f"* {len(box.mails)} EXISTS")
        elif verb == "SEARCH":
            fresh = [uid for uid, flags in box.flags.items() if not flags & {"\\Seen", "\\Deleted"}]
            self._say(" ".join(["* SEARCH", *map(str, fresh)]))
        elif verb == "FETCH":
            uid, most = (
                int(one) for one in re.findall(r"FETCH (\d+) \(BODY\.PEEK\[\]<0\.(\d+)>\)", command)[0]
            )
            if uid in box.mails:
                content = box.mails[uid][:most]
                box.sent_bytes += len(content)
                self.wfile.write(f"* 1 FETCH (UID {uid} BODY[]<0> {{{len(content)}}}\r\n".encode())
                self.wfile.write(content + b")\r\n")
        elif verb == "STORE":
            uid, flags = re.findall(r"STORE (\d+) \+FLAGS\.SILENT \((.*)\)", command)[0]
            box.flags[int(uid)] |= set(flags.split())
        elif verb == "EXPUNGE":
            named = re.search(r"UID EXPUNGE ([\d,]+)", command)
            box.expunge({int(uid) for uid in named[1].split(",")} if named else None)
        elif verb == "LOGOUT":
            self._say("* BYE")

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    box: Any = None


@contextmanager
def imap_server(box: Mailbox) -> Iterator[int]:
    """Serve the mailbox; yields the port."""
    with _Server(("127.0.0.1", 0), _Client) as server:
        server.box = box
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
