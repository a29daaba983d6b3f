"""Which addresses may be contacted at all.

The rules: http and https, ports 80 and 443, no user name, a public name or a public literal address. Names are
written as `getaddrinfo` would read them before anything is decided: it takes "127.1", "2130706433", "0x7f.1" and
full-width digits for 127.0.0.1.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import quote, urljoin, urlsplit

import idna

from tracker.errors import Invalid
from tracker.vocabulary import N_

IP = IPv4Address | IPv6Address

_PORTS = {"http": 80, "https": 443}
_LONGEST = 4000
# Names that mean this machine or its neighbours wherever they are looked up (RFC 6761, 6762, 8375 and custom).
_NEAR = ("localhost", "local", "internal", "home.arpa", "lan", "intranet", "corp", "home", "localdomain")

# The registries of special addresses of IANA, and what belongs to them in effect. `is_global` of Python 3.11 calls
# several of them global (multicast, NAT64, 6to4), so they stand here by name.
_IPV4_NEVER = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # Looks public; inside one large cloud it is the machine's own keeper.
    )
)  # fmt: skip
# Everything but global unicast is refused; these lie inside it: protocol assignments with Teredo and ORCHID,
# documentation, 6to4.
_IPV6_GLOBAL = ip_network("2000::/3")
_IPV6_NEVER = tuple(
    ip_network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48")
)
# An IPv4 address in disguise (ISATAP, RFC 5214), under any prefix.
_ISATAP = (0x00005EFE, 0x02005EFE)


@dataclass(frozen=True)
class Address:
    """A checked address. `host` is ASCII or a canonical literal; `target` is path and query as sent."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def literal(self) -> IP | None:
        """The host as an IP address, if it is one."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """The host as it stands in the Host header and in addresses."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address, without a fragment."""
        return f"{self.scheme}://{self.authority}{self.target}"


def parse(url: str) -> Address:
    """Raise Invalid unless this may be contacted, as far as that can be said without looking up a name."""
    if len(url) > _LONGEST or re.search(r"[\x00-\x20\x7f\\]", url):
        raise _not_an_address()
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (
            "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?[]|") if parts.query else ""
        )
    except ValueError:  # A port such as 99999, brackets without an address, half a character.
        raise _not_an_address() from None
    if parts.scheme not in _PORTS:
        raise Invalid(N_("Only addresses that begin with http:// or https:// are captured."))
    if "[" in parts.netloc and ":" not in host:
        raise _not_an_address()
    if "@" in parts.netloc:
        raise Invalid(N_("Addresses with a user name are not captured."))
    port = _PORTS[parts.scheme] if port is None else port
    if port not in _PORTS.values():
        raise Invalid(N_("Only the ports 80 and 443 are contacted."))
    found = Address(parts.scheme, _host(host), port, target if target.startswith("/") else "/" + target)
    if found.literal is not None and not permitted(found.literal):
        raise private()
    return found


def join(base: str, link: str) -> Address:
    """The address that a link or a redirect on `base` leads to. Raises Invalid as `parse` does."""
    return parse(joined(base, link))


def joined(base: str, link: str) -> str:
    """The link made absolute as browsers do it: white space around it and line ends within do not count."""
    try:
        return urljoin(base, re.sub(r"[\t\r\n]", "", link.strip())).partition("#")[0].replace(" ", "%20")
    except ValueError:
        raise _not_an_address() from None


def permitted(address: IP) -> bool:
    """Whether an address belongs to the public internet and to nothing that leads back inside."""
    if address.is_multicast or address.is_reserved or address.is_unspecified or not address.is_global:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _IPV4_NEVER)
    if address.scope_id or (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return False
    return address in _IPV6_GLOBAL and not any(address in network for network in _IPV6_NEVER)


def private() -> Invalid:
    """The refusal of an address that is not of the public internet."""
    return Invalid(
        N_("The address leads into a private or special network. Such addresses are never contacted.")
    )


def _host(written: str) -> str:
    if ":" in written:
        try:
            return str(IPv6Address(written))
        except ValueError:
            raise _not_an_address() from None
    name = _ascii(written)
    last = name.rpartition(".")[2]
    if last.isdigit() or re.fullmatch(r"0x[0-9a-f]*", last):
        try:
            return str(IPv4Address(socket.inet_aton(name)))
        except OSError:
            raise _not_an_address() from None
    if "." not in name or any(name == near or name.endswith("." + near) for near in _NEAR):
        raise private()
    return name


def _ascii(written: str) -> str:
    try:
        name = idna.encode(written, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        # Hosts with an underscore exist and are no international names.
        name = written
    name = name.removesuffix(".").lower()
    if len(name) > 253 or not re.fullmatch(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", name):
        raise _not_an_address()
    return name


def _not_an_address() -> Invalid:
    return Invalid(N_("This is not an address that can be captured."))
