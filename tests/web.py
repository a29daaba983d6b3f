"""A small hostile internet on 127.0.0.1: names, addresses, web servers that misbehave on purpose, a SOCKS5 proxy.

`Internet.network()` stands in place of the program's way out. Public addresses of it lead to our servers; whatever
else is asked for, private addresses above all, ends at the canary, where no connection may ever arrive.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tracker.capture import Network

#: Looks public to every rule; leads to our own server.
PUBLIC_IP = "93.184.215.14"

Page = bytes | Callable[[socket.socket], None]


def answer(
    body: bytes | str = b"", kind: str = "text/html; charset=utf-8", status: str = "200 OK", **headers: str
) -> bytes:
    """An answer with its length. `Content_Encoding="gzip"` becomes a header."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def redirect(to: str, status: str = "302 Found") -> bytes:
    """An answer that sends elsewhere."""
    return answer(b"", status=status, Location=to)


class _Server:
    """Takes connections until it is closed; each has a thread of its own."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.connections = 0
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # Visitors leave in the middle of a word.
        with contextlib.suppress(OSError, IndexError, ValueError), connection:
            self.serve(connection)

    def serve(self, connection: socket.socket) -> None:
        """Talk to one visitor."""

    def close(self) -> None:
        """Stop, and wait until nobody is served any more."""
        # Closing alone does not wake a thread that waits in accept.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in [self._thread, *self._threads]:
            thread.join(5)
        for connection in self._open:
            connection.close()


class Canary(_Server):
    """Stands where nobody may go."""


class Site(_Server):
    """A web server. `pages` maps "/path" or "host/path" to an answer, or to something that writes one slowly."""

    def __init__(self, pages: dict[str, Page], tls: ssl.SSLContext | None = None) -> None:
        self.pages, self.tls, self.requests = pages, tls, []
        super().__init__()

    requests: list[str]

    def serve(self, connection: socket.socket) -> None:
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True)
        with connection:
            text = b""
            while b"\r\n\r\n" not in text:
                if not (piece := connection.recv(4096)):
                    return
                text += piece
            request = text.decode("ascii")
            self.requests.append(request)
            path = request.split(" ")[1]
            host = next(line[6:] for line in request.split("\r\n") if line.startswith("Host: "))
            page = self.pages.get(
                host + path, self.pages.get(path, answer("no such page", status="404 Not Found"))
            )
            if isinstance(page, bytes):
                connection.sendall(page)
            else:
                page(connection)
            # Says that the end was meant; what the visitor still sends is not waited for.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [request.split(" ")[1] for request in self.requests]


class Socks(_Server):
    """A SOCKS5 proxy (RFC 1928, 1929) that looks up names in a table and nowhere else."""

    def __init__(self, sites: dict[str, Site], *, password: tuple[str, str] | None = None) -> None:
        self.sites, self.password = sites, password
        self.asked: list[tuple[str, int]] = []
        self.users: list[str] = []
        super().__init__()

    @property
    def url(self) -> str:
        """Its address as the settings want it."""
        who = f"{self.password[0]}:{self.password[1]}@" if self.password else ""
        return f"socks5h://{who}127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        with stream:
            version, count = stream.read(2)
            methods = stream.read(count)
            assert version == 5
            # As Tor does: whoever offers a name is asked for it, and kept apart from others by it.
            if 2 in methods:
                connection.sendall(b"\x05\x02")
                stream.read(1)
                user = stream.read(stream.read(1)[0]).decode()
                password = stream.read(stream.read(1)[0]).decode()
                self.users.append(user)
                good = self.password is None or (user, password) == self.password
                connection.sendall(b"\x01" + (b"\x00" if good else b"\x01"))
                if not good:
                    return
            else:
                connection.sendall(b"\x05\x00")
            _, _, _, kind = stream.read(4)
            if kind == 3:
                host = stream.read(stream.read(1)[0]).decode()
            else:
                host = socket.inet_ntop(
                    *((socket.AF_INET, stream.read(4)) if kind == 1 else (socket.AF_INET6, stream.read(16)))
                )
            port = int.from_bytes(stream.read(2), "big")
            self.asked.append((host, port))
            site = self.sites.get(host)
            if site is None:
                connection.sendall(b"\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00")
                return
            with socket.create_connection(("127.0.0.1", site.port)) as other:
                connection.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
                back = threading.Thread(target=_pump, args=(other, connection), daemon=True)
                back.start()
                _pump_stream(stream, other)
                back.join(5)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


def _pump_stream(stream: socket.SocketIO | object, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := stream.read1(65536):  # type: ignore[attr-defined]
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


class Internet:
    """Names, and what stands at their addresses. Close it after use, or take it from `internet()`."""

    def __init__(self, certificates: Path) -> None:
        self.canary = Canary()
        self.names: dict[str, list[str] | Callable[[], list[str]]] = {}
        self.sites: dict[tuple[str, int], Site] = {}
        self.looked_up: list[str] = []
        self.connected: list[tuple[str, int]] = []
        self._certificates = certificates
        self._servers: list[_Server] = [self.canary]

    def site(
        self, pages: dict[str, Page], *names: str, ip: str = PUBLIC_IP, tls: ssl.SSLContext | None = None
    ) -> Site:
        """A web server at a public address, under these names; on port 443 if it has certificates."""
        site = Site(pages, tls)
        self._servers.append(site)
        self.sites[ip, 443 if tls else 80] = site
        for name in names:
            self.names[name] = [ip]
        return site

    def proxy(self, sites: dict[str, Site], password: tuple[str, str] | None = None) -> Socks:
        """A proxy on whose far side these names stand."""
        proxy = Socks(sites, password=password)
        self._servers.append(proxy)
        return proxy

    def network(self) -> Network:
        """The way out that the program uses instead of the real one."""
        return Network(self._resolve, self._connect, self._trust)

    def certificate(self, *names: str, days: int = 5) -> ssl.SSLContext:
        """What a server at these names shows; its issuer is the only one that `network` trusts."""
        return make_certificate(self._certificates, names, days)

    def _resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append(host)
        found = self.names.get(host)
        if found is None:
            # Literals, and whatever the system's resolver takes for one. Real names it is never asked for.
            items = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
            return [str(item[4][0]) for item in items]
        return found() if callable(found) else found

    def _connect(self, ip: str, port: int, seconds: float) -> socket.socket:
        self.connected.append((ip, port))
        there = self.sites.get((ip, port), self.canary)
        return socket.create_connection(("127.0.0.1", there.port), timeout=seconds)

    def _trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._certificates / "authority.pem"))
        assert context.check_hostname
        return context

    def close(self) -> None:
        """Stop all servers."""
        for server in self._servers:
            server.close()


@contextmanager
def internet(folder: Path) -> Iterator[Internet]:
    """An internet that ends with the block."""
    make_authority(folder)
    found = Internet(folder)
    try:
        yield found
    finally:
        found.close()


def make_authority(folder: Path) -> None:
    """A certificate authority of our own in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Arvenia Test Authority")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=30))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "authority.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "authority.key").write_bytes(_pem(key))


def make_certificate(folder: Path, names: tuple[str, ...], days: int) -> ssl.SSLContext:
    """A server's certificate for these names, valid for so many days from now (or until so many days ago)."""
    authority = x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes())
    signer = serialization.load_pem_private_key((folder / "authority.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=20))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )
    file = folder / f"{names[0]}.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + _pem(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
