"""What a person gave is public only while they agree, and their taking it back reaches everything at once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import NO_HARM, Record
from tracker import consent as rule
from tracker.errors import Conflict, Invalid, NotAllowed
from tracker.keyring import Keyring
from tracker.models import Consent, Evidence, LedgerEntry, Source
from tracker.services import audit, bulk, consents, evidence, ledger, sources
from tracker.services.harm import Harm
from tracker.vocabulary import ConsentScope, EntryKind, Role, SourceType, State, Visibility

DAY = dt.timedelta(days=1)


class People(Record):
    """A published record, and somebody who gives testimony."""

    def testimony(self, **values: Any) -> Evidence:
        return self.submitted(self.first, **{"from_person": True, **values})

    def agree(self, piece: Evidence, scope: ConsentScope = ConsentScope.ANONYMOUS, **values: Any) -> Consent:
        given = {"given_on": self.now.date(), "language": "Arvenian", **values}
        line = consents.record(
            self.session, piece, consents.Fields(scope=scope, **given), author=self.mona, now=self.now
        )
        self.session.commit()
        return line

    def source(self) -> Source:
        made = sources.create(self.session, author=self.mona, now=self.now)
        self.session.commit()
        return made

    def link(self, piece: Evidence, source: Source) -> None:
        sources.link(self.session, piece, source, account=self.mona, now=self.now)
        self.session.commit()

    def take_back(self, line: Consent, **values: Any) -> bool:
        how = {"account": self.mona, "on": self.now.date(), "now": self.now, **values}
        done = consents.withdraw(self.session, line, **how)
        self.session.commit()
        return done

    def published(self, **values: Any) -> Evidence:
        piece = self.testimony(**values)
        self.agree(piece)
        return self.accept(piece)

    def kinds(self) -> list[EntryKind]:
        return list(self.session.scalars(select(LedgerEntry.kind).order_by(LedgerEntry.seq)))


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> People:
    return People(session, make, now)


@pytest.fixture(autouse=True)
def _whole(record: People, keys: Keyring) -> Iterator[None]:
    """Whatever happened: the ledger verifies, and the rows say what it says."""
    yield
    record.session.rollback()
    record.session.expire_all()
    assert list(ledger.problems(record.session, origin="test", public_key=keys.ledger_public_key)) == []
    assert list(audit.problems(record.session)) == []


def is_public(piece: Evidence) -> bool:
    return piece.state is State.ACCEPTED and piece.ledger_seq is not None


def refused(record: People, piece: Evidence) -> None:
    with pytest.raises(Invalid, match="A person gave this") as caught:
        record.accept(piece)
    assert caught.value.field == "consent"
    record.session.rollback()
    record.session.expire_all()
    assert (piece.state, piece.number, piece.ledger_seq) == (State.SUBMITTED, None, None)


@pytest.mark.parametrize("how", ["flag", "testimony", "source"])
def test_what_a_person_gave_is_not_published_without_consent(record: People, how: str) -> None:
    piece = record.testimony(
        from_person=how == "flag", source_type=SourceType.TESTIMONY if how == "testimony" else SourceType.DATA
    )
    if how == "source":
        record.link(piece, record.source())
    refused(record, piece)
    record.agree(piece)
    assert record.accept(piece).number == 1


@pytest.mark.parametrize("scope", [ConsentScope.INTERNAL, ConsentScope.UN])
def test_a_consent_to_something_else_is_not_enough(record: People, scope: ConsentScope) -> None:
    piece = record.testimony()
    record.agree(piece, scope)
    refused(record, piece)


def test_a_consent_that_has_run_out_is_not_enough_and_its_last_day_still_holds(record: People) -> None:
    piece = record.testimony()
    record.agree(piece, expires_on=record.now.date())
    day = record.now
    record.now += DAY  # `accept` happens a day later still.
    refused(record, piece)
    record.now = day - DAY
    assert record.accept(piece).number == 1


def test_a_withdrawn_consent_is_not_enough(record: People) -> None:
    piece = record.testimony()
    line = record.agree(piece)
    assert record.take_back(line) is False  # It was not public.
    refused(record, piece)


def test_the_team_keeps_what_may_not_be_published(record: People) -> None:
    piece = record.testimony(visibility=Visibility.TEAM)
    assert record.accept(piece).state is State.ACCEPTED


def test_evidence_of_a_report_file_needs_no_consent(record: People, now: dt.datetime) -> None:
    piece = record.make.evidence(
        record.first, source_type=SourceType.TESTIMONY, imported_as="lower-valley/E1"
    )
    assert evidence.publish(record.session, piece, now=now).kind is EntryKind.EVIDENCE_PUBLISHED


def test_withdrawal_takes_public_evidence_back_in_the_same_transaction(record: People) -> None:
    piece = record.published()
    [line] = piece.consents
    assert consents.withdraw(
        record.session, line, account=record.mona, on=record.now.date(), now=record.tick()
    )
    assert piece.state is State.WITHDRAWN
    assert record.kinds()[-1] is EntryKind.EVIDENCE_WITHDRAWN
    record.session.rollback()
    record.session.expire_all()
    assert (piece.state, line.withdrawn_on) == (State.ACCEPTED, None)
    assert record.kinds()[-1] is EntryKind.EVIDENCE_PUBLISHED


def test_the_public_does_not_learn_why(record: People) -> None:
    piece = record.published()
    assert record.take_back(piece.consents[0])
    assert piece.withdrawal_reason == "Withdrawn to protect people."
    told = record.session.execute(
        text("SELECT payload FROM ledger_entry UNION ALL SELECT content FROM ledger_content")
    )
    assert "onsent" not in str(told.all())


def test_a_consent_is_withdrawn_once(record: People) -> None:
    piece = record.published()
    [line] = piece.consents
    record.take_back(line)
    with pytest.raises(Conflict, match="already"):
        record.take_back(line)
    assert record.kinds().count(EntryKind.EVIDENCE_WITHDRAWN) == 1


def test_a_newer_consent_that_holds_keeps_it_public(record: People) -> None:
    piece = record.published()
    first = piece.consents[0]
    record.tick()
    newer = record.agree(piece, ConsentScope.PUBLISH)
    assert record.take_back(first) is False
    assert is_public(piece)
    assert record.take_back(newer) is True
    assert not is_public(piece)


def test_taking_back_takes_back_what_was_agreed_before(record: People) -> None:
    piece = record.published()
    first = piece.consents[0]
    record.tick()
    newer = record.agree(piece, ConsentScope.PUBLISH)
    assert record.take_back(newer) is True
    assert first.withdrawn_on == newer.withdrawn_on == record.now.date()


def test_agreeing_to_less_takes_it_back_too(record: People) -> None:
    piece = record.published()
    record.tick()
    record.agree(piece, ConsentScope.UN)
    assert piece.state is State.WITHDRAWN


def test_a_line_entered_late_does_not_override_what_was_said_after_it(record: People) -> None:
    piece = record.published()
    record.agree(piece, ConsentScope.INTERNAL, given_on=record.now.date() - 90 * DAY)
    assert piece.state is State.ACCEPTED


def test_each_of_several_people_must_agree(record: People) -> None:
    piece, one, two = record.testimony(), record.source(), record.source()
    record.link(piece, one)
    record.link(piece, two)
    record.agree(piece, source_id=one.id)
    refused(record, piece)
    line = record.agree(piece, source_id=two.id)
    record.accept(piece)
    assert record.take_back(line) is True
    assert piece.state is State.WITHDRAWN


@pytest.mark.parametrize("how", ["refused", "taken back"])
def test_a_source_who_said_no_is_not_unlinked_so_that_another_ones_yes_is_enough(
    record: People, how: str
) -> None:
    piece, one, two = record.testimony(), record.source(), record.source()
    record.link(piece, one)
    record.link(piece, two)
    record.agree(piece, source_id=one.id)
    if how == "refused":
        record.agree(piece, ConsentScope.INTERNAL, source_id=two.id)
    else:
        record.take_back(record.agree(piece, source_id=two.id))
    with pytest.raises(Conflict, match="stays linked"):
        sources.unlink(record.session, piece, two, account=record.mona, now=record.now)
    record.session.rollback()
    refused(record, piece)
    sources.unlink(record.session, piece, one, account=record.mona, now=record.now)
    record.session.commit()
    assert piece.sources == [two]


def test_a_consent_without_pseudonym_speaks_for_the_only_source(record: People) -> None:
    piece, one = record.testimony(), record.source()
    record.agree(piece)
    record.link(piece, one)
    assert rule.allows_publishing(piece, on=record.now.date())
    record.link(piece, record.source())
    assert not rule.allows_publishing(piece, on=record.now.date())


def test_a_source_that_did_not_agree_is_not_linked_to_public_evidence(record: People) -> None:
    piece, one, two = record.published(), record.source(), record.source()
    record.link(piece, one)
    with pytest.raises(Invalid, match="has not agreed") as caught:
        record.link(piece, two)
    assert caught.value.field == "pseudonym"
    record.session.rollback()
    record.agree(piece, source_id=one.id)
    record.agree(piece, source_id=two.id)
    record.link(piece, two)
    assert len(piece.sources) == 2
    assert piece.state is State.ACCEPTED


def test_consents_that_ran_out_are_taken_back_by_the_clock_once(record: People) -> None:
    piece, other = record.published(), record.published()
    last = record.now.date() + 5 * DAY
    record.agree(piece, expires_on=last)
    renewed = record.published()
    record.agree(renewed, expires_on=last)
    record.tick()
    record.agree(renewed, expires_on=last + 300 * DAY)
    evening = dt.datetime.combine(last, dt.time(23, 59), dt.UTC)
    assert consents.expire(record.session, now=evening) == 0
    assert consents.expire(record.session, now=evening + dt.timedelta(minutes=2)) == 1
    record.session.commit()
    assert consents.expire(record.session, now=evening + DAY) == 0
    states = [one.state for one in (piece, other, renewed)]
    assert states == [State.WITHDRAWN, State.ACCEPTED, State.ACCEPTED]
    assert piece.withdrawal_reason == consents.NEUTRAL


def test_what_waits_for_its_day_stays_hidden_when_the_consent_ends(record: People) -> None:
    coming = record.now.date() + 30 * DAY
    piece, other = record.testimony(not_before=coming), record.testimony(not_before=coming)
    line = record.agree(piece)
    record.agree(other)
    record.accept(piece)
    record.accept(other)
    assert record.take_back(line) is False
    assert piece.state is State.ACCEPTED
    later = dt.datetime.combine(coming, dt.time(1), dt.UTC)
    assert evidence.publish_due(record.session, piece.id, now=later) is None
    assert evidence.publish_due(record.session, other.id, now=later) is not None
    record.session.commit()
    assert (piece.number, other.number) == (None, 1)


def test_publishing_checks_again_whoever_asks(record: People, now: dt.datetime) -> None:
    piece = record.testimony()
    with pytest.raises(Invalid, match="A person gave this"):
        evidence.publish(record.session, piece, now=now)
    record.session.rollback()


def test_recording_a_consent_says_that_a_person_gave_it(record: People) -> None:
    piece = record.evidence(record.first)
    assert not piece.from_person
    record.agree(piece, ConsentScope.INTERNAL)
    assert piece.from_person
    assert piece.state is State.WITHDRAWN


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"scope": None}, "scope"),
        ({"given_on": None}, "given_on"),
        ({"given_on": dt.date(2099, 1, 1)}, "given_on"),
        ({"expires_on": dt.date(2020, 1, 1)}, "expires_on"),
        ({"language": ""}, "language"),
        ({"source_id": 999}, "pseudonym"),
    ],
)
def test_an_incomplete_line_is_refused_at_its_field(record: People, values: Any, field: str) -> None:
    piece = record.testimony()
    with pytest.raises(Invalid) as caught:
        record.agree(piece, **{"scope": ConsentScope.PUBLISH, **values})
    assert caught.value.field == field


def test_a_withdrawal_has_a_day_that_can_be(record: People) -> None:
    line = record.agree(record.testimony())
    for day in (line.given_on - DAY, record.now.date() + 2 * DAY):
        with pytest.raises(Invalid) as caught:
            record.take_back(line, on=day)
        assert caught.value.field == "withdrawn_on"


def test_only_the_team_keeps_consents_and_any_of_them_withdraws(record: People, make: Factory) -> None:
    piece, admin = record.published(), make.account(Role.ADMIN)
    with pytest.raises(NotAllowed):
        record.take_back(piece.consents[0], account=admin)
    with pytest.raises(NotAllowed):
        consents.record(record.session, piece, consents.Fields(None, None), author=admin, now=record.now)
    assert record.take_back(piece.consents[0], account=make.account(Role.MONITOR))


def test_notes_are_sealed_in_the_database(record: People, keys: Keyring) -> None:
    record.agree(record.testimony(), note="SECRET of how she agreed")
    assert "SECRET" not in str(record.session.execute(text("SELECT * FROM consent")).all())
    record.session.expire_all()
    assert record.session.scalars(select(Consent)).one().note == "SECRET of how she agreed"


def test_nothing_is_recorded_for_erased_evidence(record: People) -> None:
    piece = record.testimony()
    piece.state = State.ERASED
    with pytest.raises(NotAllowed):
        record.agree(piece)
    with pytest.raises(NotAllowed):
        record.link(piece, record.source())
    record.session.rollback()


def test_a_testimony_that_somebody_imports_needs_consent_like_any_other(record: People) -> None:
    refused(
        record,
        record.submitted(record.first, imported_as="csv/1", source_type=SourceType.TESTIMONY),
    )


def test_many_pieces_at_once_are_not_accepted_without_consent_either(record: People) -> None:
    piece, other = (record.submitted(record.first, imported_as=f"csv/{number}") for number in (1, 2))
    piece.source_type = SourceType.TESTIMONY
    record.session.commit()
    seen = {piece.key: piece.version, other.key: other.version}
    with pytest.raises((Invalid, Conflict)):
        bulk.accept_all(record.session, seen, reviewer=record.rafa, harm=Harm(NO_HARM), now=record.now)
    record.session.rollback()
    record.session.expire_all()
    assert not is_public(piece)
    assert not is_public(other)
