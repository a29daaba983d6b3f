"""One request and its answer, over a connection that may be made, within the limits of the capture.

The standard library's HTTP parser reads from a pipe of ours that counts bytes and watches the clock. Neither cookies
nor credentials nor a referrer exist here, proxies of the environment are not looked at, and every request says the
same about who asks.
"""

from __future__ import annotations

import http.client
import io
import secrets
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from python_socks import ProxyConnectionError, ProxyError, ProxyType
from python_socks.sync import Proxy

from tracker.capture import addresses
from tracker.capture.addresses import Address
from tracker.config import Config
from tracker.errors import CaptureFailed, Invalid
from tracker.vocabulary import N_

Result = TypeVar("Result")

# What Tor Browser says, which very many people say.
_AGENT = "Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0"
_HEAD_BYTES = 64 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_TRIED_ADDRESSES = 4


@dataclass(frozen=True)
class Limits:
    """How much one capture may take. Seconds and bytes; bytes are counted as they come and once more unpacked."""

    request_seconds: float = 30
    total_seconds: float = 60
    total_bytes: int = 20 * 2**20
    unpacked_bytes: int = 40 * 2**20
    redirects: int = 3
    parts: int = 100


@dataclass(frozen=True)
class Network:
    """The world outside. Tests put a small internet of their own in its place; the program never does."""

    resolve: Callable[[str, int], list[str]]
    connect: Callable[[str, int, float], socket.socket]
    tls: Callable[[], ssl.SSLContext]


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def _connect(ip: str, port: int, seconds: float) -> socket.socket:
    return socket.create_connection((ip, port), timeout=seconds)


INTERNET = Network(_resolve, _connect, ssl.create_default_context)


class Budget:
    """What is left of the limits. `over` is the refusal once something of the whole capture is used up."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.over: CaptureFailed | None = None
        self._bytes, self._unpacked = limits.total_bytes, limits.unpacked_bytes
        self._end = self._request_end = time.monotonic() + limits.total_seconds

    def begin(self) -> None:
        """A new request begins."""
        self._request_end = min(self._end, time.monotonic() + self.limits.request_seconds)

    def seconds(self) -> float:
        """How long the current request may still take. Raises CaptureFailed if no more."""
        left = self._request_end - time.monotonic()
        if left <= 0:
            raise self.too_slow()
        return left

    def going(self) -> bool:
        """Whether there is time left for the capture as a whole."""
        return time.monotonic() < self._end

    def too_slow(self) -> CaptureFailed:
        """The refusal of what takes too long."""
        if not self.going():
            self.over = CaptureFailed(N_("The time for one capture was over."))
            return self.over
        return CaptureFailed(N_("The other side did not answer in time."))

    def take(self, count: int) -> None:
        """So many bytes came in."""
        self._bytes -= count
        if self._bytes < 0:
            self._used_up()

    def unpack(self, count: int) -> None:
        """So many bytes came out of a packed answer."""
        self._unpacked -= count
        if self._unpacked < 0:
            self._used_up()

    def _used_up(self) -> None:
        self.over = CaptureFailed(
            N_("It is larger than the %(limit)s MB that one capture may hold."),
            lasting=True,
            limit=self.limits.total_bytes // 2**20,
        )
        raise self.over

    @property
    def unpacked_left(self) -> int:
        """So many more bytes may come out of packed answers."""
        return self._unpacked


@dataclass(frozen=True)
class Exchange:
    """A request and its answer as they went over the wire. `ip` is None where a proxy made the connection."""

    address: Address
    request: bytes
    head: bytes
    raw_body: bytes = field(repr=False)
    body: bytes | None = field(repr=False)  # Unpacked; None if it is packed in a way that we do not know.
    status: int
    headers: http.client.HTTPMessage = field(repr=False)
    ip: str | None
    at: float  # time.monotonic() when it began

    @property
    def redirect(self) -> str | None:
        """Where it sends us, if it does."""
        place = self.headers.get("Location")
        if self.status not in _REDIRECTS or not place:
            return None
        return str(place).encode("latin-1", "replace").decode("utf-8", "replace")

    @property
    def is_html(self) -> bool:
        """Whether it calls itself a page."""
        return self.headers.get_content_type() in ("text/html", "application/xhtml+xml")

    def text(self) -> str | None:
        """The page as text, good enough to find addresses in it, which are ASCII in all encodings but one."""
        if self.body is None:
            return None
        encoding = "utf-16" if self.body[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
        return self.body.decode(encoding, "replace")


class Way:
    """How the other side is reached: `open` gives a socket and, if we know it, the IP address at its end."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def open(self, address: Address, budget: Budget) -> tuple[socket.socket, str | None]:
        """Connect directly: look the name up once, and go to exactly the address that was checked."""
        if address.host.endswith((".onion", ".i2p")):
            raise Invalid(N_("Onion addresses are captured through a proxy only."))
        try:
            found = _within(budget, lambda: self.network.resolve(address.host, address.port))
        except (OSError, UnicodeError):
            raise CaptureFailed(
                N_("The name in the address is not known, or cannot be looked up now.")
            ) from None
        # One bad address among good ones is an attack too: which one is taken would be chance.
        if not found or not all(_is_public(ip) for ip in found):
            raise addresses.private()
        failure: OSError | None = None
        for ip in found[:_TRIED_ADDRESSES]:
            try:
                return self.network.connect(ip, address.port, budget.seconds()), ip
            except OSError as error:
                failure = error
        raise failure or OSError

    def exchange(self, address: Address, accept: str, budget: Budget) -> Exchange:
        """Ask for one thing. Raises CaptureFailed or Invalid, with a sentence."""
        budget.begin()
        began = time.monotonic()
        try:
            connection, ip = self.open(address, budget)
            with connection:
                connection.settimeout(budget.seconds())
                if address.scheme == "https":
                    with self.network.tls().wrap_socket(connection, server_hostname=address.host) as secured:
                        return _converse(secured, address, accept, ip, began, budget)
                return _converse(connection, address, accept, ip, began, budget)
        except TimeoutError:
            raise budget.too_slow() from None
        except ssl.SSLCertVerificationError:
            raise CaptureFailed(N_("The other side's certificate is not valid.")) from None
        except ProxyConnectionError:
            raise CaptureFailed(N_("The proxy for captures cannot be reached.")) from None
        except ProxyError:
            raise CaptureFailed(N_("The proxy could not reach the other side.")) from None
        except OSError:
            raise CaptureFailed(N_("The other side cannot be reached, or broke off.")) from None
        except (http.client.HTTPException, ValueError):
            raise CaptureFailed(N_("The other side's answer cannot be understood.")) from None


