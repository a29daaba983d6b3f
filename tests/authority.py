"""An RFC 3161 timestamp authority on 127.0.0.1, which signs with the `openssl` command, and lies on demand."""

from __future__ import annotations

import datetime as dt
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_CONFIG = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
tsa_name = yes
"""


class Authority:
    """Its own root, and a signer whose certificate says that it may make timestamps."""

    def __init__(self, folder: Path, name: str = "Arvenian Time Office") -> None:
        folder.mkdir(parents=True)
        self.folder, self.name = folder, name
        self.roots = folder / "root.pem"
        self._now, self._serial = dt.datetime.now(dt.UTC), x509.random_serial_number()
        self._root_key, self._key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
        self.roots.write_bytes(self._certificate(self._root_key, f"{name} root"))
        (folder / "signer.pem").write_bytes(self.certificate(x509.ExtendedKeyUsageOID.TIME_STAMPING))
        (folder / "signer.key").write_bytes(
            self._key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (folder / "serial").write_text("01\n")
        (folder / "openssl.cnf").write_text(_CONFIG.format(folder=folder))

    def certificate(self, purpose: x509.ObjectIdentifier) -> bytes:
        """The signer's certificate, in PEM. Made for another purpose it has the same key, number and length."""
        return self._certificate(self._key, self.name, purpose)

    def _certificate(
        self, key: rsa.RSAPrivateKey, name: str, purpose: x509.ObjectIdentifier | None = None
    ) -> bytes:
        subject, root = (
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, one)])
            for one in (name, f"{self.name} root")
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root)
            .public_key(key.public_key())
            .serial_number(self._serial if purpose else 1)
            .not_valid_before(self._now - dt.timedelta(days=1))
            .not_valid_after(self._now + dt.timedelta(days=365))
            .add_extension(x509.BasicConstraints(ca=purpose is None, path_length=None), critical=True)
        )
        if purpose is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
        return builder.sign(self._root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def answer(self, query: bytes) -> bytes:
        """What a true authority answers."""
        (self.folder / "query.tsq").write_bytes(query)
        subprocess.run(
            ["openssl", "ts", "-reply", "-queryfile", "query.tsq", "-signer", "signer.pem", "-inkey", "signer.key",
             "-config", "openssl.cnf", "-section", "here", "-out", "answer.tsr"],
            cwd=self.folder, check=True, capture_output=True,
        )  # fmt: skip
        return (self.folder / "answer.tsr").read_bytes()

    def verifies(self, token: bytes, digest: bytes) -> bool:
        """Whether OpenSSL, which knows nothing of us, accepts a timestamp of this SHA-256."""
        (self.folder / "check.tsr").write_bytes(token)
        done = subprocess.run(
            ["openssl", "ts", "-verify", "-in", "check.tsr", "-digest", digest.hex(), "-CAfile", str(self.roots)],
            cwd=self.folder, check=False, capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode == 0 and "Verification: OK" in done.stdout + done.stderr


Reply = Callable[[BaseHTTPRequestHandler, bytes], Any]


def honest(authority: Authority, twist: Callable[[bytes], bytes] = lambda answer: answer) -> Reply:
    """A reply that answers every query; `twist` does something to the answer."""

    def reply(handler: BaseHTTPRequestHandler, query: bytes) -> None:
        send(handler, twist(authority.answer(query)))

    return reply


def send(
    handler: BaseHTTPRequestHandler,
    body: bytes,
    status: int = 200,
    kind: str = "application/timestamp-reply",
    **headers: str,
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def serving(reply: Reply) -> Iterator[str]:
    """A server on 127.0.0.1 that answers with `reply`; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                reply(self, query)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/tsr"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
