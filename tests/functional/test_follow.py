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
from tests.gnupg import keyring as gnupg_keyring
from tests.mail import EVERYTHING, Events, follower, parts
from tests.unit.test_subscriptions import theme
from tracker import jobs
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Attempt, SignUp, Subscriber
from tracker.services import choices as chosen
from tracker.services import subscriptions
from tracker.services.choices import Followed
from tracker.vocabulary import Disclosure, Scope, SubscriberState

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
    """The text parts of everything in the outbox, after the mailer's turn."""
    jobs.tick(app, now)
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
            what="chosen",
            recommendations="lower-valley/88-b",
            frequency="daily",
            hour="18",
            timezone="Asia/Kathmandu",
        ),
    )
    assert response.location == "/follow/asked"
    # Until the mailer's turn nobody knows of whom it is.
    assert session.scalar(select(func.count()).select_from(Subscriber)) == 0
    session.rollback()
    assert "a message is on its way" in client.get("/follow/asked").text
    (mail,) = mails(app, now)

    confirm = link(mail, "follow/confirm/")
    page = client.get(confirm)
    assert "Tell families" in page.text
    assert "every day at 18:00 (Asia/Kathmandu)" in page.text
    assert only(session).state is SubscriberState.PENDING
    page = client.inspect(client.send(confirm, {}, status=200))
    assert "You follow from now on" in page.text
    assert not [address for address in page.links if "/follow/manage/" in address]
    client.get(confirm, 404)

    session.rollback()
    Events(session, session.merge(report), now).finding("k1", place=0)
    Events(session, session.merge(report), now).finding("k2", place=1, clause=None)
    later = now + dt.timedelta(days=1)
    with time_machine.travel(later, tick=False):
        # Digests that are due together leave within five minutes, in random order.
        turns = [jobs.tick(app, later + dt.timedelta(minutes=minutes))["sent"] for minutes in (0, 6, 12)]
        assert sum(turns) == 1
        digest = mails(app, later + dt.timedelta(minutes=12))[-1]
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
        assert "no-store" in response.headers["Cache-Control"]


@pytest.mark.parametrize("state", ["pending", "confirmed", "left", "just asked"])
def test_the_answer_is_the_same_for_known_and_unknown_addresses(
    state: str, client: Client, app: Flask, session: Session, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    if state == "just asked":
        client.send("/follow", fill())
        jobs.take_sign_ups(app, now)
    else:
        subscriber = follower(session, keys, config, now)
        if state == "pending":
            subscriber.state, subscriber.confirmed_at = SubscriberState.PENDING, None
        elif state == "left":
            subscriptions.leave(session, subscriber, now=now)
        session.commit()

    known, unknown = (
        client.send("/follow", fill(email=address)) for address in (ADDRESS, "nobody@arvenia.example")
    )

    for response in (known, unknown):
        assert (response.status_code, response.location) == (303, "/follow/asked")
    assert known.get_data() == unknown.get_data()
    assert dict(known.headers) == dict(unknown.headers)
    # What is left behind is alike too: two sealed texts of one length, and no more than the hour.
    rows = session.execute(select(SignUp.sealed, SignUp.created_at)).all()
    assert len(rows) == 2
    assert len({(len(sealed), at) for sealed, at in rows}) == 1


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
        ("", {("what", "everything"), ("channel", "email")}),
        ("?report=lower-valley", {("what", "chosen"), ("reports", "lower-valley")}),
        (
            "?recommendation=lower-valley/88-a&recommendation=lower-valley/89",
            {
                ("what", "chosen"),
                ("recommendations", "lower-valley/88-a"),
                ("recommendations", "lower-valley/89"),
            },
        ),
        ("?country=Republic+of+Arvenia", {("what", "chosen"), ("countries", "Republic of Arvenia")}),
        ("?channel=mailbox", {("what", "everything"), ("channel", "mailbox")}),
        ("?report=nowhere&recommendation=lower-valley/9&channel=post", {("what", "everything")}),
    ],
)
def test_the_address_chooses_in_advance(query: str, checked: set[tuple[str, str]], client: Client) -> None:
    fields = client.get(f"/follow{query}").forms[0]["fields"]

    assert checked <= set(fields)
    several = ("reports", "recommendations", "themes", "countries")
    assert {pair for pair in fields if pair[0] in several} == {pair for pair in checked if pair[0] in several}
    assert dict(fields)["timezone"] == "UTC"


def test_themes_can_be_chosen_where_there_are_any(
    client: Client, app: Flask, session: Session, report: Any, now: dt.datetime
) -> None:
    assert "Themes" not in client.get("/follow").text
    theme(session, session.merge(report).recommendations[0])

    assert "Arbitrary detention" in client.get("/follow").text
    client.send(
        "/follow",
        fill(
            what="chosen",
            themes="detention",
            countries="Republic of Arvenia",
            search="  mobile   internet ",
            disclosure="notice",
            frequency="immediate",
        ),
    )
    confirm = link(mails(app, now)[0], "follow/confirm/")
    page = client.get(confirm)
    for words in (
        "Theme: Arbitrary detention",
        "Country: Republic of Arvenia",
        "mobile internet",
        "at most once an hour",
    ):
        assert words in page.text
    client.send(confirm, {}, status=200)
    found = only(session)
    assert chosen.current(found).follows == (
        Followed(Scope.THEME, value="detention"),
        Followed(Scope.COUNTRY, value="Republic of Arvenia"),
        Followed(Scope.SEARCH, value="mobile internet"),
    )
    assert found.disclosure is Disclosure.NOTICE


