"""Admins invite people and let them go; everything takes effect at once."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client, Page
from tracker.cli import main
from tracker.config import Config
from tracker.models import Account, Invitation
from tracker.services import accounts
from tracker.vocabulary import Role

As = Callable[[Account], Client]


@pytest.fixture
def ada(make: Factory) -> Account:
    """Ada runs the place, and can sign in."""
    account: Account = make.account(Role.ADMIN, name="Ada", password_hash="set up")
    return account


def act(
    client: Client, account: Account, what: str, fill: dict[str, str] | None = None, status: int = 303
) -> Page:
    """Press a button beside somebody on the page of people."""
    page = client.get("/people")
    form = next(form for form in page.forms if form["action"] == f"/people/{account.key}/{what}")
    response = client.post(form["action"], dict(form["fields"]) | (fill or {}), status)
    return Page(response.get_data(as_text=True))


def test_an_invitation_shows_its_link_once_and_the_link_works(
    as_somebody: As, ada: Account, client: Client, session: Session
) -> None:
    admin = as_somebody(ada)
    response = admin.send(
        "/people", {"email": "Mona@arvenia.example", "name": "Mona", "role": "monitor"}, status=200
    )
    page = admin.inspect(response)
    assert "Who can sign in" in page.text
    link = re.search(r"http://localhost(/set-up/[\w-]{43})", page.text)
    assert link
    assert response.headers["Cache-Control"] == "no-store"
    assert "/set-up/" not in admin.get("/people").text
    assert "Invited, not yet set up" in admin.get("/people").text
    assert "mona@arvenia.example" in client.get(link[1]).text
    invited = accounts.by_email(session, "mona@arvenia.example")
    assert invited is not None
    assert invited.role is Role.MONITOR


def test_a_second_invitation_to_an_address_is_refused_at_the_field(as_somebody: As, ada: Account) -> None:
    admin = as_somebody(ada)
    fill = {"email": "MONITOR@arvenia.example", "name": "One", "role": "reviewer"}
    admin.send("/people", fill, status=200)
    page = admin.inspect(admin.send("/people", fill | {"email": "monitor@ARVENIA.example"}, status=422))
    assert "There is an account with this e-mail address already." in page.text
    assert dict(page.forms[-1]["fields"])["name"] == "One"


@pytest.mark.parametrize(
    "fill",
    [{"email": "nowhere"}, {"email": ""}, {"name": ""}, {"role": ""}, {"role": "king"}, {"name": "a\u202eb"}],
)
def test_a_wrong_invitation_makes_no_account(
    as_somebody: As, ada: Account, session: Session, fill: dict[str, str]
) -> None:
    admin = as_somebody(ada)
    right = {"email": "mona@arvenia.example", "name": "Mona", "role": "monitor"}
    admin.inspect(admin.send("/people", right | fill, status=422))
    assert accounts.by_email(session, "mona@arvenia.example") is None


def test_a_new_link_replaces_the_old_one(
    as_somebody: As, ada: Account, session: Session, client: Client
) -> None:
    admin = as_somebody(ada)
    first = admin.send(
        "/people", {"email": "mona@arvenia.example", "name": "Mona", "role": "monitor"}, status=200
    )
    mona = accounts.by_email(session, "mona@arvenia.example")
    assert mona is not None
    session.commit()
    second = act(admin, mona, "link", status=200)
    old, new = (re.search(r"/set-up/[\w-]{43}", text) for text in (first.get_data(as_text=True), second.text))
    assert old
    assert new
    client.get(old[0], status=404)
    client.get(new[0])
    assert len(session.scalars(select(Invitation)).all()) == 1


def test_somebody_deactivated_is_out_at_once_and_can_come_back(
    as_somebody: As, ada: Account, mona: Account
) -> None:
    admin, client = as_somebody(ada), as_somebody(mona)
    client.get("/account")
    act(admin, mona, "deactivate")
    assert "Mona is signed out and cannot sign in any more." in admin.get("/people").text
    assert client.http.get("/account").status_code == 303
    assert "cannot sign in any more" not in admin.get("/people").text
    act(admin, mona, "reactivate")
    # What was signed in before stays signed out.
    assert client.http.get("/account").status_code == 303
    as_somebody(mona).get("/account")


def test_another_role_signs_out_and_opens_other_pages(
    as_somebody: As, ada: Account, mona: Account, session: Session
) -> None:
    admin, client = as_somebody(ada), as_somebody(mona)
    client.get("/review", status=403)
    act(admin, mona, "role", {"role": "reviewer"})
    assert client.http.get("/review").status_code == 303
    as_somebody(mona).get("/review")
    assert "Mona now has the role Reviewer." in admin.get("/people").text
    session.refresh(mona)
    assert mona.role is Role.REVIEWER
    session.commit()
    act(admin, mona, "role", {"role": "king"}, status=422)


def test_an_admin_cannot_take_away_their_own_rights(
    as_somebody: As, ada: Account, make: Factory, session: Session
) -> None:
    make.account(Role.ADMIN, name="Ben", password_hash="set up")
    admin = as_somebody(ada)
    page = admin.get("/people")
    assert not [form for form in page.forms if ada.key in (form["action"] or "")]
    token = dict(page.forms[0]["fields"])["form_token"]
    for what, fill in [("deactivate", {}), ("role", {"role": "monitor"})]:
        response = admin.post(f"/people/{ada.key}/{what}", {"form_token": token, **fill}, status=403)
        assert "Nobody may deactivate or demote themselves." in response.get_data(as_text=True)
    session.refresh(ada)
    assert (ada.active, ada.role) == (True, Role.ADMIN)


def test_an_admin_who_lost_the_role_meanwhile_changes_nothing(
    as_somebody: As, ada: Account, mona: Account, session: Session
) -> None:
    admin = as_somebody(ada)
    page = admin.get("/people")
    token = dict(page.forms[0]["fields"])["form_token"]
    ada.role = Role.MONITOR
    session.commit()
    admin.post(f"/people/{mona.key}/deactivate", {"form_token": token}, status=403)
    session.refresh(mona)
    assert mona.active


@pytest.mark.parametrize("key", ["000000000000", "%00", "é", "%27%20OR%201=1%20--"])
def test_an_account_that_is_nobodys_is_not_found(as_somebody: As, ada: Account, key: str) -> None:
    admin = as_somebody(ada)
    token = dict(admin.get("/people").forms[0]["fields"])["form_token"]
    admin.post(f"/people/{key}/deactivate", {"form_token": token}, status=404)


def test_names_are_shown_as_text(as_somebody: As, ada: Account, make: Factory) -> None:
    make.account(name="<b>Mona</b> {{ 7*7 }}")
    page = as_somebody(ada).get("/people")
    assert "<b>Mona</b> {{ 7*7 }}" in page.text


# The command line


@pytest.fixture
def tracker_command(config: Config, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`tracker accounts …` on this test's database."""
    monkeypatch.setenv("TRACKER_DATABASE_URL", config.database_url.get_secret_value())
    monkeypatch.setenv("TRACKER_DATA_DIR", str(config.data_dir))
    monkeypatch.setenv("TRACKER_BASE_URL", config.base_url)
    return lambda *words: CliRunner().invoke(main, ["accounts", *words])


