"""The demonstration is made by the real services, the same for the same seed, and says that it is invented."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tracker.keyring import Keyring
from tracker.models import Account, Evidence, Finding, LedgerEntry, Recommendation, Reply, Report
from tracker.queries import board
from tracker.services import accounts, audit, demo, demo_story, ledger
from tracker.vocabulary import Grade, State


def tell(session: Session, now: dt.datetime, recommendations: int = 13, seed: int = 1) -> int:
    """Make it as the command does; gives how many ledger entries that added."""
    before = ledger.position(session)
    for _ in demo.make(session, recommendations=recommendations, seed=seed, now=now):
        session.commit()
    return ledger.position(session) - before


def grades(session: Session, slug: str, now: dt.datetime) -> list[str]:
    """The roll-ups of a report in its order."""
    report = session.scalars(select(Report).where(Report.slug == slug)).one()
    rows = board.read_rows(session, Recommendation.report == report, today=now.date(), review_months=3)
    return [
        row.grade.value if row.grade else "–"
        for row in sorted(rows, key=lambda row: row.recommendation.position)
    ]


def test_the_default_is_the_lower_valley_with_its_thirteen_recommendations(
    session: Session, now: dt.datetime, keys: Keyring
) -> None:
    tell(session, now)

    assert grades(session, "arvenia-13-1", now) == [
        "B",
        "B",
        "C",
        "B",
        "C",
        "E",
        "A",
        "D",
        "V",
        "A",
        "B",
        "–",
        "B",
    ]
    report = session.scalars(select(Report)).one()
    assert report.demonstration
    assert "does not exist" in (report.notes or "")
    assert list(audit.problems(session)) == []
    assert list(ledger.problems(session, origin="test", public_key=keys.ledger_public_key)) == []


def test_a_second_time_adds_nothing_and_another_size_or_seed_is_another_report(
    session: Session, now: dt.datetime
) -> None:
    tell(session, now, 2)

    assert tell(session, now, 2) == 0
    assert tell(session, now + dt.timedelta(days=1), 2) == 0
    assert tell(session, now, 2, seed=2) > 0
    assert tell(session, now, 1) > 0
    assert session.scalar(select(func.count()).select_from(Report)) == 3


def test_a_recommendation_of_which_only_a_reply_is_told_is_not_told_twice(
    session: Session, now: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = dataclasses.replace(demo_story.TOLD[0], steps=[])
    monkeypatch.setattr(demo, "stories", lambda count, seed: [told])

    assert tell(session, now, 1) == 2  # The report and the reply.
    assert tell(session, now, 1) == 0


def test_the_same_seed_tells_the_same_story_and_another_seed_another() -> None:
    assert demo_story.stories(40, 7) == demo_story.stories(40, 7)
    assert demo_story.stories(40, 7)[:30] == demo_story.stories(30, 7)
    assert demo_story.stories(40, 7)[13:] != demo_story.stories(40, 8)[13:]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_story_keeps_the_rules_of_a_report(seed: int) -> None:
    told = demo_story.stories(2000, seed)

    assert len({story.number for story in told}) == len({story.reference for story in told}) == 2000
    for story in told:
        assert all(words in story.text for _, words in story.clauses)
        days = [step.day for step in story.steps]
        assert days == sorted(set(days))
        assert all(len(step.grades) == max(len(story.clauses), 1) for step in story.steps)
    assert {grade for story in told for step in story.steps for grade in step.grades} >= set("ABCDEV")


def test_the_people_of_the_demonstration_can_never_sign_in(session: Session, now: dt.datetime) -> None:
    tell(session, now, 1)
    session.expire_all()

    people = session.scalars(select(Account)).all()
    assert sorted(person.name for person in people) == ["Demonstration monitor", "Demonstration reviewer"]
    for person in people:
        assert (person.active, person.password_hash, person.totp_sealed) == (False, None, None)


def test_they_are_never_seen_active_by_anybody_else(session: Session, now: dt.datetime) -> None:
    for _ in demo.make(session, recommendations=3, seed=1, now=now):
        session.commit()
        session.expire_all()
        assert not any(session.scalars(select(Account.active)))


def test_the_first_admin_still_gets_a_link_after_a_demonstration(session: Session, now: dt.datetime) -> None:
    tell(session, now, 1)

    assert accounts.first_link(session, now=now, hours=1) is not None


def test_findings_went_through_two_people_and_history_was_superseded(
    session: Session, now: dt.datetime
) -> None:
    tell(session, now, 1)

    made = session.scalars(select(Finding)).all()
    assert {finding.state for finding in made} == {State.ACCEPTED, State.SUPERSEDED}
    assert all(finding.proposed_by_id != finding.approved_by_id for finding in made)
    assert all(finding.citations for finding in made)
    # What the record says about when it was recorded is true also of invented things.
    assert {entry.recorded_at.date() for entry in session.scalars(select(LedgerEntry))} == {now.date()}


def test_nothing_in_it_lies_in_the_future(session: Session, now: dt.datetime) -> None:
    early = now.replace(year=2024, month=6, day=1)

    tell(session, early)

    newest = [
        session.scalar(select(func.max(column)))
        for column in (Finding.as_of, Evidence.occurred_on, Reply.replied_on)
    ]
    assert all(day is not None and day <= early.date() for day in newest)


def test_an_interrupted_one_is_finished_by_the_next(
    session: Session, now: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "BATCH", 2)
    steps = demo.make(session, recommendations=4, seed=1, now=now)
    for _ in range(2):
        next(steps)
        session.commit()
    next(steps)  # A batch that is written and not committed.
    steps.close()
    session.rollback()

    tell(session, now, 4)

    assert grades(session, "arvenia-4-1", now) == ["B", "B", "C", "B"]
    assert list(audit.problems(session)) == []
    references = session.execute(
        select(Evidence.title, func.count())
        .group_by(Evidence.title, Evidence.occurred_on)
        .having(func.count() > 1)
    ).all()
    assert references == []


def test_it_does_not_touch_what_is_real(session: Session, make: Factory, now: dt.datetime) -> None:
    report = make.report("real")
    title = report.title

    tell(session, now, 1)

    session.expire_all()
    real: Any = session.scalars(select(Report).where(Report.slug == "real")).one()
    assert real.title == title
    assert Grade.B.value in grades(session, "arvenia-1-1", now)
    assert grades(session, "real", now) == ["–", "–", "–"]
