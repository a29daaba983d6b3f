"""Debian's Postfix as an instance of our own: its files in a temporary folder, one port of loopback, nothing outside."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import pytest

PROGRAM = Path("/usr/sbin/postfix")

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
myhostname = relay.arvenia.example
mydestination =
alias_maps =
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = reject_unlisted_recipient, permit_mynetworks, reject
virtual_mailbox_domains = arvenia.example
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = inline:{{ {{ reader@arvenia.example = reader/ }} }}
virtual_minimum_uid = 1
virtual_uid_maps = static:{user.pw_uid}
virtual_gid_maps = static:{user.pw_gid}
default_transport = error:5.1.2 nothing leaves this machine
relay_transport = error:5.1.2 nothing leaves this machine
"""
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class Postfix:
    """A running instance."""

    url: str
    folder: Path

    def mails(self, count: int, seconds: float = 15) -> list[bytes]:
        """What was delivered to the reader, as soon as there are so many."""
        box = self.folder / "mail" / "reader" / "new"
        end = time.monotonic() + seconds
        while not box.exists() or len(list(box.iterdir())) < count:
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.05)
        return [path.read_bytes() for path in sorted(box.iterdir())]


@contextmanager
def postfix() -> Iterator[Postfix]:
    """Start it, and stop it afterwards. Skips the test where that is not possible."""
    if not PROGRAM.exists():
        pytest.skip("Debian's Postfix is not installed (tests/install.sh)")
    if os.geteuid() != 0:
        pytest.skip("Postfix needs root to start its processes as several users")
    # Other users must get into it, which they cannot into pytest's own folder.
    folder = Path(mkdtemp(prefix="tracker-postfix-"))
    folder.chmod(0o755)
    try:
        user = pwd.getpwnam("nobody")
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        for name in ("conf", "queue", "data", "mail"):
            (folder / name).mkdir()
        shutil.chown(folder / "data", "postfix")
        shutil.chown(folder / "mail", user.pw_uid, user.pw_gid)
        (folder / "conf" / "main.cf").write_text(MAIN.format(folder=folder, user=user))
        (folder / "conf" / "master.cf").write_text(MASTER.format(port=port))
        _run(folder, "start")
        try:
            yield Postfix(f"smtp://127.0.0.1:{port}", folder)
        finally:
            _run(folder, "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(folder: Path, what: str) -> None:
    done = subprocess.run(
        [PROGRAM, "-c", folder / "conf", what], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    log = folder / "log"
    assert done.returncode == 0, done.stderr + (log.read_text() if log.exists() else "")
