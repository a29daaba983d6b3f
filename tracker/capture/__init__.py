"""Fetching a web page on request, with its pictures and style sheets, into a WARC file.

Fetching tells the other side that somebody collects, and an address that a stranger wrote can point anywhere. So
this is off unless the operator switches it on, a person asks for every page, and whatever is fetched, also after a
redirect and for every picture, goes through the same door: `addresses` says what may be contacted, `fetch` keeps
the limits, `archive` writes what was sent and received (ISO 28500, WARC 1.1).
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tracker.capture import addresses, page
from tracker.capture.archive import Archive
from tracker.capture.fetch import INTERNET, Budget, Exchange, Limits, Network, Way, proxy_problem, way_out
from tracker.config import Config
from tracker.errors import CaptureFailed, Invalid, TrackerError
from tracker.vocabulary import N_

__all__ = ["INTERNET", "Captured", "Limits", "Network", "capture", "proxy_problem"]

_PAGE = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
_PART = "*/*"


@dataclass(frozen=True)
class Captured:
    """A finished capture: the WARC file, how many records it holds, and in sentences what was left out of it."""

    path: Path
    records: int
    skipped: tuple[str, ...]


def capture(
    url: str,
    into: Path,
    *,
    settings: Config,
    now: dt.datetime,
    network: Network = INTERNET,
    limits: Limits | None = None,
) -> Captured:
    """Fetch a page and its parts into `into`/capture.warc.gz.

    Raises Invalid for an address that is never fetched, and CaptureFailed if it did not work, each with a sentence
    that names no host: what it is about may be restricted, and the sentence is not. Nothing is left behind then.
    """
    if settings.capture == "off":
        raise Invalid(N_("Capturing is switched off here."))
    limits = limits or Limits()
    budget = Budget(limits)
    way = way_out(settings, network)
    path = into / "capture.warc.gz"
    try:
        with Archive(path, now) as archive:
            last = _follow(addresses.parse(url), _PAGE, way, budget, archive)
            if last.status != 200:
                raise _bad_answer(last.status)
            skipped = _parts(last, way, budget, archive)
            archive.note(last, skipped)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    tally = Counter(sentence for _, sentence in skipped)
    return Captured(path, archive.records, tuple(_sentence(text, count) for text, count in tally.items()))


def _follow(address: addresses.Address, accept: str, way: Way, budget: Budget, archive: Archive) -> Exchange:
    """The answer after at most three redirects, each checked as if it were the first address."""
    for _ in range(budget.limits.redirects + 1):
        exchange = way.exchange(address, accept, budget)
        archive.add(exchange)
        target = exchange.redirect
        if target is None:
            return exchange
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
        except TrackerError as error:
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
