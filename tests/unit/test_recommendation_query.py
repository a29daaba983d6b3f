"""A recommendation's page holds what the public may see, and of withdrawn things what remains."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import Record
from tracker.errors import NotFound
from tracker.queries import evidence as pieces
from tracker.queries import recommendation as pages
from tracker.vocabulary import Grade, State, Visibility


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def page(record: Record) -> pages.Page:
    record.session.expire_all()
    return pages.page(record.session, record.first, today=dt.date(2026, 11, 22), review_months=3)


def test_hidden_evidence_is_nowhere_on_the_page(record: Record) -> None:
    shown = record.evidence(record.first)
    record.hide_some(record.first)

    found = page(record)

    assert [piece.number for piece in found.evidence] == [shown.number]
    assert found.withdrawn == []
    assert len(found.history) == 2


def test_evidence_stands_newest_first_and_undated_last(record: Record) -> None:
    for day in (dt.date(2024, 1, 1), dt.date(2025, 1, 1)):
        record.evidence(record.first, occurred_on=day)
    undated = record.evidence(record.first)
    undated.occurred_on = None
    record.session.commit()

    assert [piece.occurred_on and piece.occurred_on.year for piece in page(record).evidence] == [
        2025,
        2024,
        None,
    ]


def test_withdrawn_evidence_is_listed_with_its_reason_only(record: Record) -> None:
    piece = record.evidence(record.first)
    record.finding(record.first, record.first.clauses[0], Grade.C, piece)
    record.withdraw(piece, "The court took it back.")

    found = page(record)

    assert found.evidence == []
    assert [(one.number, one.withdrawal_reason) for one in found.withdrawn] == [
        (1, "The court took it back.")
    ]
    assert [one.state for cited in found.cited.values() for one in cited] == [State.WITHDRAWN]


def test_team_evidence_that_was_withdrawn_was_never_public_and_stays_unknown(record: Record) -> None:
    record.withdraw(record.evidence(record.first, visibility=Visibility.TEAM))

    found = page(record)

    assert (found.withdrawn, len(found.history)) == ([], 1)


def test_replies_stand_newest_first_and_those_to_the_whole_report_apart(record: Record) -> None:
    old = record.reply(record.first, replied_on=dt.date(2024, 1, 1))
    new = record.reply(record.first, replied_on=dt.date(2025, 1, 1))
    whole = record.reply()
    record.reply(record.second)

    found = page(record)

    assert [reply.key for reply in found.replies] == [new.key, old.key]
    assert [reply.key for reply in found.to_the_whole_report] == [whole.key]


def test_a_replys_source_that_the_public_may_not_see_is_not_named(record: Record) -> None:
    public, team = record.evidence(record.first), record.evidence(record.first)
    record.reply(record.first, evidence_id=team.id, replied_on=dt.date(2024, 1, 1))
    record.reply(record.first, evidence_id=public.id, replied_on=dt.date(2025, 1, 1))
    record.withdraw(team)

    assert [reply.evidence and reply.evidence.number for reply in page(record).replies] == [
        public.number,
        None,
    ]


def test_the_receipt_is_the_newest_entry_about_the_recommendation_itself(record: Record) -> None:
    found = page(record)
    assert found.receipt is not None
    assert found.receipt.kind.value == "report-loaded"

    record.evidence(record.first)
    record.reply()
    found = page(record)
    assert found.receipt is not None
    assert (found.receipt.seq, found.receipt.kind.value) == (2, "evidence-published")
    assert [change.seq for change in found.history] == [3, 2, 1]


def test_evidence_is_found_by_number_if_it_is_or_was_public(record: Record) -> None:
    public, withdrawn = record.evidence(record.first), record.evidence(record.first)
    record.withdraw(withdrawn)
    record.hide_some(record.first)

    assert pieces.find(record.session, 1).title == public.title
    assert pieces.find(record.session, 2).state is State.WITHDRAWN
    for number in (0, 3, 4, 2**31, 10**40):
        with pytest.raises(NotFound):
            pieces.find(record.session, number)


def test_a_number_does_not_open_evidence_that_is_not_public(record: Record) -> None:
    piece = record.submitted(record.first)
    piece.number = 7
    record.session.commit()

    with pytest.raises(NotFound):
        pieces.find(record.session, 7)


def test_only_current_findings_are_named_as_citing_a_piece(record: Record) -> None:
    piece = record.evidence(record.first)
    record.finding(record.first, record.first.clauses[0], Grade.C, piece)
    assert [finding.grade for finding in pieces.citing(record.session, piece)] == [Grade.C]

    record.finding(record.first, record.first.clauses[0], Grade.B, piece)
    assert [finding.grade for finding in pieces.citing(record.session, piece)] == [Grade.B]
