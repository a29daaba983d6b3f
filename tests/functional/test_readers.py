"""Following without an address: what opens it is shown once, stands in no address that is not its own, and is enough."""

from __future__ import annotations

import datetime as dt
import html
import re
from typing import Any

import feedparser
import pytest
import time_machine
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client, Page
from tests.mail import Events
from tests.unit.test_follows import collect
from tracker.models import SignUp, Subscriber
from tracker.services import readers, subscriptions
from tracker.vocabulary import Channel, EntryKind, Scope, SubscriberState


@pytest.fixture(autouse=True)
def _at_noon(now: dt.datetime) -> Any:
    with time_machine.travel(now, tick=False):
        yield


@pytest.fixture
def events(session: Session, make: Factory, now: dt.datetime) -> Events:
    return Events(session, make.report(), now)


def only(session: Session) -> Subscriber:
    session.rollback()
    session.expire_all()
    return session.scalars(select(Subscriber)).one()


def made(client: Client, **fields: Any) -> tuple[str, str]:
    """Make one at the form: (what opens it, the link by which it is changed, "" for a mailbox)."""
    response = client.send("/follow", fields, status=200)
    client.inspect(response)
    assert "no-store" in response.headers["Cache-Control"]
    assert "Set-Cookie" not in response.headers
    body = response.get_data(as_text=True)
    secret, manage = (re.search(rf'id="{name}">([^<]+)<', body) for name in ("secret", "manage"))
    assert secret
    return (
        html.unescape(secret[1]).removeprefix("http://localhost"),
        html.unescape(manage[1]).removeprefix("http://localhost") if manage else "",
    )


def feed(client: Client, address: str) -> Any:
    response = client.http.get(address)
    assert response.status_code == 200
    found = feedparser.parse(response.get_data())
    assert not found.bozo
    return found


# A private feed


def test_a_private_feed_tells_what_it_follows_and_nothing_else(
    client: Client, session: Session, events: Events
) -> None:
    events.evidence(1)
    address, _ = made(client, channel="feed", what="chosen", recommendations="lower-valley/88-b")
    events.evidence(2, places=(1,))
    events.evidence(3, places=(2,))

    found = feed(client, address)

    assert [entry.title for entry in found.entries] == [
        "[Demonstration] Lower Valley, 2023, 88(b): New evidence, Court register 2"
    ]
    assert session.scalar(select(func.count()).select_from(SignUp)) == 0
    row = only(session)
    assert (row.channel, row.address_hash, row.next_due_at) == (Channel.FEED, None, None)
    assert [follow.scope for follow in row.follows] == [Scope.RECOMMENDATION]


def test_no_cache_keeps_a_feed_and_a_reader_that_has_it_gets_no_copy(client: Client, events: Events) -> None:
    events.evidence(1)
    address, _ = made(client, channel="feed")
    response = client.http.get(address)
    assert {"no-store", "private"} == set(response.headers["Cache-Control"].replace(" ", "").split(","))
    assert response.headers["X-Robots-Tag"] == "noindex"

    same = {"If-None-Match": response.headers["ETag"]}
    assert client.http.get(address, headers=same).status_code == 304
    events.evidence(2)
    assert client.http.get(address, headers=same).status_code == 200


def test_a_reader_that_was_away_goes_back_page_by_page(client: Client, events: Events) -> None:
    for number in range(1, 121):
        events.evidence(number)
    address, _ = made(client, channel="feed")

    seen: list[str] = []
    for _ in range(3):
        found = feed(client, address)
        seen += [entry.id for entry in found.entries]
        following = [link.href for link in found.feed.links if link.rel == "next"]
        address = following[0].removeprefix("http://localhost") if following else ""

    assert len(seen) == len(set(seen)) == 120
    assert not address


def test_words_that_were_withdrawn_leave_a_private_feed_too(client: Client, events: Events) -> None:
    events.evidence(1, summary="A name that must go.")
    address, _ = made(client, channel="feed")
    assert b"must go" in client.http.get(address).get_data()

    events.withdrawal(EntryKind.EVIDENCE_WITHDRAWN, "evidence/1")

    assert b"must go" not in client.http.get(address).get_data()


def test_the_feeds_own_link_stops_it_and_the_other_one_changes_it(
    client: Client, session: Session, events: Events
) -> None:
    address, manage = made(client, channel="feed")
    here = address.removesuffix(".atom")
    assert "everything" in client.get(here).text.lower()
    assert 'value="pause"' not in client.http.get(manage).get_data(as_text=True)

    client.send(manage, {"what": "chosen", "search": "quarry"}, form=0)
    events.evidence(1)
    events.evidence(2, summary="The quarry is closed.")
    assert len(feed(client, address).entries) == 1

    page = client.get(here)
    fields = dict(page.forms[0]["fields"])
    assert "You have left" in client.inspect(client.post(here, {**fields, "act": "stop"}, 200)).text
    for gone in (address, here):
        assert "no longer valid" in client.get(gone, 404).text
    # By the other link it comes back under its old address.
    client.send(manage, {}, form=0)
    assert only(session).state is SubscriberState.CONFIRMED
    feed(client, address)


