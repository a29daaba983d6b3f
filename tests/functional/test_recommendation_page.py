"""The page of one recommendation, and of one piece of evidence."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import Record
from tracker.vocabulary import Access, Grade, Position, Precision

PAGE = "/reports/lower-valley/88-a"


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def test_a_recommendation_that_nobody_assessed_yet(client: Client, record: Record) -> None:
    text = client.get(PAGE).text

    assert "Recommendation 88(a), addressed to: Government of Arvenia" in text
    assert "Release all persons held without charge, and publish the number of persons released;" in text
    assert "paragraph 88(a), page 41. Official text, unchanged." in text
    assert "No finding has been made. This says nothing about what has happened." in text
    assert "No reply to this recommendation has been recorded yet." in text
    assert "No public evidence is on record for this recommendation." in text
    assert "No. 1, 24 Sep 2026, 12:00 UTC" in text


def test_a_finding_shows_its_reasons_evidence_and_search(client: Client, record: Record) -> None:
    piece = record.evidence(record.first, record.first.clauses[0])
    record.finding(
        record.first, record.first.clauses[0], Grade.B, piece, access=Access.GUIDED,
        rationale="Six files were opened.\n\nNobody was charged.", would_change="Results are given to the families.",
        search_what="Notices", search_where="Gazette", search_languages="Arvenian", search_until=dt.date(2026, 9, 20),
    )  # fmt: skip

    page = client.get(PAGE)

    assert "B Partially implemented 1 of 2 clauses assessed, newest as of 26 Sep 2026" in page.text
    assert "Clause a: Release B Partially implemented Six files were opened.Nobody was charged." in page.text
    assert "Evidence: [evidence 1]" in page.text
    assert "What would change this finding Results are given to the families." in page.text
    assert "Looked for Notices Where Gazette In which languages Arvenian Until 20 Sep 2026" in page.text
    assert "Reviewer’s reason: Reasons and evidence agree." in page.text
    assert "Not yet assessed changed to B Partially implemented" in page.text
    assert "by two people: one proposed it, another approved it" in page.text
    assert "/evidence/1" in page.links


def test_clauses_show_their_own_grades(client: Client, record: Record) -> None:
    piece = record.evidence(record.first)
    record.finding(record.first, record.first.clauses[0], Grade.A, piece)
    record.finding(record.first, record.first.clauses[1], Grade.E, piece)

    text = client.get(PAGE).text

    assert "2 of 2 clauses assessed" in text
    assert "The recommendation as a whole: A Implemented changed to E Contrary action" in text


def test_evidence_shows_source_date_bearing_and_grades(client: Client, record: Record) -> None:
    record.evidence(record.first, record.first.clauses[1], date_precision=Precision.MONTH, language="zh-Hans")
    record.evidence(record.second)

    response = client.http.get(PAGE)
    text = client.inspect(response).text

    assert "1 piece of public evidence bears on this recommendation." in text
    assert "Progress, clause b Court register lists" in text
    assert (
        "Source Lower Valley District Court Date May 2025 Type Official record, Chinese (Simplified)" in text
    )
    assert "Usually reliable source, probably true (B2)" in text
    links = re.findall(r'<a href="https://court[^>]*>', response.get_data(as_text=True))
    assert links
    assert all('rel="noreferrer nofollow"' in link for link in links)


def test_replies_show_position_quotations_and_source(client: Client, record: Record) -> None:
    record.reply(record.first, position=Position.PARTLY_ACCEPTS)
    record.reply(position=Position.NOTES, author="Ministry of Arvenia")

    page = client.get(PAGE)

    assert "Partly accepts Mission of Arvenia, 4 Mar 2025 All allegations have been examined." in page.text
    assert "Source: Mission of Arvenia, Note verbale · Link" in page.text
    assert "About the report as a whole Notes Ministry of Arvenia" in page.text
    assert "https://mission.arvenia.example/note" in page.links


def test_a_correction_is_told_with_the_finding_and_in_the_history(client: Client, record: Record) -> None:
    piece = record.evidence(record.second)
    record.finding(record.second, None, Grade.C, piece, rationale="Three sites are open.")
    record.finding(
        record.second, None, Grade.C, piece, correction="We had named three sites. The source names two."
    )

    text = client.get("/reports/lower-valley/88-b").text

    assert "CorrectionWe had named three sites. The source names two." in text
    assert "Correction of a finding C Not implemented We had named three sites." in text
    assert "Corrected since Corrected on" in text


def test_a_withdrawn_finding_leaves_its_reason_and_no_words(client: Client, record: Record) -> None:
    finding = record.finding(
        record.second, None, Grade.E, record.evidence(record.second), rationale="Unspeakable."
    )
    record.withdraw_finding(finding, "It rested on a mistake.")

    text = client.get("/reports/lower-valley/88-b").text

    assert "Unspeakable" not in text
    assert "Finding withdrawn E Contrary action changed to – Not yet assessed It rested on a mistake." in text
    assert "Withdrawn since Withdrawn on 27 Sep 2026. What it said is no longer shown." in text
    assert "Our finding was withdrawn: the reason stands in the history below." in text
    assert "No finding has been made." not in text


def test_withdrawn_evidence_keeps_a_page_without_its_words(client: Client, record: Record) -> None:
    clause = record.first.clauses[0]
    piece = record.evidence(
        record.first,
        clause,
        title="Unspeakable title",
        summary="Unspeakable summary",
        publisher="Unspeakable",
    )
    record.finding(record.first, clause, Grade.C, piece, rationale="The register shows it.")
    assert "Unspeakable title" in client.get("/evidence/1").text
    record.withdraw(piece, "The court took it back.")

    text = client.get("/evidence/1").text

    assert "This piece of evidence was withdrawn Withdrawn on 27 Sep 2026." in text
    assert "Why The court took it back." in text
    assert "88(a)Release people held without charge" in text.replace(" 88(a) ", " 88(a)")
    for address in ("/", "/evidence/1", PAGE, "/reports/lower-valley", "/changes", "/changes.atom", "/changes.json",
                    "/reports/lower-valley.atom", f"{PAGE}.atom", "/ledger", "/ledger/entries", "/ledger/entries?after=1"):  # fmt: skip
        answer = client.http.get(address)
        assert answer.status_code == 200
        assert "Unspeakable" not in answer.get_data(as_text=True), address
        assert "court.arvenia.example" not in answer.get_data(as_text=True), address
    assert "[evidence 1] Withdrawn" in client.get(PAGE).text


def test_a_piece_of_evidence_says_what_it_bears_on_and_who_cites_it(client: Client, record: Record) -> None:
    piece = record.evidence(record.first, record.first.clauses[0], remark="Day derived from the register.")
    record.finding(record.first, record.first.clauses[0], Grade.C, piece)

    page = client.get("/evidence/1")

    assert "About dates and copies: Day derived from the register." in page.text
    assert "88(a), clause aC Not implemented" in page.text
    assert "https://court.arvenia.example/3" in page.links
    assert "New evidence [evidence 1]" in page.text


def test_incomplete_evidence_is_shown_as_such(client: Client, record: Record) -> None:
    piece = record.evidence(record.first, date_precision=Precision.ABOUT)
    piece.reliability = piece.credibility = piece.source_type = piece.occurred_on = None
    piece.language = piece.publisher = piece.summary = ""
    piece.links = []
    record.session.commit()

    text = client.get("/evidence/1").text

    assert "Source Not named Date Date not known Type Not stated Grade of the source Not graded" in text
    assert "No address is recorded." in text
    client.get(PAGE)


def test_the_method_page_states_the_rules(client: Client) -> None:
    text = client.get("/method").text

    for words in (
        "The first line that applies decides; clauses that are not yet assessed do not count.",
        "Nobody publishes a finding alone.",
        "confirmed by others (1)",
        "Source cannot be judged (F)",
        "due for review 3 months after",
        "The monitoring team makes the findings and answers for them.",
        "Nothing averages them, and there is no ranking",
    ):
        assert words in text
