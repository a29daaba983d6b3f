"""Following over HTTP: no account, no cookie, no script, and the same answer to everybody."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client, Page
from tests.mail import EVERYTHING, Events, follower, parts
from tracker import jobs
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Attempt, Delivery, Subscriber
from tracker.services import subscriptions
from tracker.vocabulary import Scope, SubscriberState

ADDRESS = "reader@arvenia.example"


@pytest.fixture(autouse=True)
def _at_noon(now: dt.datetime) -> Any:
    with time_machine.travel(now, tick=False):
        yield


@pytest.fixture(autouse=True)
def report(make: Factory) -> Any:
    return make.report()


def fill(**other: Any) -> dict[str, Any]:
    return {"email": ADDRESS, **other}


def mails(app: Flask, now: dt.datetime) -> list[str]:
    """The text parts of everything in the outbox, after sending what waits."""
    jobs.send_due(app, now)
    folder: Path = app.extensions["settings"].outbox_path
    return [
        parts(path.read_bytes())[0]
        for path in sorted(folder.glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
    ]


def link(mail: str, part: str) -> str:
    found = re.search(rf"http://localhost(/{part}\S+)", mail)
    assert found
    return found.group(1)


def only(session: Session) -> Subscriber:
    session.rollback()
    session.expire_all()
    return session.scalars(select(Subscriber)).one()


def test_from_the_form_to_a_digest_and_out_again(
    client: Client, app: Flask, session: Session, report: Any, now: dt.datetime
) -> None:
    response = client.send(
        "/follow",
        fill(
            scope="recommendation",
            recommendations="lower-valley/88-b",
            frequency="daily",
            hour="18",
            timezone="Asia/Kathmandu",
        ),
    )
    assert response.location == "/follow/asked"
    assert "a message is on its way" in client.get("/follow/asked").text
    (mail,) = mails(app, now)

    confirm = link(mail, "follow/confirm/")
    page = client.get(confirm)
    assert "Tell families" in page.text
    assert "every day at 18:00 (Asia/Kathmandu)" in page.text
    assert only(session).state is SubscriberState.PENDING
    assert "You follow from now on" in client.inspect(client.send(confirm, {}, status=200)).text
    client.get(confirm, 404)

    session.rollback()
    Events(session, session.merge(report), now).finding("k1", place=0)
    Events(session, session.merge(report), now).finding("k2", place=1, clause=None)
    with time_machine.travel(now + dt.timedelta(days=1), tick=False):
        assert jobs.tick(app, now + dt.timedelta(days=1))["sent"] == 1
        assert jobs.tick(app, now + dt.timedelta(days=1))["sent"] == 0
        digest = mails(app, now)[-1]
        assert "88(b) Tell families" in digest
        assert "Release people" not in digest

        leave = link(digest, "unsubscribe/")
        assert "Stop these messages?" in client.get(leave).text
        assert only(session).state is SubscriberState.CONFIRMED
        assert "You have left" in client.inspect(client.send(leave, {}, status=200)).text
    assert only(session).state is SubscriberState.LEFT


def test_no_page_of_it_sets_a_cookie_or_is_kept_in_a_cache(
    client: Client, session: Session, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    subscriber = follower(session, keys, config, now)
    manage, leave = subscriptions.manage_token(subscriber, keys), subscriptions.leave_token(subscriber, keys)
    for address in (
        "/follow",
        "/follow/asked",
        f"/follow/manage/{manage}",
        f"/unsubscribe/{leave}",
        "/follow/confirm/x",
    ):
        response = client.http.get(address)
        assert "Set-Cookie" not in response.headers
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("state", ["new", "pending", "confirmed", "left", "just asked"])
def test_the_answer_is_the_same_for_every_address(
    state: str, client: Client, session: Session, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    if state == "just asked":
        client.send("/follow", fill())
    elif state != "new":
        subscriber = follower(session, keys, config, now)
        if state == "pending":
            subscriber.state, subscriber.confirmed_at = SubscriberState.PENDING, None
        elif state == "left":
            subscriptions.leave(session, subscriber, now=now)
        session.commit()

    response = client.send("/follow", fill())

    assert (response.status_code, response.location) == (303, "/follow/asked")
    assert "Set-Cookie" not in response.headers
    assert session.scalar(select(func.count()).select_from(Delivery)) == 1


def test_asking_again_for_an_address_that_follows_changes_nothing_yet(
    client: Client, app: Flask, session: Session, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    follower(session, keys, config, now)

    client.send("/follow", fill(frequency="monthly"))

    (mail,) = mails(app, now)
    assert "You follow us already" in " ".join(mail.split())
    assert only(session).frequency.value == "daily"
    assert "What you get from us" in client.get(link(mail, "follow/manage/")).text
    client.send(link(mail, "follow/confirm/"), {}, status=200)
    assert only(session).frequency.value == "monthly"


@pytest.mark.parametrize(
    ("query", "checked"),
    [
        ("", {("scope", "everything")}),
        ("?report=lower-valley", {("scope", "report"), ("report", "lower-valley")}),
        (
            "?recommendation=lower-valley/88-a&recommendation=lower-valley/89",
            {
                ("scope", "recommendation"),
                ("recommendations", "lower-valley/88-a"),
                ("recommendations", "lower-valley/89"),
            },
        ),
        ("?report=nowhere&recommendation=lower-valley/9", {("scope", "everything")}),
    ],
)
def test_the_address_chooses_in_advance(query: str, checked: set[tuple[str, str]], client: Client) -> None:
    fields = client.get(f"/follow{query}").forms[0]["fields"]

    assert checked <= set(fields)
    assert {value for name, value in fields if name == "recommendations"} == {
        value for name, value in checked if name == "recommendations"
    }
    assert dict(fields)["timezone"] == "UTC"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"email": "nobody"}, "Enter an e-mail address"),
    ({"email": ""}, "Enter an e-mail address"),
    ({"email": "=?utf-8?q?=0D=0ABcc=3Aspy=40evil?=@evil.example"}, "Enter an e-mail address"),
    ({"email": "a@arvenia.example\r\nBcc: b@arvenia.example"}, "Enter an e-mail address"),
    ({"email": "reader\u202e@arvenia.example"}, "cannot be stored"),
    ({"email": "x" * 300 + "@arvenia.example"}, "Shorten this"),
    ({"scope": "recommendation"}, "Choose at least one recommendation"),
    ({"scope": "recommendation", "recommendations": "lower-valley/9"}, "Choose one of the offered answers"),
    ({"scope": "universe"}, "Choose one of the offered answers"),
    ({"scope": "report", "report": "nowhere"}, "Choose one of the offered answers"),
    ({"hour": "24"}, "Choose one of the offered answers"),
    ({"hour": "x"}, "Choose one of the offered answers"),
    ({"month_day": "0"}, "Choose one of the offered answers"),
    ({"weekday": None}, "Choose one of the offered answers"),
    ({"timezone": "Mars/Olympus"}, "Choose one of the offered answers"),
    ({"timezone": "../../etc/passwd"}, "Choose one of the offered answers"),
    ({"frequency": None}, "Choose"),
]


def test_what_cannot_be_is_refused_with_a_sentence_and_kept(client: Client, session: Session) -> None:
    sound = {**dict(client.get("/follow").forms[0]["fields"]), "email": ADDRESS}
    for wrong, sentence in WRONG:
        sent = {name: value for name, value in {**sound, **wrong}.items() if value is not None}

        page = client.inspect(client.post("/follow", sent, 422))

        assert sentence in page.text, wrong
        assert page.title.startswith("Error:")
        if "email" not in wrong:
            assert ("email", ADDRESS) in page.forms[0]["fields"]
    assert session.scalar(select(func.count()).select_from(Subscriber)) == 0


def test_a_form_without_its_token_is_refused(client: Client, session: Session) -> None:
    assert client.http.post("/follow", data=fill(scope="everything")).status_code == 400
    assert session.scalar(select(func.count()).select_from(Subscriber)) == 0


def test_one_network_may_not_ask_for_everybody(client: Client, session: Session) -> None:
    page = client.get("/follow")
    data = {**dict(page.forms[0]["fields"]), "email": ADDRESS}
    answers = [
        client.http.post("/follow", data={**data, "email": f"r{number}@arvenia.example"}).status_code
        for number in range(32)
    ]

    assert answers == [303] * 30 + [429] * 2
    assert not [key for key in session.scalars(select(Attempt.key)) if "127" in key or "." in key]


def test_a_stale_or_made_up_link_says_so(client: Client) -> None:
    for address in ("/follow/confirm/x", "/follow/manage/x", f"/follow/manage/{'a' * 32}"):
        assert "no longer valid" in client.get(address, 404).text
    token = dict(client.get("/follow").forms[0]["fields"])["form_token"]
    for address in ("/follow/confirm/x", "/follow/manage/x"):
        client.post(address, {"form_token": token, "act": "erase"}, 404)


@pytest.fixture
def reader(session: Session, keys: Keyring, config: Config, now: dt.datetime) -> Subscriber:
    return follower(session, keys, config, now, choices=EVERYTHING)


@pytest.mark.parametrize("multipart", [False, True])
def test_a_mail_program_leaves_with_one_click(
    multipart: bool, client: Client, session: Session, reader: Subscriber, keys: Keyring
) -> None:
    token = subscriptions.leave_token(reader, keys)
    for _ in range(2):
        response = client.http.post(
            f"/unsubscribe/{token}",
            data={"List-Unsubscribe": "One-Click"},
            content_type="multipart/form-data" if multipart else None,
            headers={"Origin": "https://mail.example", "Sec-Fetch-Site": "cross-site"},
        )
        assert response.status_code == 200
        assert "Set-Cookie" not in response.headers

    assert only(session).state is SubscriberState.LEFT


def test_a_forged_leave_link_looks_the_same_and_does_nothing(
    client: Client, session: Session, reader: Subscriber, keys: Keyring
) -> None:
    def answers(token: str) -> tuple[str, str]:
        shown = client.http.get(f"/unsubscribe/{token}").get_data(as_text=True).replace(token, "")
        shown = re.sub(r'name="form_token" value="[^"]+"', "", shown)
        return shown, client.http.post(f"/unsubscribe/{token}").get_data(as_text=True)

    forged = answers("0" * 32)
    # The manage link's token does not leave either: each token can do one thing.
    answers(subscriptions.manage_token(reader, keys))
    assert only(session).state is SubscriberState.CONFIRMED
    assert answers(subscriptions.leave_token(reader, keys)) == forged
    assert only(session).state is SubscriberState.LEFT


def test_looking_at_a_link_never_acts(
    client: Client, session: Session, reader: Subscriber, keys: Keyring
) -> None:
    for address in (
        f"/unsubscribe/{subscriptions.leave_token(reader, keys)}",
        f"/follow/manage/{subscriptions.manage_token(reader, keys)}?act=erase",
    ):
        client.get(address)
        client.http.head(address)

    assert only(session).state is SubscriberState.CONFIRMED


def test_the_manage_link_changes_leaves_and_comes_back(
    client: Client, session: Session, reader: Subscriber, keys: Keyring
) -> None:
    manage = f"/follow/manage/{subscriptions.manage_token(reader, keys)}"

    page = client.get(
        client.send(
            manage,
            {
                "scope": "report",
                "report": "lower-valley",
                "frequency": "monthly",
                "month_day": "31",
                "hour": "0",
                "timezone": "America/Santiago",
            },
            form=0,
        ).location
        or ""
    )
    assert "Saved." in page.text
    assert "on day 31 of every month, or its last day, at 00:00 (America/Santiago)" in page.text
    found = only(session)
    assert (found.timezone, found.next_local_date, found.follows[0].scope) == (
        "America/Santiago",
        dt.date(2026, 11, 30),
        Scope.REPORT,
    )

    client.send(manage, {"act": "leave"}, form=1)
    assert only(session).state is SubscriberState.LEFT
    assert "You have left" in client.get(manage).text
    client.send(manage, {}, form=0)
    assert only(session).state is SubscriberState.CONFIRMED


def test_a_change_that_cannot_be_changes_nothing(
    client: Client, session: Session, reader: Subscriber, keys: Keyring
) -> None:
    manage = f"/follow/manage/{subscriptions.manage_token(reader, keys)}"

    page = client.inspect(
        client.send(manage, {"scope": "recommendation", "frequency": "weekly"}, form=0, status=422)
    )

    assert "Choose at least one recommendation" in page.text
    assert only(session).frequency.value == "daily"


def test_the_manage_link_erases_everything(
    client: Client, session: Session, reader: Subscriber, keys: Keyring
) -> None:
    manage = f"/follow/manage/{subscriptions.manage_token(reader, keys)}"

    assert (
        "Everything about you was erased"
        in client.inspect(client.send(manage, {"act": "erase"}, form=2, status=200)).text
    )
    client.get(manage, 404)
    assert session.scalar(select(func.count()).select_from(Subscriber)) == 0


def test_the_form_says_what_it_promises(client: Client) -> None:
    page: Page = client.get("/follow")

    assert "the answer is always the same" in page.text
    assert "/changes.atom" in page.links
