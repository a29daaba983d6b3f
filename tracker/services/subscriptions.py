"""Following: asking, confirming, changing, leaving. Nobody learns from an answer whether an address is known.

What somebody enters at the public form takes effect only when the link in the mail is confirmed; until then nothing
changes for whoever has that address. Links carry tokens that are derived from the keys; rows hold their SHA-256.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, delete, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker.errors import Invalid
from tracker.models import Delivery, Digest, Follow, Recommendation, Report, Subscriber, new_key
from tracker.services import deliveries, ledger, schedule
from tracker.services.deliveries import Mail
from tracker.services.schedule import Rhythm
from tracker.vocabulary import N_, DeliveryKind, Frequency, Scope, SubscriberState

if TYPE_CHECKING:
    from tracker.keyring import Keyring

ONE_CONFIRMATION_EACH = dt.timedelta(days=1)
FORGET_UNCONFIRMED = dt.timedelta(days=7)
FORGET_LEFT = dt.timedelta(days=30)


@dataclass(frozen=True)
class Choices:
    """What somebody wants to hear about, and when."""

    rhythm: Rhythm
    scope: Scope
    report_id: int | None = None
    recommendation_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Confirmation:
    """All that a confirmation mail is made of. `manage_token` is there for those who follow already."""

    recipient: str
    name: str  # The Message-ID's part before the @.
    token: str
    manage_token: str | None


def canonical(address: str) -> str:
    """One mailbox, one text: lower case, without the +tag that lets one person count as many."""
    local, _, domain = address.strip().lower().rpartition("@")
    return f"{local.partition('+')[0] or local}@{domain}"


def subscribe(
    session: Session,
    address: str,
    choices: Choices,
    *,
    keys: Keyring,
    compose: Callable[[Confirmation], Mail],
    confirm_for: dt.timedelta,
    now: dt.datetime,
) -> None:
    """Note what was asked for, and mail a link to confirm it: to one address once a day at most."""
    check(session, choices)
    address_hash = keys.keyed_hash("subscriber", canonical(address))
    sealed = keys.seal(address.encode(), address_context(address_hash))
    subscriber = _find_or_add(session, address_hash, sealed, choices, keys, now)
    confirmed = subscriber.state is SubscriberState.CONFIRMED
    token = secrets.token_urlsafe(24)
    # Made also when it is not sent, so that the answer takes equally long.
    mail = compose(
        Confirmation(
            address,
            keys.keyed_hash("message", token)[:32],
            token,
            manage_token(subscriber, keys) if confirmed else None,
        )
    )
    values: dict[str, Any] = {
        "confirmation_sent_at": now,
        "confirm_token_hash": hash_token(token),
        "confirm_expires_at": now + confirm_for,
    }
    if not confirmed:
        values["address_sealed"] = sealed
    subscriber.asked = _plain(choices)
    session.flush()
    quiet = or_(
        Subscriber.confirmation_sent_at.is_(None),
        Subscriber.confirmation_sent_at <= now - ONE_CONFIRMATION_EACH,
    )
    if _change(session, Subscriber.id == subscriber.id, quiet, **values):
        deliveries.enqueue(session, subscriber, mail, kind=DeliveryKind.CONFIRMATION, keys=keys, now=now)


def check(session: Session, choices: Choices) -> None:
    """Refuse choices that follow nothing."""
    if choices.scope is Scope.REPORT and session.get(Report, choices.report_id or 0) is None:
        raise Invalid(N_("Choose a report."), "report")
    if choices.scope is Scope.RECOMMENDATION and not choices.recommendation_ids:
        raise Invalid(N_("Choose at least one recommendation."), "recommendations")


def asking(session: Session, token: str, *, now: dt.datetime) -> Subscriber | None:
    """Who a confirmation link belongs to, while it is valid."""
    return session.scalars(select(Subscriber).where(_confirmable(token, now))).one_or_none()


def confirm(session: Session, token: str, *, now: dt.datetime) -> Subscriber | None:
    """Use a confirmation link, once: what was asked for becomes what is followed. None: it is no longer valid."""
    subscriber = asking(session, token, now=now)
    if subscriber is None or subscriber.asked is None:
        return None
    choices = _choices(subscriber.asked)
    used = {"confirm_token_hash": None, "confirm_expires_at": None, "asked": None}
    if not _change(session, Subscriber.id == subscriber.id, _confirmable(token, now), **used):
        return None
    session.refresh(subscriber)
    change(session, subscriber, choices, now=now)
    return subscriber


def asked(subscriber: Subscriber) -> Choices | None:
    """The choices that wait for confirmation."""
    return _choices(subscriber.asked) if subscriber.asked else None


def change(session: Session, subscriber: Subscriber, choices: Choices, *, now: dt.datetime) -> None:
    """Follow this, in this rhythm, from now on. Somebody who had left or was refused follows again."""
    check(session, choices)
    rhythm = choices.rhythm
    if subscriber.state is not SubscriberState.CONFIRMED:
        subscriber.state = SubscriberState.CONFIRMED
        subscriber.confirmed_at, subscriber.left_at = now, None
        subscriber.seen_seq = ledger.position(session)
    subscriber.frequency, subscriber.weekday, subscriber.month_day = (
        rhythm.frequency,
        rhythm.weekday,
        rhythm.month_day,
    )
    subscriber.hour, subscriber.timezone = rhythm.hour, rhythm.timezone
    subscriber.follows = _follows(choices)
    subscriber.next_local_date, subscriber.next_due_at = schedule.first(rhythm, now)
    session.flush()


def leave(session: Session, subscriber: Subscriber, *, now: dt.datetime) -> None:
    """No more mails, also none that already waits. Asked twice it does nothing more."""
    deliveries.cancel_for(session, subscriber, now=now)
    if subscriber.state is SubscriberState.LEFT:
        return
    subscriber.state, subscriber.left_at = SubscriberState.LEFT, now
    subscriber.next_local_date = subscriber.next_due_at = None
    subscriber.asked = subscriber.confirm_token_hash = subscriber.confirm_expires_at = None
    session.flush()


def erase(session: Session, subscriber: Subscriber) -> None:
    """Forget everything about somebody."""
    _forget(session, Subscriber.id == subscriber.id)


def by_manage_token(session: Session, token: str) -> Subscriber | None:
    """Who a manage link belongs to, if they ever confirmed."""
    return session.scalars(
        select(Subscriber).where(
            Subscriber.manage_token_hash == hash_token(token), Subscriber.confirmed_at.is_not(None)
        )
    ).one_or_none()


def by_leave_token(session: Session, token: str) -> Subscriber | None:
    """Who a leave link belongs to."""
    return session.scalars(
        select(Subscriber).where(Subscriber.leave_token_hash == hash_token(token))
    ).one_or_none()


def forget_expired(session: Session, *, now: dt.datetime) -> None:
    """Forget those who never confirmed after a week, and those who left or were refused after a month."""
    _change(
        session,
        Subscriber.confirm_expires_at < now,
        asked=None,
        confirm_token_hash=None,
        confirm_expires_at=None,
    )
    gone = Subscriber.state.in_([SubscriberState.LEFT, SubscriberState.FAILED])
    _forget(
        session,
        or_(
            and_(
                Subscriber.confirmed_at.is_(None), Subscriber.confirmation_sent_at < now - FORGET_UNCONFIRMED
            ),
            and_(gone, Subscriber.left_at < now - FORGET_LEFT, Subscriber.confirm_expires_at.is_(None)),
        ),
    )


def rhythm(subscriber: Subscriber) -> Rhythm:
    """When this person wants digests."""
    return Rhythm(
        subscriber.frequency, subscriber.weekday, subscriber.month_day, subscriber.hour, subscriber.timezone
    )


def current(subscriber: Subscriber) -> Choices:
    """What this person follows now, and when."""
    scopes = [follow.scope for follow in subscriber.follows]
    return Choices(
        rhythm(subscriber),
        scopes[0] if scopes else Scope.EVERYTHING,
        next((follow.report_id for follow in subscriber.follows if follow.report_id), None),
        tuple(follow.recommendation_id for follow in subscriber.follows if follow.recommendation_id),
    )


def address(subscriber: Subscriber, keys: Keyring) -> str:
    """Open somebody's address: only who sends mail needs it."""
    return keys.unseal(subscriber.address_sealed, address_context(subscriber.address_hash)).decode()


