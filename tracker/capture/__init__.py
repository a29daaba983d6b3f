"""Fetching a web page on request, with its pictures and style sheets, into a WARC file.

Fetching tells the other side that somebody collects, and an address that a stranger wrote can point anywhere. So
this is off unless the operator switches it on, a person asks for every page, and whatever is fetched, also after a
redirect and for every picture, goes through the same door: `addresses` says what may be contacted, `ways` how,
`limits` how long and how much, `archive` writes what was sent and received (ISO 28500, WARC 1.1).
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from io import RawIOBase
from typing import IO

from tracker.capture import addresses, page
from tracker.capture.archive import Archive
from tracker.capture.fetch import Exchange, exchange
from tracker.capture.limits import Budget, Limits
from tracker.capture.ways import INTERNET, Network, Way, proxy_problem, way_out
from tracker.config import Config
from tracker.errors import CaptureFailed, Invalid
from tracker.vocabulary import N_

__all__ = ["Captured", "Limits", "Network", "capture", "check", "proxy_problem"]

_PAGE = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
_PART = "*/*"


@dataclass(frozen=True)
class Captured:
    """A finished capture: how many records the file holds, and in sentences what of the page was left out."""

    records: int
    skipped: tuple[str, ...]


def check(url: str) -> None:
    """Raise Invalid for an address that is never fetched, as far as can be said without looking up its name."""
    addresses.parse(url)


def capture(
    url: str,
    into: IO[bytes] | RawIOBase,
    *,
    settings: Config,
    now: dt.datetime,
    network: Network = INTERNET,
    limits: Limits | None = None,
) -> Captured:
    """Fetch a page and its parts and write them to `into` as a gzipped WARC file.

    Raises Invalid for an address that is never fetched, and CaptureFailed if it did not work, each with a sentence
    that names no host. The file holds half a capture then, and whoever opened it throws it away.
    """
    if settings.capture == "off":
        raise Invalid(N_("Capturing is switched off here."))
    budget = Budget(limits or Limits())
    way = way_out(settings, network)
    archive = Archive(into, now)
    last = _follow(addresses.parse(url), _PAGE, way, budget, archive)
    if last.status != 200:
        raise _bad_answer(last.status)
    skipped = _parts(last, way, budget, archive)
    archive.note(last, skipped)
    tally = Counter(sentence for _, sentence in skipped)
    return Captured(archive.records, tuple(_sentence(text, count) for text, count in tally.items()))


def _follow(address: addresses.Address, accept: str, way: Way, budget: Budget, archive: Archive) -> Exchange:
    """The answer after at most three redirects, each checked as if it were the first address."""
    for _ in range(budget.limits.redirects + 1):
        answer = exchange(way, address, accept, budget)
        archive.add(answer)
        target = answer.redirect
        if target is None:
            return answer
        address = addresses.join(address.url, target)
    raise CaptureFailed(N_("The other side redirects more than three times."), lasting=True)


def _parts(whole: Exchange, way: Way, budget: Budget, archive: Archive) -> list[tuple[str, str]]:
    """Fetch the pictures and style sheets of a page; give back (address, why not) of what was not fetched."""
    if not whole.is_html:
        return []
    skipped: list[tuple[str, str]] = []
    if (html := whole.text()) is None:
        return [(whole.address.url, str(_unreadable()))]
    links = page.parts(html, whole.address.url, going=budget.going)
    wanted, surplus = links.addresses[: budget.limits.parts], links.addresses[budget.limits.parts :]
    skipped += [
        (url, N_("More than a hundred pictures and style sheets: the rest was left out.")) for url in surplus
    ]
    if not links.complete:
        skipped.append(
            (whole.address.url, N_("The page is too long: only its beginning was searched for pictures."))
        )
    for place, url in enumerate(wanted):
        if budget.over:
            skipped += [(left, str(budget.over)) for left in wanted[place:]]
            break
        try:
            answer = _follow(addresses.parse(url), _PART, way, budget, archive)
            if answer.status != 200:
                raise _bad_answer(answer.status)
        except (Invalid, CaptureFailed) as error:
            skipped.append((url, str(error)))
    return skipped


def _bad_answer(status: int) -> CaptureFailed:
    # "Too many requests" and the server's own troubles pass; that a page is not there does not.
    return CaptureFailed(
        N_("The other side answered %(status)s instead of the page."),
        lasting=status < 500 and status not in (408, 425, 429),
        status=status,
    )


def _unreadable() -> CaptureFailed:
    return CaptureFailed(
        N_("The page came packed in a way that cannot be opened, so its pictures were not looked for.")
    )


def _sentence(text: str, count: int) -> str:
    return f"{count} × {text}" if count > 1 else text
