"""Following: confirming, changing, leaving, forgetting. What comes in at the public form: `sign_ups`.

Links carry tokens, rows hold their SHA-256. Those of mails are derived by the mailer from its key; the web process
can check one and make none. Whoever has neither an address (a feed, a mailbox on this site) holds a random secret.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from tracker.models import Delivery, Follow, SignUp, Subscriber
from tracker.services import choices as chosen
from tracker.services import deliveries, ledger, schedule
from tracker.services.choices import Choices
from tracker.services.choices import follow_key as follow_key
from tracker.services.choices import rhythm_of as rhythm
from tracker.services.schedule import Rhythm
from tracker.vocabulary import Channel, Disclosure, SubscriberState

if TYPE_CHECKING:
    from tracker.keyring import Keyring

FORGET_UNCONFIRMED = dt.timedelta(days=7)
FORGET_LEFT = dt.timedelta(days=30)
ASK_AGAIN_AFTER = dt.timedelta(days=365)
# How long somebody has to answer the yearly question. A feed or a mailbox asks only when it is looked at.
ANSWER_WITHIN = {
    Channel.EMAIL: dt.timedelta(days=30),
    Channel.FEED: dt.timedelta(days=90),
    Channel.MAILBOX: dt.timedelta(days=90),
}


class Sealed(Protocol):
    """What is known of somebody to whom a mail goes: a row of `subscriber`, or a part of one."""

    @property
    def key(self) -> str | None: ...
    @property
    def address_hash(self) -> str | None: ...
    @property
    def address_sealed(self) -> bytes | None: ...
    @property
    def address_old(self) -> bool | None: ...
    @property
    def openpgp_sealed(self) -> bytes | None: ...


@dataclass(frozen=True)
class Confirmation:
    """All that a confirmation mail is made of. `manage_token` is there for those who follow already."""

    recipient: str
    name: str  # The Message-ID's part before the @.
    token: str
    manage_token: str | None
    language: str = "en"


# Confirming


def asking(session: Session, token: str, *, now: dt.datetime) -> Subscriber | None:
    """Who a confirmation link belongs to, while it is valid."""
    return session.scalars(select(Subscriber).where(_confirmable(token, now))).one_or_none()


def asked(subscriber: Subscriber) -> Choices | None:
    """The choices that wait for confirmation."""
    return chosen.from_plain(subscriber.asked) if subscriber.asked else None


def confirm(session: Session, token: str, *, now: dt.datetime) -> Subscriber | None:
    """Use a confirmation link, once: what was asked for becomes what is followed. None: it is no longer valid."""
    subscriber = asking(session, token, now=now)
    if subscriber is None or subscriber.asked is None:
        return None
    wanted, certificate = asked(subscriber), subscriber.asked.get("openpgp")
    used = {"confirm_token_hash": None, "confirm_expires_at": None, "asked": None}
    if not change_rows(session, Subscriber.id == subscriber.id, _confirmable(token, now), **used):
        return None
    session.refresh(subscriber)
    if certificate:
        subscriber.openpgp_sealed = base64.b64decode(certificate)
    assert wanted is not None
    renew(subscriber, now=now)
    change(session, subscriber, wanted, now=now)
    return subscriber


# Changing


def change(session: Session, subscriber: Subscriber, choices: Choices, *, now: dt.datetime) -> None:
    """Follow this, in this rhythm, from now on. Somebody who had left or was refused follows again."""
    chosen.check(session, choices)
    if subscriber.state is not SubscriberState.CONFIRMED:
        subscriber.state = SubscriberState.CONFIRMED
        subscriber.confirmed_at, subscriber.left_at = now, None
        subscriber.seen_seq = ledger.position(session)
        subscriber.soft_bounces, subscriber.rest_until, subscriber.paused_until = 0, None, None
    set_rhythm(subscriber, choices.rhythm)
    subscriber.language = choices.language
    # Nobody but the reader sees a mailbox on this site or a feed.
    mailed = subscriber.channel is Channel.EMAIL
    subscriber.disclosure = choices.disclosure if mailed else Disclosure.FULL
    if chosen.current(subscriber).follows != choices.follows:
        subscriber.follows = chosen.rows(choices)
    subscriber.follow_key = follow_key(choices.follows)
    plan(subscriber, now)
    session.flush()


def set_rhythm(subscriber: Subscriber, rhythm: Rhythm) -> None:
    """Note when somebody wants digests, without planning the next one."""
    subscriber.frequency, subscriber.hour, subscriber.timezone = (
        rhythm.frequency,
        rhythm.hour,
        rhythm.timezone,
    )
    subscriber.weekday, subscriber.month_day = rhythm.weekday, rhythm.month_day


def renew(subscriber: Subscriber, *, now: dt.datetime) -> None:
    """Somebody still wants this. The day is enough: when they looked is nobody's business."""
    subscriber.renewed_at = now.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    subscriber.renewal_asked_at = None


