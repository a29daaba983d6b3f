"""What is held about a subscriber, column by column, in words."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Any

from flask_babel import gettext

from tracker.models import Subscriber
from tracker.vocabulary import N_

#: Every column of `subscriber`; a test compares the two.
LABELS = {
    "id": N_("Number of the row"),
    "key": N_("Random name of the row, from which links are made"),
    "channel": N_("How you read"),
    "address_hash": N_("Fingerprint of your address, by a key that this page does not have"),
    "address_sealed": N_("Your address, encrypted so that only the mailer can read it"),
    "address_old": N_("Encrypted in the way of an older release"),
    "state": N_("Where you stand"),
    "disclosure": N_("How much a mail may say"),
    "openpgp_sealed": N_("Your OpenPGP public key, encrypted so that only the mailer can read it"),
    "frequency": N_("How often"),
    "weekday": N_("Day of the week (0 is Monday)"),
    "month_day": N_("Day of the month"),
    "hour": N_("Hour"),
    "timezone": N_("Time zone"),
    "language": N_("Language"),
    "follow_key": N_("Fingerprint of what you follow"),
    "asked": N_("What you asked for and have not confirmed"),
    "created_at": N_("Asked first"),
    "confirmed_at": N_("Confirmed"),
    "left_at": N_("Left"),
    "left_noted_at": N_("Written into the journal that keeps backups from bringing you back"),
    "paused_until": N_("Paused until the end of"),
    "renewed_at": N_("Said that you still want this"),
    "renewal_asked_at": N_("Asked whether you still want this"),
    "confirmation_sent_at": N_("Last confirmation message"),
    "confirm_token_hash": N_("Fingerprint of a confirmation link"),
    "confirm_expires_at": N_("The confirmation link is good until"),
    "manage_token_hash": N_("Fingerprint of the link to this page"),
    "leave_token_hash": N_("Fingerprint of the link to leave"),
    "read_token_hash": N_("Fingerprint of what opens your feed or mailbox"),
    "old_manage_hash": N_("Fingerprint of an older link to this page"),
    "old_leave_hash": N_("Fingerprint of an older link to leave"),
    "old_links_until": N_("The older links are good until"),
    "next_local_date": N_("Day of the next digest"),
    "next_due_at": N_("Moment of the next digest"),
    "seen_seq": N_("Number of the last change that you were told"),
    "soft_bounces": N_("Messages in a row that came back for the moment"),
    "rest_until": N_("Nothing is sent until, because messages came back"),
}


def rows(subscriber: Subscriber) -> list[tuple[str, str]]:
    """(what it is, its value) of every column."""
    return [
        (gettext(LABELS.get(column.key, column.key)), _words(getattr(subscriber, column.key)))
        for column in Subscriber.__table__.columns
    ]


def _words(value: Any) -> str:
    if value is None or value == "":
        return str(gettext("Nothing"))
    if isinstance(value, bool):
        return str(gettext("Yes") if value else gettext("No"))
    if isinstance(value, enum.Enum):
        return str(gettext(getattr(value, "label", value.value)))
    if isinstance(value, bytes):
        return str(gettext("%(count)s bytes that this page cannot read", count=len(value)))
    if isinstance(value, dt.datetime):
        return f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {one}" for name, one in value.items() if name != "openpgp")
    text = str(value)
    # A fingerprint is as long as it is meaningless; the file to take along has all of it.
    return f"{text[:12]}…" if len(text) == 64 else text
