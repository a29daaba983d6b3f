"""Somebody takes back their consent while a reviewer accepts: whoever is first, it does not stay public."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.faults.test_at_once import TIMES, at_once
from tests.published import HARMLESS, Record
from tracker.errors import Conflict, Invalid
from tracker.models import Account, Consent, Evidence, LedgerEntry, Source
from tracker.services import consents, evidence, sources
from tracker.vocabulary import ConsentScope, State


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def agreed(record: Record) -> tuple[Evidence, Consent]:
    piece = record.submitted(record.first, from_person=True)
    fields = consents.Fields(ConsentScope.PUBLISH, record.now.date(), "Arvenian")
    line = consents.record(record.session, piece, fields, author=record.mona, now=record.now)
    record.session.commit()
    return piece, line


def is_public(record: Record, piece: Evidence) -> bool:
    record.session.rollback()
    record.session.expire_all()
    return piece.state is State.ACCEPTED and piece.ledger_seq is not None


@pytest.mark.parametrize("end", ["taken back", "agreed to less", "another source"])
def test_it_is_never_public_after_its_consent_ended(record: Record, engine: Engine, end: str) -> None:
    for _ in range(TIMES):
        piece, line = agreed(record)
        first, second = (sources.create(record.session, author=record.mona, now=record.now) for _ in range(2))
        sources.link(record.session, piece, first, account=record.mona, now=record.now)
        record.session.commit()

        def accept(session: Session, key: int = piece.id) -> Any:
            row, reviewer = session.get_one(Evidence, key), session.get_one(Account, record.rafa.id)
            _ = row.consents, row.sources  # As a page has read them, before it waits.
            return evidence.accept(session, row, reviewer=reviewer, harm=HARMLESS, now=record.now)

        def stop(session: Session, key: int = piece.id, line: int = line.id, source: int = second.id) -> Any:
            row, mona = session.get_one(Evidence, key), session.get_one(Account, record.mona.id)
            if end == "taken back":
                one = session.get_one(Consent, line)
                return consents.withdraw(session, one, account=mona, on=record.now.date(), now=record.now)
            if end == "agreed to less":
                fields = consents.Fields(ConsentScope.INTERNAL, record.now.date(), "Arvenian")
                return consents.record(session, row, fields, author=mona, now=record.now)
            one_more = session.get_one(Source, source)
            return sources.link(session, row, one_more, account=mona, now=record.now)

        accepted, stopped = at_once(engine, accept, stop)

        assert isinstance(accepted, LedgerEntry | Invalid), accepted
        if end == "another source" and isinstance(stopped, Invalid):
            assert is_public(record, piece)  # It was public first, so the link was refused.
        else:
            assert not isinstance(stopped, Exception), stopped
            assert not is_public(record, piece)


def test_of_two_people_who_take_it_back_at_once_one_does(record: Record, engine: Engine) -> None:
    for _ in range(TIMES):
        piece, line = agreed(record)
        record.accept(piece)

        def take_back(session: Session, line: int = line.id) -> Any:
            one, mona = session.get_one(Consent, line), session.get_one(Account, record.mona.id)
            return consents.withdraw(session, one, account=mona, on=record.now.date(), now=record.now)

        results = at_once(engine, take_back, take_back)

        assert {type(result) for result in results} == {bool, Conflict}, results
        assert not is_public(record, piece)
