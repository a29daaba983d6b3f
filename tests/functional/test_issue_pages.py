"""Admins see what will go out and decide about what is held; nobody else does, and nobody sees to whom."""

from __future__ import annotations

import datetime as dt
import quopri
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.mail import Events
from tests.mailing import mail, reader
from tracker.config import Config
from tracker.models import Account, Digest, Follow, Issue, Piece
from tracker.services import issues, sending
from tracker.vocabulary import (
    DeliveryKind,
    DeliveryState,
    Disclosure,
    Frequency,
    HoldReason,
    IssueState,
    Role,
    Scope,
)

As = Callable[[Account], Client]


@pytest.fixture(autouse=True)
def still(now: dt.datetime) -> Iterator[None]:
    with time_machine.travel(now, tick=False):
        yield


@pytest.fixture
def config(request: pytest.FixtureRequest, make_config: Callable[..., Config], database_url: str) -> Config:
    return make_config(database_url=database_url, hold_digests=getattr(request, "param", "two"))


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
    text, foot = (
        Piece(sha256="a", text=quopri.encodestring("Arvénia changed".encode()), html=b""),
        Piece(sha256="b", raw=True, text=b"To leave: ", html=b""),
    )
    session.add_all([text, foot])
    session.flush()
    digest = Digest(
        issue=issue, code="K7F2-9QXM", content_key="c", follow_key="all", frequency=Frequency.DAILY, language="en",
        disclosure=Disclosure.FULL, day=now.date(), from_seq=0, to_seq=3, changes=3, composed_seq=3,
        pieces=[text.id, foot.id], created_at=now,
    )  # fmt: skip
    session.add(digest)
    session.commit()
    for _ in range(2):
        mail(session, now, issue=issue, digest=digest)
    return issue


def follow(session: Session, now: dt.datetime, *follows: Follow, **values: Any) -> None:
    reader(session, now, follows=list(follows), follow_key=repr([one.value for one in follows]), **values)


def test_what_will_go_out_is_counted_by_hour_and_told_by_content(
    as_somebody: As, ada: Account, session: Session, make: Factory, now: dt.datetime
) -> None:
    report = make.report()
    events = Events(session, report, now)
    events.evidence(1)
    events.finding("k1", place=1)
    for _ in range(2):
        follow(session, now, Follow(scope=Scope.EVERYTHING))
    follow(
        session,
        now,
        Follow(scope=Scope.RECOMMENDATION, recommendation_id=report.recommendations[1].id),
        seen_seq=1,
    )
    follow(session, now, Follow(scope=Scope.SEARCH, value="register secret-words"))
    follow(
        session,
        now,
        Follow(scope=Scope.COUNTRY, value="Republic of Arvenia"),
        next_due_at=now + dt.timedelta(days=2),
    )
    mail(session, now, kind=DeliveryKind.CONFIRMATION, period=None)

    page = as_somebody(ada).get("/sending")

    assert "22 Nov 2026 17:00 UTC Digest, Daily 3" in page.text
    assert "22 Nov 2026 12:00 UTC Confirmation ready 1" in page.text
    assert "To 2 people: 2 changes" in page.text
    assert "To one person: one change" in page.text
    assert "Court register 1" in page.text
    assert "2 people are due too and get no mail" in page.text
    assert "Whatever holds these words" not in page.text
    assert "secret-words" not in page.text
    assert "None yet." in page.text


def test_nothing_due_says_so(as_somebody: As, ada: Account) -> None:
    page = as_somebody(ada).get("/sending")

    assert "Nothing is due." in page.text
    assert "All sending is held" not in page.text


def test_two_admins_release_an_issue_after_reading_what_it_says(
    as_somebody: As, ada: Account, alan: Account, held: Issue, session: Session
) -> None:
    first, second = as_somebody(ada), as_somebody(alan)
    page = first.get(f"/sending/{held.id}")
    assert "Arvénia changed" in page.text
    assert "K7F2-9QXM: 2 mails (Daily, English" in page.text
    assert "To leave:" in page.text

    first.send(f"/sending/{held.id}", {}, form=1)
    page = first.get("/sending")
    assert "Noted. Issue 1 goes out when a second admin releases it." in page.text
    assert "Ada has released it" in page.text
    response = first.http.post(f"/sending/{held.id}/release", data=dict(page.forms[1]["fields"]))
    assert response.status_code == 409
    assert "A second admin has to release it too" in response.text
    second.send(f"/sending/{held.id}", {}, form=1)

    session.rollback()
    session.refresh(held)
    assert (held.state, held.first_releaser_id, held.second_releaser_id) == (IssueState.OPEN, ada.id, alan.id)
    page = second.get("/sending")
    assert "Alan released it" in page.text
    assert "Ada released it, as the first of two" in page.text


