"""A browser without scripts: a client that follows our rules for forms and inspects every page it gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from jinja2 import FileSystemBytecodeCache
from justhtml import JustHTML
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from tests.factories import Factory
from tracker import clock, create_app, sessions
from tracker.cli import main
from tracker.config import Config
from tracker.models import Account
from tracker.services import sign_ins
from tracker.vocabulary import Role


@pytest.fixture(scope="session")
def compiled_templates(tmp_path_factory: pytest.TempPathFactory) -> FileSystemBytecodeCache:
    """Compiling templates anew for every test would take longer than all else."""
    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))


@pytest.fixture
def app(config: Config, compiled_templates: FileSystemBytecodeCache) -> Iterator[Flask]:
    app = create_app(config)
    app.testing = True
    app.jinja_env.bytecode_cache = compiled_templates
    app.config["ARGON2_MEMORY_KIB"] = 64
    yield app
    app.extensions["engine"].dispose()


class Page(HTMLParser):
    """What a test asks of a page: its title, its text, its forms with their fields as a browser would send them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.title, self.forms, self.links = "", [], []
        self._in: list[str] = []
        self._text: list[str] = []
        self._select: dict[str, Any] | None = None
        self._area: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in ("input", "meta", "link", "br", "img", "hr"):
            self._in.append(tag)
        if tag == "a":
            self.links.append(found.get("href") or "")
        elif tag == "form":
            self.forms.append(
                {"action": found.get("action"), "method": found.get("method", "get"), "fields": []}
            )
        elif tag == "input" and self.forms and found.get("name"):
            if found.get("type") in ("checkbox", "radio") and "checked" not in found:
                return
            self.forms[-1]["fields"].append((found["name"], found.get("value") or ""))
        elif tag == "select" and found.get("name"):
            self._select = {"name": found["name"], "value": None, "first": None}
        elif tag == "option" and self._select is not None:
            if self._select["first"] is None:
                self._select["first"] = found.get("value") or ""
            if "selected" in found:
                self._select["value"] = found.get("value") or ""
        elif tag == "textarea" and found.get("name"):
            self._area = found["name"]
            self.forms[-1]["fields"].append((self._area, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in self._in:
            while self._in.pop() != tag:
                pass
        if tag == "select" and self._select is not None:
            value = (
                self._select["value"] if self._select["value"] is not None else self._select["first"] or ""
            )
            self.forms[-1]["fields"].append((self._select["name"], value))
            self._select = None
        if tag == "textarea":
            self._area = None

    def handle_data(self, data: str) -> None:
        if "title" in self._in and "svg" not in self._in:
            self.title += data
        if self._area is not None:
            name, value = self.forms[-1]["fields"][-1]
            self.forms[-1]["fields"][-1] = (
                name,
                (value + data).removeprefix("\n") if not value else value + data,
            )
        if not {"script", "style", "head"} & set(self._in):
            self._text.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self._text).split())


class Client:
    """Gets pages, inspects them, and sends their forms as they stand, with what a test fills in."""

    def __init__(self, app: Flask) -> None:
        self.app, self.http = app, app.test_client()

    def sign_in(self, account: Account) -> Client:
        """Put this account's session into the cookie jar, without the page."""
        with self.app.app_context():
            from tracker import db

            with db.writing() as session:
                token = sign_ins.start(session, account, now=clock.now(), hours=12)
            name = sessions.cookie_name(self.app.extensions["settings"])
        self.http.set_cookie(name, token)
        return self

    def get(self, address: str, status: int = 200, **kwargs: Any) -> Page:
        response = self.http.get(address, **kwargs)
        assert response.status_code == status, (
            f"{address}: {response.status_code} {response.get_data(as_text=True)[:2000]}"
        )
        return self.inspect(response)

    def post(self, address: str, data: Any = None, status: int = 303, **kwargs: Any) -> TestResponse:
        response = self.http.post(address, data=data, **kwargs)
        assert response.status_code == status, (
            f"{address}: {response.status_code} {Page(response.get_data(as_text=True)).text[:2000]}"
        )
        return response

    def send(self, address: str, fill: dict[str, Any], *, form: int = -1, status: int = 303) -> TestResponse:
        """Open a page, fill in one of its forms, send it. A value of None leaves the field out, a list repeats it."""
        page = self.get(address)
        chosen = page.forms[form]
        assert chosen["method"] == "post"
        data: list[tuple[str, str]] = [(name, value) for name, value in chosen["fields"] if name not in fill]
        for name, value in fill.items():
            for one in value if isinstance(value, list) else [value]:
                if one is not None:
                    data.append((name, str(one)))
        from werkzeug.datastructures import MultiDict

        return self.post(chosen["action"] or address, MultiDict(data), status)

    def inspect(self, response: TestResponse) -> Page:
        """Every page has a title, parses without error, and loads nothing from elsewhere."""
        html = response.get_data(as_text=True)
        if not response.mimetype.startswith("text/html"):
            return Page("")
        page = Page(html)
        assert page.title.strip(), "a page without title"
        errors = JustHTML(html, collect_errors=True).errors
        assert not errors, f"invalid HTML: {errors[:3]}"
        assert "<script" not in html
        assert " style=" not in html
        assert "Content-Security-Policy" in response.headers
        for form in page.forms:
            if form["method"] == "post":
                assert "form_token" in dict(form["fields"]), f"a form without token: {form['action']}"
        return page


@pytest.fixture
def client(app: Flask) -> Client:
    """Somebody from the public."""
    return Client(app)


@pytest.fixture
def as_somebody(app: Flask) -> Callable[[Account], Client]:
    """`as_somebody(account)`: a client that is signed in."""
    return lambda account: Client(app).sign_in(account)


@pytest.fixture
def mona(make: Factory) -> Account:
    """Mona monitors."""
    account: Account = make.account(Role.MONITOR, name="Mona")
    return account


@pytest.fixture
def rafa(make: Factory) -> Account:
    """Rafa reviews."""
    account: Account = make.account(Role.REVIEWER, name="Rafa")
    return account


@pytest.fixture
def fresh(session: Session) -> Session:
    """The test's session, which forgets what it knew before each look."""
    return session


@pytest.fixture
def run(config: Config, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`run("ledger", "verify", code=1)`: a command, against the test's database."""
    monkeypatch.setenv("TRACKER_DATA_DIR", str(config.data_dir))
    monkeypatch.setenv("TRACKER_BASE_URL", config.base_url)
    monkeypatch.setenv("TRACKER_DATABASE_URL", config.database_url.get_secret_value())

    def run(*words: str, code: int = 0) -> Result:
        done = CliRunner().invoke(main, list(words))
        assert done.exit_code == code, done.output + repr(done.exception)
        return done

    return run