def address_context(address_hash: str) -> str:
    """What a sealed address is bound to."""
    return f"subscriber.address/{address_hash}"


def manage_token(subscriber: Subscriber, keys: Keyring) -> str:
    """The token of the link by which somebody changes or leaves."""
    return keys.keyed_hash("manage", f"{subscriber.key}/{subscriber.address_hash}")[:32]


def leave_token(subscriber: Subscriber, keys: Keyring) -> str:
    """The token of the link that leaves, and can do nothing else."""
    return keys.keyed_hash("leave", f"{subscriber.key}/{subscriber.address_hash}")[:32]


def hash_token(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _find_or_add(
    session: Session, address_hash: str, sealed: bytes, choices: Choices, keys: Keyring, now: dt.datetime
) -> Subscriber:
    known = select(Subscriber).where(Subscriber.address_hash == address_hash)
    found = session.scalars(known).one_or_none()
    if found is not None:
        return found
    rhythm = choices.rhythm
    subscriber = Subscriber(
        key=new_key(),
        address_hash=address_hash,
        address_sealed=sealed,
        frequency=rhythm.frequency,
        weekday=rhythm.weekday,
        month_day=rhythm.month_day,
        hour=rhythm.hour,
        timezone=rhythm.timezone,
        created_at=now,
    )
    subscriber.manage_token_hash = hash_token(manage_token(subscriber, keys))
    subscriber.leave_token_hash = hash_token(leave_token(subscriber, keys))
    try:
        with session.begin_nested():
            session.add(subscriber)
    except IntegrityError:
        # The same address in the same moment: the other one was quicker.
        return session.scalars(known).one()
    return subscriber


def _confirmable(token: str, now: dt.datetime) -> ColumnElement[bool]:
    return and_(Subscriber.confirm_token_hash == hash_token(token), Subscriber.confirm_expires_at > now)


def _follows(choices: Choices) -> list[Follow]:
    if choices.scope is Scope.REPORT:
        return [Follow(scope=Scope.REPORT, report_id=choices.report_id)]
    if choices.scope is Scope.RECOMMENDATION:
        return [
            Follow(scope=Scope.RECOMMENDATION, recommendation_id=number)
            for number in choices.recommendation_ids
        ]
    return [Follow(scope=Scope.EVERYTHING)]


def _plain(choices: Choices) -> dict[str, Any]:
    rhythm = choices.rhythm
    return {
        "frequency": rhythm.frequency.value,
        "weekday": rhythm.weekday,
        "month_day": rhythm.month_day,
        "hour": rhythm.hour,
        "timezone": rhythm.timezone,
        "scope": choices.scope.value,
        "report": choices.report_id,
        "recommendations": list(choices.recommendation_ids),
    }


def _choices(plain: dict[str, Any]) -> Choices:
    return Choices(
        Rhythm(
            Frequency(plain["frequency"]),  # type: ignore[call-arg]
            plain["weekday"],
            plain["month_day"],
            plain["hour"],
            plain["timezone"],
        ),
        Scope(plain["scope"]),  # type: ignore[call-arg]
        plain["report"],
        tuple(plain["recommendations"]),
    )


def _change(session: Session, *conditions: ColumnElement[bool], **values: Any) -> bool:
    done = session.execute(
        update(Subscriber).where(*conditions).values(**values).execution_options(synchronize_session=False)
    )
    return bool(done.rowcount)  # type: ignore[attr-defined]


def _forget(session: Session, whom: ColumnElement[bool]) -> None:
    ids = select(Subscriber.id).where(whom)
    # "fetch" also takes the rows out of the session, where a new person could get an old one's number.
    fetch = {"synchronize_session": "fetch"}
    for model in (Delivery, Follow):
        session.execute(delete(model).where(model.subscriber_id.in_(ids)), execution_options=fetch)
    # That a digest went out stays on the page of digests, where others check theirs; to whom does not.
    session.execute(
        update(Digest).where(Digest.subscriber_id.in_(ids)).values(subscriber_id=None),
        execution_options=fetch,
    )
    session.execute(delete(Subscriber).where(whom), execution_options=fetch)


def recommendations(session: Session, choices: Choices) -> list[Recommendation]:
    """The single recommendations somebody chose, in the order of their reports."""
    return list(
        session.scalars(
            select(Recommendation)
            .where(Recommendation.id.in_(choices.recommendation_ids))
            .order_by(Recommendation.report_id, Recommendation.position)
        )
    )
