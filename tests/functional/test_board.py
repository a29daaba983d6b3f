"""The start page and the board, as anybody sees them."""

from __future__ import annotations

import datetime as dt

import pytest
import time_machine
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import Record
from tracker.models import Account
from tracker.vocabulary import Access, Grade, Position

BOARD = "/reports/lower-valley"


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def test_a_site_without_reports_says_so(client: Client) -> None:
    page = client.get("/")

    assert "No report has been entered yet." in page.text
    assert "Nothing has been published here." in page.text


def test_the_start_page_shows_reports_changes_and_meanings(client: Client, record: Record) -> None:
    record.finding(record.second, None, Grade.C, record.evidence(record.second))

    page = client.get("/")

    assert "1 of 3 assessed" in page.text
    assert "Not implemented: 1. Not yet assessed: 2." in page.text
    assert "Government of Arvenia: 2 recommendations; Business: 1 recommendation." in page.text
    assert "Not yet assessed changed to C Not implemented" in page.text
    assert BOARD in page.links
    for grade in Grade:
        assert grade.meaning in page.text


def test_a_new_board_says_that_nothing_was_assessed(client: Client, record: Record) -> None:
    page = client.get(BOARD)

    assert "3 recommendations, entered word for word. None has been assessed yet." in page.text
    assert "says nothing about what has happened" in page.text
    assert page.text.count("First review not yet made") == 3
    assert "It is recommended that the Government:" in page.text
    assert "Release all persons held without charge, and publish the number of persons released;" in page.text
    assert "Followed as 2 clauses." in page.text
    assert "None yet" in page.text


def test_the_board_shows_the_four_axes(client: Client, record: Record, now: dt.datetime) -> None:
    piece = record.evidence(record.first)
    record.finding(record.first, record.first.clauses[0], Grade.B, piece, access=Access.GUIDED)
    record.reply(record.first, record.third, position=Position.REJECTS)

    with time_machine.travel(now, tick=False):
        text = client.get(BOARD).text

    assert "B Partially implemented 1 of 2 clauses assessed State’s position Rejects" in text
    assert (
        "What could be observed Guided visits only Timeliness Reviewed 26 Sep 2026 Next review due 26 Dec 2026"
        in text
    )
    assert "Public evidence 1 piece" in text
    assert "Position of those addressed Rejects" in text
    assert "Overdue" not in text


def test_a_late_review_is_shown_as_overdue(client: Client, record: Record, now: dt.datetime) -> None:
    record.finding(record.second, None, Grade.C, record.evidence(record.second))

    with time_machine.travel(now + dt.timedelta(days=60), tick=False):
        assert "Overdue Next review was due 26 Dec 2026" in client.get(BOARD).text


def test_hidden_evidence_appears_nowhere(client: Client, record: Record) -> None:
    record.evidence(record.first)
    record.hide_some(record.first)

    for address in ("/", BOARD, f"{BOARD}/88-a", "/changes", "/changes.atom", "/changes.json", f"{BOARD}.atom",
                    f"{BOARD}/88-a.atom", "/ledger", "/ledger/entries", "/evidence/1"):  # fmt: skip
        answer = client.http.get(address).get_data(as_text=True)
        assert "Hidden " not in answer, address
        for number in range(2, 7):
            assert f"/evidence/{number}" not in answer, address
    assert "Public evidence 1 piece" in client.get(BOARD).text


def test_people_of_the_team_appear_nowhere(client: Client, record: Record) -> None:
    piece = record.evidence(record.second)
    finding = record.finding(record.second, None, Grade.C, piece)
    record.reply(record.second)
    record.withdraw_finding(finding)
    record.withdraw(piece)

    for address in (
        "/",
        BOARD,
        f"{BOARD}/88-b",
        "/changes",
        "/changes.atom",
        "/changes.json",
        "/ledger/entries",
    ):
        answer = client.http.get(address).get_data(as_text=True)
        assert "Hidden-Name" not in answer
        assert "arvenia.example" not in answer.replace("court.arvenia.example", "").replace(
            "mission.arvenia.example", ""
        )


def test_the_demonstration_says_so_on_every_page_about_it(client: Client, record: Record) -> None:
    piece = record.evidence(record.first)
    record.finding(record.first, record.first.clauses[0], Grade.C, piece)
    for address in (BOARD, f"{BOARD}/88-a", "/evidence/1"):
        assert (
            "Demonstration record. This country does not exist: Republic of Arvenia."
            in client.get(address).text
        )
    assert "[Demonstration]" in client.http.get("/changes.atom").get_data(as_text=True)
    record.withdraw(piece)
    assert "Demonstration record." in client.get("/evidence/1").text


def test_a_real_report_is_no_demonstration(client: Client, record: Record) -> None:
    record.report.demonstration = False
    record.session.commit()

    for address in ("/", BOARD, f"{BOARD}/88-a", "/changes"):
        assert "Demonstration" not in client.get(address).text


def test_what_is_not_there_is_not_found(client: Client, record: Record) -> None:
    for address in (
        "/reports/nothing", "/reports/lower-valley/99", "/reports/%00", "/reports/lower-valley/%00", "/reports/x.atom",
        "/reports/lower-valley/99.atom", "/evidence/1", "/evidence/0", "/evidence/999999999999999999999", "/evidence/-1",
    ):  # fmt: skip
        client.get(address, 404)


def test_signed_in_people_see_the_same_pages(
    client: Client, as_somebody, record: Record, rafa: Account
) -> None:  # type: ignore[no-untyped-def]
    record.hide_some(record.first)

    for address in ("/", BOARD, f"{BOARD}/88-a", "/changes"):
        assert as_somebody(rafa).http.get(address).data == client.http.get(address).data


def test_markup_in_words_is_shown_as_words(client: Client, record: Record) -> None:
    words = '<script>alert("1")</script>'
    piece = record.evidence(record.second, title=words, summary=words, publisher=words, remark=words)
    record.finding(record.second, None, Grade.C, piece, rationale=words, would_change=words)
    record.reply(record.second, author=words, summary=words, quotations=[words], source_title=words)
    record.withdraw(record.evidence(record.second), words)

    for address in ("/", BOARD, f"{BOARD}/88-b", "/evidence/1", "/evidence/2", "/changes", "/ledger"):
        assert "<script" not in client.http.get(address).get_data(as_text=True)
        client.get(address)
