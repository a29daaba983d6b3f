"""Text that is encrypted at rest: sealed when a row is written, opened when it is read, by the session itself.

Each piece of evidence has a key of its own (`RecordKey`), wrapped by a key outside the database. The sensitive text
of the evidence, and of everything that hangs on it, is one AES-256-GCM ciphertext a row, bound to the table, the
column, the row and the evidence: moved or swapped ciphertexts do not open. Destroying the key erases the text, in
whatever row or copy it stands.

Models name their sensitive fields and when they must be sealed; services and templates read and write them as plain
text and cannot forget. `unlock(engine, vault)` gives an engine's sessions the keys; without, sealed rows raise.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol
from weakref import WeakKeyDictionary

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Engine, ForeignKey, LargeBinary, String, event, inspect, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship
from sqlalchemy.orm.attributes import flag_modified, set_committed_value

from tracker.errors import TrackerError
from tracker.models.base import Base, new_key
from tracker.vocabulary import N_

if TYPE_CHECKING:
    from tracker.models.evidence import Evidence

# The number of the lock that the rotation of wrapping keys and new record keys share (PostgreSQL knows no names).
_ROTATION = 0x7265636F726473  # "records"

#: What stands in place of text whose ciphertext was altered, moved, or sealed with a key that is not here.
UNREADABLE = "[unreadable: altered or moved in the database]"


class Vault(Protocol):
    """Wraps the keys of records with a key that the database does not hold."""

    def wrap(self, key: bytes, context: str) -> tuple[str, bytes]:
        """The name of the wrapping key, and the wrapped key."""

    def unwrap(self, kid: str, wrapped: bytes, context: str) -> bytes:
        """The key again. Raises ValueError if it was altered or moved, or the wrapping key is not there."""


class SealBroken(TrackerError):
    """Sealed text does not open, so nothing may be written over it."""

    status = 500


class RecordKey(Base):
    """The key under which the sensitive text of one piece of evidence is sealed. `wrapped` None: destroyed for good."""

    __tablename__ = "record_key"

    evidence_id: Mapped[int] = mapped_column(ForeignKey("evidence.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(12), unique=True, default=new_key)
    kid: Mapped[str] = mapped_column(String(16), index=True)
    wrapped: Mapped[bytes | None] = mapped_column(LargeBinary)

    evidence: Mapped[Evidence] = relationship(back_populates="record_key")


class Canary(Base):
    """A known text sealed with each wrapping key: opened at every start, so that a lost key is noticed at once."""

    __tablename__ = "canary"

    kid: Mapped[str] = mapped_column(String(16), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class Sealable:
    """Parent of rows with sensitive text. `SEALED` names the fields, which hold "" in the database while sealed."""

    SEALED: ClassVar[tuple[str, ...]]

    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)

    def must_seal(self, evidence: Evidence) -> bool:
        """Whether this row's text has to be sealed."""
        raise NotImplementedError

    def seal_row(self) -> str:
        """What names this row among those of its table and evidence, known before it is written."""
        raise NotImplementedError

    def seal_owner(self) -> int | str | None:
        """The id or the key of the evidence whose record key seals this row; None if it hangs on none."""
        raise NotImplementedError


def unlock(engine: Engine, vault: Vault) -> None:
    """Let the sessions of this engine open and close sealed text."""
    _vaults[engine] = vault


def reseal(rows: Iterable[Sealable]) -> None:
    """Have rows written again, because the evidence they hang on is now restricted, or is so no longer."""
    for row in rows:
        for field in row.SEALED:
            flag_modified(row, field)


def wrapping_context(name: str) -> str:
    """What a record's wrapped key is bound to."""
    return f"tracker/v1|record_key|wrapped|{name}"


_vaults: WeakKeyDictionary[Engine, Vault] = WeakKeyDictionary()


def vault_of(session: Session) -> Vault:
    """The vault of the session's engine. Raises SealBroken where there is none."""
    found = _vaults.get(session.get_bind().engine)
    if found is None:
        raise SealBroken(N_("Sealed text was asked for without the keys."))
    return found


def _existing_key(session: Session, owner: int | str) -> bytes | None:
    """The record key of a piece of evidence; None if it was destroyed or never made."""
    opened: dict[int | str, bytes] = session.info.setdefault("record_keys", {})
    if owner not in opened:
        condition = "evidence_id = :owner"
        if isinstance(owner, str):
            condition = "evidence_id = (SELECT id FROM evidence WHERE key = :owner)"
        # On the connection and not through the session, because this also runs while rows are being loaded.
        found = (
            session.connection()
            .execute(
                text(f"SELECT name, kid, wrapped FROM record_key WHERE {condition}"),  # noqa: S608 - our own words.
                {"owner": owner},
            )
            .one_or_none()
        )
        if found is None or found.wrapped is None:
            return None
        opened[owner] = vault_of(session).unwrap(
            found.kid, bytes(found.wrapped), wrapping_context(found.name)
        )
    return opened[owner]


