"""Sources: a random pseudonym to work with, and an identity that is sealed to custodians the moment it is entered."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, delete, select, true, update
from sqlalchemy.orm import Session

from tracker import consent, names, permissions, sealed_file
from tracker.errors import Conflict, Invalid, NotAllowed
from tracker.models import Account, Evidence, Source, SourceRecord, SourceWord
from tracker.sealed_file import Identity, Place
from tracker.services import activity, custodians, ledger
from tracker.services.evidence import subject as evidence_subject
from tracker.vocabulary import N_, State

if TYPE_CHECKING:
    from tracker.keyring import Keyring

# Crockford's base32: no letter that is taken for another one, on paper or over the telephone.
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# So many hex digits of a word's hash are kept: 20 bits. Why so few: docs/decisions/0005-sources.md.
_DIGITS = 5


def create(session: Session, *, author: Account, now: dt.datetime) -> Source:
    """A new source without an identity, under a random pseudonym that tells nothing."""
    if not permissions.is_team(author):
        raise NotAllowed(N_("Only monitors and reviewers keep sources."))
    source = Source(pseudonym=_new_pseudonym(session), version=0, created_by_id=author.id, created_at=now)
    session.add(source)
    session.flush()
    activity.record(session, author, "source-made", subject(source), now=now)
    return source


def record_identity(
    session: Session,
    source: Source,
    identity: Identity,
    *,
    words: Sequence[str] = (),
    keys: Keyring,
    custodians_needed: int,
    author: Account,
    now: dt.datetime,
) -> int:
    """Seal who a source is to every active custodian, and return the version. Nobody here can read it again.

    `words`, names to warn about before something is published, join those that are watched already.
    """
    if not permissions.is_team(author):
        raise NotAllowed(N_("Only monitors and reviewers keep sources."))
    if not any((identity.name, identity.contact, identity.safe_contact, identity.notes)):
        raise Invalid(N_("Enter something: a name, or how to reach the person."), "name")
    people = custodians.active(session)
    if len(people) < custodians_needed:
        raise Invalid(
            N_(
                "There are %(count)s custodians, and %(needed)s are needed before an identity may be entered. Ask the "
                "person who runs the tracker for: tracker custody add NAME PUBLIC-KEY."
            ),
            count=len(people),
            needed=custodians_needed,
        )
    hashes = {_hash(names.compared(word), keys) for word in words if _checked(word)}
    _claim(session, source, true(), version=Source.version + 1)
    day = now.date().isoformat()
    plain = sealed_file.compose(source.pseudonym, source.version, day, identity)
    for custodian in people:
        place = Place(source.key, source.version, custodians.fingerprint(custodian))
        session.add(
            SourceRecord(
                source_id=source.id,
                version=source.version,
                custodian_id=custodian.id,
                sealed=sealed_file.seal(plain, custodian.public_key, place),
                recorded_by_id=author.id,
                recorded_at=now,
            )
        )
    known = set(session.scalars(select(SourceWord.hash).where(SourceWord.source_id == source.id)))
    session.add_all(SourceWord(source_id=source.id, hash=one) for one in sorted(hashes - known))
    session.flush()
    session.expire(source, ["records", "words"])
    activity.record(session, author, "identity-sealed", subject(source), now=now)
    return source.version


def forget_words(session: Session, source: Source, *, author: Account, now: dt.datetime) -> None:
    """Watch for none of this source's names any more."""
    if not permissions.is_team(author):
        raise NotAllowed(N_("Only monitors and reviewers keep sources."))
    session.execute(delete(SourceWord).where(SourceWord.source_id == source.id))
    session.expire(source, ["words"])
    activity.record(session, author, "names-forgotten", subject(source), now=now)


def link(session: Session, evidence: Evidence, source: Source, *, account: Account, now: dt.datetime) -> None:
    """Say that evidence comes from a source. From then on only the source's consent lets it be public."""
    _check_may_link(account, evidence)
    if source.erased_at is not None:
        raise Invalid(N_("%(name)s was erased."), "pseudonym", name=source.pseudonym)
    ledger.lock(session)  # So that nobody publishes it meanwhile.
    session.refresh(evidence)
    _check_may_link(account, evidence)
    session.refresh(evidence, ["consents", "sources"])
    if source in evidence.sources:
        raise Invalid(N_("%(name)s is linked already."), "pseudonym", name=source.pseudonym)
    evidence.sources.append(source)
    evidence.from_person = True
    session.flush()
    if evidence.ledger_seq is not None and evidence.state is State.ACCEPTED:
        # It would have to be withdrawn for a slip of the pen, and that cannot be undone.
        try:
            consent.check_publishable(evidence, on=now.date())
        except Invalid:
            raise Invalid(
                N_(
                    "This evidence is public, and %(name)s has not agreed to that. Record their consent first, under "
                    "this pseudonym; or withdraw the evidence."
                ),
                "pseudonym",
                name=source.pseudonym,
            ) from None
    activity.record(
        session, account, "source-linked", evidence_subject(evidence), now=now, reason=source.pseudonym
    )


