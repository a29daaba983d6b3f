"""How the other side is reached: directly, at exactly the address that was checked, or through a SOCKS5 proxy."""

from __future__ import annotations

import secrets
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from python_socks import ProxyType
from python_socks.sync import Proxy

from tracker.capture import addresses
from tracker.capture.addresses import Address
from tracker.capture.limits import Budget
from tracker.config import Config
from tracker.errors import CaptureFailed, Invalid
from tracker.vocabulary import N_

Result = TypeVar("Result")

_TRIED_ADDRESSES = 4


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


class Way(Protocol):
    """`open` gives a socket and, if we know it, the IP address at its end."""

    network: Network

    def open(self, address: Address, budget: Budget) -> tuple[socket.socket, str | None]:
        """Raises Invalid, CaptureFailed, OSError or an error of the proxy's."""


class DirectWay:
    """From this machine: whoever stands at the other end sees its address."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def open(self, address: Address, budget: Budget) -> tuple[socket.socket, str | None]:
        """Connect directly: look the name up once, and go to exactly the address that was checked."""
        if address.host.endswith((".onion", ".i2p")):
            raise Invalid(N_("Onion addresses are captured through a proxy only."))
        try:
            found = _within(budget, lambda: self.network.resolve(address.host, address.port))
        except TimeoutError:
            raise
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


class ProxyWay:
    """Through SOCKS5, which also looks the name up: nobody near this machine learns it."""

    def __init__(self, network: Network, url: str) -> None:
        self.network = network
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
    return DirectWay(network)


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
