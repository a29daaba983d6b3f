"""Accounts: inviting people, setting up, changing password or role, deactivating.

Nobody registers alone: an account begins with an invitation, whose one-time link sets password and second factor.
The same link is the way back in for somebody who lost the phone. No mail resets anything.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import count

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.orm import Session

from tracker import security, text
from tracker.errors import Invalid, NotAllowed, NotFound
from tracker.models import Account, Invitation, RecoveryCode
from tracker.security import Credentials
from tracker.services import activity, sign_ins
from tracker.vocabulary import N_, Role

#: Whom `tracker run` lets in first, while there is no account at all.
FIRST_ADMIN = "admin@localhost"
LINK_GONE = N_(
    "This link is not valid: it was used, it is too old, or a newer one replaced it. Ask for a new link."
)


def everybody(session: Session) -> Sequence[Account]:
    """All accounts, by name."""
    return session.scalars(select(Account).order_by(Account.name, Account.id)).all()


def by_email(session: Session, email: str) -> Account | None:
    """The account with this address, however it is written."""
    return session.scalars(select(Account).where(Account.email == _plain(email))).first()


def by_key(session: Session, key: str) -> Account:
    """The account with this key. Raises NotFound."""
    # PostgreSQL cannot even ask for some characters that an address can hold.
    sound = key.isascii() and key.isalnum()
    account = session.scalars(select(Account).where(Account.key == key)).first() if sound else None
    if account is None:
        raise NotFound(N_("There is no such account."))
    return account


# Invitations


def invite(
    session: Session,
    *,
    email: str,
    name: str,
    role: Role,
    by: Account | None = None,
    now: dt.datetime,
    hours: int,
) -> tuple[Account, str]:
    """Make an account and the token of its one-time link. `by` None is the operator, from the command line."""
    address = valid_email(email)
    name = text.clean(name, field="name", lines=False) or _working_name(session, role)
    if len(name) > 80:
        raise Invalid(N_("Shorten the name to 80 characters."), "name")
    if by_email(session, address) is not None:
        raise Invalid(N_("There is an account with this e-mail address already."), "email")
    account = _new_account(session, address, name, role, by=by, now=now)
    return account, _new_link(session, account, now=now, hours=hours)


def first_link(session: Session, *, now: dt.datetime, hours: int) -> str | None:
    """The token of a link for the first account, an admin, or None if anybody else has one or it is set up."""
    # Those who can never sign in do not count: the accounts of the demonstration, and people who left.
    people = [one for one in everybody(session) if one.active or one.email == FIRST_ADMIN]
    if any(account.email != FIRST_ADMIN or account.is_set_up for account in people):
        return None
    account = (
        people[0] if people else _new_account(session, FIRST_ADMIN, "Admin", Role.ADMIN, by=None, now=now)
    )
    return _new_link(session, account, now=now, hours=hours)


def _working_name(session: Session, role: Role) -> str:
    """ "Monitor 7": a name for somebody without one, that no colleague has, so that nobody is taken for another."""
    taken = {account.name for account in everybody(session)}
    return next(name for number in count(1) if (name := f"{role.label} {number}") not in taken)


def _new_account(
    session: Session, email: str, name: str, role: Role, *, by: Account | None, now: dt.datetime
) -> Account:
    account = Account(email=email, name=name, role=role, created_at=now)
    session.add(account)
    session.flush()
    activity.record(session, by, "account-invited", _subject(account), now=now, reason=role.value)
    return account


def renew_invitation(
    session: Session, account: Account, *, by: Account | None = None, now: dt.datetime, hours: int
) -> str:
    """The token of a new one-time link, which replaces earlier ones. What the person has works until it is used."""
    session.refresh(account)
    if not account.active:
        raise Invalid(N_("This account is deactivated. Reactivate it first."))
    activity.record(session, by, "account-link-renewed", _subject(account), now=now)
    return _new_link(session, account, now=now, hours=hours)


def valid_email(email: str) -> str:
    """The address as it is stored. Raises Invalid; asks no other machine about it."""
    try:
        found = validate_email(_plain(email), check_deliverability=False, allow_smtputf8=False)
    except EmailNotValidError:
        raise Invalid(N_("Enter an e-mail address like name@example.org."), "email") from None
    return _plain(found.normalized)


def invited(session: Session, token: str, *, now: dt.datetime) -> Account:
    """Whose link this is. Raises NotFound if it is not valid any more."""
    account = session.scalars(
        select(Account)
        .join(Invitation, Invitation.account_id == Account.id)
        .where(_open_invitation(token, now), Account.active)
    ).first()
    if account is None:
        raise NotFound(LINK_GONE)
    return account


def set_up(
    session: Session,
    token: str,
    *,
    password: str,
    totp_secret: str,
    code: str,
    credentials: Credentials,
    now: dt.datetime,
) -> tuple[Account, list[str]]:
    """Use the link: set password and second factor, and return the recovery codes, which are shown this once.

    What the account had before ends: password, second factor, recovery codes, sign-ins.
    """
    account = invited(session, token, now=now)
    security.check_password(password, account.email)
    step = security.totp_step(totp_secret, code, now)
    if step is None:
        raise Invalid(
            N_("This is not the code that your app shows now. Check that its clock is right."), "code"
        )
    password_hash = credentials.hash_password(password)
    if not sign_ins.changed_one(
        session, update(Invitation).where(_open_invitation(token, now)).values(used_at=now)
    ):
        raise NotFound(LINK_GONE)
    account.password_hash = password_hash
    account.totp_sealed = credentials.seal_totp(totp_secret, account.id)
    account.totp_last_step = step
    sign_ins.end(session, account)
    activity.record(session, account, "account-set-up", _subject(account), now=now)
    return account, _new_codes(session, account, credentials)


def _open_invitation(token: str, now: dt.datetime) -> ColumnElement[bool]:
    return and_(
        Invitation.token_hash == security.token_hash(token),
        Invitation.used_at.is_(None),
        Invitation.expires_at > now,
    )


def _new_link(session: Session, account: Account, *, now: dt.datetime, hours: int) -> str:
    session.execute(
        delete(Invitation).where(Invitation.account_id == account.id, Invitation.used_at.is_(None))
    )
    token = security.new_token()
    session.add(
        Invitation(
            account_id=account.id,
            token_hash=security.token_hash(token),
            created_at=now,
            expires_at=now + dt.timedelta(hours=hours),
        )
    )
    return token


# One's own account


def change_password(
    session: Session,
    account: Account,
    *,
    current: str,
    new: str,
    credentials: Credentials,
    now: dt.datetime,
) -> None:
    """Replace the password and end every sign-in. The caller starts a new one for the browser at hand."""
    _require_password(account, current, credentials)
    security.check_password(new, account.email)
    if current == new:
        raise Invalid(N_("This is your present password. Choose another."), "password")
    account.password_hash = credentials.hash_password(new)
    sign_ins.end(session, account)
    activity.record(session, account, "password-changed", _subject(account), now=now)


def new_recovery_codes(
    session: Session, account: Account, *, current: str, credentials: Credentials, now: dt.datetime
) -> list[str]:
    """Replace the recovery codes and return the new ones, which are shown this once."""
    _require_password(account, current, credentials)
    activity.record(session, account, "recovery-codes-replaced", _subject(account), now=now)
    return _new_codes(session, account, credentials)


def forget_expired(session: Session, *, now: dt.datetime) -> None:
    """Delete links that are over. They open nothing any more; this is tidiness, for the scheduler."""
    session.execute(delete(Invitation).where(Invitation.expires_at <= now))


def recovery_codes_left(session: Session, account: Account) -> int:
    """How many recovery codes are still unused."""
    left = select(func.count()).select_from(RecoveryCode).where(RecoveryCode.account_id == account.id)
    return session.execute(left).scalar_one()


def _require_password(account: Account, current: str, credentials: Credentials) -> None:
    if not credentials.password_matches(account.password_hash, current):
        raise Invalid(N_("This is not your present password."), "current")


def _new_codes(session: Session, account: Account, credentials: Credentials) -> list[str]:
    session.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account.id))
    codes = [security.new_recovery_code() for _ in range(security.RECOVERY_CODES)]
    for code in codes:
        session.add(
            RecoveryCode(account_id=account.id, code_hash=credentials.recovery_hash(code, account.id))
        )
    return codes


# Other people's accounts


def set_active(
    session: Session, account: Account, active: bool, *, by: Account | None, now: dt.datetime
) -> None:
    """Deactivate or reactivate. Deactivating ends every sign-in and every open link at once."""
    _lock_admins(session, by)
    session.refresh(account)
    if account.active == active:
        return
    if not active:
        _keep_an_admin(session, account, by)
        sign_ins.end(session, account)
        session.execute(delete(Invitation).where(Invitation.account_id == account.id))
    account.active = active
    action = "account-reactivated" if active else "account-deactivated"
    activity.record(session, by, action, _subject(account), now=now)


def change_role(
    session: Session, account: Account, role: Role, *, by: Account | None, now: dt.datetime
) -> None:
    """Give another role. Every sign-in of the person ends, so that no page of the old role stays open."""
    _lock_admins(session, by)
    session.refresh(account)
    if account.role is role:
        return
    if account.role is Role.ADMIN:
        _keep_an_admin(session, account, by)
    sign_ins.end(session, account)
    reason = f"{account.role.value} → {role.value}"
    account.role = role
    activity.record(session, by, "role-changed", _subject(account), now=now, reason=reason)


def _lock_admins(session: Session, by: Account | None) -> None:
    # On PostgreSQL two admins who demote each other at once would otherwise leave none. SQLite has one writer anyway.
    session.execute(
        select(Account.id).where(Account.role == Role.ADMIN).order_by(Account.id).with_for_update()
    )
    if by is not None:
        session.refresh(by)
        if by.role is not Role.ADMIN or not by.active:
            raise NotAllowed(N_("Only an admin may do this."))


def _keep_an_admin(session: Session, account: Account, by: Account | None) -> None:
    if by is not None and by.id == account.id:
        raise NotAllowed(N_("Nobody may deactivate or demote themselves. Ask another admin."))
    working = select(Account.id).where(
        Account.role == Role.ADMIN, Account.active, Account.password_hash.is_not(None)
    )
    if list(session.scalars(working)) == [account.id]:
        raise NotAllowed(N_("This is the last active admin. Make somebody else an admin first."))


def _plain(email: str) -> str:
    return email.strip().lower()


def _subject(account: Account) -> str:
    return f"account/{account.key}"
