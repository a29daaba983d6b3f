"""Replies of the State: recorded by one person, accepted by another, published with their ledger entry."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from tracker import permissions
from tracker.errors import Invalid, NotAllowed, raise_all
from tracker.models import Account, LedgerEntry, Quotation, Reply, ReplyTarget, Report
from tracker.services import activity, ledger, states
from tracker.services.evidence import check_link
from tracker.vocabulary import N_, EntryKind, Need, Position, Precision, State


@dataclass(frozen=True)
class Fields:
    """What a monitor enters. No `recommendation_ids`: the reply speaks to the report as a whole."""

    author: str = ""
    position: Position | None = None
    replied_on: dt.date | None = None
    date_precision: Precision = Precision.DAY
    summary: str = ""
    quotations: Sequence[str] = ()
    source_publisher: str = ""
    source_title: str = ""
    source_url: str = ""
    evidence_id: int | None = None
    recommendation_ids: Sequence[int] = ()


def draft(session: Session, fields: Fields, *, report: Report, author: Account, now: dt.datetime) -> Reply:
    """A new draft, seen by its author alone."""
    if not permissions.is_team(author):
        raise NotAllowed(N_("Only monitors and reviewers record replies."))
    reply = Reply(report_id=report.id, created_by_id=author.id, created_at=now)
    _fill(reply, fields)
    session.add(reply)
    session.flush()  # The key and id are needed for the activity and for the redirect.
    activity.record(session, author, "reply-drafted", subject(reply), now=now)
    return reply


def edit(
    session: Session, reply: Reply, fields: Fields, *, author: Account, version: int, now: dt.datetime
) -> None:
    """Save on top of `version`. Raises Stale if somebody saved meanwhile."""
    _check_author(author, reply)
    states.claim_version(session, reply, version)
    reply.targets.clear()
    reply.quotations.clear()
    session.flush()  # A recommendation may stand once only, so old ones go before new ones come.
    _fill(reply, fields)
    session.flush()  # New parts are read through their rows from here on.
    activity.record(session, author, "reply-edited", subject(reply), now=now)


def submit(session: Session, reply: Reply, *, author: Account, now: dt.datetime) -> None:
    """Send it to the reviewers. Raises Invalid while something that they need is missing."""
    _check_author(author, reply)
    check_complete(reply)
    states.move(session, reply, State.SUBMITTED, submitted_at=now, review_reason="", needs="")
    activity.record(session, author, "reply-submitted", subject(reply), now=now)


def accept(
    session: Session, reply: Reply, *, reviewer: Account, seen: int | None = None, now: dt.datetime
) -> LedgerEntry:
    """Publish it. `seen` is the version that the reviewer looked at; Conflict if it is another one by now."""
    _check_reviewer(reviewer, reply)
    ledger.lock(session)
    states.move(session, reply, State.ACCEPTED, seen=seen, reviewed_by_id=reviewer.id, reviewed_at=now)
    activity.record(session, reviewer, "reply-accepted", subject(reply), now=now)
    return publish(session, reply, now=now)


def send_back(
    session: Session,
    reply: Reply,
    *,
    reviewer: Account,
    reason: str,
    needs: Sequence[Need] = (),
    seen: int | None = None,
    now: dt.datetime,
) -> None:
    """Return it to its author with a reason, which only the team sees."""
    _check_reviewer(reviewer, reply)
    if not reason:
        raise Invalid(N_("Say why you return it."), "reason")
    states.move(session, reply, State.RETURNED, seen=seen, review_reason=reason, needs=activity.listed(needs))
    given = activity.with_needs(reason, needs)
    activity.record(session, reviewer, "reply-returned", subject(reply), now=now, reason=given)


def withdraw(
    session: Session, reply: Reply, *, reviewer: Account, reason: str, now: dt.datetime
) -> LedgerEntry:
    """Take it from every page, and say why."""
    if not permissions.is_reviewer(reviewer):
        raise NotAllowed(N_("Only reviewers withdraw replies."))
    if not reason:
        raise Invalid(N_("Say why it is withdrawn. The reason is public."), "reason")
    ledger.lock(session)
    states.move(session, reply, State.WITHDRAWN, withdrawal_reason=reason)
    activity.record(session, reviewer, "reply-withdrawn", subject(reply), now=now, reason=reason)
    return _append(session, EntryKind.REPLY_WITHDRAWN, reply, {"key": reply.key}, {"reason": reason}, now)


def publish(session: Session, reply: Reply, *, now: dt.datetime) -> LedgerEntry:
    """Append its ledger entry. For accepted replies, and for report files."""
    reply.state = State.ACCEPTED
    session.flush()  # A reply from a report file is new: its key and targets are made by this.
    return _append(session, EntryKind.REPLY_PUBLISHED, reply, facts(reply), content(reply), now)


def correct(session: Session, reply: Reply, *, correction: str, now: dt.datetime) -> LedgerEntry:
    """Record that the published words were wrong. The row already holds the right ones."""
    words = content(reply) | {"correction": correction}
    return _append(session, EntryKind.REPLY_CORRECTED, reply, facts(reply), words, now)


def facts(reply: Reply) -> dict[str, Any]:
    """What the ledger keeps of it for good."""
    return {
        "key": reply.key,
        "position": reply.position.value if reply.position else None,
        "date": reply.replied_on.isoformat() if reply.replied_on else None,
        "precision": reply.date_precision.value,
    }


def content(reply: Reply) -> dict[str, Any]:
    """The words that are published, and can be erased."""
    return {
        "author": reply.author,
        "summary": reply.summary,
        "quotations": [quotation.text for quotation in reply.quotations],
        "source": {
            "publisher": reply.source_publisher,
            "title": reply.source_title,
            "url": reply.source_url,
            "evidence": reply.evidence.number if reply.evidence else None,
        },
    }


def subject(reply: Reply) -> str:
    """How the ledger and the team's activity name it."""
    return f"reply/{reply.key}"