def _key_for(session: Session, evidence: Evidence) -> bytes:
    """The record key to seal with, made with the first text that needs it."""
    if evidence.record_key is None and evidence.id is not None:
        # Two people may write the first sealed text of a piece at once: the second uses the first one's key.
        connection = session.connection()
        if connection.dialect.name == "postgresql":
            connection.execute(
                text("SELECT 1 FROM evidence WHERE id = :id FOR NO KEY UPDATE"), {"id": evidence.id}
            )
            session.expire(evidence, ["record_key"])
    if evidence.record_key is None:
        _seal_in_turn(session, "_shared")
        key, name = secrets.token_bytes(32), new_key()
        kid, wrapped = vault_of(session).wrap(key, wrapping_context(name))
        evidence.record_key = RecordKey(name=name, kid=kid, wrapped=wrapped)
        return key
    if evidence.record_key.wrapped is None:
        raise SealBroken(N_("This evidence was erased. Nothing more can be written to it."))
    made = evidence.record_key
    return vault_of(session).unwrap(made.kid, made.wrapped or b"", wrapping_context(made.name))


def wait_for_sealing(session: Session) -> None:
    """Wait for every transaction that is making a record key, and keep others from it until this one ends."""
    _seal_in_turn(session, "")


def _seal_in_turn(session: Session, shared: str) -> None:
    # On SQLite the transaction itself does it: there is one writer, from its beginning on.
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock{shared}({_ROTATION})"))


def _bound(row: Sealable) -> bytes:
    return f"tracker/v1|{row.__tablename__}|sealed|{row.seal_row()}".encode()  # type: ignore[attr-defined]


def _owner(session: Session, row: Sealable) -> Evidence | None:
    from tracker.models.evidence import Evidence

    if isinstance(row, Evidence):
        return row
    found: Evidence | None = getattr(row, "evidence", None)
    if found is not None:
        return found
    owner = row.seal_owner()
    for other in session.new:
        # A relationship of a new row is not loaded, and the evidence may be as new as the row.
        if isinstance(other, Evidence) and owner in (other.id, other.key) and owner is not None:
            return other
    if isinstance(owner, int):
        return session.get(Evidence, owner)
    return session.scalars(select(Evidence).where(Evidence.key == owner)).one_or_none() if owner else None


@event.listens_for(Session, "before_flush")
def _seal_rows(session: Session, _context: Any, _instances: Any) -> None:
    session.info.pop("plain", None)
    rows = [row for row in [*session.new, *session.dirty] if isinstance(row, Sealable)]
    for row in rows:
        if getattr(row, "key", "") is None:
            row.key = new_key()  # type: ignore[attr-defined]  # Bound into the ciphertext, so needed before the INSERT.
    for row in rows:
        _seal(session, row)


def _seal(session: Session, row: Sealable) -> None:
    evidence = _owner(session, row)
    if evidence is None or not row.must_seal(evidence):
        if row.sealed is not None:
            # From here on it stands in the open again, also where its words did not change.
            row.sealed = None
            reseal([row])
        return
    state = inspect(row)
    if row.sealed is not None and not any(state.attrs[field].history.has_changes() for field in row.SEALED):
        return
    words = {field: getattr(row, field) or "" for field in row.SEALED}
    if UNREADABLE in words.values():
        raise SealBroken(
            N_("A part of this was altered in the database and cannot be opened. Nothing is written over it.")
        )
    nonce = secrets.token_bytes(12)
    closed = AESGCM(_key_for(session, evidence)).encrypt(nonce, json.dumps(words).encode(), _bound(row))
    row.sealed = nonce + closed
    for field in row.SEALED:
        setattr(row, field, "")
        flag_modified(row, field)
    session.info.setdefault("plain", []).append((row, words))


@event.listens_for(Session, "after_flush_postexec")
def _show_again(session: Session, _context: Any) -> None:
    for row, words in session.info.pop("plain", []):
        for field, value in words.items():
            set_committed_value(row, field, value)


@event.listens_for(Session, "after_soft_rollback")
def _forget_keys(session: Session, _previous: Any) -> None:
    session.info.pop("record_keys", None)


@event.listens_for(Sealable, "load", propagate=True)
def _open_loaded(row: Sealable, context: Any) -> None:
    _open(row, context.session)


@event.listens_for(Sealable, "refresh", propagate=True)
def _open_refreshed(row: Sealable, context: Any, fields: Any) -> None:
    # A bulk UPDATE refreshes what it changed without a query; it never changes sealed text.
    if context is not None:
        _open(row, context.session, fields)


def _open(row: Sealable, session: Session, fields: Any = None) -> None:
    sealed = row.sealed
    owner = row.seal_owner() if sealed is not None else None
    if sealed is None or owner is None:
        return
    try:
        key = _existing_key(session, owner)
        plain = AESGCM(key).decrypt(sealed[:12], sealed[12:], _bound(row)) if key is not None else b"{}"
        words: dict[str, str] = json.loads(plain)
    except (InvalidTag, ValueError):
        words = dict.fromkeys(row.SEALED, UNREADABLE)
    for field in row.SEALED:
        # What was not read anew may hold changes that are not written yet.
        if fields is None or field in fields:
            set_committed_value(row, field, words.get(field, ""))
