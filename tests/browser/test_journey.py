"""The main job in a real browser, by keyboard only: set up, invite, follow, propose, approve, page, digest."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from email import message_from_string, policy
from typing import Any

import pytest

from tests import authenticator
from tests.browser.conftest import Tracker
from tests.browser.keyboard import COLOURS, Person
from tracker.services import findings

pytestmark = pytest.mark.browser

PASSWORD = "seven blue herons walk home"


def code(secret: str, ahead: int = 0) -> str:
    """The code for the present half-minute, or for a later one."""
    return authenticator.code(secret, dt.datetime.now(dt.UTC) + dt.timedelta(seconds=30 * ahead))


def set_up(person: Person, link: str) -> str:
    """Use a one-time link; returns the authenticator's secret."""
    person.open(link)
    person.check()
    secret = person.page.inner_text("main code")
    person.type("#password", PASSWORD)
    person.type("#again", PASSWORD)
    person.type("#code", code(secret))
    person.press("main button[type=submit]")
    assert "recovery codes" in person.text.lower()
    person.check()
    return secret


def sign_in(person: Person, email: str, secret: str) -> None:
    person.open("/sign-in")
    person.check()
    person.type("#email", email)
    person.type("#password", PASSWORD)
    # The code of this half-minute was used for the set-up, and each is good once; the next one is accepted early.
    person.type("#code", code(secret, ahead=1))
    person.press("main button[type=submit]")
    assert "Sign out" in person.text, person.text


def invite(admin: Person, email: str, name: str, role: str) -> str:
    admin.open("/people")
    admin.type("#email", email)
    admin.type("#name", name)
    admin.go_to("#role")
    admin.page.keyboard.type(role)
    admin.press("form:has(#email) button[type=submit]")
    return str(admin.page.inner_text("main code"))


@pytest.mark.parametrize("scheme", ["light"])
def test_a_loaded_draft_becomes_a_published_finding_and_one_digest(
    database: str,
    scheme: str,
    tracker: Tracker,
    new_page: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Person, "looks", database == "sqlite")
    admin, reader = Person(new_page(color_scheme="dark")), Person(new_page())
    monitor, reviewer = Person(new_page()), Person(new_page(color_scheme="dark"))

    # The first account, from the link that `tracker run` printed; then two people of the team.
    sign_in(admin, "admin@localhost", set_up(admin, tracker.set_up_link))
    links = {
        "mona": invite(admin, "mona@arvenia.example", "Mona", "Monitor"),
        "rafa": invite(admin, "rafa@arvenia.example", "Rafa", "Reviewer"),
    }
    admin.check()
    sign_in(monitor, "mona@arvenia.example", set_up(monitor, links["mona"]))
    sign_in(reviewer, "rafa@arvenia.example", set_up(reviewer, links["rafa"]))

    # Somebody follows the report, daily at seven, and confirms.
    reader.open("/follow?report=ohchr-xuar-2022")
    reader.check()
    reader.choose("input[name=frequency][value=daily]")
    reader.go_to("#hour")
    reader.page.keyboard.type("07")
    reader.type("#email", "vera@arvenia.example")
    reader.press("main form button[type=submit]")
    reader.check()
    tracker.command("digests", "send")
    (confirmation,) = tracker.mails()
    reader.open(link_in(confirmation, "/follow/confirm/"))
    reader.check()
    reader.press("main form button[type=submit]")
    reader.check()

    # A monitor takes up a draft that came with the report, and proposes it.
    board = reader.open("/reports/ohchr-xuar-2022")
    board.check()
    assert "None has been assessed yet" in board.text
    monitor.open("/workspace")
    monitor.check()
    monitor.press("#unclaimed a[href*='/workspace/findings/']")
    monitor.check()
    monitor.press("a[href$='/edit']")
    monitor.check()
    monitor.press("button[name=review]")
    assert "Another person decides" in monitor.text
    monitor.check()

    # A reviewer who is not the proposer looks at it side by side, answers the harm questions, approves.
    reviewer.open("/review")
    reviewer.check()
    reviewer.press("main a[href*='/workspace/findings/']")
    reviewer.check()
    for question in findings.HARM_QUESTIONS:
        reviewer.choose(f"input[name={question}][value=no]")
    reviewer.choose("input[name=decision][value=approve]")
    reviewer.type("#reason", "Read against every cited page.")
    reviewer.press("form:has(#reason) button[type=submit]")
    assert "Published as ledger entry" in reviewer.text

    # The page shows it, the record holds it, nobody of the team is named.
    reader.open("/reports/ohchr-xuar-2022/151-i")
    reader.check()
    assert "Not implemented" in reader.text
    assert "Read against every cited page." in reader.text
    assert "Mona" not in reader.text
    assert "Rafa" not in reader.text
    assert "The ledger is whole." in tracker.command("ledger", "verify")

    # At the hour that was chosen there is exactly one digest about it, and no second one.
    now = dt.datetime.now(dt.UTC)
    day = now.date() + dt.timedelta(days=now.hour >= 7)
    tracker.command("digests", "send", "--now", f"{day}T06:59:00+00:00")
    assert len(tracker.mails()) == 1
    tracker.command("digests", "send", "--now", f"{day}T07:00:30+00:00")
    tracker.command("digests", "send", "--now", f"{day}T07:05:00+00:00")
    _, digest = tracker.mails()
    mail = message_from_string(digest, policy=policy.default)
    words = mail.get_body(("plain",)).get_content()
    assert "Release people arbitrarily deprived of liberty" in words
    assert "Not implemented" in words
    assert str(mail["List-Unsubscribe-Post"]) == "List-Unsubscribe=One-Click"

    # An admin reads the outbox; the reader leaves by the link.
    admin.open("/outbox")
    admin.check()
    reader.open(link_in(digest, "/unsubscribe/"))
    reader.check()
    reader.press("main form button[type=submit]")
    tracker.command("digests", "send", "--now", f"{day + dt.timedelta(days=1)}T07:05:00+00:00")
    assert len(tracker.mails()) == 2