def test_somebody_can_ask_how_many_messages_it_would_be_before_giving_an_address(
    client: Client, session: Session, report: Any, now: dt.datetime
) -> None:
    page = client.inspect(client.send("/follow", {"act": "estimate"}, status=200))
    assert "With these choices: none in the last 180 days" in page.text

    events = Events(session, session.merge(report), now)
    for days in range(0, 175, 5):
        events.now = now - dt.timedelta(days=days)
        events.evidence(days + 1)
    page = client.inspect(client.send("/follow", {"act": "estimate", "frequency": "daily"}, status=200))
    assert "about 6 messages a month" in page.text
    fields = dict(page.forms[0]["fields"])
    assert (fields["frequency"], fields["email"]) == ("daily", "")
    page = client.inspect(client.send("/follow", {"act": "estimate", "frequency": "monthly"}, status=200))
    assert "about one message a month" in page.text
    wanted = {"act": "estimate", "what": "chosen", "search": "nothing like it"}
    assert "none in the last 180 days" in client.inspect(client.send("/follow", wanted, status=200)).text
    assert session.scalar(select(func.count()).select_from(SignUp)) == 0


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"email": "nobody"}, "Enter an e-mail address"),
    ({"email": ""}, "Enter an e-mail address"),
    ({"email": "=?utf-8?q?=0D=0ABcc=3Aspy=40evil?=@evil.example"}, "Enter an e-mail address"),
    ({"email": "a@arvenia.example\r\nBcc: b@arvenia.example"}, "Enter an e-mail address"),
    ({"email": "reader\u202e@arvenia.example"}, "cannot be stored"),
    ({"email": "x" * 300 + "@arvenia.example"}, "Shorten this"),
    ({"what": "chosen"}, "Choose at least one thing"),
    ({"search": "quarry"}, "You chose single things too"),
    ({"what": "chosen", "recommendations": "lower-valley/9"}, "Choose one of the offered answers"),
    ({"what": "universe"}, "Choose one of the offered answers"),
    ({"what": "chosen", "reports": "nowhere"}, "Choose one of the offered answers"),
    ({"what": "chosen", "countries": "Atlantis"}, "Choose one of the offered answers"),
    ({"what": "chosen", "search": "x"}, "between 2 and 200 characters"),
    ({"what": "chosen", "search": "x" * 201}, "between 2 and 200 characters"),
    ({"what": "chosen", "search": "a\u202eb"}, "cannot be stored"),
    ({"disclosure": "more"}, "Choose one of the offered answers"),
    ({"channel": "pigeon"}, "Choose one of the offered answers"),
    ({"channel": None}, "Choose"),
    ({"language": "tlh"}, "Choose one of the offered answers"),
    ({"openpgp": "no key"}, "not a public OpenPGP key"),
    ({"openpgp": "-----BEGIN PGP PRIVATE KEY BLOCK-----"}, "private"),
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
    assert session.scalar(select(func.count()).select_from(SignUp)) == 0


def test_a_form_without_its_token_is_refused(client: Client, session: Session) -> None:
    assert client.http.post("/follow", data=fill(what="everything")).status_code == 400
    assert session.scalar(select(func.count()).select_from(SignUp)) == 0


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


def of(client: Client, address: str, act: str) -> int:
    """Which form of the page has this button."""
    html = client.http.get(address).get_data(as_text=True)
    forms = html.split("<form")[1:]
    return next(place for place, form in enumerate(forms) if f'value="{act}"' in form.partition("</form>")[0])


def press(client: Client, address: str, act: str, status: int = 303, **fields: Any) -> Page:
    """Press a button of the manage page, and follow."""
    response = client.send(address, {"act": act, **fields}, form=of(client, address, act), status=status)
    return client.get(response.location or "") if status == 303 else client.inspect(response)


def test_the_manage_link_changes_leaves_and_comes_back(
    client: Client, session: Session, reader: Subscriber, keys: Keyring
) -> None:
    manage = f"/follow/manage/{subscriptions.manage_token(reader, keys)}"

    page = press(
        client,
        manage,
        "save",
        what="chosen",
        reports="lower-valley",
        search="quarry",
        frequency="monthly",
        month_day="31",
        hour="0",
        timezone="America/Santiago",
        disclosure="titles",
    )
    assert "Saved." in page.text
    assert "on day 31 of every month, or its last day, at 00:00 (America/Santiago)" in page.text
    assert dict(page.forms[0]["fields"])["search"] == "quarry"
    found = only(session)
    assert (found.timezone, found.next_local_date) == ("America/Santiago", dt.date(2026, 11, 30))
    assert [follow.scope for follow in found.follows] == [Scope.REPORT, Scope.SEARCH]
    assert found.disclosure is Disclosure.TITLES

    assert "You have left" in press(client, manage, "leave").text
    assert only(session).state is SubscriberState.LEFT
    press(client, manage, "save")
    assert only(session).state is SubscriberState.CONFIRMED


