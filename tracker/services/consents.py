"""The consent ledger: what a person agreed to, line by line. A line is withdrawn, never edited.

Whatever ends a consent takes the evidence back in the same transaction, if nothing else lets it be public.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tracker import consent as rule
from tracker import permissions
from tracker.errors import Conflict, Invalid, NotAllowed, raise_all
from tracker.models import Account, Consent, Evidence, Source
from tracker.services import activity, ledger
from tracker.services import evidence as pieces
from tracker.vocabulary import N_, ConsentScope, State

#: The public learns that something was withdrawn, and not that a person has taken back their word.
NEUTRAL = N_("Withdrawn to protect people.")


@dataclass(frozen=True)
class Fields:
    """What somebody of the team enters about a consent."""

    scope: ConsentScope | None
    given_on: dt.date | None
    language: str = ""  # In which it was explained and given.
    expires_on: dt.date | None = None  # The last day on which it holds.
    note: str = ""  # For those who see the evidence; no name.
    source_id: int | None = None


def record(
    session: Session, evidence: Evidence, fields: Fields, *, author: Account, now: dt.datetime
) -> Consent:
    """Add a line. A line that allows less than the one before takes public evidence back at once."""
    _check_may(author, evidence)
    _check(session, fields, now)
    ledger.lock(session)  # So that nobody publishes on what was agreed before.
    session.refresh(evidence)
    _check_may(author, evidence)
    assert fields.scope is not None
    assert fields.given_on is not None
    line = Consent(
        evidence=evidence,
        source_id=fields.source_id,
        scope=fields.scope,
        given_on=fields.given_on,
        language=fields.language,
        expires_on=fields.expires_on,
        note=fields.note,
        recorded_by_id=author.id,
        recorded_at=now,
    )
    session.add(line)
    evidence.from_person = True  # Whose consent would it be otherwise?
    session.flush()
    activity.record(session, author, "consent-recorded", pieces.subject(evidence), now=now)
    _take_back_unless_allowed(session, evidence, account=author, now=now)
    return line


def withdraw(session: Session, consent: Consent, *, account: Account, on: dt.date, now: dt.datetime) -> bool:
    """The person takes back this line and what they had agreed to before it. True: that ended the evidence's publicity.

    Anybody of the team who may see the evidence does this at once: harm cannot wait for a second person.
    """
    evidence = consent.evidence
    _check_may(account, evidence)
    if on < consent.given_on:
        raise Invalid(N_("They cannot have taken it back before they gave it."), "withdrawn_on")
    if on > now.date() + dt.timedelta(days=1):
        raise Invalid(N_("This date lies in the future. Check the year."), "withdrawn_on")
    ledger.lock(session)
    session.refresh(evidence)
    _check_may(account, evidence)
    session.refresh(evidence, ["consents", "sources"])
    same_person = next((lines for lines in rule.people(evidence) if consent in lines), [consent])
    before = [line.id for line in same_person if line.order < consent.order and line.withdrawn_on is None]
    claimed = session.execute(
        update(Consent)
        .where(Consent.id == consent.id, Consent.withdrawn_on.is_(None))
        .values(withdrawn_on=on, withdrawn_by_id=account.id)
        .execution_options(synchronize_session=False)
    )
    if claimed.rowcount != 1:  # type: ignore[attr-defined]
        raise Conflict(N_("This consent has been withdrawn already."))
    session.execute(
        update(Consent)
        .where(Consent.id.in_(before), Consent.withdrawn_on.is_(None))
        .values(withdrawn_on=on, withdrawn_by_id=account.id)
        .execution_options(synchronize_session=False)
    )
    for line in same_person:
        session.refresh(line)
    activity.record(session, account, "consent-withdrawn", pieces.subject(evidence), now=now)
    return _take_back_unless_allowed(session, evidence, account=account, now=now)


def expire(session: Session, *, now: dt.datetime) -> int:
    """Take back public evidence whose consent has run out. Returns how many pieces; safe to repeat."""
    ran_out = select(Consent.evidence_id).where(
        Consent.expires_on < now.date(), Consent.withdrawn_on.is_(None)
    )
    public = (
        select(Evidence).where(permissions.PUBLIC_EVIDENCE, Evidence.id.in_(ran_out)).order_by(Evidence.id)
    )
    if session.scalars(public.limit(1)).first() is None:
        return 0
    ledger.lock(session)
    return sum(
        _take_back_unless_allowed(session, evidence, account=None, now=now)
        for evidence in session.scalars(public.execution_options(populate_existing=True)).all()
    )


def _take_back_unless_allowed(
    session: Session, evidence: Evidence, *, account: Account | None, now: dt.datetime
) -> bool:
    """Withdraw what is public and may not be any more. What is accepted for a later day stays hidden by itself."""
    session.refresh(evidence, ["consents", "sources"])
    if evidence.state is not State.ACCEPTED or evidence.ledger_seq is None:
        return False
    if rule.may_be_public(evidence, on=now.date()):
        return False
    pieces.take_back(session, evidence, account=account, reason=NEUTRAL, now=now)
    return True


def _check_may(account: Account, evidence: Evidence) -> None:
    """Whether they may see it, who fetched it has asked."""
    if not permissions.is_team(account):
        raise NotAllowed(N_("Only monitors and reviewers keep consents."))
    if evidence.state is State.ERASED:
        raise NotAllowed(N_("This evidence was erased."))


def _check(session: Session, fields: Fields, now: dt.datetime) -> None:
    mistakes = []
    if fields.scope is None:
        mistakes.append(Invalid(N_("Choose what the person agreed to."), "scope"))
    if fields.given_on is None:
        mistakes.append(Invalid(N_("Enter the day on which they agreed."), "given_on"))
    elif fields.given_on > now.date() + dt.timedelta(days=1):
        mistakes.append(Invalid(N_("This date lies in the future. Check the year."), "given_on"))
    elif fields.expires_on is not None and fields.expires_on < fields.given_on:
        mistakes.append(Invalid(N_("The last day lies before the day on which they agreed."), "expires_on"))
    if not fields.language:
        mistakes.append(Invalid(N_("Enter the language in which it was explained to them."), "language"))
    if fields.source_id is not None and session.get(Source, fields.source_id) is None:
        mistakes.append(Invalid(N_("There is no such source, or you do not see it."), "pseudonym"))
    raise_all(mistakes)
