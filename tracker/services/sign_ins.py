"""Sign-ins: the server-side sessions of people of the team, how they begin and what ends them.

A sign-in needs password and code together, and every refusal reads the same. The password is checked before, outside
any transaction, because that is slow; what it matched is handed in.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Delete, Update, delete, or_, select, update
from sqlalchemy.orm import Session

from tracker import security
from tracker.errors import Invalid
from tracker.models import Account, RecoveryCode, SignIn
from tracker.security import Credentials
from tracker.services import activity
from tracker.vocabulary import N_

#: The one answer to an unknown address, a wrong password, a wrong or used code, and an inactive account.
WRONG = N_(
    "The e-mail address, the password or the code is not right. Each code works once: wait for the next one."
)
_FIVE_MINUTES = 300


def sign_in(
    session: Session,
    account: Account | None,
    *,
    matched: str | None,
    code: str,
    credentials: Credentials,
    now: dt.datetime,
    hours: int,
) -> str:
    """Sign in and return the token for the cookie. Raises Invalid with the same sentence whatever is wrong.

    `account` None: nobody has the address. `matched` is the password hash that the password matched, None if none
    did. The code may be a recovery code.
    """
    if account is not None and matched is not None:
        # Locked, so that a change of password or a deactivation that happens at once also ends this sign-in.
        session.refresh(account, with_for_update=True)
    step, recovery = _check_code(session, account, code, credentials=credentials, now=now)
    if account is None or not account.active or matched is None or account.password_hash != matched:
        raise Invalid(WRONG)
    # The code is used up by a statement that only one of two who send it at once can have done.
    claim: Update | Delete
    if recovery is not None:
        claim = delete(RecoveryCode).where(RecoveryCode.id == recovery)
        activity.record(session, account, "recovery-code-used", f"account/{account.key}", now=now)
    elif step is not None:
        later = or_(Account.totp_last_step.is_(None), Account.totp_last_step < step)
        claim = update(Account).where(Account.id == account.id, later).values(totp_last_step=step)
    else:
        raise Invalid(WRONG)
    if not changed_one(session, claim):
        raise Invalid(WRONG)
    return start(session, account, now=now, hours=hours)


def code_is_right(
    session: Session, account: Account | None, code: str, *, credentials: Credentials, now: dt.datetime
) -> bool:
    """Whether somebody holds the second factor of this account, so that guesses of others do not lock them out."""
    step, recovery = _check_code(session, account, code, credentials=credentials, now=now)
    return step is not None or recovery is not None


def _check_code(
    session: Session, account: Account | None, code: str, *, credentials: Credentials, now: dt.datetime
) -> tuple[int | None, int | None]:
    """(time step of a right code that is still unused, id of a right recovery code), at most one of them."""
    sealed = account.totp_sealed if account else None
    secret = credentials.open_totp(sealed, account.id) if account and sealed else None
    # The same work for unknown accounts, so that time tells nothing.
    step = security.totp_step(secret or "A" * 32, code, now)
    code_hash = credentials.recovery_hash(code, account.id if account else 0)
    recovery = session.scalars(select(RecoveryCode.id).where(RecoveryCode.code_hash == code_hash)).first()
    if account is None or secret is None:
        return None, None
    if step is not None and (account.totp_last_step is None or step > account.totp_last_step):
        return step, None
    return None, recovery


def start(session: Session, account: Account, *, now: dt.datetime, hours: int) -> str:
    """Sign this account in and return the token for the cookie. The caller has checked who it is."""
    token, since = security.new_token(), _rounded(now)
    session.add(
        SignIn(
            token_hash=security.token_hash(token),
            account_id=account.id,
            created_at=since,
            last_seen_at=since,
            expires_at=since + dt.timedelta(hours=hours),
        )
    )
    session.flush()
    return token


def find(session: Session, token: str, *, idle_minutes: int, now: dt.datetime) -> SignIn | None:
    """The sign-in that this cookie belongs to, if it is neither over nor idle for too long."""
    return session.scalars(
        select(SignIn).where(
            SignIn.token_hash == security.token_hash(token),
            SignIn.expires_at > now,
            SignIn.last_seen_at >= _rounded(now) - dt.timedelta(minutes=idle_minutes),
        )
    ).first()


def is_seen_anew(sign_in: SignIn, *, now: dt.datetime) -> bool:
    """Whether `last_seen_at` has to be written: once in five minutes."""
    return sign_in.last_seen_at < _rounded(now)


def touch(session: Session, sign_in_id: int, *, now: dt.datetime) -> None:
    """Note that somebody is at work. Updates only: a sign-in that was ended meanwhile stays ended."""
    session.execute(update(SignIn).where(SignIn.id == sign_in_id).values(last_seen_at=_rounded(now)))


def leave_notice(session: Session, token_hash: str, message: str) -> None:
    """Keep a sentence for the next page of this sign-in. An empty one takes it away."""
    session.execute(update(SignIn).where(SignIn.token_hash == token_hash).values(notice=message))


def end(session: Session, account: Account) -> None:
    """Sign this account out everywhere, at once: a cookie that somebody copied ends with it."""
    session.execute(delete(SignIn).where(SignIn.account_id == account.id))


def forget_expired(session: Session, *, now: dt.datetime) -> None:
    """Delete sign-ins that are over. They open nothing any more; this is tidiness, for the scheduler."""
    session.execute(delete(SignIn).where(SignIn.expires_at <= now))


def changed_one(session: Session, statement: Update | Delete) -> bool:
    """Whether exactly one row was changed: the claim before an act."""
    done = session.execute(statement.execution_options(synchronize_session=False))
    return bool(done.rowcount == 1)  # type: ignore[attr-defined]


def _rounded(moment: dt.datetime) -> dt.datetime:
    seconds = int(moment.timestamp())
    return dt.datetime.fromtimestamp(seconds - seconds % _FIVE_MINUTES, dt.UTC)
