"""Custodians: who can open source identities. Here are their names and public keys; the private ones never are."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import sealed_file, text
from tracker.errors import Conflict, Invalid, NotFound
from tracker.models import Custodian
from tracker.services import activity
from tracker.vocabulary import N_


def add(session: Session, *, name: str, public_key: bytes, now: dt.datetime) -> Custodian:
    """Let somebody open the identities that are recorded from now on. What was sealed before stays closed to them."""
    name = text.clean(name, field="name", lines=False)
    if not name or len(name) > 80:
        raise Invalid(N_("Give the custodian a working name of at most 80 characters."), "name")
    known = session.scalars(
        select(Custodian).where((Custodian.name == name) | (Custodian.public_key == public_key))
    ).first()
    if known is not None and known.public_key == public_key:
        raise Conflict(N_("This key is here already, as %(name)s."), name=known.name)
    if known is not None:
        raise Conflict(N_("There is a custodian named %(name)s already. Choose another name."), name=name)
    custodian = Custodian(name=name, public_key=public_key, added_at=now)
    session.add(custodian)
    session.flush()
    activity.record(session, None, "custodian-added", f"custodian/{fingerprint(custodian)}", now=now)
    return custodian


def retire(session: Session, *, name: str, now: dt.datetime) -> Custodian:
    """Seal nothing more to this custodian. What was sealed to them, they can still open."""
    custodian = session.scalars(select(Custodian).where(Custodian.name == name)).one_or_none()
    if custodian is None:
        raise NotFound(N_("There is no custodian named %(name)s."), name=name)
    if custodian.retired_at is not None:
        raise Conflict(N_("%(name)s has retired already."), name=name)
    custodian.retired_at = now
    activity.record(session, None, "custodian-retired", f"custodian/{fingerprint(custodian)}", now=now)
    return custodian


def everybody(session: Session) -> Sequence[Custodian]:
    """All of them, also the retired."""
    return session.scalars(select(Custodian).order_by(Custodian.id)).all()


def active(session: Session) -> Sequence[Custodian]:
    """To whom an identity that is entered now is sealed."""
    return [custodian for custodian in everybody(session) if custodian.retired_at is None]


def fingerprint(custodian: Custodian) -> str:
    """What names a custodian's key."""
    return sealed_file.fingerprint(custodian.public_key)


def spoken(custodian: Custodian) -> str:
    """The fingerprint as it is shown and compared by voice."""
    return sealed_file.spoken(fingerprint(custodian))