def set_certificate(subscriber: Subscriber, certificate: str | None, keys: Keyring) -> None:
    """Encrypt to this OpenPGP certificate from now on; None: not any more. `tracker.openpgp` has checked it."""
    subscriber.openpgp_sealed = seal_certificate(certificate, subscriber, keys) if certificate else None


def seal_certificate(certificate: str, subscriber: Subscriber, keys: Keyring) -> bytes:
    """A certificate as it is stored: it holds an address, so it is sealed like one."""
    return keys.seal(certificate.encode(), certificate_context(subscriber))


def certificate(whose: Sealed, keys: Keyring) -> str:
    """The OpenPGP certificate that mails to this person are encrypted to. Only the mailer can read it."""
    if whose.openpgp_sealed is None:
        raise ValueError("This reader has no key.")
    return keys.mailer.unseal(whose.openpgp_sealed, certificate_context(whose)).decode()


def certificate_context(whose: Sealed) -> str:
    """What a sealed certificate is bound to."""
    return f"subscriber.openpgp/{whose.key}"


# Leaving and forgetting


def leave(session: Session, subscriber: Subscriber, *, now: dt.datetime) -> None:
    """No more mails, also none that already waits. Asked twice it does nothing more."""
    deliveries.cancel_for(session, subscriber, now=now)
    if subscriber.state is SubscriberState.LEFT:
        return
    subscriber.state, subscriber.left_at = SubscriberState.LEFT, now
    subscriber.next_local_date = subscriber.next_due_at = subscriber.paused_until = None
    subscriber.asked = subscriber.confirm_token_hash = subscriber.confirm_expires_at = None
    session.flush()


def erase(session: Session, subscriber: Subscriber) -> None:
    """Forget everything about somebody."""
    _forget(session, Subscriber.id == subscriber.id)


def forget_expired(session: Session, *, now: dt.datetime) -> None:
    """Forget those who never confirmed after a week, and those who left or were refused after a month."""
    change_rows(
        session,
        Subscriber.confirm_expires_at < now,
        asked=None,
        confirm_token_hash=None,
        confirm_expires_at=None,
    )
    # Two days later than by UTC it is over for everybody.
    change_rows(session, Subscriber.paused_until < now.date() - dt.timedelta(days=2), paused_until=None)
    gone = Subscriber.state.in_([SubscriberState.LEFT, SubscriberState.FAILED])
    _forget(
        session,
        or_(
            and_(
                Subscriber.confirmed_at.is_(None),
                func.coalesce(Subscriber.confirmation_sent_at, Subscriber.created_at)
                < now - FORGET_UNCONFIRMED,
            ),
            and_(gone, Subscriber.left_at < now - FORGET_LEFT, Subscriber.confirm_expires_at.is_(None)),
        ),
    )
    session.execute(delete(SignUp).where(SignUp.created_at < now - FORGET_UNCONFIRMED))
    _ask_readers(session, now)


def due_for_renewal(session: Session, now: dt.datetime) -> Sequence[Subscriber]:
    """Whom to ask by mail whether they still want this: a year after they said so. Then call `renewal_asked`."""
    return session.scalars(
        select(Subscriber)
        .where(Subscriber.channel == Channel.EMAIL, _renewal_due(now))
        .order_by(Subscriber.id)
    ).all()


def renewal_asked(session: Session, subscriber: Subscriber, *, now: dt.datetime) -> bool:
    """Note that somebody is asked now. False: another process has asked, or they answered meanwhile."""
    return change_rows(session, Subscriber.id == subscriber.id, _renewal_due(now), renewal_asked_at=now)


def forget_unrenewed(session: Session, *, now: dt.datetime) -> int:
    """Forget those who were asked and did not answer in time; how many."""
    late = [
        and_(Subscriber.channel == channel, Subscriber.renewal_asked_at < now - time)
        for channel, time in ANSWER_WITHIN.items()
    ]
    return _forget(session, and_(Subscriber.renewal_asked_at.is_not(None), or_(*late)))


def _ask_readers(session: Session, now: dt.datetime) -> None:
    # A feed and a mailbox show the question themselves, so nobody has to know when they are read.
    change_rows(session, Subscriber.channel != Channel.EMAIL, _renewal_due(now), renewal_asked_at=now)


