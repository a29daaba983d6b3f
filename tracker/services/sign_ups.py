"""What comes in at the public form. The web process seals it to the mailer and asks nothing; the mailer does the rest.

So the answer at the form, and the time it takes, are the same for known and unknown addresses, and whoever has the
web process with all its keys cannot find out whether an address follows. What was entered takes effect only when the
link in the mail is confirmed; until then nothing changes for whoever has that address.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import secrets
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, or_, select
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from tracker.errors import Invalid
from tracker.models import SignUp, Subscriber, new_key
from tracker.services import choices as chosen
from tracker.services import deliveries, subscriptions
from tracker.services.choices import Choices
from tracker.services.deliveries import Mail
from tracker.services.subscriptions import Confirmation
from tracker.vocabulary import DeliveryKind, SubscriberState

if TYPE_CHECKING:
    from tracker.keyring import Keyring

CONTEXT = "sign_up"
ONE_CONFIRMATION_EACH = dt.timedelta(days=1)
LONGEST_ADDRESS = 254
# Sealed text is as long as what it seals: all that is shorter than this looks the same.
_PADDED_TO = 1024
_BATCH = 50
_DOTS_DO_NOT_COUNT = {"gmail.com": "gmail.com", "googlemail.com": "gmail.com"}


def canonical(address: str) -> str:
    """One mailbox, one text: lower case, without the +tag and the dots that let one person count as many."""
    local, _, domain = address.strip().lower().rpartition("@")
    local = local.partition("+")[0] or local
    if domain in _DOTS_DO_NOT_COUNT:
        local, domain = local.replace(".", "") or local, _DOTS_DO_NOT_COUNT[domain]
    return f"{local}@{domain}"


def ask(
    session: Session,
    address: str,
    choices: Choices,
    *,
    certificate: str | None = None,
    keys: Keyring,
    now: dt.datetime,
) -> None:
    """Lay what was entered into the mailer's inbox. Needs no key of the mailer's, and looks nothing up."""
    chosen.check(session, choices)
    words = json.dumps(
        {"address": address, "choices": chosen.plain(choices), "openpgp": certificate}
    ).encode()
    padded = words.ljust(-(-len(words) // _PADDED_TO) * _PADDED_TO)
    hour = now.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
    session.add(SignUp(sealed=keys.seal(padded, CONTEXT), created_at=hour))
    session.flush()


def take_sign_ups(
    session: Session,
    *,
    keys: Keyring,
    compose: Callable[[Confirmation], Mail],
    confirm_for: dt.timedelta,
    now: dt.datetime,
) -> Counter[str]:
    """Open what waits, the oldest first, a few at a time: "taken", and "dropped" for what was damaged. 0: all done.

    Each is claimed by deleting it, so two mailers at once take each one once.
    """
    done: Counter[str] = Counter()
    rows = session.execute(select(SignUp.id, SignUp.sealed).order_by(SignUp.id).limit(_BATCH)).all()
    for number, sealed in rows:
        removed = session.execute(delete(SignUp).where(SignUp.id == number))
        if removed.rowcount != 1:  # type: ignore[attr-defined]
            done["taken by another"] += 1
            continue
        try:
            with session.begin_nested():
                found = json.loads(keys.mailer.unseal(sealed, CONTEXT))
                choices = chosen.from_plain(found["choices"])
                chosen.check(session, choices)
                _invite(
                    session,
                    _address(found["address"]),
                    choices,
                    found["openpgp"],
                    keys=keys,
                    compose=compose,
                    confirm_for=confirm_for,
                    now=now,
                )
        except (ValueError, KeyError, TypeError, AttributeError, Invalid, DataError):
            done["dropped"] += 1
        else:
            done["taken"] += 1
    return done


def find_or_add(
    session: Session, address: str, choices: Choices, *, keys: Keyring, now: dt.datetime
) -> Subscriber:
    """Whoever has this mailbox, or somebody new who has not confirmed."""
    address_hash = keys.mailer.keyed_hash("subscriber", canonical(address))
    known = select(Subscriber).where(Subscriber.address_hash == address_hash)
    found = session.scalars(known).one_or_none()
    if found is not None:
        return found
    subscriber = Subscriber(
        key=new_key(),
        address_hash=address_hash,
        address_sealed=lock_address(address, address_hash, keys),
        language=choices.language,
        disclosure=choices.disclosure,
        created_at=now,
    )
    subscriptions.set_rhythm(subscriber, choices.rhythm)
    subscriber.manage_token_hash = subscriptions.hash_token(subscriptions.manage_token(subscriber, keys))
    subscriber.leave_token_hash = subscriptions.hash_token(subscriptions.leave_token(subscriber, keys))
    try:
        with session.begin_nested():
            session.add(subscriber)
    except IntegrityError:
        # The same address in the same moment: the other one was quicker.
        return session.scalars(known).one()
    return subscriber


def lock_address(address: str, address_hash: str, keys: Keyring) -> bytes:
    """An address as it is stored."""
    return keys.mailer.lock(address.encode(), subscriptions.address_context(address_hash))


def _address(value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise ValueError("This is no address.")
    if len(value) > LONGEST_ADDRESS or not all(value.rpartition("@")):
        raise ValueError("This is no address.")
    return value


def _invite(
    session: Session,
    address: str,
    choices: Choices,
    certificate: object,
    *,
    keys: Keyring,
    compose: Callable[[Confirmation], Mail],
    confirm_for: dt.timedelta,
    now: dt.datetime,
) -> None:
    subscriber = find_or_add(session, address, choices, keys=keys, now=now)
    confirmed = subscriber.state is SubscriberState.CONFIRMED
    if confirmed or subscriber.state is SubscriberState.LEFT:
        # Where a +tag is another mailbox after all, it must not get a link of somebody else's.
        address = subscriptions.address(subscriber, keys)
    token = secrets.token_urlsafe(24)
    values: dict[str, Any] = {
        "confirmation_sent_at": now,
        "confirm_token_hash": subscriptions.hash_token(token),
        "confirm_expires_at": now + confirm_for,
    }
    if subscriber.address_hash is not None:
        values["address_sealed"] = lock_address(address, subscriber.address_hash, keys)
    asked = chosen.plain(choices)
    if certificate is not None:
        sealed = subscriptions.seal_certificate(str(certificate), subscriber, keys)
        asked["openpgp"] = base64.b64encode(sealed).decode()
    subscriber.asked = asked
    session.flush()
    quiet = or_(
        Subscriber.confirmation_sent_at.is_(None),
        Subscriber.confirmation_sent_at <= now - ONE_CONFIRMATION_EACH,
    )
    if not subscriptions.change_rows(session, Subscriber.id == subscriber.id, quiet, **values):
        return
    mail = compose(
        Confirmation(
            address,
            keys.mailer.keyed_hash("message", token)[:32],
            token,
            subscriptions.manage_token(subscriber, keys) if confirmed else None,
            choices.language,
        )
    )
    deliveries.enqueue(
        session, mail, kind=DeliveryKind.CONFIRMATION, keys=keys, now=now, subscriber=subscriber
    )