def test_the_operator_adds_people_and_the_printed_link_works(
    tracker_command: Callable[..., Result], client: Client, session: Session
) -> None:
    added = tracker_command("add", "Mona@arvenia.example", "--role", "reviewer", "--name", "Mona")
    assert added.exit_code == 0
    link = added.stdout.strip()
    assert re.fullmatch(r"http://localhost/set-up/[\w-]{43}", link)
    assert "mona@arvenia.example (Reviewer)" in client.get(link.removeprefix("http://localhost")).text
    assert tracker_command("list").stdout == "mona@arvenia.example\treviewer\tnot set up\tMona\n"
    newer = tracker_command("link", "MONA@arvenia.example").stdout.strip()
    client.get(link.removeprefix("http://localhost"), status=404)
    client.get(newer.removeprefix("http://localhost"))
    assert tracker_command("deactivate", "mona@arvenia.example").exit_code == 0
    client.get(newer.removeprefix("http://localhost"), status=404)
    assert "\tdeactivated\t" in tracker_command("list").stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("add", "nowhere", "--role", "monitor"), "Enter an e-mail address"),
        (("link", "nobody@arvenia.example"), "no account with the address nobody@arvenia.example"),
        (("deactivate", "nobody@arvenia.example"), "no account"),
    ],
)
def test_what_the_operator_gets_wrong_is_one_line_on_stderr(
    tracker_command: Callable[..., Result], words: tuple[str, ...], sentence: str
) -> None:
    result = tracker_command(*words)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1


def test_without_a_database_a_command_says_what_to_do(
    empty_database: str, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_DATABASE_URL", empty_database)
    monkeypatch.setenv("TRACKER_DATA_DIR", str(config.data_dir))
    result = CliRunner().invoke(main, ["accounts", "list"])
    assert result.exit_code == 1
    assert "tracker init" in result.stderr
    assert result.stderr.count("\n") == 1
