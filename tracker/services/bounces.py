"""Bounces: mails that came back. Whose it was is told by a token in the envelope's sender, never by an address.

The token names the delivery and is made with a key of the mailer, so nobody can make one for a mail that they did not
get. What comes back is answered by nothing, and one delivery bounces once: whoever reads the same bounce again, or at
the same time, changes nothing.
"""

from __future__ import annotations

import datetime as dt
import enum
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tracker.models import Delivery, Heartbeat, Subscriber
from tracker.services import deliveries
from tracker.vocabulary import DeliveryState, SubscriberState

if TYPE_CHECKING:
    from tracker.keyring import Keyring

TOKEN = re.compile(r"([0-9a-z]{1,12})-([0-9a-f]{20})")
#: Servers give up after five days; what comes so much later is an accident or an attack.
BELIEVED_FOR = dt.timedelta(days=30)
#: After so many soft bounces in a row nothing is sent any more.
MOST_SOFT = 7
#: How often the mailbox is looked into, and the heartbeat's name that tells when it was.
EVERY = dt.timedelta(minutes=5)
HEARTBEAT = "bounces"

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
# What says that the mailbox will never take a mail (RFC 3463, and Exchange's own): anything at all, a wrong address (but
# not ours: 5.1.7, 5.1.8), a mailbox that is closed, a domain without a server. All other refusals for good are about
# the mail, or about us, or pass (a full mailbox, a loop, spam, a policy): nobody is dropped for one of them.
_GONE = re.compile(r"5\.(0\.\d+|1\.(?![78]$)\d+|2\.[01]|4\.(1|4|310))")
_WRITTEN_TO = (SubscriberState.PENDING, SubscriberState.CONFIRMED)


@dataclass(frozen=True)
class Outcome:
    """What a server says of one recipient: `action` "failed" or another word, `status` like "5.1.1"."""

    action: str
    status: str


@dataclass(frozen=True)
class Report:
    """What counts of a bounce: the tokens of the addresses that it came to, and what became of the mail."""

    tokens: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


class Taken(enum.Enum):
    """What was done with a bounce. The value says it in a list of counts."""

    STOPPED = "stopped: the mailbox does not exist"
    GAVE_UP = f"stopped: {MOST_SOFT} soft bounces in a row"
    RESTS = "soft bounces: nothing is sent for some hours"
    NOTED = "noted: the person had left, or confirmed since, or is of the team"
    NOT_FAILED = "no failure: delayed or delivered"
    KNOWN = "read before"
    OLD = "too old"
    FORGED = "not about a mail of ours"


def token(delivery_id: int, message_id: str, keys: Keyring) -> str:
    """The token of one mail: which delivery it is, and that we say so."""
    return f"{_base36(delivery_id)}-{keys.mailer.keyed_hash('bounce', message_id)[:20]}"


def sender(delivery_id: int, message_id: str, *, config_address: str, keys: Keyring) -> str:
    """The envelope's sender of one mail: "bounce+TOKEN@example.org". Without a bounce address: nothing."""
    if not config_address:
        return ""
    local, _, domain = config_address.rpartition("@")
    return f"{local}+{token(delivery_id, message_id, keys)}@{domain}"


