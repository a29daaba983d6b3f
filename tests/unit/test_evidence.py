"""Evidence is logged by one person and accepted by another, and only what is public and accepted is ever seen."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import HARMLESS, NOT_ENTERED
from tracker import permissions
from tracker.errors import Conflict, Invalid, NotAllowed, Stale
from tracker.models import Account, Evidence, Recommendation
from tracker.services import audit, evidence, ledger
from tracker.vocabulary import (
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


@pytest.fixture
def mona(make: Factory) -> Account:
    return make.account(Role.MONITOR, name="Mona")  # type: ignore[no-any-return]


@pytest.fixture
def rafa(make: Factory) -> Account:
    return make.account(Role.REVIEWER, name="Rafa")  # type: ignore[no-any-return]


@pytest.fixture
def recommendation(make: Factory) -> Recommendation:
    return make.report().recommendations[0]  # type: ignore[no-any-return]


def fields(recommendation: Recommendation, **values: Any) -> evidence.Fields:
    return evidence.Fields(
        **{
            "title": "Court register lists six case files",
            "summary": "The register shows six files.",
            "occurred_on": dt.date(2025, 5, 1),
            "date_precision": Precision.MONTH,
            "publisher": "Lower Valley District Court",
            "source_type": SourceType.OFFICIAL_RECORD,
            "language": "French",
            "reliability": Reliability.B,
            "credibility": Credibility.TWO,
            "visibility": Visibility.PUBLIC,
            "links": ["https://court.arvenia.example/register"],
            "bearings": [
                evidence.Bears(recommendation.id, recommendation.clauses[0].id, Direction.PROGRESS),
                evidence.Bears(recommendation.id, recommendation.clauses[1].id, Direction.REFUSAL),
            ],
            **values,
        }
    )


@pytest.fixture
def waiting(session: Session, mona: Account, recommendation: Recommendation, now: dt.datetime) -> Evidence:
    return log(session, fields(recommendation), mona, now)


def log(session: Session, words: evidence.Fields, author: Account, now: dt.datetime) -> Evidence:
    piece = evidence.draft(session, words, author=author, now=now)
    evidence.submit(session, piece, author=author, now=now)
    session.commit()
    return piece


def test_accepted_public_evidence_gets_a_number_and_a_ledger_entry(
    session: Session, waiting: Evidence, rafa: Account, now: dt.datetime
) -> None:
    entry = evidence.accept(session, waiting, reviewer=rafa, harm=HARMLESS, now=now)
    session.commit()

    assert entry is not None
    assert (entry.kind, entry.subject, waiting.number) == (EntryKind.EVIDENCE_PUBLISHED, "evidence/1", 1)
    assert ledger.facts_of(entry)["directions"] == [
        {"recommendation": "88-a", "clause": "a", "direction": "progress"},
        {"recommendation": "88-a", "clause": "b", "direction": "refusal"},
    ]
    assert list(audit.problems(session)) == [NOT_ENTERED]


@pytest.mark.parametrize("visibility", [Visibility.TEAM, Visibility.RESTRICTED])
def test_evidence_that_is_not_public_leaves_no_trace_in_the_ledger(
    visibility: Visibility,
    session: Session,
    mona: Account,
    rafa: Account,
    recommendation: Recommendation,
    now: dt.datetime,
) -> None:
    piece = log(session, fields(recommendation, visibility=visibility, reader_ids=[rafa.id]), mona, now)

    assert evidence.accept(session, piece, reviewer=rafa, harm=HARMLESS, now=now) is None

    assert (piece.state, piece.number, ledger.position(session)) == (State.ACCEPTED, None, 0)


def test_nobody_accepts_their_own_piece(
    session: Session, rafa: Account, recommendation: Recommendation, now: dt.datetime
) -> None:
    own = log(session, fields(recommendation), rafa, now)

    with pytest.raises(NotAllowed, match="yourself"):
        evidence.accept(session, own, reviewer=rafa, harm=HARMLESS, now=now)


def test_the_database_itself_refuses_a_reviewer_who_is_the_author(
    session: Session, waiting: Evidence, mona: Account
) -> None:
    with pytest.raises(IntegrityError):
        session.execute(text("UPDATE evidence SET reviewed_by_id = :who"), {"who": mona.id})


@pytest.mark.parametrize("role", [Role.MONITOR, Role.ADMIN])
def test_only_reviewers_decide(
    role: Role, session: Session, waiting: Evidence, make: Factory, now: dt.datetime
) -> None:
    with pytest.raises(NotAllowed):
        evidence.accept(session, waiting, reviewer=make.account(role), harm=HARMLESS, now=now)
    with pytest.raises(NotAllowed):
        evidence.withdraw(session, waiting, reviewer=make.account(role), reason="No.", now=now)


def test_an_admin_logs_nothing(
    session: Session, recommendation: Recommendation, make: Factory, now: dt.datetime
) -> None:
    with pytest.raises(NotAllowed):
        evidence.draft(session, fields(recommendation), author=make.account(Role.ADMIN), now=now)


def test_accepting_twice_is_refused(
    session: Session, waiting: Evidence, rafa: Account, make: Factory, now: dt.datetime
) -> None:
    evidence.accept(session, waiting, reviewer=rafa, harm=HARMLESS, now=now)
    session.commit()

    with pytest.raises(Conflict):
        evidence.accept(session, waiting, reviewer=make.account(Role.REVIEWER), harm=HARMLESS, now=now)


def test_a_return_needs_a_reason_and_brings_it_back_to_its_author(
    session: Session,
    waiting: Evidence,
    mona: Account,
    rafa: Account,
    recommendation: Recommendation,
    now: dt.datetime,
) -> None:
    with pytest.raises(Invalid, match="Say why"):
        evidence.send_back(session, waiting, reviewer=rafa, reason="", now=now)
    evidence.send_back(session, waiting, reviewer=rafa, reason="It names a street.", now=now)
    session.commit()
    assert (waiting.state, waiting.review_reason) == (State.RETURNED, "It names a street.")

    evidence.edit(session, waiting, fields(recommendation), author=mona, version=waiting.version, now=now)
    evidence.submit(session, waiting, author=mona, now=now)

    assert waiting.state is State.SUBMITTED


def test_a_submitted_piece_can_no_longer_be_edited(
    session: Session, waiting: Evidence, mona: Account, recommendation: Recommendation, now: dt.datetime
) -> None:
    with pytest.raises(NotAllowed):
        evidence.edit(session, waiting, fields(recommendation), author=mona, version=waiting.version, now=now)


def test_a_stale_save_is_refused(
    session: Session, mona: Account, recommendation: Recommendation, now: dt.datetime
) -> None:
    piece = evidence.draft(session, fields(recommendation), author=mona, now=now)
    session.commit()
    opened = piece.version
    evidence.edit(session, piece, fields(recommendation, title="First"), author=mona, version=opened, now=now)
    session.commit()

    with pytest.raises(Stale):
        evidence.edit(
            session, piece, fields(recommendation, title="Second"), author=mona, version=opened, now=now
        )
    session.rollback()
    assert piece.title == "First"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"summary": ""}, "summary"),
        ({"occurred_on": None}, "occurred"),
        ({"publisher": ""}, "publisher"),
        ({"source_type": None}, "source_type"),
        ({"reliability": None}, "reliability"),
        ({"credibility": None}, "credibility"),
        ({"bearings": []}, "bearings"),
        ({"visibility": Visibility.RESTRICTED}, "readers"),
        ({"source_type": SourceType.MEDIA, "links": []}, "links"),
    ],
)
def test_what_a_reviewer_would_miss_is_asked_for_before_it_is_sent(
    values: dict[str, Any],
    field: str,
    session: Session,
    mona: Account,
    recommendation: Recommendation,
    now: dt.datetime,
) -> None:
    piece = evidence.draft(session, fields(recommendation, **values), author=mona, now=now)

    with pytest.raises(Invalid) as caught:
        evidence.submit(session, piece, author=mona, now=now)

    assert caught.value.field == field


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "ftp://x.example/",
        "//x.example",
        "https://user:secret@x.example/",
        "https://",
        "http://[::1",
        "https://x.example:99999/",
        "https://x example/",
    ],
)
def test_a_link_that_is_no_plain_web_address_is_refused(
    url: str, session: Session, mona: Account, recommendation: Recommendation, now: dt.datetime
) -> None:
    with pytest.raises(Invalid, match="not a web address"):
        evidence.draft(session, fields(recommendation, links=[url]), author=mona, now=now)


def test_a_withdrawn_piece_keeps_its_reason_and_loses_its_place(
    session: Session, waiting: Evidence, rafa: Account, now: dt.datetime
) -> None:
    evidence.accept(session, waiting, reviewer=rafa, harm=HARMLESS, now=now)
    session.commit()

    entry = evidence.withdraw(session, waiting, reviewer=rafa, reason="The page was a forgery.", now=now)
    session.commit()

    assert entry is not None
    assert entry.kind is EntryKind.EVIDENCE_WITHDRAWN
    assert session.scalars(select(Evidence).where(permissions.visible_evidence(None))).all() == []
    assert list(audit.problems(session)) == [NOT_ENTERED]


def test_who_may_see_a_piece_depends_on_its_state_and_visibility(
    session: Session,
    make: Factory,
    mona: Account,
    rafa: Account,
    recommendation: Recommendation,
    now: dt.datetime,
) -> None:
    other, admin = make.account(Role.MONITOR), make.account(Role.ADMIN)
    gone = make.account(Role.REVIEWER, active=False)
    rows = {
        "draft": evidence.draft(session, fields(recommendation), author=mona, now=now),
        "submitted": log(session, fields(recommendation), mona, now),
        "team": log(session, fields(recommendation, visibility=Visibility.TEAM), mona, now),
        "restricted": log(
            session, fields(recommendation, visibility=Visibility.RESTRICTED, reader_ids=[rafa.id]), mona, now
        ),
        "public": log(session, fields(recommendation), mona, now),
    }
    evidence.accept(session, rows["team"], reviewer=rafa, harm=HARMLESS, now=now)
    evidence.accept(session, rows["public"], reviewer=rafa, harm=HARMLESS, now=now)
    session.commit()

    def sees(viewer: Account | None) -> set[str]:
        found = set(session.scalars(select(Evidence.id).where(permissions.visible_evidence(viewer))))
        return {name for name, row in rows.items() if row.id in found}

    assert sees(None) == {"public"}
    assert sees(admin) == {"public"}
    assert sees(gone) == {"public"}
    assert sees(mona) == set(rows)
    assert sees(rafa) == {"submitted", "team", "restricted", "public"}
    assert sees(other) == {"submitted", "team", "public"}