class ProxyWay(Way):
    """Through SOCKS5, which also looks the name up: nobody near this machine learns it."""

    def __init__(self, network: Network, url: str) -> None:
        super().__init__(network)
        self.host, self.port, self.credentials = proxy_parts(url)

    def open(self, address: Address, budget: Budget) -> tuple[socket.socket, str | None]:
        """Have the proxy connect. Literal addresses and names near us were refused before."""
        proxy = Proxy(ProxyType.SOCKS5, self.host, self.port, *self.credentials, rdns=True)
        seconds = budget.seconds()
        return _within(budget, lambda: proxy.connect(address.host, address.port, timeout=seconds)), None


def way_out(settings: Config, network: Network) -> Way:
    """The way that the settings name."""
    if settings.capture == "proxy":
        return ProxyWay(network, settings.capture_proxy.get_secret_value())
    return Way(network)


def proxy_parts(url: str) -> tuple[str, int, tuple[str, str]]:
    """(host, port, (user, password)) of a proxy's address.

    Without a user a random one is made up: Tor then keeps this capture apart from every other (IsolateSOCKSAuth),
    and a proxy that knows no users does not ask for it.
    """
    parts = urlsplit(url)
    user = unquote(parts.username or "") or secrets.token_hex(8)
    return (
        parts.hostname or "",
        parts.port or 1080,
        (user, unquote(parts.password or "") or secrets.token_hex(8)),
    )


def proxy_problem(settings: Config, seconds: float = 10) -> str | None:
    """What is wrong with the configured proxy, if anything: whether it answers, and speaks SOCKS5."""
    if settings.capture != "proxy":
        return None
    host, port, _ = proxy_parts(settings.capture_proxy.get_secret_value())
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            connection.sendall(
                b"\x05\x02\x00\x02"
            )  # RFC 1928: version 5, two methods: none, user and password.
            answer = connection.recv(2)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return f"The proxy for captures cannot be reached: {reason}. Check capture_proxy, and that the proxy runs."
    if answer not in (b"\x05\x00", b"\x05\x02"):
        return "What answers at capture_proxy is not a SOCKS5 proxy, or it does not let the tracker in."
    return None


