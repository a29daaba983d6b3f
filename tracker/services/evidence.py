"""Evidence: drafted by one person, accepted by another, published with its ledger entry, withdrawn with a reason."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker import permissions
from tracker.errors import Invalid, NotAllowed, raise_all
from tracker.models import (
    Account,
    Bearing,
    Evidence,
    EvidenceLink,
    EvidenceReader,
    LedgerEntry,
    Recommendation,
    Report,
)
from tracker.services import activity, ledger, states
from tracker.vocabulary import (
    N_,
    Credibility,
    Direction,
    EntryKind,
    Precision,
    Reliability,
    Role,
    SourceType,
    State,
    Visibility,
)


@dataclass(frozen=True)
class Bears:
    """On what, and in which direction. `clause_id` None: on the recommendation as a whole."""

    recommendation_id: int
    clause_id: int | None
    direction: Direction


@dataclass(frozen=True)
class Fields:
    """What a monitor enters. Everything but the title may be missing while it is a draft."""

    title: str
    summary: str = ""
    occurred_on: dt.date | None = None
    date_precision: Precision = Precision.DAY
    publisher: str = ""
    source_type: SourceType | None = None
    language: str = ""
    reliability: Reliability | None = None
    credibility: Credibility | None = None
    visibility: Visibility = Visibility.TEAM
    remark: str = ""
    team_note: str = ""
    links: Sequence[str] = ()
    bearings: Sequence[Bears] = ()
    reader_ids: Sequence[int] = field(default=())


def draft(session: Session, fields: Fields, *, author: Account, now: dt.datetime) -> Evidence:
    """A new draft, seen by its author alone."""
    if not permissions.is_team(author):
        raise NotAllowed(N_("Only monitors and reviewers log evidence."))
    evidence = Evidence(title=fields.title, created_by_id=author.id, created_at=now)
    _fill(evidence, fields)
    session.add(evidence)
    session.flush()  # The key and id are needed for the activity and for the redirect.
    activity.record(session, author, "evidence-drafted", subject(evidence), now=now)
    return evidence


def edit(
    session: Session, evidence: Evidence, fields: Fields, *, author: Account, version: int, now: dt.datetime
) -> None:
    """Save on top of `version`. Raises Stale if somebody saved meanwhile."""
    if not permissions.can_edit_evidence(author, evidence):
        raise NotAllowed(N_("Only drafts and returned pieces can be changed, by the person who logged them."))
    states.claim_version(session, evidence, version)
    # Old parts go before new ones come, because a bearing may stand once only.
    evidence.bearings.clear()
    evidence.links.clear()
    evidence.readers.clear()
    session.flush()
    _fill(evidence, fields)
    session.flush()  # New parts are read through their rows from here on.
    activity.record(session, author, "evidence-edited", subject(evidence), now=now)


def submit(session: Session, evidence: Evidence, *, author: Account, now: dt.datetime) -> None:
    """Send it to the reviewers. Raises Invalid while something that they need is missing."""
    if not permissions.can_edit_evidence(author, evidence):
        raise NotAllowed(N_("Only drafts and returned pieces can be changed, by the person who logged them."))
    check_complete(evidence)
    states.move(session, evidence, State.SUBMITTED, submitted_at=now, review_reason="")
    activity.record(session, author, "evidence-submitted", subject(evidence), now=now)


def accept(
    session: Session, evidence: Evidence, *, reviewer: Account, seen: int | None = None, now: dt.datetime
) -> LedgerEntry | None:
    """Take it as good. Public evidence is published at once; the rest is kept for those who may see it.

    `seen` is the version that the reviewer looked at; Conflict if it is another one by now.
    """
    _check_reviewer(reviewer, evidence)
    ledger.lock(session)
    states.move(session, evidence, State.ACCEPTED, seen=seen, reviewed_by_id=reviewer.id, reviewed_at=now)
    activity.record(session, reviewer, "evidence-accepted", subject(evidence), now=now)
    return publish(session, evidence, now=now) if evidence.visibility is Visibility.PUBLIC else None


def send_back(
    session: Session,
    evidence: Evidence,
    *,
    reviewer: Account,
    reason: str,
    seen: int | None = None,
    now: dt.datetime,
) -> None:
    """Return it to its author with a reason, which only the team sees."""
    _check_reviewer(reviewer, evidence)
    if not reason:
        raise Invalid(N_("Say why you return it."), "reason")
    states.move(session, evidence, State.RETURNED, seen=seen, review_reason=reason)
    activity.record(session, reviewer, "evidence-returned", subject(evidence), now=now, reason=reason)


def withdraw(
    session: Session, evidence: Evidence, *, reviewer: Account, reason: str, now: dt.datetime
) -> LedgerEntry | None:
    """Take it from every page, feed and mail not yet sent, and say why. One reviewer is enough: harm cannot wait."""
    if not permissions.is_reviewer(reviewer):
        raise NotAllowed(N_("Only reviewers withdraw evidence."))
    if not reason:
        raise Invalid(N_("Say why it is withdrawn. The reason is public."), "reason")
    ledger.lock(session)
    states.move(session, evidence, State.WITHDRAWN, withdrawal_reason=reason)
    activity.record(session, reviewer, "evidence-withdrawn", subject(evidence), now=now, reason=reason)
    if evidence.ledger_seq is None:
        return None  # It never was public.
    return _append(
        session, EntryKind.EVIDENCE_WITHDRAWN, evidence, {"number": evidence.number}, {"reason": reason}, now
    )


def publish(session: Session, evidence: Evidence, *, now: dt.datetime) -> LedgerEntry:
    """Give it the next number and its ledger entry. For accepted public evidence, and for report files."""
    session.flush()  # A piece from a report file is new; its bearings are read through their rows.
    ledger.lock(session)  # Numbers are given in ledger order, also when two reviewers accept at once.
    evidence.number = (session.execute(select(func.max(Evidence.number))).scalar_one() or 0) + 1
    evidence.state = State.ACCEPTED
    return _append(session, EntryKind.EVIDENCE_PUBLISHED, evidence, facts(evidence), content(evidence), now)


def correct(session: Session, evidence: Evidence, *, correction: str, now: dt.datetime) -> LedgerEntry:
    """Record that the published words were wrong. The row already holds the right ones."""
    session.flush()  # New bearings and links are read through their rows.
    words = content(evidence) | {"correction": correction}
    return _append(session, EntryKind.EVIDENCE_CORRECTED, evidence, facts(evidence), words, now)


def facts(evidence: Evidence) -> dict[str, Any]:
    """What the ledger keeps of it for good."""
    return {
        "number": evidence.number,
        "date": evidence.occurred_on.isoformat() if evidence.occurred_on else None,
        "precision": evidence.date_precision.value,
        "source_type": evidence.source_type.value if evidence.source_type else None,
        "reliability": evidence.reliability.value if evidence.reliability else None,
        "credibility": evidence.credibility.value if evidence.credibility else None,
        "directions": sorted(
            (
                {
                    "recommendation": bearing.recommendation.number,
                    "clause": bearing.clause.label if bearing.clause else None,
                    "direction": bearing.direction.value,
                }
                for bearing in evidence.bearings
            ),
            key=lambda item: (str(item["recommendation"]), item["clause"] or ""),
        ),
    }


def content(evidence: Evidence) -> dict[str, Any]:
    """The words that are published, and can be erased."""
    return {
        "title": evidence.title,
        "summary": evidence.summary,
        "publisher": evidence.publisher,
        "language": evidence.language,
        "remark": evidence.remark,
        "links": [link.url for link in evidence.links],
    }


def subject(evidence: Evidence) -> str:
    """How the team's activity names it."""
    return f"evidence/{evidence.key}"


