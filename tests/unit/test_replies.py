"""A reply of the State is recorded by one person and accepted by another, never mixed with a finding."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import NOT_ENTERED
from tracker.errors import Conflict, Invalid, NotAllowed
from tracker.models import Account, Reply, Report
from tracker.services import audit, ledger, replies
from tracker.vocabulary import EntryKind, Position, Role, State


@pytest.fixture
def mona(make: Factory) -> Account:
    return make.account(Role.MONITOR, name="Mona")  # type: ignore[no-any-return]


@pytest.fixture
def rafa(make: Factory) -> Account:
    return make.account(Role.REVIEWER, name="Rafa")  # type: ignore[no-any-return]


@pytest.fixture
def report(make: Factory) -> Report:
    return make.report()  # type: ignore[no-any-return]


def fields(report: Report, **values: Any) -> replies.Fields:
    return replies.Fields(
        **{
            "author": "Ministry of the Interior",
            "position": Position.REJECTS,
            "replied_on": dt.date(2024, 1, 22),
            "summary": "The ministry says that all allegations were examined.",
            "quotations": ["All allegations have been examined."],
            "source_publisher": "Gazette",
            "source_url": "https://gazette.arvenia.example/",
            "recommendation_ids": [one.id for one in report.recommendations[:2]],
            **values,
        }
    )


def record(
    session: Session, words: replies.Fields, report: Report, author: Account, now: dt.datetime
) -> Reply:
    reply = replies.draft(session, words, report=report, author=author, now=now)
    replies.submit(session, reply, author=author, now=now)
    session.commit()
    return reply


def test_an_accepted_reply_stands_in_the_ledger_of_each_recommendation(
    session: Session, report: Report, mona: Account, rafa: Account, now: dt.datetime
) -> None:
    reply = record(session, fields(report), report, mona, now)

    entry = replies.accept(session, reply, reviewer=rafa, now=now)
    session.commit()

    assert entry.kind is EntryKind.REPLY_PUBLISHED
    assert ledger.facts_of(entry)["recommendations"] == ["88-a", "88-b"]
    assert list(audit.problems(session)) == [NOT_ENTERED]


def test_a_reply_without_recommendations_is_about_the_report(
    session: Session, report: Report, mona: Account, rafa: Account, now: dt.datetime
) -> None:
    reply = record(session, fields(report, recommendation_ids=[]), report, mona, now)

    entry = replies.accept(session, reply, reviewer=rafa, now=now)

    assert ledger.facts_of(entry)["recommendations"] == []


def test_the_same_person_does_not_record_and_accept(
    session: Session, report: Report, rafa: Account, now: dt.datetime
) -> None:
    reply = record(session, fields(report), report, rafa, now)

    with pytest.raises(NotAllowed, match="yourself"):
        replies.accept(session, reply, reviewer=rafa, now=now)


def test_accepting_twice_is_refused(
    session: Session, report: Report, mona: Account, rafa: Account, make: Factory, now: dt.datetime
) -> None:
    reply = record(session, fields(report), report, mona, now)
    replies.accept(session, reply, reviewer=rafa, now=now)
    session.commit()

    with pytest.raises(Conflict):
        replies.accept(session, reply, reviewer=make.account(Role.REVIEWER), now=now)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"author": ""}, "author"),
        ({"position": None}, "position"),
        ({"replied_on": None}, "replied"),
        ({"summary": ""}, "summary"),
        ({"source_publisher": ""}, "source_publisher"),
        ({"source_url": "javascript:alert(1)"}, "source_url"),
    ],
)
def test_what_a_reviewer_would_miss_is_asked_for(
    values: dict[str, Any], field: str, session: Session, report: Report, mona: Account, now: dt.datetime
) -> None:
    with pytest.raises(Invalid) as caught:
        record(session, fields(report, **values), report, mona, now)

    assert caught.value.field == field


def test_a_withdrawn_reply_keeps_its_reason(
    session: Session, report: Report, mona: Account, rafa: Account, now: dt.datetime
) -> None:
    reply = record(session, fields(report), report, mona, now)
    replies.accept(session, reply, reviewer=rafa, now=now)
    session.commit()

    entry = replies.withdraw(session, reply, reviewer=rafa, reason="It was another ministry's.", now=now)
    session.commit()

    assert (entry.kind, reply.state) == (EntryKind.REPLY_WITHDRAWN, State.WITHDRAWN)
    assert list(audit.problems(session)) == [NOT_ENTERED]
