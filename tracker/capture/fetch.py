"""One request and its answer, over a connection that may be made, within the limits of the capture.

The standard library's HTTP parser reads from a pipe of ours that counts bytes and watches the clock. Neither cookies
nor credentials nor a referrer exist here, proxies of the environment are not looked at, and every request says the
same about who asks.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
import zlib
from dataclasses import dataclass, field
from typing import Any

from python_socks import ProxyConnectionError, ProxyError

from tracker.capture.addresses import Address
from tracker.capture.limits import Budget
from tracker.capture.ways import Way
from tracker.errors import CaptureFailed
from tracker.vocabulary import N_

# What Tor Browser says, which very many people say.
_AGENT = "Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0"
_HEAD_BYTES = 64 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)


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


def exchange(way: Way, address: Address, accept: str, budget: Budget) -> Exchange:
    """Ask for one thing. Raises CaptureFailed or Invalid, with a sentence."""
    budget.begin()
    began = time.monotonic()
    try:
        connection, ip = way.open(address, budget)
        with connection:
            connection.settimeout(budget.seconds())
            if address.scheme == "https":
                with way.network.tls().wrap_socket(connection, server_hostname=address.host) as secured:
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
            raise http.client.IncompleteRead(b"", response.length)
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
    # A file may be packed in several pieces, but nobody but an attacker uses very many.
    for _ in range(64):
        if not body:
            break
        stream = zlib.decompressobj(-zlib.MAX_WBITS if bare else 32 + zlib.MAX_WBITS)
        try:
            piece = stream.decompress(body, budget.unpacked_left + 1)
        except zlib.error:
            return bytes(found) or None
        budget.unpack(len(piece))
        found += piece
        body = stream.unused_data
    return bytes(found)