def test_a_feed_asks_once_a_year_whether_it_is_wanted(
    client: Client, session: Session, events: Events, now: dt.datetime
) -> None:
    events.evidence(1)
    address, _ = made(client, channel="feed")
    later = now + dt.timedelta(days=366)
    subscriptions.forget_expired(session, now=later)
    session.commit()

    first = feed(client, address).entries[0]
    assert first.title == "Do you still want this feed?"
    page = first.link.removeprefix("http://localhost")
    with time_machine.travel(later, tick=False):
        fields = dict(client.get(page).forms[0]["fields"])
        client.post(page, {**fields, "act": "renew"})
        assert "Kept for another year" in client.get(f"{page}?done=renew").text

    assert len(feed(client, address).entries) == 1
    assert only(session).renewed_at == later.replace(hour=0, minute=0)


# A mailbox on this site


def opened(client: Client, words: str, **fields: Any) -> Page:
    token = dict(client.get("/follow/mailbox").forms[0]["fields"])["form_token"]
    response = client.http.post("/follow/mailbox", data={"form_token": token, "passphrase": words, **fields})
    assert response.status_code == 200
    assert "Set-Cookie" not in response.headers
    assert "no-store" in response.headers["Cache-Control"]
    return client.inspect(response)


def test_a_mailbox_collects_and_every_button_carries_the_words_that_open_it(
    client: Client, session: Session, events: Events, now: dt.datetime
) -> None:
    words, _ = made(client, channel="mailbox", frequency="daily")
    assert len(words.split()) == 6
    row = only(session)
    collect(session, row, now, 1, b"88(a) =E2=80=93 was C, now E\r\n", b"foot {links}")

    page = opened(client, words.upper().replace(" ", " - "))

    assert "88(a) – was C, now E" in page.text
    assert "code K7F2-9QXM" in page.text
    assert "links" not in page.text
    for form in page.forms:
        assert form["action"] == "/follow/mailbox"
        assert dict(form["fields"])["passphrase"] == words
    page = opened(client, words, act="manage")
    for form in page.forms:
        assert form["action"] == "/follow/mailbox"
        assert dict(form["fields"])["passphrase"] == words
    assert not [address for address in page.links if words.split()[0] in address]


def test_a_mailbox_is_changed_paused_stopped_and_erased(
    client: Client, session: Session, events: Events
) -> None:
    words, _ = made(client, channel="mailbox", frequency="daily")
    forms = [dict(form["fields"]) for form in opened(client, words, act="manage").forms]
    choices = next(form for form in forms if "frequency" in form)

    page = opened(client, words, **{**choices, "act": "save", "frequency": "weekly"})
    assert "Saved." in page.text
    assert only(session).frequency.value == "weekly"
    until = {"until-day": "1", "until-month": "12", "until-year": "2026"}
    assert "Paused until the end of this day: 1 Dec 2026" in opened(client, words, act="pause", **until).text
    assert "You have left" in opened(client, words, act="leave").text
    assert "You stopped it" in opened(client, words).text
    assert "Saved." in opened(client, words, **{**choices, "act": "save"}).text
    token = dict(client.get("/follow/mailbox").forms[0]["fields"])["form_token"]
    data = client.post(
        "/follow/mailbox", {"form_token": token, "passphrase": words, "act": "take-along"}, 200
    )
    assert data.json is not None
    assert data.json["subscriber"]["channel"] == "mailbox"
    assert "This cannot be undone" in opened(client, words, act="erase").text
    assert "Everything about you was erased" in opened(client, words, act="erase-now").text
    session.rollback()
    assert session.scalar(select(func.count()).select_from(Subscriber)) == 0


def test_wrong_words_open_nothing_and_guesses_are_limited(
    client: Client, session: Session, now: dt.datetime
) -> None:
    token = dict(client.get("/follow/mailbox").forms[0]["fields"])["form_token"]
    answers = []
    for _ in range(62):
        wrong = {"form_token": token, "passphrase": readers.new_passphrase()}
        answers.append(client.http.post("/follow/mailbox", data=wrong))

    assert [answer.status_code for answer in answers] == [422] * 60 + [429] * 2
    page = client.inspect(answers[0])
    assert "No mailbox opens with these words" in page.text
    assert page.title.startswith("Error:")


def test_a_feeds_link_opens_no_mailbox_and_the_other_way_round(client: Client, events: Events) -> None:
    address, _ = made(client, channel="feed")
    words, _ = made(client, channel="mailbox")

    client.get(f"/follow/feed/{words.replace(' ', '-')}.atom", 404)
    token = dict(client.get("/follow/mailbox").forms[0]["fields"])["form_token"]
    secret = address.rpartition("/")[2].removesuffix(".atom")
    client.post("/follow/mailbox", {"form_token": token, "passphrase": secret}, 422)
