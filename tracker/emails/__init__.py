"""Mails: a text and an HTML part that say the same, and headers that nobody else can write into.

No header holds anything that people typed, except the address a mail goes to. Python before 3.11.10 writes line
breaks hidden in encoded words into headers (CVE-2024-6923), so every composed message is checked for having exactly
the headers it should. Call these inside an app context: templates and translations come from there.
"""

from __future__ import annotations

import datetime as dt
import email.policy
import re
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

import css_inline
from flask import render_template
from flask_babel import force_locale, get_locale

from tracker.config import Config
from tracker.emails.words import grade_words, rhythm_words, two_sentences, wrap
from tracker.services.deliveries import Mail
from tracker.services.subscriptions import Confirmation

__all__ = [
    "HEADERS",
    "LEAVING",
    "check_headers",
    "confirmation",
    "inlined",
    "mail",
    "rhythm_words",
    "two_sentences",
]

# Coded lines are never longer than 76 characters (RFC 2045).
_POLICY = email.policy.SMTP.clone(max_line_length=76)
HEADERS = (
    "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Precedence", "MIME-Version", "Content-Type",
)  # fmt: skip
LEAVING = ("List-Unsubscribe", "List-Unsubscribe-Post")
_INLINER = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=True)


def confirmation(asked: Confirmation, *, config: Config, now: dt.datetime) -> Mail:
    """The mail that asks whether it was you. It does not say what was chosen."""
    manage_url = f"{config.public_url}/follow/manage/{asked.manage_token}" if asked.manage_token else None
    with force_locale(asked.language):
        return mail(
            "confirmation",
            asked.recipient,
            asked.name,
            config=config,
            now=now,
            confirm_url=f"{config.public_url}/follow/confirm/{asked.token}",
            manage_url=manage_url,
            hours=config.confirm_link_hours,
        )


def mail(
    name: str, recipient: str, local: str, *, config: Config, now: dt.datetime, **values: object
) -> Mail:
    """A whole mail from templates/emails/<name>. `local` is the Message-ID's part before the @."""
    domain = config.mail_from.rpartition("@")[2]
    leave_url = values.get("leave_url")
    values |= {"wrap": wrap, "grade_words": grade_words, "start": start_side()}
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
    html = inlined(render_template(f"emails/{name}.html", **values))
    message.set_content(text, cte=_coding(text))
    message.add_alternative(html, subtype="html", cte=_coding(html))
    # A folded List-Unsubscribe address would become an encoded word, and one-click leaving would break.
    content = message.as_bytes(policy=_POLICY.clone(max_line_length=998))
    check_headers(content, HEADERS + (LEAVING if leave_url else ()))
    return Mail(f"<{local}@{domain}>", content)


def start_side() -> str:
    """The side on which lines begin in this language: "left" or "right"."""
    return "right" if get_locale().text_direction == "rtl" else "left"


def inlined(html: str) -> str:
    """A page with its rules copied into the elements: many mail programs drop style sheets."""
    return _INLINER.inline(html)


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