def check_complete(evidence: Evidence) -> None:
    """Raise Invalid, with every field that a reviewer would miss."""
    required = [
        ("summary", evidence.summary, N_("Write a summary: what happened, in a few sentences.")),
        ("occurred", evidence.occurred_on, N_("Enter when it happened, the year at least.")),
        ("publisher", evidence.publisher, N_("Enter who says so.")),
        ("source_type", evidence.source_type, N_("Choose what kind of source it is.")),
        ("reliability", evidence.reliability, N_("Choose how far the source can be trusted.")),
        ("credibility", evidence.credibility, N_("Choose how far this information can be believed.")),
        ("bearings", evidence.bearings, N_("Choose at least one recommendation or clause that it bears on.")),
    ]
    mistakes = [Invalid(sentence, name) for name, value, sentence in required if not value]
    if evidence.visibility is Visibility.RESTRICTED and not any(
        reader.account.role is Role.REVIEWER and reader.account_id != evidence.created_by_id
        for reader in evidence.readers
    ):
        mistakes.append(
            Invalid(N_("Name at least one reviewer other than yourself, or nobody can accept it."), "readers")
        )
    if (
        evidence.visibility is Visibility.PUBLIC
        and not evidence.links
        and evidence.source_type is SourceType.MEDIA
    ):
        mistakes.append(
            Invalid(
                N_("Enter the address where it was published, or choose another kind of source."), "links"
            )
        )
    raise_all(mistakes)
    _report(evidence)


