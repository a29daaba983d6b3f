"""The form and the pages of hidden parts, of the harm check, and of evidence that waits, over HTTP."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.functional.test_workspace import answers
from tests.published import NO_HARM, Record
from tracker import jobs
from tracker.models import Account, Evidence, EvidenceDetail, HarmCheck
from tracker.services import harm
from tracker.vocabulary import Detail, Role, State, Visibility

As = Callable[[Account], Client]
SECRET = "SECRET house by the quarry"


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def only(session: Session) -> Evidence:
    session.rollback()
    session.expire_all()
    return session.scalars(select(Evidence)).one()


def hidden(**values: object) -> dict[str, object]:
    return {
        "place": "Lower Valley", "exact_place": SECRET, "exact_place_readers": "restricted",
        "names": "SECRET names", "names_readers": "team", "exact_date": "SECRET 14 May, six",
        "exact_date_readers": "team", **values,
    }  # fmt: skip


def test_hidden_parts_are_seen_by_those_who_may_and_by_nobody_else(
    record: Record, session: Session, make: Factory, as_somebody: As, client: Client
) -> None:
    named, other = make.account(Role.MONITOR), make.account(Role.REVIEWER)
    monitor = as_somebody(record.mona)
    monitor.send("/workspace/evidence/new", answers(record.first, **hidden(readers=[named.id])))
    piece = only(session)
    address = f"/workspace/evidence/{piece.key}"
    session.rollback()

    assert SECRET in as_somebody(named).get(address).text
    assert SECRET in monitor.get(address).text
    reviewer = as_somebody(other)
    page = reviewer.http.get(address).get_data(as_text=True)
    assert "Only its author and the people named may read this." in page
    assert SECRET not in page
    assert "SECRET names" in page
    reviewer.send(address, {"decision": "accept", **NO_HARM})

    told = ""
    for public in ("/evidence/1", "/", "/changes", "/changes.atom", "/changes.json", "/ledger/entries",
                   "/reports/lower-valley", "/reports/lower-valley/88-a"):  # fmt: skip
        answer = client.http.get(public, buffered=True)
        told += answer.get_data(as_text=True) + str(answer.headers)
    assert "SECRET" not in told
    assert "Lower Valley" in client.get("/evidence/1").text


def test_the_form_keeps_what_was_typed_and_shows_it_to_its_author_again(
    record: Record, session: Session, as_somebody: As
) -> None:
    monitor = as_somebody(record.mona)
    filled = hidden(
        **{"not_before-day": "1", "not_before-month": "1", "not_before-year": "2031", "from_person": "y"}
    )
    response = monitor.send("/workspace/evidence/new", answers(record.first, title="", **filled), status=422)
    fields = dict(monitor.inspect(response).forms[-1]["fields"])
    assert {name: fields[name] for name in filled} == filled
    monitor.send("/workspace/evidence/new", answers(record.first, review=None, **filled))
    piece = only(session)
    assert (piece.place, piece.not_before, piece.from_person) == ("Lower Valley", dt.date(2031, 1, 1), True)
    address = f"/workspace/evidence/{piece.key}/edit"
    session.rollback()
    fields = dict(monitor.get(address).forms[-1]["fields"])
    assert {name: fields[name] for name in filled} == filled
    # Saved again as it stands, nothing changes; emptied, a detail goes.
    monitor.send(address, {"draft": "1", "names": ""})
    assert {row.detail for row in only(session).details} == {Detail.EXACT_DATE, Detail.EXACT_PLACE}


@pytest.mark.parametrize("visibility", ["public", "nobody", ""])
def test_a_detail_cannot_be_made_public_by_a_crafted_form(
    visibility: str, record: Record, session: Session, as_somebody: As
) -> None:
    monitor = as_somebody(record.mona)
    address = "/workspace/evidence/new"
    fields = dict(monitor.get(address).forms[-1]["fields"])
    monitor.post(
        address,
        fields | {"title": "X", "exact_place": SECRET, "exact_place_readers": visibility, "draft": "1"},
        status=422,
    )
    session.rollback()
    assert session.scalars(select(EvidenceDetail)).all() == []


def test_the_reviewer_answers_the_questions_and_looks_at_each_warning(
    record: Record, session: Session, as_somebody: As, client: Client
) -> None:
    piece = record.submitted(record.first, summary="Call 138 0013 8000.")
    address = f"/workspace/evidence/{piece.key}"
    session.rollback()
    reviewer = as_somebody(record.rafa)
    page = reviewer.get(address).text
    assert "One warning" in page
    assert "138 0013 8000" in page

    response = reviewer.send(address, {"decision": "accept", **NO_HARM, "person": "yes"}, status=422)
    again = reviewer.inspect(response)
    assert "Say why a question answered with Yes is acceptable" in again.text
    assert "Look at each warning" in again.text
    assert dict(again.forms[-1]["fields"])["person"] == "yes"
    response = reviewer.send(address, {"decision": "accept"}, status=422)
    assert "Answer this question before you accept it for the public." in reviewer.inspect(response).text
    response = reviewer.send(address, {"decision": "accept", **NO_HARM, "count": "unsure"}, status=422)
    assert "while somebody is not sure" in reviewer.inspect(response).text
    client.get("/evidence/1", 404)

    box = harm.fingerprint(harm.warnings(session, only(session), keys=None))
    session.rollback()
    reviewer.send(address, {"decision": "accept", **NO_HARM, "looked": box})
    assert "Call 138" in client.get("/evidence/1").text
    session.rollback()
    assert session.scalars(select(HarmCheck)).one().checked_by_id == record.rafa.id


def test_a_return_needs_no_answers(record: Record, session: Session, as_somebody: As) -> None:
    piece = record.submitted(record.first)
    key = piece.key
    session.rollback()
    as_somebody(record.rafa).send(
        f"/workspace/evidence/{key}", {"decision": "return", "reason": "Which court?", "needs": "source"}
    )
    assert only(session).state is State.RETURNED


def test_what_the_team_keeps_is_accepted_without_questions(
    record: Record, session: Session, as_somebody: As
) -> None:
    piece = record.submitted(record.first, visibility=Visibility.TEAM)
    address = f"/workspace/evidence/{piece.key}"
    session.rollback()
    reviewer = as_somebody(record.rafa)
    assert "Could anyone be harmed?" not in reviewer.get(address).text
    reviewer.send(address, {"decision": "accept"})
    assert only(session).state is State.ACCEPTED


def test_evidence_that_waits_says_when_and_the_clock_publishes_it(
    record: Record, session: Session, as_somebody: As, client: Client, app: Flask, now: dt.datetime
) -> None:
    with time_machine.travel(now, tick=False):
        piece = record.submitted(record.first, title="Waits", not_before=dt.date(2026, 12, 3))
        address = f"/workspace/evidence/{piece.key}"
        session.rollback()
        reviewer = as_somebody(record.rafa)
        assert "published on 3 Dec 2026" in reviewer.get(address).text
        reviewer.send(address, {"decision": "accept", **NO_HARM})
        assert "It becomes public on 3 Dec 2026" in reviewer.get(address).text
        etag = client.http.get("/changes.json").headers["ETag"]
        for public in ("/", "/changes.json", "/reports/lower-valley/88-a"):
            assert "Waits" not in client.http.get(public).get_data(as_text=True)
    assert jobs.tick(app, dt.datetime(2026, 12, 2, 23, 59, tzinfo=dt.UTC))["published"] == 0
    client.get("/evidence/1", 404)
    assert jobs.tick(app, dt.datetime(2026, 12, 3, tzinfo=dt.UTC))["published"] == 1
    assert jobs.tick(app, dt.datetime(2026, 12, 3, tzinfo=dt.UTC))["published"] == 0
    assert "Waits" in client.get("/evidence/1").text
    assert client.http.get("/changes.json", headers={"If-None-Match": etag}).status_code == 200


def test_what_waits_can_be_stopped(record: Record, session: Session, as_somebody: As, client: Client, app: Flask, now: dt.datetime) -> None:  # fmt: skip
    piece = record.submitted(record.first, not_before=dt.date(2031, 1, 1))
    address = f"/workspace/evidence/{piece.key}"
    session.rollback()
    reviewer = as_somebody(record.rafa)
    reviewer.send(address, {"decision": "accept", **NO_HARM})
    reviewer.send(address, {"reason": "It would still harm."})
    assert only(session).state is State.WITHDRAWN
    session.rollback()
    jobs.tick(app, dt.datetime(2031, 1, 2, tzinfo=dt.UTC))
    client.get("/evidence/1", 404)
