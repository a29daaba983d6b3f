"""The Atom writer makes feeds that readers read."""

from __future__ import annotations

import datetime as dt
from xml.etree import ElementTree as ET

import feedparser

from tracker import feeds

NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)


def feed(*items: feeds.Item, next_url: str | None = None) -> bytes:
    return feeds.atom(
        id="tag:tracker.example,2026:changes", title="All <changes> & more", author="The monitoring team", language="en",
        page_url="https://tracker.example/changes", self_url="https://tracker.example/changes.atom?after=3&x=1",
        next_url=next_url, updated=NOON, items=items,
    )  # fmt: skip


def item(text: str = "Six files.", title: str = "A finding") -> feeds.Item:
    return feeds.Item(
        id="tag:tracker.example,2026:ledger/4", title=title, url="https://tracker.example/reports/x/1#entry-4",
        published=NOON, updated=NOON + dt.timedelta(hours=2), text=text, categories=[("finding-published", "Finding")],
    )  # fmt: skip


def test_a_feed_is_read_by_a_feed_reader() -> None:
    read = feedparser.parse(feed(item(), next_url="https://tracker.example/changes.atom?after=4"))

    assert not read.bozo
    assert read.version == "atom10"
    assert (read.feed.id, read.feed.author) == ("tag:tracker.example,2026:changes", "The monitoring team")
    assert {link.rel: link.href for link in read.feed.links} == {
        "self": "https://tracker.example/changes.atom?after=3&x=1",
        "alternate": "https://tracker.example/changes",
        "next": "https://tracker.example/changes.atom?after=4",
    }
    [entry] = read.entries
    assert (entry.id, entry.title, entry.link) == (
        "tag:tracker.example,2026:ledger/4", "A finding", "https://tracker.example/reports/x/1#entry-4",
    )  # fmt: skip
    assert (entry.published, entry.updated) == ("2026-11-22T12:00:00Z", "2026-11-22T14:00:00Z")
    assert [tag.term for tag in entry.tags] == ["finding-published"]


def test_markup_in_words_stays_words() -> None:
    words = "</content><script>alert(1)</script> & <b>bold</b>"
    content = ET.fromstring(feed(item(words, title=words)))
    ns = {"a": "http://www.w3.org/2005/Atom"}

    assert content.findtext("a:entry/a:content", namespaces=ns) == words
    assert content.findtext("a:entry/a:title", namespaces=ns) == words
    assert content.find("a:entry/a:content", ns).get("type") == "text"  # type: ignore[union-attr]


def test_uyghur_and_emoji_survive_and_what_xml_cannot_hold_is_replaced() -> None:
    content = ET.fromstring(feed(item("ئۇيغۇرچە \U0001f54a\nline\x00\x0b\ud800")))

    assert content.findtext(".//{*}content") == "ئۇيغۇرچە \U0001f54a\nline\ufffd\ufffd\ufffd"


def test_an_empty_feed_is_a_feed() -> None:
    read = feedparser.parse(feed())

    assert (bool(read.bozo), read.entries, len(read.feed.links)) == (False, [], 2)