def _is_public(ip: str) -> bool:
    try:
        return addresses.permitted(ip_address(ip))
    except ValueError:
        return False


def _within(budget: Budget, act: Callable[[], Result]) -> Result:
    """Do it within the time of the request, in a thread: a resolver cannot be told when to end."""
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(act())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for.
            outcome.set_exception(error)

    threading.Thread(target=run, name="capture", daemon=True).start()
    try:
        return outcome.result(budget.seconds())
    except TimeoutError:
        outcome.add_done_callback(_close_late)
        raise


def _close_late(outcome: Future[Any]) -> None:
    if outcome.exception() is None and isinstance(found := outcome.result(), socket.socket):
        found.close()


def _converse(
    connection: socket.socket, address: Address, accept: str, ip: str | None, began: float, budget: Budget
) -> Exchange:
    request = (
        f"GET {address.target} HTTP/1.1\r\nHost: {address.authority}\r\nUser-Agent: {_AGENT}\r\nAccept: {accept}\r\n"
        "Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\nConnection: close\r\n\r\n"
    ).encode("ascii")
    connection.settimeout(budget.seconds())
    connection.sendall(request)
    wire = _Recorder(io.BufferedReader(_Wire(connection, budget)))
    response = http.client.HTTPResponse(_Socket(wire), method="GET")  # type: ignore[arg-type]
    try:
        response.begin()
        head = wire.taken()
        wire.in_head = False
        body = bytearray()
        while piece := response.read(64 * 1024):
            body += piece
        if response.length:
            raise http.client.IncompleteRead(bytes(), response.length)
    finally:
        response.close()
    raw = wire.taken()[len(head) :]
    return Exchange(
        address,
        request,
        head,
        raw,
        _unpacked(bytes(body), response.headers, budget),
        response.status,
        response.headers,
        ip,
        began,
    )


class _Wire(io.RawIOBase):
    """The connection as a stream that ends when the time or the bytes are used up."""

    def __init__(self, connection: socket.socket, budget: Budget) -> None:
        self._connection, self._budget = connection, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # A new time limit for every read, or one byte a minute would keep us here for ever.
        self._connection.settimeout(self._budget.seconds())
        count = self._connection.recv_into(buffer)
        self._budget.take(count)
        return count


class _Recorder:
    """What the HTTP parser reads, kept as it was read. A head without end is refused."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream, self._taken, self.in_head = stream, bytearray(), True

    def readline(self, limit: int = -1) -> bytes:
        line = self._stream.readline(limit)
        self._taken += line
        if self.in_head and len(self._taken) > _HEAD_BYTES:
            raise http.client.LineTooLong("head")
        return line

    def read(self, count: int = -1) -> bytes:
        found = self._stream.read(count)
        self._taken += found
        return found

    def taken(self) -> bytes:
        """Everything read so far."""
        return bytes(self._taken)

    def flush(self) -> None:
        """Nothing waits to be written."""

    def close(self) -> None:
        """The connection is closed by whoever opened it."""


@dataclass(frozen=True)
class _Socket:
    """What the HTTP parser takes for a socket."""

    stream: _Recorder

    def makefile(self, mode: str) -> _Recorder:
        """The stream to read from."""
        del mode
        return self.stream


def _unpacked(body: bytes, headers: http.client.HTTPMessage, budget: Budget) -> bytes | None:
    """The body without gzip or deflate; None if it is packed otherwise. Raises CaptureFailed if it swells too much."""
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return None
    found = bytearray()
    # 32: gzip or zlib by its own first bytes; -15: deflate without any, which some servers send.
    bare = encoding == "deflate" and body[:1] != b"\x78"
    while body:
        stream = zlib.decompressobj(-zlib.MAX_WBITS if bare else 32 + zlib.MAX_WBITS)
        try:
            piece = stream.decompress(body, budget.unpacked_left + 1)
        except zlib.error:
            return bytes(found) or None
        budget.unpack(len(piece))
        found += piece
        body = stream.unused_data
    return bytes(found)
