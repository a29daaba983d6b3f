"""Capturing a page: what is fetched and written, and what no address can make us do (security reference, case 37)."""

from __future__ import annotations

import ast
import contextlib
import gzip
import io
import ipaddress
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from warcio.archiveiterator import ArchiveIterator

from tests.conftest import NOW
from tests.web import PUBLIC_IP, Internet, answer, internet, redirect
from tracker.capture import Limits, addresses, capture, page, proxy_problem
from tracker.config import Config
from tracker.errors import CaptureFailed, ConfigError, Invalid

ROOT = Path(__file__).resolve().parents[2]
NAME = "court.arvenia.example"
START = f"http://{NAME}/start"
PAGE = """<!doctype html><html><head><title>Register</title>
<link rel="stylesheet" href="/style.css"><link rel="icon" href="/icon.png"><script src="/script.js"></script></head>
<body><img src="seal.png" alt="a > b"><img srcset="/wide.png 2x, /wider.png 3x" alt=""><img src="data:image/png;base64,AA">
<iframe src="/frame"></iframe><a href="/next">next</a><video src="/film.mp4"></video><img src="seal.png#again"></body></html>"""


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Internet]:
    folder = tmp_path / "internet"
    folder.mkdir()
    with internet(folder) as found:
        yield found


@dataclass(frozen=True)
class Found:
    """A capture and the file that it was written to."""

    content: bytes
    records: int
    skipped: tuple[str, ...]


@pytest.fixture
def get(net: Internet, make_config: Callable[..., Config]) -> Callable[..., Found]:
    """Capture through the small internet, with short limits."""

    def get(url: str, *, proxy: str = "", limits: Limits | None = None) -> Found:
        settings = make_config(capture="proxy" if proxy else "direct", capture_proxy=proxy)
        file = io.BytesIO()
        done = capture(
            url, file, settings=settings, now=NOW, network=net.network(), limits=limits or Limits(3, 5)
        )
        return Found(file.getvalue(), done.records, done.skipped)

    return get


Get = Callable[..., Found]


def records(found: Found) -> list[tuple[str, str, bytes]]:
    """(type, address, content) of every record; every digest is checked."""
    with io.BytesIO(found.content) as file:
        return [
            (
                record.rec_type,
                record.rec_headers.get_header("WARC-Target-URI") or "",
                record.content_stream().read(),
            )
            for record in ArchiveIterator(file, check_digests="raise")
        ]


def fetched(found: Found) -> list[str]:
    return [url for kind, url, _ in records(found) if kind == "response"]


# What a capture holds


def test_a_page_is_captured_with_its_pictures_and_style_sheets_and_nothing_else(
    net: Internet, get: Get
) -> None:
    site = net.site(
        {"/start": answer(PAGE), **{path: answer(b"bytes", "image/png") for path in ("/seal.png", "/wide.png")},
         "/style.css": answer("p { background: url(deeper.png) }", "text/css")}, NAME
    )  # fmt: skip
    found = get(START)
    assert site.paths == ["/start", "/style.css", "/seal.png", "/wide.png"]
    assert fetched(found) == [
        START,
        *(f"http://{NAME}/{part}" for part in ("style.css", "seal.png", "wide.png")),
    ]
    assert records(found)[1][2] == PAGE.encode()
    assert found.skipped == ()
    assert found.records == len(records(found)) == 9
    assert gzip.decompress(found.content).count(b"WARC-Block-Digest: sha256:") == 9
    assert net.canary.connections == 0


def test_what_was_sent_and_received_is_kept_byte_by_byte(net: Internet, get: Get) -> None:
    odd = b"HTTP/1.1  200  Fine\r\nconTENT-type:text/plain\r\nX-Odd: \xe9\xff  \r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"5;x=y\r\nhello\r\n0\r\n\r\n"
    odd = odd.replace(b"1.1  200  Fine", b"1.1 200 Fine")
    site = net.site({"/start": odd + body}, NAME)
    raw = gzip.decompress(get(START).content)
    assert odd + body in raw
    assert site.requests[0].encode() in raw


