"""What needs a second person stands where that person looks: copies to release, and erasures to confirm."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session

from tests import files
from tests.exhibited import Exhibited
from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import Record
from tracker.config import Config
from tracker.models import Account, EvidenceDetail
from tracker.services import erasure, sources
from tracker.vocabulary import Detail, Role, Visibility

As = Callable[[Account], Client]
NOTHING = "Nothing waits for a second person."


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def test_a_copy_made_after_acceptance_waits_in_the_queue_of_others(
    record: Record, as_somebody: As, config: Config
) -> None:
    shown = Exhibited(record, config)
    piece, exhibit, _ = shown.published(files.telling_jpeg(), files.png(), title="The gate")
    rafa = as_somebody(record.rafa)
    assert NOTHING in rafa.get("/review").text

    shown.copy(exhibit, files.jpeg(), description="A second copy.")

    page = rafa.get("/review")
    assert "One thing waits for a second person." in page.text
    assert f"/workspace/exhibits/{exhibit.key}#copies" in page.links
    assert "One waits to be released or erased." in rafa.get("/workspace").text
    mona = as_somebody(record.mona).get("/workspace")
    assert "To release, or to erase 0" in mona.text
    # On a piece that is not accepted yet, a copy is decided together with the piece.
    waiting = record.submitted(record.second, title="Not accepted yet")
    shown.copy(shown.attach(waiting, files.telling_jpeg()), files.png())
    assert "Not accepted yet" not in rafa.get("/review").text.partition("To release")[2]
    record.withdraw(piece)
    assert "To release, or to erase 0" in rafa.get("/workspace").text


def test_an_erasure_waits_in_the_queue_of_reviewers_who_may_see_the_piece(
    record: Record, as_somebody: As, make: Factory
) -> None:
    session = record.session
    rita, named = make.account(Role.REVIEWER), make.account(Role.REVIEWER)
    piece = record.evidence(record.first, title="What a driver said", visibility=Visibility.TEAM)
    asked = erasure.request(session, piece, reason="The law says so.", account=record.rafa, now=record.tick())
    secret = record.submitted(record.first, title="For one pair of eyes", visibility=Visibility.RESTRICTED)
    erasure.request(session, secret, reason="Nobody may know.", account=record.mona, now=record.tick())
    session.commit()

    for address in ("/review", "/workspace"):
        told = as_somebody(rita).get(address).text
        assert "The law says so." in told, address
        assert "Nobody may know." not in told, address
        assert "The law says so." not in as_somebody(record.rafa).get(address).text
    assert "The law says so." not in as_somebody(record.mona).get("/workspace").text

    erasure.confirm(session, asked, account=named, now=record.tick())
    session.commit()
    assert NOTHING in as_somebody(rita).get("/review").text


def test_a_source_to_be_erased_waits_in_the_queue_of_reviewers(
    record: Record, as_somebody: As, session: Session
) -> None:
    source = sources.create(session, author=record.mona, now=record.tick())
    sources.ask_erasure(session, source, account=record.mona, now=record.tick())
    session.commit()

    assert source.pseudonym in as_somebody(record.rafa).get("/review").text
    assert "To release, or to erase 0" in as_somebody(record.mona).get("/workspace").text


def test_the_page_on_which_a_reviewer_decides_names_each_thing_once(
    record: Record, as_somebody: As, config: Config
) -> None:
    """Two elements with one id, and a label leads to the wrong question; two regions with one name, and nobody knows which."""
    shown = Exhibited(record, config)
    piece = record.submitted(
        record.first,
        title="Six files",
        summary="Call +44 20 7946 0958 or +44 20 7946 0959.",
    )
    for name in ("one.jpg", "two.jpg"):
        shown.copy(shown.attach(piece, files.telling_jpeg(), name), files.jpeg())
    html = as_somebody(record.rafa).http.get(f"/workspace/evidence/{piece.key}").get_data(as_text=True)
    for pattern in (r' id="([^"]+)"', r'role="region" aria-label="([^"]+)"'):
        found = re.findall(pattern, html)
        assert len(found) > 1
        assert len(found) == len(set(found))
    # One line for a place or a file, whatever was found there; and what acceptance releases is said.
    assert "One warning" in html
    assert html.count("7946 095") == 4  # In the summary, and beside the warning.
    assert "The 2 public copies that wait are released with it: look at each first." in html


def test_the_doctor_and_the_check_of_everything_read_hidden_details(
    record: Record, run: Callable[..., object]
) -> None:
    hidden = EvidenceDetail(
        detail=Detail.EXACT_PLACE, visibility=Visibility.RESTRICTED, value="Kestrel Street 14"
    )
    record.evidence(record.first, details=[hidden])

    said = run("doctor", code=1).stdout  # type: ignore[attr-defined]
    assert "no admin who can sign in" in said
    assert "sealed" not in said.lower()


def test_a_pack_of_something_unknown_is_refused_in_the_words_of_the_command(
    record: Record, run: Callable[..., object], tmp_path: object
) -> None:
    words = ("pack", f"{tmp_path}/pack.zip", "--report")
    assert "No report is called nowhere. See: tracker reports list" in run(*words, "nowhere", code=1).stderr  # type: ignore[attr-defined]
    refused = run(*words, "lower-valley", "--recommendation", "99", code=1).stderr  # type: ignore[attr-defined]
    assert "No report is called lower-valley with a recommendation 99." in refused