def test_who_saw_fewer_mails_than_there_are_is_asked_to_look_again(
    as_somebody: As, ada: Account, held: Issue, session: Session, now: dt.datetime
) -> None:
    client = as_somebody(ada)
    fields = dict(client.get("/sending").forms[1]["fields"])
    mail(session, now, issue=held)

    for seen in (fields["seen"], "", "x", "٣"):
        response = client.http.post(f"/sending/{held.id}/release", data={**fields, "seen": seen})
        assert response.status_code == 409
        assert "Look at it again" in response.text


def test_a_discarded_issue_is_told_by_the_next_digest(
    as_somebody: As, ada: Account, held: Issue, session: Session
) -> None:
    client = as_somebody(ada)
    client.send(f"/sending/{held.id}", {}, form=2)

    assert "Issue 1 is discarded: 2 mails are not sent." in client.get("/sending").text
    session.rollback()
    session.refresh(held)
    assert held.state is IssueState.DISCARDED


@pytest.mark.parametrize("config", ["no"], indirect=True)
def test_an_admin_holds_what_goes_out_and_releases_it_alone_where_one_is_enough(
    as_somebody: As, ada: Account, session: Session, now: dt.datetime
) -> None:
    issue = issues.open_issue(session, config_hold="no", now=now)
    session.commit()
    mail(session, now, issue=issue)
    client = as_somebody(ada)

    client.send(f"/sending/{issue.id}", {}, form=1)
    assert "An admin held it" in client.get("/sending").text
    client.send(f"/sending/{issue.id}", {}, form=1)

    assert "Issue 1 goes out." in client.get("/sending").text


def test_past_issues_show_counts_and_answers_and_nobody(
    as_somebody: As, ada: Account, session: Session, now: dt.datetime
) -> None:
    issue = issues.open_issue(session, config_hold="no", now=now)
    session.commit()
    mail(session, now, issue=issue, state=DeliveryState.SENT, last_answer="250 end of DATA")
    mail(session, now, issue=issue, state=DeliveryState.FAILED, last_answer="550 RCPT")
    mail(session, now, issue=issue, state=DeliveryState.FAILED, last_answer="550 RCPT")

    page = as_somebody(ada).get("/sending")

    assert "Refused for good: 2" in page.text
    assert "Accepted by the mail server: 1" in page.text
    assert "550 RCPT: 2" in page.text
    assert "250 end of DATA" not in page.text


def test_a_person_decides_about_uncertain_mails(
    as_somebody: As, ada: Account, session: Session, now: dt.datetime
) -> None:
    first = mail(session, now, state=DeliveryState.UNCERTAIN, message_id="<abc@localhost>", ambiguous=2)
    second = mail(session, now, state=DeliveryState.UNCERTAIN, ambiguous=2)
    client = as_somebody(ada)
    assert "<abc@localhost>" in client.get("/sending").text

    client.send("/sending", {}, form=1)
    client.send("/sending", {}, form=2)
    client.post(f"/sending/mails/{first.id}/again", dict(client.get("/sending").forms[0]["fields"]), 409)

    session.rollback()
    session.expire_all()
    assert (first.state, second.state) == (DeliveryState.SENT, DeliveryState.PENDING)


def test_two_admins_agree_what_becomes_of_mails_after_a_restored_backup(
    as_somebody: As, ada: Account, alan: Account, session: Session, now: dt.datetime
) -> None:
    sending.hold(session, HoldReason.RESTORED, now=now)
    session.commit()
    first, second = as_somebody(ada), as_somebody(alan)
    assert "a backup was restored" in first.get("/sending").text

    first.send("/sending", {}, form=1, status=422)
    first.send("/sending", {"way": "send"}, form=1)
    assert "Ada has agreed to this: Send what is due." in second.get("/sending").text
    second.send("/sending", {"way": "consider-sent"}, form=1, status=409)
    second.send("/sending", {}, form=2)
    second.send("/sending", {"way": "consider-sent"}, form=1)
    first.send("/sending", {"way": "consider-sent"}, form=1)

    assert "Mails go out again." in first.get("/sending").text
    session.rollback()
    assert sending.held(session) is None


def test_only_admins_see_it_and_find_it_in_their_navigation(
    as_somebody: As, ada: Account, mona: Account, rafa: Account, client: Client
) -> None:
    assert "/sending" in as_somebody(ada).get("/account").links
    for somebody in (mona, rafa):
        assert "/sending" not in as_somebody(somebody).get("/account").links
        as_somebody(somebody).get("/sending", 403)
    client.get("/sending", 303)
    as_somebody(ada).get("/sending/7", 404)
