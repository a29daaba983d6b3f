"""Closed by default: every route × everybody. And no POST does anything without its token."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from werkzeug.routing import Rule

from tests.factories import Factory
from tests.functional.conftest import Client
from tracker import clock, pages
from tracker.forms import token
from tracker.models import Account, Base, Heartbeat
from tracker.vocabulary import Role

As = Callable[[Account], Client]


@pytest.fixture
def still(now: dt.datetime) -> Iterator[None]:
    """The clock stands: feeds of an empty ledger show the present time, and who is seen in the next five minutes is
    seen anew.
    """
    with time_machine.travel(now, tick=False):
        yield


def rules(app: Flask) -> list[Rule]:
    found = sorted(app.url_map.iter_rules(), key=lambda rule: (rule.rule, rule.endpoint))
    assert len(found) > 40
    return found


def address(rule: Rule) -> str:
    """The route with something in each place; nothing of that name exists."""
    return re.sub(
        r"<(?:(\w+)(?:\([^)]*\))?:)?\w+>",
        lambda place: "1" if place[1] == "int" else "nothing-here",
        rule.rule,
    )


def roles(app: Flask, rule: Rule) -> frozenset[Role] | None:
    found: frozenset[Role] | None = app.view_functions[rule.endpoint].access  # type: ignore[attr-defined]
    return found


def ask(client: Client, rule: Rule, method: str) -> int:
    """Send the request as a page of ours would, with a valid token."""
    data = {token.FIELD: token_of(client)} if method == "POST" else None
    return client.http.open(address(rule), method=method, data=data, buffered=True).status_code


def token_of(client: Client) -> str:
    """A form token as a page would give it to this client."""
    cookie = client.http.get_cookie("sid")
    with client.app.test_request_context(headers={"Cookie": f"sid={cookie.value}"} if cookie else None):
        client.app.extensions["find_viewer"]()
        return token.make()


def test_every_route_says_who_may_use_it(app: Flask) -> None:
    undeclared = [
        rule.rule for rule in rules(app) if not hasattr(app.view_functions[rule.endpoint], "access")
    ]
    assert undeclared == []


def test_what_does_not_say_is_closed(app: Flask, as_somebody: As, make: Factory) -> None:
    app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
    for client in (Client(app), *(as_somebody(make.account(role)) for role in Role)):
        client.get("/forgotten", status=403)


def test_everybody_gets_where_they_may_and_nowhere_else(
    app: Flask, make: Factory, as_somebody: As, session: Session
) -> None:
    people = {role: make.account(role) for role in Role}
    signed_in = {role: as_somebody(account) for role, account in people.items()}
    session.add(Heartbeat(name="scheduler", at=clock.now()))  # Or /health says that the scheduler is dead.
    session.commit()
    wrong = []
    for rule in rules(app):
        allowed = roles(app, rule)
        for method in sorted({"GET", "POST"} & (rule.methods or set())):
            for role, account in people.items():
                # Some of these routes sign out, and then everybody signs in anew.
                status = ask(signed_in[role], rule, method)
                if method == "POST" and status != 403:
                    signed_in[role] = as_somebody(account)
                fine = status not in (401, 403) if allowed is None or role in allowed else status == 403
                if not fine or status >= 500:
                    wrong.append((method, rule.rule, role.value, status))
            status = ask(Client(app), rule, method)
            closed = 303 if method == "GET" else 401
            fine = status not in (401, 403) if allowed is None else status == closed
            if not fine or status >= 500:
                wrong.append((method, rule.rule, "anonymous", status))
    assert wrong == []


def test_the_page_that_sends_away_leads_to_sign_in(app: Flask, client: Client) -> None:
    for rule in rules(app):
        if roles(app, rule) is not None and "GET" in (rule.methods or set()):
            assert client.http.get(address(rule)).headers["Location"].startswith("/sign-in?next=/")


def test_only_methods_that_are_known_are_answered(app: Flask, client: Client) -> None:
    for method in ("PUT", "DELETE", "PATCH", "XXX"):
        assert client.http.open("/sign-in", method=method).status_code == 405


@pytest.mark.usefixtures("still")
def test_public_pages_set_no_cookie_and_are_the_same_for_everybody(
    app: Flask, make: Factory, as_somebody: As
) -> None:
    report = make.report()
    everybody = [Client(app), *(as_somebody(make.account(role)) for role in Role)]
    tokens = re.compile(r'name="form_token" value="[^"]*"')
    addresses = [
        address(rule) for rule in rules(app) if roles(app, rule) is None and "GET" in (rule.methods or set())
    ]
    for place in [*addresses, f"/reports/{report.slug}", f"/reports/{report.slug}/88-a"]:
        bodies = set()
        for client in everybody:
            response = client.http.get(place)
            assert "Set-Cookie" not in response.headers, place
            bodies.add(tokens.sub("", response.get_data(as_text=True)))
        assert len(bodies) == 1, f"{place} looks at who is signed in"


def test_every_answer_has_the_headers_that_fence_it(app: Flask, as_somebody: As, mona: Account) -> None:
    for client in (Client(app), as_somebody(mona)):
        for place in ("/", "/sign-in", "/account", "/people", "/nothing-here", "/changes.atom"):
            headers = client.http.get(place, buffered=True).headers
            assert headers["Content-Security-Policy"] == pages.CONTENT_SECURITY_POLICY
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "same-origin"


# The token


def forged(app: Flask, mine: Client, other: Client) -> list[tuple[str, dict[str, Any], dict[str, str]]]:
    """(what is wrong, form, headers) of POSTs that did not come from a page of ours."""
    right = {token.FIELD: token_of(mine)}
    return [
        ("no token", {}, {}),
        ("an empty token", {token.FIELD: ""}, {}),
        ("an invented token", {token.FIELD: "ImEi.aaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaa"}, {}),
        ("another session's token", {token.FIELD: token_of(other)}, {}),
        ("a public page's token", {token.FIELD: token_of(Client(app))}, {}),
        ("another site", right, {"Sec-Fetch-Site": "cross-site"}),
        ("a neighbouring site", right, {"Sec-Fetch-Site": "same-site"}),
        ("a foreign origin", right, {"Origin": "https://evil.example"}),
        ("another port", right, {"Origin": "http://localhost:81"}),
    ]


def contents(engine: Engine) -> dict[str, list[Any]]:
    """Every row of every table."""
    with engine.connect() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(table.select()).all()))
            for table in Base.metadata.sorted_tables
        }


@pytest.mark.usefixtures("still")
def test_no_post_without_its_token_does_anything(
    app: Flask, make: Factory, as_somebody: As, engine: Engine, session: Session
) -> None:
    people = {role: make.account(role) for role in Role}
    clients = {role: as_somebody(account) for role, account in people.items()}
    others = {role: as_somebody(account) for role, account in people.items()}
    before = contents(engine)
    tried = 0
    for rule in rules(app):
        view = app.view_functions[rule.endpoint]
        if "POST" not in (rule.methods or set()) or getattr(view, "tokenless", False):
            continue
        allowed = roles(app, rule)
        role = sorted(allowed, key=lambda role: role.value)[0] if allowed else None
        mine, other = (clients[role], others[role]) if role else (Client(app), clients[Role.MONITOR])
        for what, form, headers in forged(app, mine, other):
            if role is None and what == "a public page's token":
                continue
            response = mine.http.post(address(rule), data=form, headers=headers)
            assert response.status_code == 400, f"{rule.rule} with {what}: {response.status_code}"
            tried += 1
    assert tried > 100
    assert contents(engine) == before


def test_a_form_of_ours_works_also_where_the_browser_hides_the_origin(as_somebody: As, mona: Account) -> None:
    client = as_somebody(mona)
    fields = dict(client.get("/account").forms[0]["fields"])
    client.post("/sign-out", fields, headers={"Origin": "null"})
    client = as_somebody(mona)
    fields = dict(client.get("/account").forms[0]["fields"])
    client.post("/sign-out", fields, headers={"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"})


def test_only_leaving_by_one_click_needs_no_token(app: Flask) -> None:
    exempt = {
        rule.endpoint for rule in rules(app) if getattr(app.view_functions[rule.endpoint], "tokenless", False)
    }
    assert exempt == {"follow.leave"}


@pytest.mark.usefixtures("still")
def test_a_get_changes_nothing(app: Flask, make: Factory, as_somebody: As, engine: Engine) -> None:
    clients = [Client(app), *(as_somebody(make.account(role)) for role in Role)]
    report = make.report()
    before = contents(engine)
    for rule in rules(app):
        if "GET" in (rule.methods or set()):
            for client in clients:
                client.http.get(address(rule), buffered=True)
                client.http.head(address(rule), buffered=True)
    for client in clients:
        client.http.get(f"/reports/{report.slug}")
        client.http.get(f"/reports/{report.slug}/88-a")
    assert contents(engine) == before


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", ""])
def test_a_foreign_host_is_refused(client: Client, host: str) -> None:
    assert client.http.get("/", headers={"Host": host}).status_code == 400


def test_no_forwarded_header_is_believed_without_a_proxy(client: Client) -> None:
    response = client.http.get(
        "/account",
        headers={
            "X-Forwarded-Host": "evil.example",
            "X-Forwarded-Proto": "https",
            "Forwarded": "host=evil.example",
        },
    )
    assert response.headers["Location"] == "/sign-in?next=/account"
    assert "Strict-Transport-Security" not in response.headers