def test_the_request_says_nothing_about_who_asks(net: Internet, get: Get) -> None:
    site = net.site(
        {"/start": answer('<img src="/seal.png">', Set_Cookie="id=1"), "/seal.png": answer(b"x")}, NAME
    )
    get(START + "#fragment")
    names = [{line.split(":")[0] for line in request.split("\r\n")[1:] if line} for request in site.requests]
    expected = {"Host", "User-Agent", "Accept", "Accept-Language", "Accept-Encoding", "Connection"}
    assert names == [expected, expected]
    assert all("python" not in request.lower() and "fragment" not in request for request in site.requests)


def test_the_file_says_nothing_about_this_machine(net: Internet, get: Get) -> None:
    net.site({"/start": answer("page")}, NAME)
    raw = gzip.decompress(get(START).content).decode()
    for own in (socket.gethostname(), "127.0.0.1", "tracker", "The monitoring team"):
        assert own not in raw
    assert f"WARC-IP-Address: {PUBLIC_IP}" in raw
    assert f"WARC-Date: {NOW:%Y-%m-%dT%H:%M}" in raw


def test_redirects_are_followed_three_times_and_kept(net: Internet, get: Get) -> None:
    pages = {
        "/start": redirect("/one"), "/one": redirect("//mirror.arvenia.example/two", "301 Moved Permanently"),
        "/two": redirect("/end?ä=ö", "308 Permanent Redirect"), "/end?%C3%A4=%C3%B6": answer("here"),
    }  # fmt: skip
    net.site(pages, NAME, "mirror.arvenia.example")
    assert len(fetched(get(START))) == 4


def test_a_name_in_another_script_is_asked_for_in_ascii(net: Internet, get: Get) -> None:
    site = net.site({"/": answer("ok")}, "xn--mnchen-3ya.example")
    get("http://MÜNCHEN.example")
    assert "Host: xn--mnchen-3ya.example\r\n" in site.requests[0]


def test_https_checks_the_certificate_against_the_name(net: Internet, get: Get) -> None:
    site = net.site({"/start": answer("secured")}, NAME, tls=net.certificate(NAME))
    found = get(START.replace("http:", "https:"))
    assert fetched(found) == [f"https://{NAME}/start"]
    net.names["other.arvenia.example"] = [PUBLIC_IP]
    with pytest.raises(CaptureFailed, match="certificate is not valid"):
        get("https://other.arvenia.example/start")
    assert len(site.requests) == 1


def test_an_expired_certificate_is_refused(net: Internet, get: Get) -> None:
    net.site({"/start": answer("secured")}, NAME, tls=net.certificate(NAME, days=-1))
    with pytest.raises(CaptureFailed, match="certificate is not valid"):
        get(START.replace("http:", "https:"))


def test_a_packed_page_is_opened_to_find_its_pictures_and_kept_packed(net: Internet, get: Get) -> None:
    packed = {
        "/gzip": answer(gzip.compress(b'<img src="/1.png">'), Content_Encoding="gzip"),
        "/twice": answer(gzip.compress(b"<img ") + gzip.compress(b'src="/2.png">'), Content_Encoding="gzip"),
        "/zlib": answer(zlib.compress(b'<img src="/3.png">'), Content_Encoding="deflate"),
        "/bare": answer(zlib.compress(b'<img src="/4.png">')[2:-4], Content_Encoding="deflate"),
    }
    site = net.site(packed, NAME)
    for place, path in enumerate(packed, 1):
        get(f"http://{NAME}{path}")
        assert site.paths[-1] == f"/{place}.png", path


def test_a_packing_that_we_do_not_know_is_kept_and_said(net: Internet, get: Get) -> None:
    net.site({"/start": answer(b"\x0b\x02", Content_Encoding="br")}, NAME)
    assert "packed in a way that cannot be opened" in get(START).skipped[0]


def test_what_is_no_page_is_captured_alone(net: Internet, get: Get) -> None:
    net.site({"/start": answer(b"%PDF-1.7", "application/pdf")}, NAME)
    assert fetched(get(START)) == [START]