def link_in(mail: str, path: str) -> str:
    body = message_from_string(mail, policy=policy.default).get_body(("plain",)).get_content()
    found = re.search(rf"http://\S+?({re.escape(path)}\S+)", body)
    assert found, body
    return found.group(1)


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_public_page_is_accessible(scheme: str, tracker: Tracker, new_page: Callable[..., Any]) -> None:
    person = Person(new_page(color_scheme=scheme))
    if scheme == "dark":
        person.rules = COLOURS
    for address in (
        "/", "/method", "/changes", "/ledger", "/digests", "/follow", "/follow/mailbox", "/sign-in", "/evidence/49", "/nothing-here",
        "/reports/ohchr-xuar-2022", "/reports/ohchr-xuar-2022/151-iii", "/reports/ohchr-xuar-2022/153",
    ):  # fmt: skip
        person.open(address).check()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("<p style='color: #ddd'>Pale</p>", "color-contrast"),
        ("<a href='/' style='display: inline-block; font-size: 4px'>a</a>" * 3, "target-size"),
        ("<input>", "label"),
        ("<table style='width: 600px'><tr><td>Wide</table>", "320 pixels"),
        (
            "<style>[dir=rtl] p { color: #ddd }</style><p>Pale where it is read from right to left</p>",
            "rtl: color-contrast",
        ),
    ],
)
def test_the_look_at_a_page_sees_what_is_wrong(chromium: Any, wrong: str, named: str) -> None:
    with chromium.new_page() as page:
        page.set_content(
            f"<!doctype html><html lang=en><title>A page</title><main><h1>A page</h1>{wrong}</main>"
        )
        with pytest.raises(AssertionError, match=named):
            Person(page).check()


@pytest.mark.only("sqlite")
def test_pages_load_nothing_from_elsewhere_and_set_no_cookie(
    tracker: Tracker, new_page: Callable[..., Any]
) -> None:
    page = new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for address in (
        "/",
        "/reports/ohchr-xuar-2022",
        "/reports/ohchr-xuar-2022/151-iii",
        "/follow",
        "/ledger",
    ):
        page.goto(address)

    assert {url.split("/")[2] for url in asked} == {tracker.address.split("/")[2]}
    assert page.context.cookies() == []
