"""The WARC file of one capture: what was sent and what came back, byte by byte, with SHA-256 digests.

It says nothing about this machine or the team: no host name, no operator, random record names.
"""

from __future__ import annotations

import datetime as dt
import time
from io import BytesIO, RawIOBase
from typing import IO, Any

from warcio.statusandheaders import StatusAndHeaders
from warcio.utils import Digester
from warcio.warcwriter import WARCWriter

from tracker.capture.fetch import Exchange


class Archive:
    """A gzipped WARC 1.1 file that grows by exchanges."""

    def __init__(self, into: IO[bytes] | RawIOBase, now: dt.datetime) -> None:
        self.records = 0
        self._now, self._started = now, time.monotonic()
        self._writer = _Writer(into, gzip=True, warc_version="1.1")
        info = self._writer.create_warcinfo_record(
            "", {"format": "WARC File Format 1.1", "software": "warcio"}
        )
        info.rec_headers.replace_header("WARC-Date", self._date(self._started))
        self._write(info)

    def add(self, exchange: Exchange) -> None:
        """Write the response and the request that it answers."""
        headers = {"WARC-Date": self._date(exchange.at)}
        if exchange.ip:
            headers["WARC-IP-Address"] = exchange.ip
        response = self._record("response", exchange.address.url, exchange.head, exchange.raw_body, headers)
        named = {"WARC-Concurrent-To": response.rec_headers.get_header("WARC-Record-ID")}
        self._write(response)
        self._write(self._record("request", exchange.address.url, exchange.request, b"", headers | named))

    def note(self, page: Exchange, skipped: list[tuple[str, str]]) -> None:
        """Write down what of the page was not fetched, and why."""
        lines = "".join(f"not-fetched: {url} {sentence}\r\n" for url, sentence in skipped).encode()
        if lines:
            record = self._writer.create_warc_record(
                page.address.url,
                "metadata",
                payload=BytesIO(lines),
                length=len(lines),
                warc_headers_dict={"WARC-Date": self._date(time.monotonic())},
            )
            self._write(record)

    def _record(self, kind: str, url: str, head: bytes, body: bytes, headers: dict[str, str]) -> Any:
        return self._writer.create_warc_record(
            url,
            kind,
            payload=BytesIO(body),
            length=len(body),
            http_headers=_Head(head),
            warc_headers_dict=dict(headers),
        )

    def _write(self, record: Any) -> None:
        self._writer.write_record(record)
        self.records += 1

    def _date(self, moment: float) -> str:
        at = self._now + dt.timedelta(seconds=moment - self._started)
        return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Writer(WARCWriter):
    @staticmethod
    def _create_digester() -> Any:
        return Digester("sha256")


class _Head(StatusAndHeaders):
    """A head as it was sent or received. The library would write it anew, in its own words."""

    def __init__(self, head: bytes) -> None:
        super().__init__("as it was", [])  # The library takes one without words for none.
        self._exact = head

    def compute_headers_buffer(self, header_filter: Any = None) -> None:
        self.headers_buff = self._exact
