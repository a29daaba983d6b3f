"""A decision holds for what stood on the reviewer's page, and for nothing that was put in its place since."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import NO_HARM, Record
from tracker.models import Account, Evidence, Finding, LedgerEntry, Reply
from tracker.services import evidence, findings, replies
from tracker.vocabulary import Access, Grade, Position, Role, State, Visibility

As = Callable[[Account], Client]


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def submitted_finding(record: Record) -> Finding:
    piece, now = record.evidence(record.second), record.tick()
    fields = findings.Fields(
        grade=Grade.C, as_of=now.date(), access=Access.REMOTE, rationale="Seen.", evidence_ids=[piece.id]
    )
    made = findings.draft(
        record.session, fields, author=record.mona, recommendation=record.second, clause=None, now=now
    )
    findings.submit(record.session, made, author=record.mona, now=now)
    record.session.commit()
    return made


def submitted_reply(record: Record) -> Reply:
    fields = replies.Fields(
        author="Mission", position=Position.NOTES, replied_on=dt.date(2025, 1, 2), summary="Seen.",
        source_publisher="Mission",
    )  # fmt: skip
    made = replies.draft(record.session, fields, report=record.report, author=record.mona, now=record.tick())
    replies.submit(record.session, made, author=record.mona, now=record.tick())
    record.session.commit()
    return made


CASES: dict[str, tuple[Any, Any, str, str, dict[str, str]]] = {
    "evidence": (lambda record: record.submitted(record.first), evidence, "summary", "accept", NO_HARM),
    "findings": (submitted_finding, findings, "rationale", "approve", NO_HARM),
    "replies": (submitted_reply, replies, "summary", "accept", {}),
}


@pytest.mark.parametrize("noun", CASES)
def test_what_was_changed_since_the_page_was_opened_is_not_decided(
    noun: str, record: Record, as_somebody: As
) -> None:
    make, service, words, yes, answers = CASES[noun]
    session, row = record.session, make(record)
    entries = len(session.scalars(select(LedgerEntry)).all())
    other = record.make.account(Role.REVIEWER)
    rafa, address = as_somebody(record.rafa), f"/workspace/{noun}/{row.key}"
    fields = dict(rafa.get(address).forms[-1]["fields"])
    session.rollback()

    # Another reviewer returns it, its author writes something else and submits it again.
    service.send_back(session, row, reviewer=other, reason="Look again.", now=record.tick())
    setattr(row, words, "Something nobody has reviewed.")
    service.submit(session, row, author=record.mona, now=record.tick())
    session.commit()
    rafa.post(f"{address}/decision", fields | {"decision": yes, "reason": "Good."} | answers, 409)

    session.rollback()
    session.expire_all()
    assert row.state is State.SUBMITTED
    assert len(session.scalars(select(LedgerEntry)).all()) == entries
    rafa.send(address, {"decision": yes, "reason": "Good."} | answers)


@pytest.mark.parametrize("noun", CASES)
@pytest.mark.parametrize("version", [None, "", "0", "-1", "99", "x"])
def test_a_decision_without_the_version_it_is_about_is_refused(
    version: str | None, noun: str, record: Record, as_somebody: As
) -> None:
    make, _, _, yes, answers = CASES[noun]
    row = make(record)
    rafa, address = as_somebody(record.rafa), f"/workspace/{noun}/{row.key}"
    fields = dict(rafa.get(address).forms[-1]["fields"]) | {"decision": yes, "reason": "Good."} | answers
    del fields["version"]

    response = rafa.http.post(
        f"{address}/decision", data=fields | ({} if version is None else {"version": version})
    )

    assert response.status_code in (409, 422)
    record.session.rollback()
    record.session.expire_all()
    assert row.state is State.SUBMITTED


@pytest.mark.parametrize("change", ["deactivated", "made an admin", "made a monitor"])
def test_rights_that_end_while_a_page_is_open_end_at_once(
    change: str, record: Record, as_somebody: As, make: Factory
) -> None:
    piece, admin = record.submitted(record.first), make.account(Role.ADMIN, password_hash="x")
    make.account(Role.ADMIN, password_hash="x")
    rafa, address = as_somebody(record.rafa), f"/workspace/evidence/{piece.key}"
    fields = dict(rafa.get(address).forms[-1]["fields"])

    boss = as_somebody(admin)
    forms = {form["action"]: dict(form["fields"]) for form in boss.get("/people").forms}
    if change == "deactivated":
        action = f"/people/{record.rafa.key}/deactivate"
        boss.post(action, forms[action])
    else:
        action = f"/people/{record.rafa.key}/role"
        boss.post(action, forms[action] | {"role": change.split()[-1]})
    rafa.post(f"{address}/decision", fields | {"decision": "accept", "reason": ""}, 401)
    rafa.get(address, 303)

    record.session.rollback()
    record.session.expire_all()
    assert piece.state is State.SUBMITTED


def test_somebody_elses_private_things_look_like_nothing_at_all(
    record: Record, as_somebody: As, make: Factory
) -> None:
    """A draft of another person, restricted evidence of others, and what never existed give the same answer."""
    draft = make.evidence(record.first, created_by_id=record.mona.id)
    secret = record.submitted(record.first, visibility=Visibility.RESTRICTED)
    other, rafa = as_somebody(make.account(Role.MONITOR)), as_somebody(record.rafa)
    for who in (other, rafa):
        token = dict(who.get("/workspace/evidence/new").forms[-1]["fields"])["form_token"]
        for act in ("", "/edit", "/decision", "/withdrawal"):
            answers = set()
            for key in (draft.key, secret.key, "0000000000zz"):
                address = f"/workspace/evidence/{key}{act}"
                if act in ("", "/edit"):
                    response = who.http.get(address)
                else:
                    response = who.http.post(
                        address,
                        data={"form_token": token, "decision": "accept", "reason": "x", "version": "1"},
                    )
                assert response.status_code in ((403, 404) if who is other else (404,))
                answers.add((response.status_code, response.get_data(as_text=True).replace(key, "")))
            assert len(answers) == 1
    record.session.rollback()
    assert record.session.get_one(Evidence, secret.id, populate_existing=True).state is State.SUBMITTED
