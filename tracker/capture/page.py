"""Which pictures and style sheets a page shows: one level, nothing that runs, films or frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser

from tracker.capture import addresses
from tracker.errors import Invalid

# Python's parser is slow, with some hostile input very slow; it gets the page in pieces, and only so much of it.
_PIECE = 32 * 1024
_LONGEST = 5 * 2**20
_PENDING = 512 * 1024


@dataclass(frozen=True)
class Parts:
    """Absolute addresses in the order of the page, each once. `complete`: the whole page was searched."""

    addresses: list[str]
    complete: bool


def parts(html: str, base: str, *, going: Callable[[], bool]) -> Parts:
    """Find them. `going` is asked now and then whether there is still time."""
    parser = _Parser(base)
    complete = len(html) <= _LONGEST
    for start in range(0, min(len(html), _LONGEST), _PIECE):
        # What is pending is a tag, a comment or a script without an end so far.
        if not going() or len(parser.rawdata) > _PENDING:
            complete = False
            break
        parser.feed(html[start : start + _PIECE])
    return Parts([url for url in parser.found if url != base], complete)


class _Parser(HTMLParser):
    def __init__(self, base: str) -> None:
        super().__init__(convert_charrefs=True)
        self._base = base
        self._has_base = False
        self.found: dict[str, None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in reversed(attrs)}  # The first of two attributes counts.
        if tag == "base" and not self._has_base and values.get("href"):
            self._has_base = True
            if (url := self._absolute(values["href"])) is not None:
                self._base = url
        elif tag == "img":
            source = values.get("src", "")
            if not source or source.lower().startswith("data:"):
                source = (values.get("srcset", "").split() or [""])[0].rstrip(",")
            self._want(source)
        elif tag == "link" and "stylesheet" in values.get("rel", "").lower().split():
            self._want(values.get("href", ""))

    def _want(self, link: str) -> None:
        url = self._absolute(link) if link.strip() else None
        # Pictures written into the page itself (data:) are there already.
        if url is not None and url.partition(":")[0] not in ("data", "blob", "javascript", "about"):
            self.found[url] = None

    def _absolute(self, link: str) -> str | None:
        try:
            return addresses.joined(self._base, link)
        except Invalid:
            return None
