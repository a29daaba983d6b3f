"""The words of mails: a text and an HTML part that say the same, and headers that nobody else can write into.

No header holds anything that people typed, except the address a mail goes to. Python before 3.11.10 writes line
breaks hidden in encoded words into headers (CVE-2024-6923), so every composed message is checked for having exactly
the headers it should. Call these inside an app context: templates and translations come from there.
"""

from __future__ import annotations

import datetime as dt
import email.policy
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TypeVar

import css_inline
from babel.dates import format_date, get_day_names
from flask import render_template
from flask_babel import get_locale, gettext, ngettext

from tracker import pages
from tracker.config import Config
from tracker.models import Recommendation
from tracker.services import subscriptions
from tracker.services.deliveries import Mail
from tracker.services.digests import CORRECTED, WITHDRAWN, Change, Letter, Part
from tracker.services.schedule import Rhythm
from tracker.services.subscriptions import Confirmation
from tracker.vocabulary import Access, Direction, EntryKind, Frequency, Grade, Position, Scope, Word

# Gmail cuts off what is longer.
MOST_BYTES = 102_000
# Coded lines are never longer than 76 characters (RFC 2045).
_POLICY = email.policy.SMTP.clone(max_line_length=76)
_HEADERS = (
    "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Precedence", "MIME-Version", "Content-Type",
)  # fmt: skip
_LEAVING = ("List-Unsubscribe", "List-Unsubscribe-Post")
_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=True)
_SENTENCE = re.compile(r"(?<=[.!?。؟۔])\s+")


W = TypeVar("W", bound=Word)


@dataclass(frozen=True)
class Item:
    """One change, in words, as both parts show it."""

    tag: str
    strong: bool  # Corrections and withdrawals are marked.
    about: str  # Where it stands apart from its recommendation: "88(a) Release people held without charge".
    title: str
    url: str
    graded: bool = False
    gone: bool = False  # A finding that was withdrawn: only what it said.
    was: Grade | None = None
    now: Grade | None = None
    as_of: str = ""
    words: list[tuple[str, str]] = field(default_factory=list)  # (who says it, what)
    notes: list[tuple[str, ...]] = field(default_factory=list)  # Each part has its own direction.


def confirmation(asked: Confirmation, *, config: Config, now: dt.datetime) -> Mail:
    """The mail that asks whether it was you. It does not say what was chosen."""
    return _mail(
        "confirmation",
        asked.recipient,
        asked.name,
        config=config,
        now=now,
        confirm_url=f"{config.public_url}/follow/confirm/{asked.token}",
        manage_url=f"{config.public_url}/follow/manage/{asked.manage_token}" if asked.manage_token else None,
        hours=config.confirm_link_hours,
    )