def unlink(
    session: Session, evidence: Evidence, source: Source, *, account: Account, now: dt.datetime
) -> None:
    """Take back that evidence comes from a source. That a person gave it stays true."""
    _check_may_link(account, evidence)
    ledger.lock(session)
    session.refresh(evidence, ["consents", "sources"])
    if source not in evidence.sources:
        raise Conflict(N_("%(name)s is not linked any more."), name=source.pseudonym)
    if not consent.agrees_or_never_spoke(evidence, source, on=now.date()):
        # Without the link nobody would ask for their consent any more.
        raise Conflict(
            N_("%(name)s has said that this may not be published, so it comes from them. It stays linked."),
            name=source.pseudonym,
        )
    evidence.sources.remove(source)
    session.flush()
    activity.record(
        session, account, "source-unlinked", evidence_subject(evidence), now=now, reason=source.pseudonym
    )


def ask_erasure(session: Session, source: Source, *, account: Account, now: dt.datetime) -> None:
    """Ask that who a source is be forgotten for good. A reviewer other than this person does it."""
    if not permissions.is_team(account):
        raise NotAllowed(N_("Only monitors and reviewers keep sources."))
    _claim(
        session, source, Source.erasure_asked_by_id.is_(None), erasure_asked_by_id=account.id,
        erasure_asked_at=now,
    )  # fmt: skip
    activity.record(session, account, "erasure-asked", subject(source), now=now)


def refuse_erasure(session: Session, source: Source, *, account: Account, now: dt.datetime) -> None:
    """Take the request back, or refuse it: nothing is erased."""
    if not (permissions.is_reviewer(account) or source.erasure_asked_by_id == account.id):
        raise NotAllowed(N_("Only reviewers decide about this, and the person who asked for it."))
    _claim(
        session, source, Source.erasure_asked_by_id.is_not(None), erasure_asked_by_id=None,
        erasure_asked_at=None,
    )  # fmt: skip
    activity.record(session, account, "erasure-refused", subject(source), now=now)


def confirm_erasure(session: Session, source: Source, *, reviewer: Account, now: dt.datetime) -> None:
    """Erase, as a second person, what another one asked to erase."""
    if not permissions.is_reviewer(reviewer):
        raise NotAllowed(N_("Only reviewers erase sources."))
    if source.erasure_asked_by_id == reviewer.id:
        raise NotAllowed(N_("You asked for this yourself. Another reviewer must confirm it."))
    erase(session, source, by=reviewer, now=now)


def erase(session: Session, source: Source, *, by: Account | None = None, now: dt.datetime) -> None:
    """Delete every sealed record and watched name of a source for good. The pseudonym stays, as a tombstone.

    `by` confirms what another person has asked for. Without, seeing to it that two people agree is the caller's.
    """
    asked = true() if by is None else Source.erasure_asked_by_id != by.id
    _claim(session, source, asked, erased_at=now, erased_by_id=by.id if by else None)
    session.execute(delete(SourceRecord).where(SourceRecord.source_id == source.id))
    session.execute(delete(SourceWord).where(SourceWord.source_id == source.id))
    session.expire(source, ["records", "words"])
    activity.record(session, by, "source-erased", subject(source), now=now)


def suspicious_words(session: Session, text: str, *, keys: Keyring) -> list[str]:
    """The words of a text, and rows of up to four words, that are on the list of some source's names.

    By a short hash: one innocent word in a million is named too, for each name on the list.
    """
    watched = set(session.scalars(select(SourceWord.hash).distinct()))
    if not watched:
        return []
    found: dict[str, str] = {}
    for plain, as_written in names.candidates(text):
        if plain and plain not in found and _hash(plain, keys) in watched:
            found[plain] = as_written
    return list(found.values())


def subject(source: Source) -> str:
    """How the team's activity names it."""
    return f"source/{source.pseudonym}"


def _new_pseudonym(session: Session) -> str:
    length = 4
    while True:
        for _ in range(20):
            found = "S-" + "".join(secrets.choice(_LETTERS) for _ in range(length))
            if session.scalar(select(Source.id).where(Source.pseudonym == found)) is None:
                return found
        length += 1


def _claim(session: Session, source: Source, condition: ColumnElement[bool], **values: object) -> None:
    """Change a source that still is as it was thought to be. Raises Conflict if it is not, or was erased."""
    claimed = session.execute(
        update(Source)
        .where(Source.id == source.id, Source.erased_at.is_(None), condition)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    session.refresh(source)
    if claimed.rowcount != 1:  # type: ignore[attr-defined]
        raise Conflict(
            N_("%(name)s was erased or changed by somebody meanwhile. Look at it again."),
            name=source.pseudonym,
        )


def _check_may_link(account: Account, evidence: Evidence) -> None:
    if not permissions.is_team(account):
        raise NotAllowed(N_("Only monitors and reviewers keep sources."))
    if evidence.state is State.ERASED:
        raise NotAllowed(N_("This evidence was erased."))


def _checked(words: str) -> bool:
    if len(names.spans(words)) > names.MOST_WORDS:
        raise Invalid(
            N_("“%(words)s” has more than four words. Write parts of it in lines of their own."),
            "words",
            words=words[:80],
        )
    return bool(names.compared(words))


def _hash(plain: str, keys: Keyring) -> str:
    return keys.keyed_hash("source-word", plain)[:_DIGITS]
