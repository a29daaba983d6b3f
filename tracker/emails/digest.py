"""Digests in words: parts that are rendered, inlined and encoded once, and one person's mail joined from them.

The standard library needs 3-4 ms to compose a mail, joining needs hundredths of one. So a part is stored as lines of
quoted-printable (RFC 2045, 6.7) that end in CRLF, and the parts of a mail are simply put one after another.
"""

from __future__ import annotations

import binascii
import datetime as dt
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.header import Header
from email.headerregistry import Address
from email.utils import format_datetime
from functools import lru_cache

from flask import render_template
from flask_babel import force_locale, gettext, ngettext

from tracker import emails
from tracker.config import Config
from tracker.emails import words
from tracker.mailer import Lines
from tracker.models import Recommendation, Report
from tracker.services.digests import Body, Facts, Names, Overdue, Rendered
from tracker.services.news import CORRECTED, WITHDRAWN, Told
from tracker.services.schedule import Rhythm
from tracker.vocabulary import Disclosure, EntryKind

_CUT = "<!--cut-->"
#: Places in the raw foot for what is a person's own.
_MANAGE, _LEAVE = "{{manage_url}}", "{{leave_url}}"
_HEADERS = (
    "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Precedence", "List-Unsubscribe",
    "List-Unsubscribe-Post", "MIME-Version", "Content-Type",
)  # fmt: skip
_HEAD = re.compile("".join(f"{name}: [ -~]+\r\n" for name in _HEADERS).encode() + b"\r\n").fullmatch
_OPEN, _ROWS, _CLOSE = "open", "rows", "close"


@dataclass(frozen=True)
class Links:
    """The two addresses that stand in one person's mail only."""

    manage_url: str
    leave_url: str


@dataclass(frozen=True)
class Composer:
    """Puts digests into words by the templates in templates/emails/digest/."""

    config: Config

    def head(self, facts: Facts, told: Sequence[Told]) -> Rendered:
        """The beginning of the page, what it is, and a summary."""
        with force_locale(facts.language):
            return self._part(
                "head",
                facts,
                _OPEN,
                summary=summary(told),
                demonstration=any(one.change.report.demonstration for one in told),
            )

    def report(self, facts: Facts, report: Report, *, corrections: bool) -> Rendered:
        """The heading of a report's part, or of the corrections in it."""
        with force_locale(facts.language):
            return self._part("report", facts, report=report, corrections=corrections)

    def place(self, facts: Facts, report: Report, place: Recommendation | None) -> Rendered:
        """The heading above what happened to one recommendation, or to the report as a whole."""
        with force_locale(facts.language):
            return self._part("place", facts, report=report, place=place)

    def item(self, facts: Facts, told: Told) -> Rendered:
        """One change: with its reasons, or only what changed."""
        with force_locale(facts.language):
            under = None if told.change.is_correction else told.place
            return self._part(
                "item",
                facts,
                item=words.item(told.change, under, self.config.public_url),
                extra=told.extra,
                brief=facts.disclosure is Disclosure.TITLES,
            )

    def more(self, facts: Facts, left: int) -> Rendered:
        """That so many more changes did not fit."""
        with force_locale(facts.language):
            return self._part("more", facts, left=left)

    def foot(self, facts: Facts, checkpoint: str | None, overdue: Sequence[Overdue]) -> Rendered:
        """Reviews overdue, and whether it is really from us."""
        with force_locale(facts.language):
            return self._part(
                "foot",
                facts,
                checkpoint=checkpoint,
                overdue=[(one, words.day_words(one.due_on)) for one in overdue],
            )

    def own(self, facts: Facts, rhythm: Rhythm, followed: Names) -> Rendered:
        """Why the person gets this, and their links: raw, with places for them."""
        with force_locale(facts.language):
            text, html = self._both(
                "own",
                facts,
                _CLOSE,
                rhythm=words.rhythm_words(rhythm),
                follows=follows(followed),
                manage_url=_MANAGE,
                leave_url=_LEAVE,
            )
            return Rendered(text.encode(), html.encode())

    def _part(self, name: str, facts: Facts, where: str = _ROWS, **values: object) -> Rendered:
        text, html = self._both(name, facts, where, **values)
        return Rendered(quoted_printable(text), quoted_printable(html))

    def _both(self, name: str, facts: Facts, where: str, **values: object) -> tuple[str, str]:
        values |= {
            "facts": facts,
            "day": words.day_words(facts.day),
            "wrap": words.wrap,
            "grade_words": words.grade_words,
            "start": emails.start_side(),
            "notice": facts.disclosure is Disclosure.NOTICE,
        }
        text = render_template(f"emails/digest/{name}.txt", **values).strip("\n")
        page = emails.inlined(render_template(f"emails/digest/{name}.html", **values))
        before, rows, after = page.split(_CUT)
        html = {_OPEN: before + rows, _ROWS: rows, _CLOSE: rows + after}[where]
        # Lines that are blank in the template say nothing in a mail.
        html = "".join(f"{line}\n" for line in html.split("\n") if line.strip())
        return f"{text}\n\n", html


