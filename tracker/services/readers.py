"""Following without an address: a private feed, or a mailbox on this site. What opens them is shown once.

Both are made at once by the web process, because there is no address that could be somebody else's. Of what opens
them the row holds a SHA-256: 256 random bits of a feed's link, six words of a mailbox. Looking is not noted; once a
year both ask whether they are still wanted, and are forgotten if nobody presses the button.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import secrets
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import select
from sqlalchemy.orm import Session
from xkcdpass import xkcd_password

from tracker.models import Subscriber, new_key
from tracker.services import subscriptions
from tracker.services.choices import Choices
from tracker.vocabulary import Channel, SubscriberState

WORDS = 6
_LONGEST_TYPED = 200


@dataclass(frozen=True)
class Opened:
    """A reader that was just made, with what opens it. `manage_token`: the link by which a feed is changed."""

    subscriber: Subscriber
    secret: str
    manage_token: str


def open_feed(session: Session, choices: Choices, *, now: dt.datetime) -> Opened:
    """A private feed."""
    return _open(session, Channel.FEED, choices, secrets.token_urlsafe(32), now)


def open_mailbox(session: Session, choices: Choices, *, now: dt.datetime) -> Opened:
    """A mailbox on this site."""
    return _open(session, Channel.MAILBOX, choices, new_passphrase(), now)


def find_feed(session: Session, token: str) -> Subscriber | None:
    """Whose feed this is, unless it was stopped."""
    return _find(session, Channel.FEED, token, SubscriberState.CONFIRMED)


def find_mailbox(session: Session, passphrase: str) -> Subscriber | None:
    """Whose mailbox these words open, also after it was stopped: it can be opened again."""
    return _find(
        session, Channel.MAILBOX, normal(passphrase), SubscriberState.CONFIRMED, SubscriberState.LEFT
    )


def normal(passphrase: str) -> str:
    """Six words as they are hashed, however they were typed."""
    return " ".join(re.findall("[a-z]+", passphrase[:_LONGEST_TYPED].lower()))


def new_passphrase() -> str:
    """Six random words of the EFF's long list, each as likely as any other: 77 bits."""
    return " ".join(secrets.choice(_words()) for _ in range(WORDS))


def bits() -> float:
    """How much there is to guess in six words."""
    return WORDS * math.log2(len(_words()))


@lru_cache
def _words() -> tuple[str, ...]:
    # https://www.eff.org/dice, less the four with a hyphen, which people would not know how to write.
    found = xkcd_password.generate_wordlist(wordfile="eff-long", min_length=3, max_length=9)
    return tuple(sorted(word for word in found if re.fullmatch("[a-z]+", word)))


def _open(session: Session, channel: Channel, choices: Choices, secret: str, now: dt.datetime) -> Opened:
    manage = secrets.token_urlsafe(24)
    # The hour is enough: when exactly somebody came is nobody's business.
    hour = now.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
    subscriber = Subscriber(
        key=new_key(),
        channel=channel,
        state=SubscriberState.PENDING,
        created_at=hour,
        manage_token_hash=subscriptions.hash_token(manage),
        # No mail carries a link for leaving, so nobody has this one.
        leave_token_hash=subscriptions.hash_token(secrets.token_urlsafe(24)),
        read_token_hash=subscriptions.hash_token(secret),
    )
    subscriptions.set_rhythm(subscriber, choices.rhythm)
    session.add(subscriber)
    subscriptions.change(session, subscriber, choices, now=now)
    subscriber.confirmed_at = hour
    session.flush()
    return Opened(subscriber, secret, manage)


def _find(session: Session, channel: Channel, secret: str, *states: SubscriberState) -> Subscriber | None:
    return session.scalars(
        select(Subscriber).where(
            Subscriber.channel == channel,
            Subscriber.read_token_hash == subscriptions.hash_token(secret),
            Subscriber.state.in_(states),
        )
    ).one_or_none()