def test_parts_that_fail_are_counted_in_sentences_without_names_and_listed_in_the_file(
    net: Internet, get: Get
) -> None:
    html = '<img src="/gone.png"><img src="/away.png"><img src="http://10.0.0.1/x.png"><img src="ftp://a.example/">'
    net.site({"/start": answer(html)}, NAME)
    found = get(START)
    assert sorted(found.skipped) == [
        "2 × The other side answered 404 instead of the page.",
        "Only addresses that begin with http:// or https:// are captured.",
        "The address leads into a private or special network. Such addresses are never contacted.",
    ]
    kind, _, content = records(found)[-1]
    assert kind == "metadata"
    assert b"not-fetched: http://10.0.0.1/x.png The address leads into" in content
    assert net.canary.connections == 0


def test_at_most_a_hundred_parts_are_fetched(net: Internet, get: Get) -> None:
    site = net.site({"/start": answer("".join(f'<img src="/{n}.png">' for n in range(9)))}, NAME)
    found = get(START, limits=Limits(3, 5, parts=4))
    assert len(site.paths) == 5
    assert any(text.startswith("5 × More than a hundred") for text in found.skipped)


def test_a_page_that_is_not_there_is_a_failure_that_lasts_and_a_busy_server_one_that_passes(
    net: Internet, get: Get
) -> None:
    net.site({"/busy": answer(status="503 Busy")}, NAME)
    for path, lasting in (("/nothing", True), ("/busy", False)):
        with pytest.raises(CaptureFailed) as failure:
            get(f"http://{NAME}{path}")
        assert failure.value.lasting is lasting


# Where no address leads

CANARIES = [
    "127.0.0.1", "127.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "017700000001", "１２７.0.0.1", "127。0。0。1",
    "127.0.0.1.", "0", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[2606:4700::5efe:7f00:1]", "[2606:4700::200:5efe:7f00:1]",
    "169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "[fe80::1%25lo]", "[fe80::1%lo]", "[ff02::1]", "[2001:db8::1]",
    "[3fff::1]", "[5f00::1]", "[100::1]", "[fec0::1]", "224.0.0.1", "239.1.2.3", "255.255.255.255", "240.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1",
    "100.64.0.1", "100.100.100.200", "192.0.0.1", "192.0.0.170", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
    "168.63.129.16", "localhost", "LOCALHOST", "localhost.", "x.localhost", "printer.local", "router.lan", "metadata.google.internal",
    "intranet", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "127.0.0.1%2e", "%6cocalhost", "1.2.3.4.5", "0x", "256.256.256.256", "999999999999", "."
]  # fmt: skip


@pytest.mark.parametrize("host", CANARIES)
def test_no_private_or_special_address_is_contacted(net: Internet, get: Get, host: str) -> None:
    for scheme in ("http", "https"):
        with pytest.raises(Invalid):
            get(f"{scheme}://{host}/")
    assert net.connected == []
    assert net.canary.connections == 0


@pytest.mark.parametrize("host", CANARIES)
def test_a_redirect_to_one_leads_nowhere(net: Internet, get: Get, host: str) -> None:
    net.site({"/start": redirect(f"http://{host}/")}, NAME)
    with pytest.raises(Invalid):
        get(START)
    assert net.connected == [(PUBLIC_IP, 80)]


@pytest.mark.parametrize("host", CANARIES)
def test_a_picture_at_one_is_not_fetched(net: Internet, get: Get, host: str) -> None:
    net.site({"/start": answer(f'<img src="http://{host}/secret">')}, NAME)
    get(START)
    assert net.connected == [(PUBLIC_IP, 80)]


@pytest.mark.parametrize("host", CANARIES)
def test_the_proxy_is_not_asked_for_one_either(net: Internet, get: Get, host: str) -> None:
    proxy = net.proxy({})
    with pytest.raises(Invalid):
        get(f"http://{host}/", proxy=proxy.url)
    assert proxy.asked == []


