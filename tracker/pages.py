"""What every page shares: the words and filters of templates, and the headers of every answer."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from flask import Flask, Response, g, request
from flask_babel import get_babel, get_locale, gettext
from markupsafe import Markup, escape

from tracker import permissions, vocabulary
from tracker.config import ROOT, Config
from tracker.forms import token
from tracker.services import activity
from tracker.vocabulary import Precision, Word

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; font-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def init_app(app: Flask) -> None:
    """Register filters, globals and headers."""
    config: Config = app.extensions["settings"]
    app.config["TRUSTED_HOSTS"] = sorted(
        {
            host
            for host in (urlsplit(config.public_url).hostname, config.host, "localhost", "127.0.0.1")
            if host
        }
    )
    app.jinja_env.filters.update(
        day=day,
        partial_date=partial_date,
        paragraphs=paragraphs,
        word=word,
        act=act,
        short_hash=short_hash,
        language_name=language_name,
        was_and_is=was_and_is,
    )
    app.jinja_env.globals.update(
        asset=asset,
        site=config,
        form_token=token.make,
        token_field=token.FIELD,
        vocabulary=vocabulary,
        can=permissions,
        text_direction=lambda: get_locale().text_direction,
        page_language=lambda: str(get_locale()).replace("_", "-"),
        viewer=lambda: g.get("viewer"),
    )
    app.after_request(set_headers)


def set_headers(response: Response) -> Response:
    """The same fence on every answer, errors included."""
    headers = response.headers
    headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    headers["X-Content-Type-Options"] = "nosniff"
    # not "no-referrer": that makes browsers send "Origin: null" with our own forms.
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), interest-cohort=()"
    if request.is_secure:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    if g.get("viewer") is not None or response.status_code >= 400:
        headers["Cache-Control"] = "no-store"
    return response


@lru_cache
def asset(name: str) -> str:
    """The address of a static file, with a version that changes when the file does."""
    digest = hashlib.sha256((ROOT / "tracker" / "static" / name).read_bytes()).hexdigest()[:10]
    return f"/static/{name}?v={digest}"


def day(value: dt.date | dt.datetime) -> Markup:
    """A day as "31 Aug 2022" in a `<time>`."""
    if isinstance(value, dt.datetime):
        value = value.astimezone(dt.UTC).date()
    return _time(value.isoformat(), format_date(value, "d MMM y", locale=get_locale()))


def partial_date(value: dt.date | None, precision: Precision) -> Markup:
    """A date in its true precision: "27 Aug 2024", "about 27 Aug 2024", "August 2024", "2024"."""
    if value is None:
        return Markup(escape(gettext("Date not known")))  # noqa: S704 - escaped here.
    locale = get_locale()
    if precision is Precision.YEAR:
        return _time(f"{value:%Y}", format_date(value, "y", locale=locale))
    if precision is Precision.MONTH:
        return _time(f"{value:%Y-%m}", format_date(value, "MMMM y", locale=locale))
    shown = format_date(value, "d MMM y", locale=locale)
    if precision is Precision.ABOUT:
        return _time(value.isoformat(), gettext("about %(date)s", date=shown))
    return _time(value.isoformat(), shown)


def _time(machine: str, shown: str) -> Markup:
    return Markup('<time datetime="{}">{}</time>').format(machine, shown)


def paragraphs(value: str) -> Markup:
    """Text that people wrote: blank lines make paragraphs, the direction is the text's own."""
    parts = [part.strip() for part in value.split("\n\n") if part.strip()]
    return Markup("").join(
        Markup('<p dir="auto">{}</p>').format(Markup("<br>").join(part.split("\n"))) for part in parts
    )


def act(action: str) -> str:
    """What somebody of the team did, in words that follow their name."""
    return str(gettext(activity.WORDS.get(action, action.replace("-", " "))))


def word(value: Word) -> str:
    """The label of an enum member in the reader's language."""
    return str(gettext(value.label))


def language_name(code: str) -> str:
    """The name of a language ("zh-Hans") in the reader's language, or its code where there is no name."""
    try:
        return Locale.parse(code, sep="-").get_display_name(get_locale()) or code
    except (UnknownLocaleError, ValueError):
        return code


def languages() -> list[str]:
    """The languages that pages and mails are written in: "en" and every one that has translations."""
    found: list[Locale] = get_babel().instance.list_translations()
    return sorted({str(locale).replace("_", "-") for locale in found})


def was_and_is(change: Mapping[str, str | None]) -> str:
    """One change of a corrected report, as a sentence: what it is about, how it was, how it is now."""
    was, now = (f"“{text}”" if text else gettext("empty") for text in (change["was"], change["now"]))
    return str(gettext("%(what)s: was %(was)s, is now %(now)s.", what=change["what"], was=was, now=now))


def short_hash(value: str) -> str:
    """A hash in groups of eight, for reading aloud and comparing."""
    return " ".join(value[start : start + 8] for start in range(0, len(value), 8))