def summary(told: Sequence[Told]) -> str:
    """ "One correction, 2 findings, one new piece of evidence"."""
    counted = Counter(one.change.kind for one in told)

    def count(*kinds: EntryKind) -> int:
        return sum(counted[kind] for kind in kinds)

    parts: list[tuple[int, Callable[[int], str]]] = [
        (count(*CORRECTED), lambda n: ngettext("one correction", "%(num)s corrections", n)),
        (count(EntryKind.FINDING_PUBLISHED), lambda n: ngettext("one finding", "%(num)s findings", n)),
        (
            count(EntryKind.DISSENT_PUBLISHED),
            lambda n: ngettext("one dissenting note", "%(num)s dissenting notes", n),
        ),
        (count(*WITHDRAWN), lambda n: ngettext("one withdrawal", "%(num)s withdrawals", n)),
        (
            count(EntryKind.REPLY_PUBLISHED),
            lambda n: ngettext("one reply of the State", "%(num)s replies of the State", n),
        ),
        (
            count(EntryKind.EVIDENCE_PUBLISHED),
            lambda n: ngettext("one new piece of evidence", "%(num)s new pieces of evidence", n),
        ),
        (
            count(EntryKind.EXHIBIT_PUBLISHED),
            lambda n: ngettext("one new exhibit", "%(num)s new exhibits", n),
        ),
        (count(EntryKind.REPORT_LOADED), lambda n: ngettext("one new report", "%(num)s new reports", n)),
    ]
    text = ", ".join(say(number) for number, say in parts if number)
    return text[:1].upper() + text[1:]


def follows(followed: Names) -> str:
    """What somebody follows, in words."""
    if followed.everything:
        return str(gettext("everything on this site"))
    names = [*followed.reports]
    if followed.recommendations:
        names.append(ngettext("one recommendation", "%(num)s recommendations", followed.recommendations))
    names += followed.themes
    names += followed.countries
    names += [gettext("the words “%(words)s”", words=one) for one in followed.searches]
    return ", ".join(names)


def quoted_printable(text: str) -> bytes:
    """Lines of at most 76 plain characters that end in CRLF."""
    coded = binascii.b2a_qp(text.encode(), istext=True).replace(b"\n", b"\r\n")
    # Old mailboxes write ">From " where a line begins so, and the bytes would not be the same any more.
    return (b"\r\n" + coded).replace(b"\r\nFrom ", b"\r\n=46rom ")[2:]


@dataclass(frozen=True)
class Made:
    """One person's digest: its outer headers and MIME entity (what is encrypted where somebody has a key), and the
    SHA-256 of what makes its bytes: the shared pieces by name, and all that is not shared.
    """

    outer: list[tuple[str, str]]
    entity: list[Lines]
    sha256: str

    def content(self) -> Lines:
        """The whole mail."""
        head = "".join(f"{name}: {value}\r\n" for name, value in self.outer) + "MIME-Version: 1.0\r\n"
        first = head.encode("ascii") + self.entity[0]
        # Exactly these headers, each in one line, or the mail does not leave: what `emails.check_headers` checks.
        if not _HEAD(first):
            raise ValueError("A header of this mail is not what it should be. It was not sent.")
        return Lines.joined((Lines(first), *self.entity[1:]))


def shared_lines(body: Body) -> tuple[Lines, Lines]:
    """The parts of a digest that all copies share, looked at once. Raises ValueError if they are not whole lines."""
    return Lines(body.text), Lines(body.html)


def make(
    body: Body,
    shared: tuple[Lines, Lines],
    recipient: str,
    message_id: str,
    links: Links,
    *,
    config: Config,
    composed_at: dt.datetime,
) -> Made:
    """One person's digest. The same arguments give the same bytes."""
    sender, subject = _envelope(config, body.facts)
    outer = [
        ("From", sender),
        ("To", recipient),
        ("Subject", subject),
        ("Date", _date(composed_at)),
        ("Message-ID", message_id),
        ("Auto-Submitted", "auto-generated"),
        ("Precedence", "bulk"),
        ("List-Unsubscribe", f"<{links.leave_url}>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    ]
    boundary = f"=_{message_id[1:25]}"
    entity = [Lines(f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n\r\n'.encode())]
    before = b""
    found = hashlib.sha256(repr((body.pieces, outer)).encode())
    for kind, lines, own in (("plain", shared[0], body.own.text), ("html", shared[1], body.own.html)):
        head = (
            f'\r\n--{boundary}\r\nContent-Type: text/{kind}; charset="utf-8"\r\n'
            "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        ).encode()
        words_of_one = quoted_printable(
            own.decode().replace(_MANAGE, links.manage_url).replace(_LEAVE, links.leave_url)
        )
        found.update(head + words_of_one)
        entity += [Lines(before + head), lines]
        before = words_of_one
    entity.append(Lines(before + f"\r\n--{boundary}--\r\n".encode()))
    return Made(outer, entity, found.hexdigest())


@lru_cache(maxsize=64)
def _date(moment: dt.datetime) -> str:
    # In UTC always: equal moments of two zones are one key of the cache, and must not get each other's text by chance.
    return format_datetime(moment.astimezone(dt.UTC))


@lru_cache(maxsize=64)
def _envelope_of(name: str, address: str, language: str, notice: bool, day: dt.date) -> tuple[str, str]:
    with force_locale(language):
        # Whoever wants the mail to say nothing gets a sender that says nothing.
        sender = Address(gettext("Updates") if notice else name, addr_spec=address)
        subject = render_template(
            "emails/digest/subject.txt", notice=notice, day=words.day_words(day)
        ).strip()
    return str(sender), Header(
        subject, "utf-8", maxlinelen=900
    ).encode() if not subject.isascii() else subject


def _envelope(config: Config, facts: Facts) -> tuple[str, str]:
    notice = facts.disclosure is Disclosure.NOTICE
    return _envelope_of(config.mail_from_name, config.mail_from, facts.language, notice, facts.day)
