"""A file on its way through a real browser without scripts: attached, copied, reviewed, read, taken away and proven."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import files
from tests.browser.conftest import ROOT, Tracker
from tests.browser.keyboard import Person
from tracker import clock, db, keyring, sessions
from tracker import config as settings
from tracker.models import Account
from tracker.services import sign_ins
from tracker.vocabulary import Role

pytestmark = pytest.mark.browser


@pytest.fixture
def database_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """One database only: what happens in the browser does not depend on it, and the functional tests use both."""
    path = tmp_path / "tracker.db"
    shutil.copy(migrated_sqlite, path)
    return f"sqlite:///{path}"


class Visitor(Person):
    """Somebody whose browser runs no script. axe is one, so it looks at the same addresses in a window beside."""

    def __init__(self, page: Any, beside: Any) -> None:
        super().__init__(page)
        self.beside = Person(beside)

    def check(self) -> None:
        self.beside.open(self.page.url).check()


@pytest.fixture
def signed_in(
    tracker: Tracker, chromium: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Visitor]]:
    """`signed_in("Mona", Role.MONITOR)`: somebody at a window of their own, where no script runs. No name: the public."""
    contexts: list[Any] = []
    for name, value in tracker.environ.items():
        if name.startswith("TRACKER_"):
            monkeypatch.setenv(name, value)
    config = settings.load()
    engine = db.make_engine(config.sqlalchemy_url, keyring.load(config.keys_path))

    def sign_in(name: str = "", role: Role = Role.MONITOR) -> Visitor:
        own, beside = (
            chromium.new_context(base_url=tracker.address, java_script_enabled=scripts)
            for scripts in (False, True)
        )
        contexts.extend([own, beside])
        if name:
            with db.new_session(engine) as session:
                account = Account(
                    email=f"{name.lower()}@arvenia.example", name=name, role=role, created_at=clock.now()
                )
                session.add(account)
                session.flush()
                token = sign_ins.start(session, account, now=clock.now(), hours=1)
                session.commit()
            cookie = {"name": sessions.cookie_name(config), "value": token, "url": tracker.address}
            own.add_cookies([cookie])
            beside.add_cookies([cookie])
        return Visitor(own.new_page(), beside.new_page())

    yield sign_in
    for context in contexts:
        context.close()
    engine.dispose()


def test_a_photo_is_attached_copied_reviewed_published_and_proven_offline(
    tracker: Tracker, signed_in: Callable[..., Visitor], tmp_path: Path
) -> None:
    tracker.command("demo", "--recommendations", "1")
    mona, rafa, reader = signed_in("Mona"), signed_in("Rafa", Role.REVIEWER), signed_in()
    photo = tmp_path / "gate.jpg"
    photo.write_bytes(files.telling_jpeg())

    # A monitor logs what they have, and attaches the photo: what it tells unseen is named.
    page = mona.open("/workspace/evidence/new?report=arvenia-1-1").page
    page.fill("#title", "The gate of the quarry stands open")
    page.fill("#occurred-year", "2024")
    page.fill("#summary", "A photo shows the gate of the quarry without guards.")
    page.locator("#bearings summary").first.click()
    page.locator("#bearings select").first.select_option("progress")
    page.fill("#publisher", "Valley Legal Aid")
    page.select_option("#source_type", "image")
    page.select_option("#reliability", "B")
    page.select_option("#credibility", "2")
    page.check("input[name=visibility][value=public]")
    page.fill("#exact_place", "Kestrel Street 14")
    page.click("button[name=draft]")
    piece = page.url
    page.click("text=Attach a file")
    mona.check()
    page.set_input_files("#file", photo)
    page.check("#distressing")
    page.click("main form button[type=submit]")
    assert "Place (GPS)" in mona.text

    # The public copy is another file, made of the pixels alone.
    page.click("text=Make a public copy here")
    page.fill("#description", "The gate of a quarry, open.")
    page.click("text=Make the copy")
    assert "Waits for its release" in mona.text
    mona.check()
    mona.open(f"{piece}/edit").page.click("button[name=review]")
    assert "Another person decides about it" in mona.text

    # Another person looks at it, answers, and accepts: copy and text become public together.
    page = rafa.open("/review").page
    page.click("main ol a")
    rafa.check()
    assert "The public copy that waits is released with it" in rafa.text
    for answer in page.locator("#decide input[type=radio][value=no]").all():
        answer.check()
    page.check("#looked-box")
    page.check("input[name=decision][value=accept]")
    page.click("#decide button[type=submit]")
    assert "Accepted." in rafa.text
    rafa.open(piece)

    # The public reads what was written for it, and nothing of what was hidden.
    page = reader.open(str(rafa.page.get_attribute("text=As it is now", "href"))).page
    reader.check()
    assert "The gate of a quarry, open." in reader.text
    assert "it may distress you" in reader.text
    assert "Kestrel Street" not in page.content()
    file = page.request.get(page.locator("#exhibits a").first.get_attribute("href"))
    assert file.status == 200
    assert files.CANARY.encode() not in file.body()

    # The pack holds that file, and proves itself with nothing but Python and the key from /ledger.
    reader.open("/ledger")
    key = re.search(r"--key ([0-9a-f]{64})", reader.text)
    assert key
    reader.open("/reports/arvenia-1-1/88-a")
    with page.expect_download() as taken:
        page.click("text=Evidence pack (ZIP)")
    pack = tmp_path / "pack.zip"
    taken.value.save_as(pack)
    with zipfile.ZipFile(pack) as inside:
        held = {name: inside.read(name) for name in inside.namelist()}
    assert file.body() in held.values()
    assert not any(
        word in content for content in held.values() for word in (files.CANARY.encode(), b"Kestrel Street 14")
    )
    verify = [sys.executable, "-I", ROOT / "tracker" / "verifier.py", pack, "--key", key[1]]
    said = subprocess.run(verify, capture_output=True, text=True, check=False, timeout=30)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "The pack is whole." in said.stdout

    assert tracker.command("fsck").startswith("Database, ledger and store agree")
