"""Issues are held, released by as many different people as it takes, discarded, and paused when the relay refuses us."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.mailing import mail, reader
from tracker import db
from tracker.errors import Conflict, NotAllowed, NotFound
from tracker.models import Account, Activity, Issue
from tracker.services import issues
from tracker.vocabulary import DeliveryState, HoldReason, IssueState, Role

HOUR = dt.timedelta(hours=1)


@pytest.fixture
def ada(make: Factory) -> Account:
    account: Account = make.account(Role.ADMIN, name="Ada", password_hash="x")
    return account


@pytest.fixture
def alan(make: Factory) -> Account:
    account: Account = make.account(Role.ADMIN, name="Alan", password_hash="x")
    return account


@pytest.fixture
def held(session: Session, now: dt.datetime) -> Issue:
    issue = issues.open_issue(session, config_hold="two", now=now)
    session.commit()
    return issue


def acts(session: Session) -> list[str]:
    return list(session.scalars(select(Activity.action).order_by(Activity.id)))


def test_an_hour_has_one_issue(session: Session, now: dt.datetime) -> None:
    first = issues.open_issue(session, config_hold="no", now=now)
    again = issues.open_issue(session, config_hold="no", now=now + dt.timedelta(minutes=29))
    later = issues.open_issue(session, config_hold="no", now=now + HOUR)

    assert first.hour == now.replace(minute=0)
    assert first is again
    assert later.id != first.id
    assert (first.state, first.held_because) == (IssueState.OPEN, None)


@pytest.mark.parametrize("config_hold", ["one", "two"])
def test_where_it_is_configured_an_issue_begins_held(
    session: Session, now: dt.datetime, config_hold: str
) -> None:
    issue = issues.open_issue(session, config_hold=config_hold, now=now)

    assert (issue.state, issue.held_because) == (IssueState.HELD, HoldReason.CONFIGURED)


def test_two_processes_at_once_make_one_issue(engine: Engine, now: dt.datetime) -> None:
    barrier, found = threading.Barrier(4), []

    def work() -> None:
        with db.new_session(engine) as own:
            barrier.wait()
            with own.begin():
                found.append(issues.open_issue(own, config_hold="one", now=now).id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert len(set(found)) == 1


def test_one_admin_releases_where_one_is_needed(
    session: Session, held: Issue, ada: Account, now: dt.datetime
) -> None:
    assert issues.release(session, held, account=ada, needed=1, now=now)

    assert (held.state, held.held_because, held.first_releaser_id) == (IssueState.OPEN, None, ada.id)
    assert acts(session) == ["issue-released"]


def test_two_different_admins_release_where_two_are_needed(
    session: Session, held: Issue, ada: Account, alan: Account, now: dt.datetime
) -> None:
    assert not issues.release(session, held, account=ada, needed=2, now=now)
    assert issues.held(session) == [held]
    with pytest.raises(Conflict, match="second admin"):
        issues.release(session, held, account=ada, needed=2, now=now)
    assert issues.release(session, held, account=alan, needed=2, now=now)

    assert held.state is IssueState.OPEN
    assert acts(session) == ["issue-release-agreed", "issue-released"]


def test_the_database_refuses_the_same_person_twice(session: Session, held: Issue, ada: Account) -> None:
    held.first_releaser_id = held.second_releaser_id = ada.id

    with pytest.raises(IntegrityError):
        session.flush()


def test_only_active_admins_release(session: Session, held: Issue, make: Factory, now: dt.datetime) -> None:
    for account in (
        make.account(Role.REVIEWER, password_hash="x"),
        make.account(Role.ADMIN, password_hash="x", active=False),
        make.account(Role.ADMIN),
    ):
        with pytest.raises(NotAllowed):
            issues.release(session, held, account=account, needed=1, now=now)
        with pytest.raises(NotAllowed):
            issues.discard(session, held, account=account, now=now)


def test_what_is_not_held_cannot_be_released_again(
    session: Session, held: Issue, ada: Account, alan: Account, now: dt.datetime
) -> None:
    issues.release(session, held, account=ada, needed=1, now=now)

    with pytest.raises(Conflict):
        issues.release(session, held, account=alan, needed=1, now=now)


def test_whoever_saw_other_mails_looks_again(
    session: Session, held: Issue, ada: Account, now: dt.datetime
) -> None:
    mail(session, now, issue=held)

    with pytest.raises(Conflict, match="Look at it again"):
        issues.release(session, held, account=ada, needed=2, now=now, seen=0)
    issues.release(session, held, account=ada, needed=2, now=now, seen=1)


def test_nothing_is_put_into_an_issue_that_people_have_begun_to_release(
    session: Session, held: Issue, ada: Account, now: dt.datetime
) -> None:
    issues.release(session, held, account=ada, needed=2, now=now)

    after = issues.open_issue(session, config_hold="two", now=now)

    assert after.hour == held.hour + HOUR
    assert after.state is IssueState.HELD


def test_what_is_discarded_is_not_sent_and_told_by_the_next_digest(
    session: Session, held: Issue, ada: Account, now: dt.datetime
) -> None:
    told, other = reader(session, now, seen_seq=9), reader(session, now, seen_seq=9)
    waiting = mail(session, now, subscriber=told, issue=held, from_seq=4, message_sealed=b"x")
    gone = mail(session, now, subscriber=told, issue=held, from_seq=1, state=DeliveryState.SENT)

    assert issues.discard(session, held, account=ada, now=now) == 1
    session.commit()
    session.expire_all()

    assert held.state is IssueState.DISCARDED
    assert (waiting.state, waiting.message_sealed) == (DeliveryState.CANCELLED, None)
    assert gone.state is DeliveryState.SENT
    assert (told.seen_seq, other.seen_seq) == (4, 9)
    assert acts(session) == ["issue-discarded"]
    assert issues.open_issue(session, config_hold="two", now=now).id != held.id


def test_a_later_digest_that_waits_is_told_by_the_next_one_too(
    session: Session, held: Issue, ada: Account, now: dt.datetime
) -> None:
    told = reader(session, now, seen_seq=9)
    mail(session, now, subscriber=told, issue=held, from_seq=4)
    earlier = mail(session, now, subscriber=told, from_seq=2)
    later = mail(session, now, subscriber=told, from_seq=6)

    assert issues.discard(session, held, account=ada, now=now) == 2
    session.expire_all()

    assert (earlier.state, later.state) == (DeliveryState.PENDING, DeliveryState.CANCELLED)
    assert told.seen_seq == 4


def test_a_mail_that_was_being_sent_when_its_issue_was_discarded_is_cancelled_later(
    session: Session, held: Issue, ada: Account, now: dt.datetime
) -> None:
    told = reader(session, now, seen_seq=9)
    delivery = mail(session, now, subscriber=told, issue=held, from_seq=4, state=DeliveryState.CLAIMED)
    assert issues.discard(session, held, account=ada, now=now) == 0
    delivery.state = DeliveryState.PENDING  # The relay said: later.
    session.commit()

    assert issues.sweep(session, now=now) == 1
    session.expire_all()
    assert (delivery.state, told.seen_seq) == (DeliveryState.CANCELLED, 4)


def test_an_issue_that_goes_out_cannot_be_discarded_but_held(
    session: Session, ada: Account, now: dt.datetime
) -> None:
    issue = issues.open_issue(session, config_hold="no", now=now)
    with pytest.raises(Conflict):
        issues.discard(session, issue, account=ada, now=now)

    assert issues.hold(session, issue, HoldReason.BY_HAND, account=ada, now=now)
    assert not issues.hold(session, issue, HoldReason.BY_HAND, account=ada, now=now)
    assert (issue.state, issue.held_because) == (IssueState.HELD, HoldReason.BY_HAND)


def test_five_refusals_in_a_row_hold_the_issue_and_drop_nobody(
    session: Session, now: dt.datetime, ada: Account
) -> None:
    issue = issues.open_issue(session, config_hold="no", now=now)
    person = reader(session, now)
    waiting = mail(session, now, subscriber=person, issue=issue)

    assert [issues.note_refusal(session, issue, now=now) for _ in range(4)] == [False] * 4
    issues.note_success(session, issue)
    assert [issues.note_refusal(session, issue, now=now) for _ in range(6)] == [False] * 4 + [True, False]
    session.expire_all()

    assert (issue.state, issue.held_because) == (IssueState.HELD, HoldReason.REFUSED)
    assert (waiting.state, person.left_at) == (DeliveryState.PENDING, None)
    issues.release(session, issue, account=ada, needed=1, now=now)
    assert issue.refused_in_a_row == 0


def test_a_person_decides_about_an_uncertain_mail_once(
    session: Session, ada: Account, now: dt.datetime
) -> None:
    first = mail(session, now, state=DeliveryState.UNCERTAIN, ambiguous=2, message_sealed=b"x", done_at=now)
    second = mail(session, now, state=DeliveryState.UNCERTAIN, ambiguous=2, message_sealed=b"x", done_at=now)

    issues.decide(session, first, arrived=True, account=ada, now=now + HOUR)
    issues.decide(session, second, arrived=False, account=ada, now=now + HOUR)
    session.commit()
    session.expire_all()

    assert (first.state, first.message_sealed, first.done_at) == (DeliveryState.SENT, None, now + HOUR)
    assert (second.state, second.message_sealed, second.done_at, second.ambiguous) == (
        DeliveryState.PENDING, b"x", None, 1,
    )  # fmt: skip
    assert second.due_at == now + HOUR
    assert acts(session) == ["mail-arrived", "mail-sent-again"]
    with pytest.raises(Conflict):
        issues.decide(session, first, arrived=False, account=ada, now=now)


def test_an_issue_that_does_not_exist_is_not_found(session: Session) -> None:
    for number in (0, 7, 2**40):
        with pytest.raises(NotFound):
            issues.by_number(session, number)
