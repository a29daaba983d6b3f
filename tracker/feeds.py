"""The Atom writer (RFC 4287): plain data in, bytes out."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

_ATOM = "http://www.w3.org/2005/Atom"
# What XML 1.0 cannot hold in any way. Text of ours has none of it; a feed must not break on what was once let in.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Item:
    """One entry of a feed. `text` is plain text; `updated` moves when what is told of it changes."""

    id: str
    title: str
    url: str
    published: dt.datetime
    updated: dt.datetime
    text: str
    categories: list[tuple[str, str]] = field(default_factory=list)  # (term, label)


def atom(
    *,
    id: str,  # noqa: A002 - Atom's own word.
    title: str,
    author: str,
    language: str,
    page_url: str,
    self_url: str,
    next_url: str | None,
    updated: dt.datetime,
    items: Iterable[Item],
) -> bytes:
    """A whole feed."""
    feed = ET.Element("feed", {"xmlns": _ATOM, "xml:lang": language})
    _add(feed, "id", id)
    _add(feed, "title", title)
    _add(feed, "updated", _time(updated))
    _add(_add(feed, "author"), "name", author)
    _link(feed, "self", self_url, "application/atom+xml")
    _link(feed, "alternate", page_url, "text/html")
    if next_url:
        _link(feed, "next", next_url, "application/atom+xml")
    for item in items:
        entry = _add(feed, "entry")
        _add(entry, "id", item.id)
        _add(entry, "title", item.title)
        _add(entry, "published", _time(item.published))
        _add(entry, "updated", _time(item.updated))
        _link(entry, "alternate", item.url, "text/html")
        for term, label in item.categories:
            ET.SubElement(entry, "category", {"term": term, "label": _clean(label)})
        if item.text:
            _add(entry, "content", item.text).set("type", "text")
    return bytes(ET.tostring(feed, encoding="utf-8", xml_declaration=True))


def _add(parent: ET.Element, name: str, text: str | None = None) -> ET.Element:
    element = ET.SubElement(parent, name)
    if text is not None:
        element.text = _clean(text)
    return element


def _link(parent: ET.Element, rel: str, url: str, media_type: str) -> None:
    ET.SubElement(parent, "link", {"rel": rel, "href": url, "type": media_type})


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _time(value: dt.datetime) -> str:
    return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
