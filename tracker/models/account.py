"""People of the team: accounts, their invitations, their sign-ins, and counters against guessing."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import ForeignKey, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tracker.models.base import Base, new_key
from tracker.vocabulary import Role


class Account(Base):
    """Somebody who can sign in. In public only the team is ever named."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    email: Mapped[str] = mapped_column(String(254), unique=True)  # Lower case always.
    name: Mapped[str] = mapped_column(String(80))  # A working name for colleagues, "Monitor 7".
    role: Mapped[Role]
    active: Mapped[bool] = mapped_column(default=True)
    # Argon2id, and the sealed secret of the second factor: both empty until the person has set up the account.
    password_hash: Mapped[str | None] = mapped_column(String(255))
    totp_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    # The last time step whose code was accepted: each code is good once (RFC 6238, 5.2).
    totp_last_step: Mapped[int | None]
    created_at: Mapped[dt.datetime]
    # Whether the person gets a mail on Mondays with what is due; they choose on their account page.
    reminders: Mapped[bool] = mapped_column(default=True)

    @property
    def is_set_up(self) -> bool:
        """Whether the person has used the invitation, so that they can sign in."""
        return self.password_hash is not None


class RecoveryCode(Base):
    """A code that stands in for the second factor once. Its row, a keyed hash, is deleted by using it."""

    __tablename__ = "recovery_code"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    code_hash: Mapped[str] = mapped_column(String(64), unique=True)


class Invitation(Base):
    """A one-time link by which an account sets its password and second factor. Only the token's hash is kept."""

    __tablename__ = "invitation"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[dt.datetime]
    expires_at: Mapped[dt.datetime]
    used_at: Mapped[dt.datetime | None]

    account: Mapped[Account] = relationship()


class SignIn(Base):
    """A server-side session. The cookie holds a random token, this row its hash: no IP address, no user agent.

    Times are rounded down to five minutes, so that they tell little about how somebody works.
    """

    __tablename__ = "sign_in"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    notice: Mapped[str] = mapped_column(Text, default="")  # A sentence to show on the next page, once.
    created_at: Mapped[dt.datetime]
    last_seen_at: Mapped[dt.datetime]
    expires_at: Mapped[dt.datetime] = mapped_column(index=True)


class Attempt(Base):
    """A counter against guessing and flooding: how often something was tried in a window of time.

    `key` is a keyed hash of what is counted (an account, a network, a form), never the thing itself.
    """

    __tablename__ = "attempt"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    count: Mapped[int]
    window_ends_at: Mapped[dt.datetime] = mapped_column(index=True)