def claim(session: Session, *, now: dt.datetime) -> bool:
    """Whether it is time to look into the mailbox, for this caller alone."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(insert(Heartbeat).values(name=HEARTBEAT, at=now - EVERY).on_conflict_do_nothing())
    # A time that lies ahead was written before the clock was set back.
    return _changed(
        session,
        Heartbeat,
        Heartbeat.name == HEARTBEAT,
        or_(Heartbeat.at <= now - EVERY, Heartbeat.at > now),
        at=now,
    )


def take(session: Session, report: Report, *, keys: Keyring, now: dt.datetime) -> Taken:
    """Do what a bounce asks for, once."""
    delivery = _whose(session, report.tokens, keys)
    if delivery is None:
        return Taken.FORGED
    failed = [outcome.status for outcome in report.outcomes if outcome.action == "failed"]
    if not failed:
        return Taken.NOT_FAILED
    if now - (delivery.done_at or delivery.created_at) > BELIEVED_FOR:
        return Taken.OLD
    hard = next((status for status in failed if is_hard(status)), None)
    # Changes one row for the first who reads it, and none for everybody after.
    if not _changed(
        session,
        Delivery,
        Delivery.id == delivery.id,
        Delivery.bounced_at.is_(None),
        bounced_at=now,
        last_answer=f"bounced {hard or failed[0]}",
    ):
        return Taken.KNOWN
    subscriber = _lock(session, delivery.subscriber_id)
    if (
        subscriber is None
        or subscriber.state not in _WRITTEN_TO
        # Whoever confirmed after this mail was made has shown that the mailbox is good.
        or (subscriber.confirmed_at is not None and delivery.created_at < subscriber.confirmed_at)
    ):
        return Taken.NOTED
    if hard:
        _stop(session, subscriber, now)
        return Taken.STOPPED
    count = 1 + (subscriber.soft_bounces if _in_a_row(session, delivery) else 0)
    subscriber.soft_bounces = count
    if count >= MOST_SOFT:
        _stop(session, subscriber, now)
        return Taken.GAVE_UP
    subscriber.rest_until = now + dt.timedelta(hours=2**count)
    session.flush()
    return Taken.RESTS


def is_hard(status: str) -> bool:
    """Whether a status says that this mailbox will never take a mail."""
    return _GONE.fullmatch(status) is not None


def _whose(session: Session, tokens: tuple[str, ...], keys: Keyring) -> Delivery | None:
    for one in tokens:
        match = TOKEN.fullmatch(one.lower())
        number = int(match[1], 36) if match else 0
        # Larger numbers do not fit into the column.
        if match is None or not 0 < number < 2**31:
            continue
        delivery = session.get(Delivery, number, populate_existing=True)
        # Never tried: then nobody can have got it, and nothing can come back.
        if delivery is None or not delivery.attempts:
            continue
        if hmac.compare_digest(match[2], keys.mailer.keyed_hash("bounce", delivery.message_id)[:20]):
            return delivery
    return None


def _lock(session: Session, subscriber_id: int | None) -> Subscriber | None:
    """Hold the person and what waits for them; the mails first, as everybody does who changes both."""
    if subscriber_id is None:
        return None
    session.execute(
        select(Delivery.id)
        .where(Delivery.subscriber_id == subscriber_id, Delivery.state == DeliveryState.PENDING)
        .order_by(Delivery.id)
        .with_for_update()
    )
    return session.get(Subscriber, subscriber_id, with_for_update=True, populate_existing=True)


def _in_a_row(session: Session, delivery: Delivery) -> bool:
    """Whether no mail between this one and the one that bounced last has arrived."""
    theirs = Delivery.subscriber_id == delivery.subscriber_id
    last = session.scalar(
        select(Delivery.id)
        .where(theirs, Delivery.bounced_at.is_not(None), Delivery.id < delivery.id)
        .order_by(Delivery.id.desc())
        .limit(1)
    )
    arrived = session.scalar(
        select(Delivery.id)
        .where(
            theirs,
            Delivery.state == DeliveryState.SENT,
            Delivery.bounced_at.is_(None),
            Delivery.id > (last or 0),
            Delivery.id < delivery.id,
        )
        .limit(1)
    )
    return arrived is None


def _stop(session: Session, subscriber: Subscriber, now: dt.datetime) -> None:
    deliveries.cancel_for(session, subscriber, now=now)
    subscriber.state, subscriber.left_at = SubscriberState.FAILED, now
    subscriber.next_local_date = subscriber.next_due_at = None
    session.flush()


def _changed(session: Session, model: type[Delivery | Heartbeat], *conditions: Any, **values: Any) -> bool:
    done = session.execute(
        update(model).where(*conditions).values(**values).execution_options(synchronize_session=False)
    )
    return bool(done.rowcount)  # type: ignore[attr-defined]


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
    return digits or "0"