def digest(letter: Letter, *, config: Config, now: dt.datetime) -> Mail:
    """One digest. If it would be too long, the rest is counted and linked."""
    total = sum(1 for part in letter.parts for _ in part.changes())
    shown = total
    while True:
        mail = _digest(letter, shown, total, config=config, now=now)
        if len(mail.content) <= MOST_BYTES or shown == 0:
            return mail
        shown = min(shown - 1, shown * MOST_BYTES * 9 // (len(mail.content) * 10))


def rhythm_words(rhythm: Rhythm) -> str:
    """ "every Monday at 07:00 (Europe/Zurich)"."""
    hour = f"{rhythm.hour:02}:00"
    zone = rhythm.timezone.replace("_", " ")
    if rhythm.frequency is Frequency.DAILY:
        return str(gettext("every day at %(hour)s (%(zone)s)", hour=hour, zone=zone))
    if rhythm.frequency is Frequency.WEEKLY:
        day = get_day_names("wide", locale=get_locale())[rhythm.weekday]
        return str(gettext("every %(weekday)s at %(hour)s (%(zone)s)", weekday=day, hour=hour, zone=zone))
    if rhythm.month_day > 28:
        text = gettext("on day %(day)s of every month, or its last day, at %(hour)s (%(zone)s)", day=rhythm.month_day, hour=hour, zone=zone)  # fmt: skip
    else:
        text = gettext("on day %(day)s of every month at %(hour)s (%(zone)s)", day=rhythm.month_day, hour=hour, zone=zone)  # fmt: skip
    return str(text)


def _digest(letter: Letter, shown: int, total: int, *, config: Config, now: dt.datetime) -> Mail:
    left = shown
    parts = []
    for part in letter.parts:
        corrections = _items(part, part.corrections[:left], None, config)
        left -= len(corrections)
        sections = []
        for section in part.sections:
            items = _items(part, section.changes[:left], section.recommendation, config)
            left -= len(items)
            if items:
                sections.append((section.recommendation, items))
        if corrections or sections:
            parts.append((part.report, corrections, sections))
    return _mail(
        "digest",
        letter.recipient,
        letter.name,
        config=config,
        now=now,
        leave_url=f"{config.public_url}/unsubscribe/{letter.leave_token}",
        manage_url=f"{config.public_url}/follow/manage/{letter.manage_token}",
        day=_day(letter.day),
        frequency=letter.subscriber.frequency,
        rhythm=rhythm_words(subscriptions.rhythm(letter.subscriber)),
        follows=_follows(letter),
        summary=_summary(letter),
        parts=parts,
        more=total - shown,
        demonstration=any(part.report.demonstration for part in letter.parts),
        first_seq=letter.from_seq + 1,
        last_seq=letter.to_seq,
        checkpoint=letter.checkpoint,
    )


def _items(
    part: Part, changes: tuple[Change, ...], under: Recommendation | None, config: Config
) -> list[Item]:
    return [_item(part, change, under, config) for change in changes]


def _item(part: Part, change: Change, under: Recommendation | None, config: Config) -> Item:
    facts, content = change.facts, change.content or {}
    place = under or (change.recommendations[0] if change.recommendations else None)
    about = f"{place.reference} {place.title}" if place and under is None else ""
    page = f"{config.public_url}/reports/{part.report.slug}"
    url = f"{page}/{place.number}" if place else page
    strong = change.kind in CORRECTED or change.kind in WITHDRAWN
    tag = gettext(change.kind.label)
    words: list[tuple[str, str]] = []
    if change.content is None:
        words.append(("", gettext("This was removed to protect somebody.")))
    if change.kind in CORRECTED and content.get("correction"):
        words.append((gettext("What was wrong:"), two_sentences(content.get("correction"))))
    if change.kind in WITHDRAWN:
        words.append((gettext("Why:"), two_sentences(content.get("reason"))))
    noun = change.kind.value.partition("-")[0]
    if noun == "finding":
        return _finding(change, place, Item(tag, strong, about, _clause(place, facts), url, words=words))
    if noun == "evidence":
        number = facts.get("number")
        title = _line(content.get("title"), 300)
        item = Item(
            f"{tag} [{number}]", strong, about, title, f"{config.public_url}/evidence/{number}", words=words
        )
        if change.kind not in WITHDRAWN:
            item.notes.append((_line(content.get("publisher"), 200), _partial(facts)))
            item.notes.append(_bearings(facts, change.recommendations))
        return item
    if noun == "dissent":
        words.append(("", two_sentences(content.get("text"))))
        return Item(tag, strong, about, _clause(place, facts), url, words=words)
    if noun == "reply":
        item = Item(tag, strong, about, _word(Position, facts.get("position")), url, words=words)
        if change.kind not in WITHDRAWN and change.content is not None:
            words.append(("", two_sentences(content.get("summary"))))
            item.notes.append((_line(content.get("author"), 200), _partial(facts)))
            if len(change.recommendations) > 1:
                references = ", ".join(one.reference for one in change.recommendations)
                item.notes.append((gettext("About: %(references)s", references=references),))
        return item
    changes = content.get("changes") or []
    words.extend(("", two_sentences(pages.was_and_is(one))) for one in changes[:5])
    return Item(tag, strong, about, _line(content.get("title"), 300), url, words=words)


def _finding(change: Change, place: Recommendation | None, item: Item) -> Item:
    facts, content = change.facts, change.content or {}
    withdrawn = change.kind in WITHDRAWN
    was, now = _word_of(Grade, facts.get("previous_grade")), _word_of(Grade, facts.get("grade"))
    if withdrawn:
        was, now = now, None
    if not withdrawn and change.content is not None:
        item.words.append(("", two_sentences(content.get("rationale"))))
        item.words.append((gettext("Reviewer:"), two_sentences(content.get("reason"))))
    if (access := _word_of(Access, facts.get("access"))) and not withdrawn:
        item.notes.append((gettext(access.label),))
    before, after = _word_of(Grade, facts.get("previous_roll_up")), _word_of(Grade, facts.get("roll_up"))
    if place and facts.get("clause") and before is not after:
        as_a_whole = gettext(
            "%(reference)s as a whole: was %(before)s, now %(after)s",
            reference=place.reference,
            before=grade_words(before),
            after=grade_words(after),
        )
        item.notes.append((as_a_whole,))
    return replace(
        item,
        graded=True,
        gone=withdrawn,
        was=was,
        now=now,
        as_of=_iso(facts.get("as_of")),
        words=[pair for pair in item.words if pair[1]],
    )


def grade_words(grade: Grade | None) -> str:
    """ "[B] Partially implemented"."""
    return f"[{grade.mark}] {gettext(grade.label)}" if grade else f"[–] {gettext('Not yet assessed')}"


def two_sentences(value: object) -> str:
    """The first two sentences of what somebody wrote, in one line, never longer than a short paragraph. "…": it goes on."""
    sentences = _SENTENCE.split(_line(value, 100_000))
    return _line(" ".join(sentences[:2]) + (" …" if len(sentences) > 2 else ""), 420)


def _line(value: object, most: int) -> str:
    text = " ".join(str(value or "").split())
    if len(text) <= most:
        return text
    return text[:most].rpartition(" ")[0] + "…" if " " in text[:most] else text[:most] + "…"


def _clause(place: Recommendation | None, facts: dict[str, object]) -> str:
    label = facts.get("clause")
    if not label:
        return ""
    titles = {clause.label: clause.title for clause in place.clauses} if place else {}
    named = gettext("Clause %(label)s", label=label)
    return f"{named}: {titles[str(label)]}" if titles.get(str(label)) else named


def _bearings(facts: dict[str, object], recommendations: tuple[Recommendation, ...]) -> tuple[str, ...]:
    references = {recommendation.number: recommendation.reference for recommendation in recommendations}
    lines = []
    directions = facts.get("directions")
    for bearing in directions if isinstance(directions, list) else []:
        direction = _word(Direction, bearing.get("direction"))
        number = bearing.get("recommendation")
        where = references.get(number, str(number or ""))
        if label := bearing.get("clause"):
            where = gettext("%(reference)s, clause %(label)s", reference=where, label=label)
        lines.append(f"{direction}: {where}")
    return ("; ".join(lines),)


def _follows(letter: Letter) -> str:
    follows = letter.subscriber.follows
    scopes = {follow.scope for follow in follows}
    if Scope.EVERYTHING in scopes:
        return str(gettext("everything on this site"))
    names = [follow.report.short_title for follow in follows if follow.report]
    count = sum(1 for follow in follows if follow.recommendation_id)
    if count:
        names.append(ngettext("one recommendation", "%(num)s recommendations", count))
    return ", ".join(names)


def _summary(letter: Letter) -> str:
    changes = [change for part in letter.parts for change in part.changes()]

    def count(*kinds: EntryKind) -> int:
        return sum(1 for change in changes if change.kind in kinds)

    told: list[tuple[int, Callable[[int], str]]] = [
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
        (count(EntryKind.REPORT_LOADED), lambda n: ngettext("one new report", "%(num)s new reports", n)),
    ]
    text = ", ".join(say(number) for number, say in told if number)
    return text[:1].upper() + text[1:]


def _mail(
    name: str, recipient: str, local: str, *, config: Config, now: dt.datetime, **values: object
) -> Mail:
    domain = config.mail_from.rpartition("@")[2]
    leave_url = values.get("leave_url")
    rtl = get_locale().text_direction == "rtl"
    values |= {"wrap": wrap, "grade_words": grade_words, "start": "right" if rtl else "left"}
    message = EmailMessage(_POLICY)
    message["From"] = Address(config.mail_from_name, addr_spec=config.mail_from)
    message["To"] = Address(addr_spec=recipient)
    message["Subject"] = render_template(f"emails/{name}.subject.txt", **values).strip()
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{local}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["Precedence"] = "bulk"
    if leave_url:
        message["List-Unsubscribe"] = f"<{leave_url}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    text = render_template(f"emails/{name}.txt", **values).strip() + "\n"
    html = _INLINER.inline(render_template(f"emails/{name}.html", **values))
    message.set_content(text, cte=_coding(text))
    message.add_alternative(html, subtype="html", cte=_coding(html))
    # A folded List-Unsubscribe address would become an encoded word, and one-click leaving would break.
    content = message.as_bytes(policy=_POLICY.clone(max_line_length=998))
    check_headers(content, _HEADERS + (_LEAVING if leave_url else ()))
    return Mail(f"<{local}@{domain}>", content)


def _coding(text: str) -> str:
    # Seven bits, so that every relay takes it; the shorter of the two codings for this script.
    foreign = len(text) - len(text.encode("ascii", "ignore"))
    return "base64" if foreign * 6 > len(text) else "quoted-printable"


def check_headers(content: bytes, names: tuple[str, ...]) -> None:
    """Raise ValueError unless the message has exactly these headers, each in one line of plain characters."""
    head = content.partition(b"\r\n\r\n")[0]
    found = [re.fullmatch(rb"([A-Za-z-]+): [ -~]+", line) for line in head.split(b"\r\n")]
    if None in found or b"\n" in head.replace(b"\r\n", b"") or b"\r" in head.replace(b"\r\n", b""):
        raise ValueError("A header of this mail is not what it should be. It was not queued.")
    if sorted(match.group(1).decode().lower() for match in found if match) != sorted(
        name.lower() for name in names
    ):
        raise ValueError("This mail has a header that it should not have. It was not queued.")


def wrap(text: str, indent: int = 0, width: int = 72) -> str:
    """Lines of readable length for the text part; addresses stay whole."""
    space = " " * indent
    return "\n".join(
        textwrap.wrap(
            text,
            width,
            initial_indent=space,
            subsequent_indent=space,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _word_of(kind: type[W], value: object) -> W | None:
    return next((word for word in kind if word.value == value), None)


def _word(kind: type[Word], value: object) -> str:
    word = _word_of(kind, value)
    return gettext(word.label) if word else ""


def _day(day: dt.date) -> str:
    return str(format_date(day, "d MMMM y", locale=get_locale()))


def _iso(value: object) -> str:
    try:
        return _day(dt.date.fromisoformat(str(value)))
    except ValueError:
        return ""


def _partial(facts: dict[str, object]) -> str:
    try:
        day = dt.date.fromisoformat(str(facts.get("date")))
    except ValueError:
        return ""
    precision = facts.get("precision")
    if precision == "year":
        return str(day.year)
    if precision == "month":
        return str(format_date(day, "MMMM y", locale=get_locale()))
    return gettext("about %(date)s", date=_day(day)) if precision == "about" else _day(day)
