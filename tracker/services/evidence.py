"""Evidence: drafted by one person, accepted by another, published with its ledger entry, withdrawn with a reason."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker import consent, permissions
from tracker.errors import Invalid, NotAllowed, raise_all
from tracker.models import (
    Account,
    Bearing,
    Evidence,
    EvidenceDetail,
    EvidenceLink,
    EvidenceReader,
    LedgerEntry,
    Recommendation,
    Report,
)
from tracker.services import activity, exhibits, history, ledger, private_roots, states
from tracker.services import harm as harm_check
from tracker.services.harm import Harm
from tracker.vocabulary import (
    N_,
    Credibility,
    Detail,
    Direction,
    EntryKind,
    Need,
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
    place: str = ""
    not_before: dt.date | None = None
    from_person: bool = False
    # Words, and who may read them. "" removes a detail; one that is not named here stays as it is.
    details: Mapping[Detail, tuple[str, Visibility]] = field(default_factory=dict)


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
    before = history.snapshot(evidence)
    # Old parts go before new ones come, because a bearing may stand once only.
    evidence.bearings.clear()
    evidence.links.clear()
    evidence.readers.clear()
    session.flush()
    _fill(evidence, fields)
    session.flush()  # New parts are read through their rows from here on.
    history.record(session, evidence, before, account=author, now=now)
    if before["visibility"] != evidence.visibility.value:
        history.reseal(session, evidence)
    activity.record(session, author, "evidence-edited", subject(evidence), now=now)


def submit(session: Session, evidence: Evidence, *, author: Account, now: dt.datetime) -> None:
    """Send it to the reviewers. Raises Invalid while something that they need is missing."""
    if not permissions.can_edit_evidence(author, evidence):
        raise NotAllowed(N_("Only drafts and returned pieces can be changed, by the person who logged them."))
    check_complete(evidence)
    states.move(session, evidence, State.SUBMITTED, submitted_at=now, review_reason="", needs="")
    activity.record(session, author, "evidence-submitted", subject(evidence), now=now)


def accept(
    session: Session,
    evidence: Evidence,
    *,
    reviewer: Account,
    harm: Harm | None = None,
    seen: int | None = None,
    now: dt.datetime,
) -> LedgerEntry | None:
    """Take it as good. Public evidence is published at once, or on its day; the rest is kept for those who may see it.

    Public evidence needs the answers about `harm`: Invalid names each that is missing. `seen` is the version that the
    reviewer looked at; Conflict if it is another one by now.
    """
    _check_reviewer(reviewer, evidence)
    ledger.lock(session)
    states.move(session, evidence, State.ACCEPTED, seen=seen, reviewed_by_id=reviewer.id, reviewed_at=now)
    activity.record(session, reviewer, "evidence-accepted", subject(evidence), now=now)
    if evidence.visibility is not Visibility.PUBLIC:
        # That we held it on this day can be proven later, without telling it now.
        private_roots.commit(session, subject(evidence), sealed_content(evidence), now=now)
        return None
    found = harm_check.check(session, evidence, harm)
    if harm is not None:
        harm_check.record(session, evidence, harm, found, checked_by=reviewer, now=now)
    consent.check_publishable(_with_consents(session, evidence), on=now.date())
    exhibits.release_prepared(session, evidence, reviewer=reviewer, now=now)
    return (
        None if waits(evidence, today=now.astimezone(dt.UTC).date()) else publish(session, evidence, now=now)
    )


def waits(evidence: Evidence, *, today: dt.date) -> bool:
    """Whether it is not to be published before a day that has not come (in UTC)."""
    return evidence.not_before is not None and evidence.not_before > today


def due(session: Session, *, now: dt.datetime) -> Sequence[int]:
    """The ids of accepted public evidence whose day has come."""
    return session.scalars(
        select(Evidence.id)
        .where(
            Evidence.state == State.ACCEPTED,
            Evidence.visibility == Visibility.PUBLIC,
            Evidence.ledger_seq.is_(None),
            Evidence.not_before <= now.astimezone(dt.UTC).date(),
        )
        .order_by(Evidence.not_before, Evidence.id)
    ).all()


def publish_due(session: Session, evidence_id: int, *, now: dt.datetime) -> LedgerEntry | None:
    """Publish what waited for its day. None if it was withdrawn, a consent ended, or another process was quicker."""
    ledger.lock(session)
    # Read after the wait for the lock: what was due before it may not be any more.
    evidence = session.get_one(Evidence, evidence_id, populate_existing=True)
    if evidence_id not in due(session, now=now):
        return None
    if not consent.may_be_public(_with_consents(session, evidence), on=now.date()):
        return None  # The person who gave it has taken back their word, and nobody has to be told.
    activity.record(session, None, "evidence-published", subject(evidence), now=now)
    return publish(session, evidence, now=now)


def send_back(
    session: Session,
    evidence: Evidence,
    *,
    reviewer: Account,
    reason: str,
    needs: Sequence[Need] = (),
    seen: int | None = None,
    now: dt.datetime,
) -> None:
    """Return it to its author with a reason, which only the team sees."""
    _check_reviewer(reviewer, evidence)
    if not reason:
        raise Invalid(N_("Say why you return it."), "reason")
    states.move(
        session, evidence, State.RETURNED, seen=seen, review_reason=reason, needs=activity.listed(needs)
    )
    given = activity.with_needs(reason, needs)
    activity.record(session, reviewer, "evidence-returned", subject(evidence), now=now, reason=given)


def withdraw(
    session: Session, evidence: Evidence, *, reviewer: Account, reason: str, now: dt.datetime
) -> LedgerEntry | None:
    """Take it from every page, feed and mail not yet sent, and say why. One reviewer is enough: harm cannot wait."""
    if not permissions.is_reviewer(reviewer):
        raise NotAllowed(N_("Only reviewers withdraw evidence."))
    if not reason:
        raise Invalid(N_("Say why it is withdrawn. The reason is public."), "reason")
    return take_back(session, evidence, account=reviewer, reason=reason, now=now)


def take_back(
    session: Session, evidence: Evidence, *, account: Account | None, reason: str, now: dt.datetime
) -> LedgerEntry | None:
    """Withdraw, whoever asks: for rules that cannot wait for a reviewer, such as a consent that ended.

    `account` None: the clock did it.
    """
    ledger.lock(session)
    states.move(session, evidence, State.WITHDRAWN, withdrawal_reason=reason)
    activity.record(session, account, "evidence-withdrawn", subject(evidence), now=now, reason=reason)
    if evidence.ledger_seq is None:
        return None  # It never was public.
    return _append(
        session, EntryKind.EVIDENCE_WITHDRAWN, evidence, {"number": evidence.number}, {"reason": reason}, now
    )


def publish(session: Session, evidence: Evidence, *, now: dt.datetime) -> LedgerEntry:
    """Give it the next number and its ledger entry. For accepted public evidence, and for report files."""
    session.flush()  # A piece from a report file is new; its bearings are read through their rows.
    ledger.lock(session)  # Numbers are given in ledger order, also when two reviewers accept at once.
    consent.check_publishable(_with_consents(session, evidence), on=now.date())
    evidence.number = (session.execute(select(func.max(Evidence.number))).scalar_one() or 0) + 1
    evidence.state = State.ACCEPTED
    return _append(session, EntryKind.EVIDENCE_PUBLISHED, evidence, facts(evidence), content(evidence), now)


def correct(session: Session, evidence: Evidence, *, correction: str, now: dt.datetime) -> LedgerEntry:
    """Record that the published words were wrong. The row already holds the right ones."""
    session.flush()  # New bearings and links are read through their rows.
    words = content(evidence) | {"correction": correction}
    return _append(session, EntryKind.EVIDENCE_CORRECTED, evidence, facts(evidence), words, now)


def record_exhibits(
    session: Session,
    evidence: Evidence,
    kind: EntryKind,
    *,
    withdrawn: str = "",
    correction: str = "",
    now: dt.datetime,
) -> LedgerEntry:
    """Record that the public copies of published evidence are others now. `withdrawn` names one that is gone."""
    session.flush()
    recorded = facts(evidence) | ({"withdrawn_copy": withdrawn} if withdrawn else {})
    words = content(evidence) | ({"correction": correction} if correction else {})
    return _append(session, kind, evidence, recorded, words, now)


def record_erasure(session: Session, evidence: Evidence, *, reason: str, now: dt.datetime) -> LedgerEntry:
    """Record that its words are gone for good. `services/erasure.py` takes them away."""
    return _append(
        session, EntryKind.EVIDENCE_ERASED, evidence, {"number": evidence.number}, {"reason": reason}, now
    )


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
        **exhibits.facts(evidence),
    }


def sealed_content(evidence: Evidence) -> bytes:
    """What the sealed root of the day commits to: the same words that publishing would put into the ledger."""
    return ledger.canonical(facts(evidence) | content(evidence)).encode()


def content(evidence: Evidence) -> dict[str, Any]:
    """The words that are published, and can be erased."""
    return {
        # Left out where empty, so that entries from before there was a place still agree with their rows.
        **({"place": evidence.place} if evidence.place else {}),
        "title": evidence.title,
        "summary": evidence.summary,
        "publisher": evidence.publisher,
        "language": evidence.language,
        "remark": evidence.remark,
        "links": [link.url for link in evidence.links],
        **exhibits.words(evidence),
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
        "reliability", "credibility", "visibility", "remark", "team_note", "place", "not_before", "from_person",
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
    _fill_details(evidence, fields)
    restricted = {evidence.visibility, *(detail.visibility for detail in evidence.details)}
    readers = fields.reader_ids if Visibility.RESTRICTED in restricted else ()
    evidence.readers = [EvidenceReader(account_id=account_id) for account_id in dict.fromkeys(readers)]


def _fill_details(evidence: Evidence, fields: Fields) -> None:
    kept = {row.detail: row for row in evidence.details}
    for kind, (value, visibility) in fields.details.items():
        row = kept.get(kind)
        if row is not None and not value:
            evidence.details.remove(row)
        elif row is not None:
            row.value, row.visibility = value, visibility
        elif value:
            evidence.details.append(EvidenceDetail(detail=kind, value=value, visibility=visibility))


def _check_reviewer(reviewer: Account, evidence: Evidence) -> None:
    if not permissions.is_reviewer(reviewer):
        raise NotAllowed(N_("Only reviewers decide about evidence."))
    if evidence.created_by_id == reviewer.id:
        raise NotAllowed(N_("You logged this piece yourself. Another reviewer must look at it."))


def _with_consents(session: Session, evidence: Evidence) -> Evidence:
    """The same, which reads who gave it and what they agreed to anew: under the lock nobody changes that any more."""
    session.expire(evidence, ["consents", "sources"])
    return evidence


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
