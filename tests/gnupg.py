"""GnuPG for tests: key pairs made when the tests run, in folders of their own, and opening what was encrypted to them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

READER = "Ayşe Okur <reader@arvenia.example>"


class Gnupg:
    """One keyring, with one key pair in it."""

    def __init__(self, home: Path, made: str) -> None:
        self.home, self._made = home, made

    def run(self, *words: str, given: bytes = b"", at: str | None = None) -> bytes:
        """A command, as of the moment at which the keys are made unless it says another."""
        command = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--quiet", "--no-auto-check-trustdb",
                   "--faked-system-time", at or self._made, "--pinentry-mode", "loopback", "--passphrase", ""]  # fmt: skip
        return subprocess.run([*command, *words], input=given, capture_output=True, check=True).stdout

    def make(self, *, primary: str, subkey: str | None = None, expires: str = "0", part: str = "0") -> None:
        """A pair: `primary` signs; `subkey` is for encryption and expires after `part`."""
        self.run("--quick-gen-key", READER, primary, "sign,cert", expires)
        if subkey:
            self.add(subkey, part)

    def add(self, subkey: str, expires: str = "0", *, at: str | None = None) -> None:
        """One more subkey for encryption."""
        self.run("--quick-add-key", self.fingerprint(), subkey, "encr", expires, at=at)

    def fingerprint(self) -> str:
        return self._column("fpr", 9)[0]

    def subkeys(self) -> list[str]:
        """The IDs of the subkeys."""
        return [one.lower() for one in self._column("sub", 4)]

    def revoke(self) -> None:
        """Use the certificate of revocation that GnuPG lays beside each new key, behind a colon."""
        written = (self.home / "openpgp-revocs.d" / f"{self.fingerprint()}.rev").read_text()
        self.run("--import", given=written.replace(":-----BEGIN", "-----BEGIN").encode())

    def revoke_subkey(self) -> None:
        answers = b"key 1\nrevkey\ny\n0\n\ny\nsave\n"
        command = ["gpg", "--homedir", str(self.home), "--no-tty", "--pinentry-mode", "loopback", "--passphrase", "",
                   "--faked-system-time", self._made, "--command-fd", "0", "--edit-key", self.fingerprint()]  # fmt: skip
        subprocess.run(command, input=answers, capture_output=True, check=False)

    def public(self, *options: str) -> str:
        return self.run("--armor", *options, "--export").decode()

    def private(self) -> str:
        return self.run("--armor", "--export-secret-keys").decode()

    def open(self, message: bytes) -> bytes:
        return self.run("--decrypt", given=message, at="20261125T000000")

    def _column(self, kind: str, place: int) -> list[str]:
        lines = self.run("--list-keys", "--with-colons").decode().splitlines()
        return [line.split(":")[place] for line in lines if line.startswith(f"{kind}:")]


@contextmanager
def keyring(made: str = "20260601T120000") -> Iterator[Gnupg]:
    """An empty keyring whose keys are made at `made`; it is gone afterwards, its agent too."""
    if shutil.which("gpg") is None or shutil.which("gpg-agent") is None:
        pytest.skip("GnuPG is not installed (Debian: gpg gpg-agent)")
    # A short path, because a socket's address holds 107 bytes at most.
    home = Path(subprocess.check_output(["mktemp", "-d", "/tmp/tracker-gpg-XXXXXX"], text=True).strip())
    try:
        yield Gnupg(home, made)
    finally:
        subprocess.run(
            ["gpgconf", "--homedir", home, "--kill", "gpg-agent"], check=False, capture_output=True
        )
        shutil.rmtree(home, ignore_errors=True)