def _renewal_due(now: dt.datetime) -> ColumnElement[bool]:
    return and_(
        Subscriber.state == SubscriberState.CONFIRMED,
        Subscriber.renewal_asked_at.is_(None),
        func.coalesce(Subscriber.renewed_at, Subscriber.confirmed_at) < now - ASK_AGAIN_AFTER,
    )


# Links and addresses


def by_manage_token(session: Session, token: str) -> Subscriber | None:
    """Who a manage link belongs to, if they ever confirmed."""
    return _by(session, token, Subscriber.manage_token_hash, Subscriber.old_manage_hash, confirmed=True)


def by_leave_token(session: Session, token: str) -> Subscriber | None:
    """Who a leave link belongs to."""
    return _by(session, token, Subscriber.leave_token_hash, Subscriber.old_leave_hash)


def _by(session: Session, token: str, *columns: Any, confirmed: bool = False) -> Subscriber | None:
    found = or_(*(column == hash_token(token) for column in columns))
    if confirmed:
        found = and_(found, Subscriber.confirmed_at.is_not(None))
    return session.scalars(select(Subscriber).where(found)).one_or_none()


def address(whose: Sealed, keys: Keyring) -> str:
    """Open somebody's address: only the mailer can, and only who sends mail needs it."""
    if whose.address_sealed is None or whose.address_hash is None:
        raise ValueError("This reader has no address.")
    context = address_context(whose.address_hash)
    if whose.address_old:
        return keys.mailer.unseal(whose.address_sealed, context).decode()
    return keys.mailer.unlock(whose.address_sealed, context).decode()


def address_context(address_hash: str) -> str:
    """What a sealed address is bound to."""
    return f"subscriber.address/{address_hash}"


def manage_token(whose: Sealed, keys: Keyring) -> str:
    """The token of the link by which somebody changes or leaves. Only the mailer can make it."""
    return _token("manage", whose, keys)


def leave_token(whose: Sealed, keys: Keyring) -> str:
    """The token of the link that leaves, and can do nothing else. Only the mailer can make it."""
    return _token("leave", whose, keys)


def _token(purpose: str, whose: Sealed, keys: Keyring) -> str:
    if whose.key is None:
        raise ValueError("Whoever this was is forgotten.")
    if whose.address_old:
        # Not yet rekeyed: the row knows the hash of this one.
        return keys.keyed_hash(purpose, f"{whose.key}/{whose.address_hash}")[:32]
    return keys.mailer.keyed_hash(purpose, whose.key)[:32]


def hash_token(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def change_rows(session: Session, *conditions: ColumnElement[bool], **values: Any) -> bool:
    """Change the subscribers that meet the conditions; whether there were any."""
    done = session.execute(
        update(Subscriber).where(*conditions).values(**values).execution_options(synchronize_session=False)
    )
    return bool(done.rowcount)  # type: ignore[attr-defined]


def plan(subscriber: Subscriber, now: dt.datetime) -> None:
    """Note when the next digest is due: after the pause, if there is one; never for a feed or who has left."""
    if subscriber.channel is Channel.FEED or subscriber.state is not SubscriberState.CONFIRMED:
        subscriber.next_local_date = subscriber.next_due_at = None
        return
    if subscriber.paused_until is not None:
        # A moment before the pause's end, so that a turn at that very moment counts.
        end = schedule.end_of_day(subscriber.paused_until, subscriber.timezone)
        now = max(now, end - dt.timedelta(microseconds=1))
    slot = schedule.first_slot(rhythm(subscriber), now)
    subscriber.next_local_date, subscriber.next_due_at = slot.day, slot.due_at


def _confirmable(token: str, now: dt.datetime) -> ColumnElement[bool]:
    return and_(Subscriber.confirm_token_hash == hash_token(token), Subscriber.confirm_expires_at > now)


def _forget(session: Session, whom: ColumnElement[bool]) -> int:
    ids = select(Subscriber.id).where(whom)
    # "fetch" also takes the rows out of the session, where a new person could get an old one's number.
    fetch = {"synchronize_session": "fetch"}
    for model in (Delivery, Follow):
        session.execute(delete(model).where(model.subscriber_id.in_(ids)), execution_options=fetch)
    # That a digest went out stays, where others check theirs; to whom stood in the deliveries alone.
    done = session.execute(delete(Subscriber).where(whom), execution_options=fetch)
    return int(done.rowcount)  # type: ignore[attr-defined]