@pytest.mark.parametrize(
    "url",
    [
        f"http://user@{NAME}/", f"http://user:word@{NAME}/", f"http://{NAME}@127.0.0.1/", f"http://{NAME}\\@127.0.0.1/",
        f"http://@{NAME}/", f"http://{NAME}:22/", f"http://{NAME}:8080/", f"http://{NAME}:99999/", f"http://{NAME}:-1/",
        f"http://{NAME}:0/", f"http://{NAME}:８０/", "file:///etc/passwd", "gopher://127.0.0.1:70/_x", "ftp://arvenia.example/",
        "dict://127.0.0.1:11211/stat", "javascript:alert(1)", "data:text/html,x", "//127.0.0.1/", "", "http://", "http:///x",
        f"http://{NAME}/a b", f"http://{NAME}/\r\nX-Injected:1", f"http://{NAME}/\x00", f"http://{NAME}\t/", f" http://{NAME}/",
        f"http://{NAME}/\ud800", "http://[::1", "http://[v1.x]/", f"http://{NAME}/{'a' * 5000}", "http://a..b/", f"http://{'a' * 64}.example/",
        "http://" + "a." * 130 + "example/", "jar:http://a.example!/x", "http:arvenia.example", "http://exa mple.example/", "http://ex℀mple.example/",
    ],
)  # fmt: skip
def test_what_is_no_proper_address_is_refused_with_a_sentence(net: Internet, get: Get, url: str) -> None:
    net.site({"/": answer("never")}, NAME)
    with pytest.raises(Invalid) as refusal:
        get(url)
    assert str(refusal.value).endswith(".")
    assert net.looked_up == net.connected == []


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        f"http://user@{NAME}/",
        f"http://{NAME}:22/",
        "http://[",
        "//[x]/",
    ],
)
def test_a_redirect_is_checked_like_the_first_address(net: Internet, get: Get, target: str) -> None:
    net.site({"/start": redirect(target)}, NAME)
    with pytest.raises(Invalid):
        get(START)
    assert net.connected == [(PUBLIC_IP, 80)]


@pytest.mark.parametrize(
    "bad",
    ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "64:ff9b::7f00:1", "fe80::1%eth0", "not an address"],
)
def test_a_name_with_one_private_address_among_public_ones_is_refused(
    net: Internet, get: Get, bad: str
) -> None:
    site = net.site({"/start": answer("never")}, NAME)
    for addresses_ in ([bad], [PUBLIC_IP, bad], [bad, PUBLIC_IP]):
        net.names[NAME] = addresses_
        with pytest.raises(Invalid, match="private or special network"):
            get(START)
    assert site.connections == net.canary.connections == 0


def test_a_name_is_looked_up_once_so_that_it_cannot_change_between_check_and_connection(
    net: Internet, get: Get
) -> None:
    net.site({"/start": answer("public")}, NAME)
    answers = iter([[PUBLIC_IP], ["127.0.0.1"], ["127.0.0.1"]])
    net.names[NAME] = lambda: next(answers)
    get(START)
    assert net.looked_up == [NAME]
    assert net.connected == [(PUBLIC_IP, 80)]


def test_a_name_that_turns_private_before_the_picture_is_refused_there(net: Internet, get: Get) -> None:
    net.site({"/start": answer('<img src="/secret">')}, NAME)
    answers = iter([[PUBLIC_IP], ["127.0.0.1"]])
    net.names[NAME] = lambda: next(answers)
    assert "private or special network" in get(START).skipped[0]
    assert net.canary.connections == 0


def test_an_address_of_ipv6_alone_is_contacted_and_a_dead_first_address_passed_over(
    net: Internet, get: Get
) -> None:
    v6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
    site = net.site({"/start": answer("six")}, NAME, ip=v6)
    get(START)
    assert net.connected == [(v6, 80)]
    get(f"http://[{v6}]/start")
    assert f"Host: [{v6}]\r\n" in site.requests[1]
    dead = net.site({}, "dead.arvenia.example", ip="93.184.215.15")
    dead.close()
    net.names[NAME] = ["93.184.215.15", v6]
    get(START)


