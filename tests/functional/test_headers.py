"""Every answer of the public pages: fenced, without cookies, and sent again only when it changed."""

from __future__ import annotations

import datetime as dt

import pytest
import time_machine
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import Record
from tracker.vocabulary import Grade

PAGES = (
    "/", "/reports/lower-valley", "/reports/lower-valley/88-a", "/evidence/1", "/method", "/changes", "/changes.atom",
    "/changes.json", "/reports/lower-valley.atom", "/reports/lower-valley/88-a.atom", "/ledger", "/ledger/entries",
)  # fmt: skip
OTHERS = (
    "/health",
    "/robots.txt",
    "/ledger/verifier.py",
    "/nothing",
    "/reports/nothing",
    "/changes?before=x",
)


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    record = Record(session, make, now)
    record.evidence(record.first)
    return record


def test_every_answer_is_fenced_and_sets_no_cookie(client: Client, record: Record) -> None:
    for address in (*PAGES, *OTHERS):
        headers = client.http.get(address, buffered=True).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "Set-Cookie" not in headers
        assert "Last-Modified" not in headers or address == "/ledger/verifier.py"


def test_a_page_that_did_not_change_is_not_sent_again(client: Client, record: Record) -> None:
    for address in PAGES:
        first = client.http.get(address, buffered=True)
        assert first.headers["Cache-Control"] == "public, no-cache"
        again = client.http.get(address, buffered=True, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        assert again.headers["Cache-Control"] == "public, no-cache"


def test_a_publication_is_seen_at_once(client: Client, record: Record) -> None:
    addresses = [address for address in PAGES if address != "/method"]
    before = [client.http.get(address, buffered=True) for address in addresses]
    record.finding(record.first, record.first.clauses[0], Grade.C, record.evidence(record.first))

    for address, first in zip(addresses, before, strict=True):
        again = client.http.get(address, buffered=True, headers={"If-None-Match": first.headers["ETag"]})
        assert again.status_code == 200, address
        assert again.headers["ETag"] != first.headers["ETag"], address
        assert again.data != first.data or address == "/evidence/1"


def test_a_report_keeps_its_pages_when_another_one_changes(client: Client, record: Record) -> None:
    other = record.make.report("upper-valley")
    addresses = ["/reports/lower-valley", "/reports/lower-valley/88-a", "/reports/lower-valley.atom"]
    tags = [client.http.get(address, buffered=True).headers["ETag"] for address in addresses]
    record.evidence(other.recommendations[0])

    for address, tag in zip(addresses, tags, strict=True):
        assert client.http.get(address, buffered=True, headers={"If-None-Match": tag}).status_code == 304


def test_unpublished_work_does_not_show_in_the_etag(client: Client, record: Record) -> None:
    tags = [client.http.get(address, buffered=True).headers["ETag"] for address in PAGES]
    record.hide_some(record.first)

    assert [client.http.get(address, buffered=True).headers["ETag"] for address in PAGES] == tags


def test_pages_that_count_days_change_with_the_day(client: Client, record: Record, now: dt.datetime) -> None:
    for address in ("/", "/reports/lower-valley", "/reports/lower-valley/88-a"):
        with time_machine.travel(now, tick=False):
            tag = client.http.get(address, buffered=True).headers["ETag"]
        with time_machine.travel(now + dt.timedelta(days=1), tick=False):
            assert client.http.get(address, buffered=True, headers={"If-None-Match": tag}).status_code == 200


def test_one_page_s_tag_is_not_another_s(client: Client, record: Record) -> None:
    addresses = [*PAGES, "/changes?before=2", "/changes.atom?after=0", "/changes.atom?after=1"]

    assert len({client.http.get(address, buffered=True).headers["ETag"] for address in addresses}) == len(
        addresses
    )


def test_errors_are_never_kept(client: Client) -> None:
    assert client.http.get("/reports/nothing").headers["Cache-Control"] == "no-store"


def test_public_pages_take_no_posts(client: Client, record: Record) -> None:
    for address in PAGES:
        assert client.http.post(address).status_code in (400, 405), address
        assert client.http.head(address, buffered=True).status_code == 200, address