def check_link(url: str) -> None:
    """Raise Invalid unless this is a web address that can be shown as a link."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.username is not None or any(character.isspace() for character in url):
        raise Invalid(
            N_(
                "“%(url)s” is not a web address. It must start with http:// or https:// and hold no password."
            ),
            "links",
            url=url[:80],
        )


def _fill(evidence: Evidence, fields: Fields) -> None:
    if not fields.title:
        raise Invalid(N_("Enter a title: what it is, in a few words."), "title")
    for name in (
        "title", "summary", "occurred_on", "date_precision", "publisher", "source_type", "language",
        "reliability", "credibility", "visibility", "remark", "team_note",
    ):  # fmt: skip
        setattr(evidence, name, getattr(fields, name))
    for url in fields.links:
        check_link(url)
    evidence.links = [
        EvidenceLink(position=place, url=url) for place, url in enumerate(dict.fromkeys(fields.links), 1)
    ]
    seen = {(item.recommendation_id, item.clause_id): item for item in fields.bearings}
    evidence.bearings = [
        Bearing(recommendation_id=item.recommendation_id, clause_id=item.clause_id, direction=item.direction)
        for item in seen.values()
    ]
    readers = fields.reader_ids if fields.visibility is Visibility.RESTRICTED else ()
    evidence.readers = [EvidenceReader(account_id=account_id) for account_id in dict.fromkeys(readers)]


def _check_reviewer(reviewer: Account, evidence: Evidence) -> None:
    if not permissions.is_reviewer(reviewer):
        raise NotAllowed(N_("Only reviewers decide about evidence."))
    if evidence.created_by_id == reviewer.id:
        raise NotAllowed(N_("You logged this piece yourself. Another reviewer must look at it."))


def _report(evidence: Evidence) -> Report:
    reports = {
        bearing.recommendation.report_id: bearing.recommendation.report for bearing in evidence.bearings
    }
    if len(reports) != 1:
        raise Invalid(
            N_("One piece of evidence bears on recommendations of one report. Log it once for each."),
            "bearings",
        )
    return next(iter(reports.values()))


def _append(
    session: Session,
    kind: EntryKind,
    evidence: Evidence,
    recorded: dict[str, Any],
    words: dict[str, Any],
    now: dt.datetime,
) -> LedgerEntry:
    touched: dict[int, Recommendation] = {
        item.recommendation_id: item.recommendation for item in evidence.bearings
    }
    entry = ledger.append(
        session,
        kind,
        subject=f"evidence/{evidence.number}",
        report=_report(evidence),
        recommendations=touched.values(),
        facts=recorded,
        content=words,
        now=now,
    )
    evidence.ledger_seq = entry.seq
    return entry