def test_every_address_is_judged_as_the_registries_say() -> None:
    good = [
        "93.184.215.14",
        "8.8.8.8",
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.32.0.1",
        "2606:4700::1111",
        "2a00:1450::1",
    ]
    assert all(addresses.permitted(ipaddress.ip_address(text)) for text in good)
    # What Python 3.11 alone would let pass.
    bad = ["224.0.0.1", "ff02::1", "64:ff9b::7f00:1", "2002:7f00:1::", "192.88.99.1", "::ffff:8.8.8.8"]
    assert not any(addresses.permitted(ipaddress.ip_address(text)) for text in bad)


def test_onion_addresses_are_never_looked_up_directly(net: Internet, get: Get) -> None:
    with pytest.raises(Invalid, match="through a proxy only"):
        get("http://arveniaarvenia.onion/")
    assert net.looked_up == []


def test_proxies_of_the_environment_are_not_looked_at(
    net: Internet, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{net.canary.port}")
    net.site({"/start": answer("direct")}, NAME)
    get(START)
    assert net.canary.connections == 0


# What takes too long or too much


def _without_end(piece: bytes, pause: float = 0, start: bytes = b"") -> Callable[[socket.socket], None]:
    def write(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)
            time.sleep(pause)

    return write


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
SLOW = Limits(request_seconds=0.6, total_seconds=1.2, total_bytes=200_000, unpacked_bytes=300_000)
ENDLESS: dict[str, Any] = {
    "silence": _without_end(b"", 0.05),
    "a drip of the body": _without_end(b"x", 0.05, OK + b"\r\n"),
    "a drip of the head": _without_end(b"X", 0.05, OK),
    "a drip of chunks": _without_end(b"1\r\nx\r\n", 0.05, OK + b"Transfer-Encoding: chunked\r\n\r\n"),
    "a body without end": _without_end(b"x" * 10_000, 0, OK + b"\r\n"),
    "chunks without end": _without_end(b"1000\r\n" + b"x" * 4096 + b"\r\n", 0, OK + b"Transfer-Encoding: chunked\r\n\r\n"),
    "a chunk's extension without end": _without_end(b"x" * 1000, 0, OK + b"Transfer-Encoding: chunked\r\n\r\n1;"),
    "trailers without end": _without_end(b"X: y\r\n", 0, OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"),
    "headers without end": _without_end(b"X-Header: more\r\n", 0, OK),
    "a header line without end": _without_end(b"X" * 1000, 0, OK),
    "100 Continue for ever": _without_end(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "more than it said": answer(b"x" * 250_000),
    "less than it said": OK + b"Content-Length: 100\r\n\r\nx",
    "a negative chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "no chunk at all": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "nothing": b"",
    "a gzip bomb": answer(gzip.compress(b"\0" * 50_000_000), Content_Encoding="gzip"),
    "a deflate bomb": answer(zlib.compress(b"\0" * 50_000_000), Content_Encoding="deflate"),
    "a redirect to itself": redirect("/start"),
    "a redirect without end": redirect("/start?more", "301 Moved"),
    "a redirect to nowhere": answer(status="302 Found"),
}  # fmt: skip


@pytest.mark.parametrize("what", ENDLESS)
def test_it_ends_within_its_limits(net: Internet, get: Get, what: str) -> None:
    net.site({"/start": ENDLESS[what], "/start?more": redirect("/start")}, NAME)
    began = time.monotonic()
    with pytest.raises(CaptureFailed) as failure:
        get(START, limits=SLOW)
    assert time.monotonic() - began < 2
    assert str(failure.value).endswith(".")


@pytest.mark.parametrize("what", [name for name in ENDLESS if not name.startswith("a redirect")])
def test_a_picture_that_does_so_is_left_out_of_the_capture(net: Internet, get: Get, what: str) -> None:
    net.site(
        {"/start": answer('<img src="/bad"><img src="/good">'), "/bad": ENDLESS[what], "/good": answer("x")},
        NAME,
    )
    began = time.monotonic()
    found = get(START, limits=SLOW)
    assert time.monotonic() - began < 2
    assert found.skipped
    assert fetched(found)[0] == START


def test_many_slow_pictures_end_with_the_time_of_the_whole(net: Internet, get: Get) -> None:
    html = "".join(f'<img src="/{n}">' for n in range(50))
    net.site({"/start": answer(html), **{f"/{n}": ENDLESS["silence"] for n in range(50)}}, NAME)
    began = time.monotonic()
    found = get(START, limits=Limits(request_seconds=0.2, total_seconds=0.7))
    assert time.monotonic() - began < 1.5
    assert any("The time for one capture was over." in text for text in found.skipped)


def test_once_the_bytes_are_used_up_nobody_else_is_contacted(net: Internet, get: Get) -> None:
    html = '<img src="/bad">' + "".join(f'<img src="/{n}">' for n in range(5))
    site = net.site({"/start": answer(html), "/bad": ENDLESS["a body without end"]}, NAME)
    assert get(START, limits=SLOW).skipped[0].startswith("6 × It is larger than")
    assert site.paths == ["/start", "/bad"]


def test_a_head_of_many_kilobytes_is_refused(net: Internet, get: Get) -> None:
    net.site({"/start": answer("page", **{f"X_{n}": "x" * 1000 for n in range(80)})}, NAME)
    with pytest.raises(CaptureFailed, match="cannot be understood"):
        get(START)


def test_a_page_whose_rest_is_one_endless_tag_is_searched_up_to_there(net: Internet, get: Get) -> None:
    site = net.site(
        {"/start": answer('<img src="/one.png"><script>' + "x" * 2_000_000), "/one.png": answer("x")}, NAME
    )
    assert "only its beginning was searched" in get(START).skipped[0]
    assert site.paths == ["/start", "/one.png"]


def test_a_resolver_that_hangs_does_not_hang_us(net: Internet, get: Get) -> None:
    woken = threading.Event()

    def hang() -> list[str]:
        woken.wait(20)
        return [PUBLIC_IP]

    net.names[NAME] = hang
    began = time.monotonic()
    with pytest.raises(CaptureFailed, match="did not answer in time"):
        get(START, limits=SLOW)
    assert time.monotonic() - began < 2
    woken.set()
    assert net.connected == []


def test_a_server_that_hangs_in_the_handshake_does_not_hang_us(net: Internet, get: Get) -> None:
    net.site({}, NAME)
    net.sites[PUBLIC_IP, 443] = net.sites.pop((PUBLIC_IP, 80))  # Waits for a request in clear.
    began = time.monotonic()
    with pytest.raises(CaptureFailed):
        get(f"https://{NAME}/", limits=SLOW)
    assert time.monotonic() - began < 2


def test_gzip_in_a_million_pieces_costs_no_time(net: Internet, get: Get) -> None:
    body = gzip.compress(b"") * 400_000
    net.site({"/start": answer(body, Content_Encoding="gzip")}, NAME)
    began = time.monotonic()
    get(START, limits=Limits())
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "piece",
    ["<!--", "<![CDATA[", "</", "<a ", "<img src='", '<img a="', "<script>", "<script></", "&", "&#", "<!", "<?", "<img x=", "<img " + "= " * 9,
     "<img ''\"\"", "<textarea><", "<svg><style>", "<img src=//x ", "<img src=x>", "<a" + " " * 50],
)  # fmt: skip
def test_a_page_made_to_be_slow_to_read_is_not(piece: str) -> None:
    began = time.monotonic()
    page.parts(piece * (5 * 2**20 // len(piece)), START, going=lambda: time.monotonic() < began + 1)
    assert time.monotonic() - began < 4


# Through a proxy


def test_the_proxy_looks_up_the_name_and_the_file_does_not_know_the_address(net: Internet, get: Get) -> None:
    site = net.site({"/start": answer('<img src="/seal.png">'), "/seal.png": answer(b"x")}, NAME)
    proxy = net.proxy({NAME: site, "arveniaarvenia.onion": site})
    found = get(START, proxy=proxy.url)
    assert proxy.asked == [(NAME, 80), (NAME, 80)]
    assert net.looked_up == net.connected == []
    assert b"WARC-IP-Address" not in gzip.decompress(found.content)
    get("http://arveniaarvenia.onion/start", proxy=proxy.url)
    # One capture travels as one person, another as somebody else.
    assert proxy.users[0] == proxy.users[1] != proxy.users[2]


def test_https_through_the_proxy_is_checked_from_here(net: Internet, get: Get) -> None:
    site = net.site({"/start": answer("secured")}, NAME, tls=net.certificate(NAME))
    proxy = net.proxy({NAME: site, "other.arvenia.example": site}, ("mona", "pass word"))
    url = f"socks5h://mona:pass%20word@127.0.0.1:{proxy.port}"
    get(START.replace("http:", "https:"), proxy=url)
    with pytest.raises(CaptureFailed, match="certificate"):
        get("https://other.arvenia.example/start", proxy=url)


def test_a_proxy_that_fails_is_a_failure_with_a_sentence(net: Internet, get: Get) -> None:
    proxy = net.proxy({}, ("mona", "right"))
    with pytest.raises(CaptureFailed, match="could not reach the other side"):
        get(START, proxy=proxy.url)
    with pytest.raises(CaptureFailed, match="could not reach"):
        get(START, proxy=f"socks5h://mona:wrong@127.0.0.1:{proxy.port}")
    proxy.close()
    with pytest.raises(CaptureFailed, match="proxy for captures cannot be reached"):
        get(START, proxy=proxy.url)
    assert net.looked_up == net.connected == []


@pytest.mark.parametrize("said", [b"", b"\x05", b"\x05\x00\x05\x00\x00\x03", b"HTTP/1.1 400 Bad\r\n\r\n"])
def test_a_proxy_that_hangs_or_talks_nonsense_does_not_hang_us(net: Internet, get: Get, said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(said)
                    connection.settimeout(3)
                    while connection.recv(4096):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        began = time.monotonic()
        with pytest.raises(CaptureFailed):
            get(START, proxy=f"socks5h://127.0.0.1:{listener.getsockname()[1]}", limits=SLOW)
        assert time.monotonic() - began < 2
        thread.join()


def test_the_doctor_asks_whether_the_proxy_answers(net: Internet, make_config: Callable[..., Config]) -> None:
    assert proxy_problem(make_config()) is None
    proxy = net.proxy({})
    assert proxy_problem(make_config(capture="proxy", capture_proxy=proxy.url)) is None
    other = make_config(capture="proxy", capture_proxy=f"socks5h://127.0.0.1:{net.site({}).port}")
    assert "is not a SOCKS5 proxy" in (proxy_problem(other, 0.3) or "") or "cannot be reached" in (
        proxy_problem(other, 0.3) or ""
    )
    proxy.close()
    assert "cannot be reached" in (proxy_problem(make_config(capture="proxy", capture_proxy=proxy.url)) or "")


# The switch


def test_it_is_off_unless_switched_on(net: Internet, make_config: Callable[..., Config]) -> None:
    assert make_config().capture == "off"
    with pytest.raises(Invalid, match="switched off"):
        capture(START, io.BytesIO(), settings=make_config(), now=NOW, network=net.network())
    assert net.looked_up == []


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"capture": "proxy"}, "say which in capture_proxy"),
        ({"capture": "tor"}, "Setting capture"),
        *[
            ({"capture_proxy": url}, "write an address like socks5h://127.0.0.1:9050")
            for url in (
                "socks5://127.0.0.1:9050", "http://127.0.0.1:8080", "127.0.0.1:9050", "socks5h://127.0.0.1", "socks5h://:9050",
                "socks5h://127.0.0.1:99999", "socks5h://127.0.0.1:0", "socks5h://127.0.0.1:9050/x", "socks5h://" + "a" * 500 + ":1",
            )
        ],
        ({"capture_delay_minutes": "-1"}, "Setting capture_delay_minutes"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_stop_the_start(
    make_config: Callable[..., Config], values: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make_config(**values)


def test_the_program_never_passes_a_network_or_limits_of_its_own() -> None:
    """The strict rules are the default; only a test could weaken them, by these arguments."""
    passed = [
        (path.name, keyword.arg)
        for path in (ROOT / "tracker").rglob("*.py")
        if path.parent.name != "capture"
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg in ("network", "limits") and "capture" in ast.unparse(call.func)
    ]
    assert passed == []