def test_a_change_that_cannot_be_changes_nothing(
    client: Client, session: Session, reader: Subscriber, keys: Keyring
) -> None:
    manage = f"/follow/manage/{subscriptions.manage_token(reader, keys)}"

    page = press(client, manage, "save", 422, what="chosen", frequency="weekly")

    assert "Choose at least one thing" in page.text
    assert only(session).frequency.value == "daily"
    fields = dict(page.forms[0]["fields"])
    client.post(manage, {**fields, "act": "dance"}, 422)


def test_somebody_pauses_until_a_day_and_begins_again(
    client: Client, session: Session, reader: Subscriber, keys: Keyring
) -> None:
    manage = f"/follow/manage/{subscriptions.manage_token(reader, keys)}"
    until = {"until-day": "10", "until-month": "1"}

    assert (
        "Paused until the end of this day: 10 Jan 2027"
        in press(client, manage, "pause", **until, **{"until-year": "2027"}).text
    )
    assert only(session).next_local_date == dt.date(2027, 1, 11)
    page = press(client, manage, "resume")
    assert "You get digests again" in page.text
    assert only(session).paused_until is None

    for wrong, sentence in (
        ({"until-year": "2029"}, "within a year"),
        ({"until-year": "2025"}, "within a year"),
        ({"until-year": ""}, "Enter"),
    ):
        assert sentence in press(client, manage, "pause", 422, **until, **wrong).text
    assert only(session).paused_until is None


def test_everything_that_is_held_is_shown_and_can_be_taken_along(
    client: Client, session: Session, reader: Subscriber, keys: Keyring
) -> None:
    manage = f"/follow/manage/{subscriptions.manage_token(reader, keys)}"

    page = client.get(manage)
    for words in ("Your address, encrypted so that only the mailer can read it", "None so far.", "Time zone"):
        assert words in page.text

    token = dict(page.forms[0]["fields"])["form_token"]
    response = client.post(manage, {"form_token": token, "act": "take-along"}, 200)
    assert "attachment" in response.headers["Content-Disposition"]
    assert response.json is not None
    assert response.json["subscriber"]["frequency"] == "daily"
    assert [one["scope"] for one in response.json["follows"]] == ["everything"]


def test_somebody_says_that_they_still_want_this(
    client: Client, session: Session, reader: Subscriber, keys: Keyring, now: dt.datetime
) -> None:
    manage = f"/follow/manage/{subscriptions.manage_token(reader, keys)}"
    assert "still want this?" not in client.get(manage).text
    reader.renewal_asked_at = now
    session.commit()

    assert "Do you still want this?" in client.get(manage).text
    assert "We ask again in a year" in press(client, manage, "renew").text

    found = only(session)
    assert (found.renewal_asked_at, found.renewed_at) == (None, dt.datetime(2026, 11, 22, tzinfo=dt.UTC))


def test_a_key_is_replaced_and_erased_by_the_manage_link(
    client: Client, session: Session, reader: Subscriber, keys: Keyring
) -> None:
    manage = f"/follow/manage/{subscriptions.manage_token(reader, keys)}"
    with gnupg_keyring() as gnupg:
        gnupg.make(primary="ed25519", subkey="cv25519")
        public = gnupg.public()

    assert "not a public OpenPGP key" in press(client, manage, "key", 422, openpgp="nonsense").text
    assert "Paste your public key" in press(client, manage, "key", 422, openpgp=" ").text
    page = press(client, manage, "key", openpgp=public)
    assert "every digest is encrypted to this key" in page.text
    assert "BEGIN PGP" in subscriptions.certificate(only(session), keys)
    assert public.splitlines()[3] not in page.text
    assert "not encrypted any more" in press(client, manage, "no-key").text
    assert only(session).openpgp_sealed is None


def test_the_manage_link_erases_everything_after_asking_once_more(
    client: Client, session: Session, reader: Subscriber, keys: Keyring
) -> None:
    manage = f"/follow/manage/{subscriptions.manage_token(reader, keys)}"

    page = press(client, manage, "erase", 200)
    assert "This cannot be undone" in page.text
    assert only(session).state is SubscriberState.CONFIRMED
    fields = dict(page.forms[-1]["fields"])
    done = client.post(page.forms[-1]["action"], {**fields, "act": "erase-now"}, 200)
    assert "Everything about you was erased" in client.inspect(done).text
    client.get(manage, 404)
    session.rollback()
    assert session.scalar(select(func.count()).select_from(Subscriber)) == 0


def test_the_form_says_what_it_promises(client: Client) -> None:
    page: Page = client.get("/follow")

    assert "the answer is always the same" in page.text
    assert "What we cannot promise" in page.text
    assert "/changes.atom" in page.links