def check_complete(reply: Reply) -> None:
    """Raise Invalid, with every field that a reviewer would miss."""
    required = [
        ("author", reply.author, N_("Enter who replied, for example the ministry or mission.")),
        ("position", reply.position, N_("Choose the position that the reply takes.")),
        ("replied", reply.replied_on, N_("Enter when it was given, the year at least.")),
        ("summary", reply.summary, N_("Write a summary of the reply, in your own words.")),
    ]
    mistakes = [Invalid(sentence, name) for name, value, sentence in required if not value]
    if not reply.source_publisher and reply.evidence is None:
        mistakes.append(
            Invalid(
                N_("Enter where the reply was published, or choose the evidence that shows it."),
                "source_publisher",
            )
        )
    if reply.evidence is not None and reply.evidence.number is None:
        mistakes.append(Invalid(N_("The evidence chosen as source is not public."), "evidence_id"))
    raise_all(mistakes)


def _fill(reply: Reply, fields: Fields) -> None:
    if fields.source_url:
        try:
            check_link(fields.source_url)
        except Invalid as error:
            raise Invalid(error.message, "source_url", **error.values) from None
    for name in (
        "author", "position", "replied_on", "date_precision", "summary", "source_publisher", "source_title",
        "source_url", "evidence_id",
    ):  # fmt: skip
        setattr(reply, name, getattr(fields, name))
    reply.quotations = [
        Quotation(position=place, text=text) for place, text in enumerate(fields.quotations, 1)
    ]
    reply.targets = [ReplyTarget(recommendation_id=one) for one in dict.fromkeys(fields.recommendation_ids)]


def _check_author(author: Account, reply: Reply) -> None:
    if not permissions.can_edit_reply(author, reply):
        raise NotAllowed(
            N_("Only drafts and returned replies can be changed, by the person who recorded them.")
        )


def _check_reviewer(reviewer: Account, reply: Reply) -> None:
    if not permissions.is_reviewer(reviewer):
        raise NotAllowed(N_("Only reviewers decide about replies."))
    if reply.created_by_id == reviewer.id:
        raise NotAllowed(N_("You recorded this reply yourself. Another reviewer must look at it."))


def _append(
    session: Session,
    kind: EntryKind,
    reply: Reply,
    recorded: dict[str, Any],
    words: dict[str, Any],
    now: dt.datetime,
) -> LedgerEntry:
    entry = ledger.append(
        session,
        kind,
        subject=subject(reply),
        report=reply.report,
        recommendations=[target.recommendation for target in reply.targets],
        facts=recorded,
        content=words,
        now=now,
    )
    reply.ledger_seq = entry.seq
    return entry
