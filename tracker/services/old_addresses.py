"""Those who followed before release 0009: their addresses were found by a key that the web process has too.

The mailer's first run gives them hashes, locks and links by its own keys. The links in mails that they have already
stay good for a while. They have to end: they were derived from the address by the web process's key, so whoever has
that key, the database and a guess could check the guess against the hash of a link.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker.models import Subscriber
from tracker.services import deliveries, sign_ups, subscriptions
from tracker.vocabulary import SubscriberState

if TYPE_CHECKING:
    from tracker.keyring import Keyring

OLD_LINKS_LAST = dt.timedelta(days=60)
_BATCH = 200


def rekey(session: Session, keys: Keyring, *, now: dt.datetime) -> int:
    """Give a batch of old rows the mailer's own hashes, locks and links; how many. 0: none is left."""
    # Locked, so that a second mailer passes over them. SQLite has one writer at a time anyway.
    rows = session.scalars(
        select(Subscriber)
        .where(Subscriber.address_old)
        .order_by(Subscriber.id)
        .limit(_BATCH)
        .with_for_update(skip_locked=True)
    ).all()
    for subscriber in rows:
        _rekey(session, subscriber, keys, now)
        session.flush()
    return len(rows)


def end_links(session: Session, *, now: dt.datetime) -> bool:
    """Forget old links whose time is over; whether there were any."""
    return subscriptions.change_rows(
        session,
        Subscriber.old_links_until < now.date(),
        old_manage_hash=None,
        old_leave_hash=None,
        old_links_until=None,
    )


def left_to_do(session: Session) -> int:
    """How many rows still have the old hashes."""
    return session.scalar(select(func.count()).select_from(Subscriber).where(Subscriber.address_old)) or 0


def _rekey(session: Session, subscriber: Subscriber, keys: Keyring, now: dt.datetime) -> None:
    try:
        address = subscriptions.address(subscriber, keys)
    except ValueError:
        # Nobody can write to them, and they cannot come back by themselves: like an address that was refused.
        deliveries.cancel_for(session, subscriber, now=now)
        subscriber.address_hash = keys.mailer.keyed_hash("unreadable", subscriber.key)
        subscriber.state, subscriber.left_at = SubscriberState.FAILED, now
        subscriber.next_local_date = subscriber.next_due_at = subscriber.address_sealed = None
    else:
        subscriber.address_hash = _free_hash(session, address, keys)
        subscriber.address_sealed = sign_ups.lock_address(address, subscriber.address_hash, keys)
    subscriber.address_old = False
    subscriber.old_manage_hash, subscriber.old_leave_hash = (
        subscriber.manage_token_hash,
        subscriber.leave_token_hash,
    )
    subscriber.old_links_until = (now + OLD_LINKS_LAST).date()
    subscriber.manage_token_hash = subscriptions.hash_token(subscriptions.manage_token(subscriber, keys))
    subscriber.leave_token_hash = subscriptions.hash_token(subscriptions.leave_token(subscriber, keys))


def _free_hash(session: Session, address: str, keys: Keyring) -> str:
    """The address's hash; that of its old spelling where two old rows are one mailbox now (dots at Gmail).

    Both go on getting what they chose, and each can be changed by its own link.
    """
    found = keys.mailer.keyed_hash("subscriber", sign_ups.canonical(address))
    taken = session.scalar(select(Subscriber.id).where(Subscriber.address_hash == found))
    return keys.mailer.keyed_hash("second spelling", address.lower()) if taken is not None else found
