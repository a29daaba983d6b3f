"""The queue of captures: who may ask, one worker a capture, three attempts, and nothing done by a worker believed dead."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from tests.factories import Factory
from tracker import capture, db
from tracker.config import Config
from tracker.errors import Conflict, Invalid, NotAllowed
from tracker.models import Account, Capture, Evidence, EvidenceReader, Exhibit
from tracker.services import captures
from tracker.vocabulary import CaptureState, FileKind, Role, State, Visibility

MINUTE = dt.timedelta(minutes=1)
Make = Callable[..., Config]


@pytest.fixture
def on(make_config: Make, database_url: str) -> Config:
    return make_config(capture="direct", capture_delay_minutes=30, database_url=database_url)


@pytest.fixture
def mona(make: Factory) -> Account:
    account: Account = make.account(Role.MONITOR, name="Mona")
    return account


@pytest.fixture
def evidence(make: Factory, mona: Account) -> Evidence:
    report = make.report()
    return make.evidence(report.recommendations[0], created_by_id=mona.id)


@pytest.fixture
def ask(
    session: Session, on: Config, mona: Account, evidence: Evidence, now: dt.datetime
) -> Callable[..., Capture]:
    """Mona asks for the first link of the evidence."""

    def ask(**values: Any) -> Capture:
        found = captures.queue(
            session,
            evidence,
            values.pop("url", evidence.links[0].url),
            **{"author": mona, "settings": on, "check": capture.check, "now": now, **values},
        )
        session.commit()
        return found

    return ask


Ask = Callable[..., Capture]


def exhibit(session: Session, evidence: Evidence, now: dt.datetime) -> Exhibit:
    found = Exhibit(evidence=evidence, salt="0" * 64, size=1, kind=FileKind.WARC, uploaded_at=now)
    session.add(found)
    session.flush()
    return found


def test_a_capture_runs_at_a_random_moment_within_the_delay(
    ask: Ask, session: Session, now: dt.datetime
) -> None:
    moments = set()
    for _ in range(5):
        one = ask()
        assert now <= one.run_after <= now + 30 * MINUTE
        moments.add(one.run_after)
        session.delete(one)
        session.commit()
    assert len(moments) > 1


def test_it_can_run_at_once(ask: Ask, make_config: Make, now: dt.datetime) -> None:
    assert ask(settings=make_config(capture="direct", capture_delay_minutes=0)).run_after == now


def test_nobody_can_ask_while_it_is_off(ask: Ask, make_config: Make) -> None:
    with pytest.raises(NotAllowed, match="switched off"):
        ask(settings=make_config())


def test_an_address_that_is_never_fetched_is_refused_when_it_is_asked_for(
    ask: Ask, evidence: Evidence, session: Session
) -> None:
    evidence.links[0].url = "http://127.0.0.1/x"
    session.commit()
    with pytest.raises(Invalid, match="private or special network"):
        ask()


def test_only_links_of_the_evidence_are_captured(ask: Ask) -> None:
    with pytest.raises(Invalid, match="not a link of the evidence"):
        ask(url="https://other.arvenia.example/")


def test_admins_strangers_to_a_draft_and_unnamed_colleagues_cannot_ask(
    ask: Ask, make: Factory, session: Session, evidence: Evidence
) -> None:
    rafa = make.account(Role.REVIEWER)
    for role in (Role.ADMIN, Role.MONITOR, Role.REVIEWER):
        with pytest.raises(NotAllowed):  # Mona's draft is hers alone.
            ask(author=make.account(role))
    evidence.state, evidence.visibility = State.SUBMITTED, Visibility.RESTRICTED
    session.commit()
    with pytest.raises(NotAllowed):
        ask(author=rafa)
    evidence.readers = [EvidenceReader(account_id=rafa.id)]
    session.commit()
    assert ask(author=rafa).requested_by_id == rafa.id


@pytest.mark.parametrize("state", [State.WITHDRAWN, State.ERASED])
def test_nothing_is_captured_for_evidence_that_is_gone(
    ask: Ask, evidence: Evidence, session: Session, state: State
) -> None:
    evidence.state = state
    session.commit()
    with pytest.raises(NotAllowed):
        ask()


def test_the_same_link_is_not_queued_twice(ask: Ask, session: Session, now: dt.datetime) -> None:
    one = ask()
    with pytest.raises(Conflict, match="waits to be captured already"):
        ask()
    captures.claim(session, now=one.run_after)
    session.commit()
    with pytest.raises(Conflict):
        ask()


def test_two_workers_at_once_take_it_once(ask: Ask, engine: Engine, now: dt.datetime) -> None:
    ask()
    later = now + 31 * MINUTE
    with db.new_session(engine) as first, db.new_session(engine) as second:
        taken = captures.claim(first, now=later)
        if engine.dialect.name == "postgresql":
            assert captures.claim(second, now=later) is None  # While the first has not committed.
            second.rollback()
        first.commit()
        assert taken is not None
        assert captures.claim(second, now=later) is None
        second.rollback()


def test_it_is_not_taken_before_its_time(ask: Ask, session: Session) -> None:
    one = ask()
    assert captures.claim(session, now=one.run_after - dt.timedelta(seconds=1)) is None
    assert captures.claim(session, now=one.run_after) is one


def test_a_failure_is_tried_three_times_ever_later_then_by_hand(
    ask: Ask, session: Session, mona: Account, on: Config
) -> None:
    one = ask()
    moments = []
    for _ in range(3):
        moments.append(one.run_after)
        assert captures.claim(session, now=one.run_after) is one
        captures.failed(
            session, one.id, attempt=one.attempts, sentence="It did not answer.", now=one.run_after
        )
        session.commit()
        assert one.error == "It did not answer."
    assert one.state is CaptureState.FAILED
    assert one.finished_at is not None
    assert moments[1] - moments[0] >= 10 * MINUTE
    assert moments[2] - moments[1] >= 60 * MINUTE
    assert captures.claim(session, now=one.run_after + dt.timedelta(days=9)) is None
    captures.again(session, one, author=mona, settings=on, now=one.finished_at)
    assert (one.state, one.attempts, one.error) == (CaptureState.QUEUED, 0, "")
    with pytest.raises(Conflict):
        captures.again(session, one, author=mona, settings=on, now=one.run_after)


def test_a_failure_that_would_be_the_same_again_is_not_tried_again(ask: Ask, session: Session) -> None:
    one = ask()
    captures.claim(session, now=one.run_after)
    captures.failed(session, one.id, attempt=one.attempts, sentence="Gone.", lasting=True, now=one.run_after)
    assert one.state is CaptureState.FAILED


def test_a_worker_that_died_is_noticed_and_its_capture_tried_again(ask: Ask, session: Session) -> None:
    one = ask()
    for _ in range(3):
        began = one.run_after
        captures.claim(session, now=began)
        session.commit()
        assert captures.recover(session, now=began + captures.LEASE) == 0
        assert captures.recover(session, now=began + captures.LEASE + MINUTE) == 1
        session.commit()
    assert one.state is CaptureState.FAILED
    assert "ended in the middle" in one.error


def test_a_worker_that_comes_back_from_the_dead_changes_nothing(
    ask: Ask, session: Session, engine: Engine, evidence: Evidence
) -> None:
    one = ask()
    began = one.run_after
    with db.new_session(engine) as other:
        ghost = captures.claim(other, now=began)
        other.commit()
    assert ghost is not None
    session.refresh(one)
    captures.recover(session, now=began + captures.LEASE + MINUTE)
    captures.claim(session, now=one.run_after)
    session.commit()
    with pytest.raises(Conflict):
        captures.done(
            session, one, exhibit(session, evidence, began), attempt=ghost.attempts, skipped=(), now=began
        )
    session.rollback()
    with pytest.raises(Conflict):
        captures.failed(session, one.id, attempt=ghost.attempts, sentence="Late.", now=began)
    session.rollback()
    session.refresh(one)
    assert (one.state, one.attempts) == (CaptureState.RUNNING, 2)


def test_one_that_waits_can_be_taken_back_and_one_that_runs_cannot(
    ask: Ask, session: Session, mona: Account, now: dt.datetime
) -> None:
    captures.cancel(session, ask(), author=mona, now=now)
    session.commit()
    assert session.query(Capture).count() == 0
    one = ask()
    captures.claim(session, now=one.run_after)
    session.commit()
    with pytest.raises(Conflict):
        captures.cancel(session, one, author=mona, now=now)


def test_it_is_not_wanted_any_more_once_whoever_asked_may_not_see_the_evidence(
    ask: Ask, session: Session, mona: Account, evidence: Evidence
) -> None:
    one = ask()
    assert captures.still_wanted(session, one.id) is one
    mona.active = False
    session.commit()
    with pytest.raises(Invalid):
        captures.still_wanted(session, one.id)
    mona.active, evidence.state = True, State.WITHDRAWN
    session.commit()
    with pytest.raises(Invalid):
        captures.still_wanted(session, one.id)
    session.delete(evidence)
    session.commit()
    with pytest.raises(Conflict):
        captures.still_wanted(session, one.id)


def test_the_address_and_the_sentence_of_restricted_evidence_are_sealed(
    ask: Ask, session: Session, evidence: Evidence
) -> None:
    evidence.visibility = Visibility.RESTRICTED
    session.commit()
    one = ask()
    captures.claim(session, now=one.run_after)
    captures.failed(
        session, one.id, attempt=one.attempts, sentence="court.arvenia.example is silent.", now=one.run_after
    )
    session.commit()
    stored = session.execute(text("SELECT url, error, sealed FROM capture")).one()
    assert (stored.url, stored.error) == ("", "")
    assert b"arvenia" not in stored.sealed
    session.expire_all()
    assert one.url == evidence.links[0].url
    assert one.error == "court.arvenia.example is silent."


def test_a_capture_of_erased_evidence_fails_without_a_word(
    ask: Ask, session: Session, evidence: Evidence
) -> None:
    evidence.visibility = Visibility.RESTRICTED
    session.commit()
    one = ask()
    captures.claim(session, now=one.run_after)
    assert evidence.record_key is not None
    evidence.state, evidence.record_key.wrapped = State.ERASED, None
    session.commit()
    captures.failed(session, one.id, attempt=one.attempts, sentence="Gone.", lasting=True, now=one.run_after)
    session.commit()
    assert one.state is CaptureState.FAILED


def test_the_parts_of_an_address_that_follow_people_are_told_apart() -> None:
    url = "https://a.example/x?id=7&utm_source=mail&fbclid=Iw&empty=&UTM_Term=x#part"
    assert captures.parameters(url) == [
        ("id", "7", False), ("utm_source", "mail", True), ("fbclid", "Iw", True), ("empty", "", False), ("UTM_Term", "x", True),
    ]  # fmt: skip
    assert captures.parameters("https://a.example/?" + "&".join(["a=1"] * 200)) == []
