"""Changes as a page, as feeds and as JSON."""

from __future__ import annotations

import datetime as dt
from typing import Any

import feedparser
import pytest
from flask import Flask
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.mail import compose, follower, parts, unsent
from tests.published import Record
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.services import ledger, reports
from tracker.views import changes as views
from tracker.vocabulary import SILENT, EntryKind, Grade


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def fill(record: Record, entries: int) -> None:
    for number in range(entries):
        ledger.append(
            record.session, EntryKind.EVIDENCE_PUBLISHED, subject=f"evidence/{number + 1000}", report=record.report,
            recommendations=[record.first], facts={"number": number + 1000}, content={"title": f"Piece {number}"},
            now=record.now,
        )  # fmt: skip
    record.session.commit()


def feed(client: Client, address: str) -> Any:
    response = client.http.get(address.removeprefix("http://localhost"))
    assert response.status_code == 200
    assert response.content_type == "application/atom+xml; charset=utf-8"
    read = feedparser.parse(response.data)
    assert not read.bozo
    return read


def seqs(read: Any) -> list[int]:
    return [int(entry.id.rpartition("/")[2]) for entry in read.entries]


def link(read: Any, rel: str) -> str | None:
    return next((found.href for found in read.feed.links if found.rel == rel), None)


def test_the_page_shows_the_newest_and_leads_to_older_ones(client: Client, record: Record) -> None:
    fill(record, 120)

    page, shown = client.get("/changes"), []
    while True:
        shown += [int(words.split()[0]) for words in page.text.split("Ledger entry ")[1:]]
        older = [address for address in page.links if address.startswith("/changes?before=")]
        if not older:
            break
        page = client.get(older[0])

    assert shown == list(range(121, 0, -1))
    assert "To the newest" in page.text


def test_everything_kinds_of_changes_are_told(client: Client, record: Record) -> None:
    piece = record.evidence(record.first, title="Court register")
    finding = record.finding(record.first, record.first.clauses[0], Grade.C, piece)
    record.reply(record.first)
    record.withdraw_finding(finding, "It rested on a mistake.")

    text = client.get("/changes").text

    assert "Report entered" in text
    assert "New evidence [evidence 1]" in text
    assert "Reply of the State" in text
    assert "Disputes, Mission of Arvenia, 4 Mar 2025" in text
    assert "Finding withdrawn Clause a Demonstration C Not implemented changed to – Not yet assessed" in text


def test_a_feed_reader_that_resumes_misses_nothing_and_reads_nothing_twice(
    client: Client, record: Record
) -> None:
    fill(record, 250)

    read: list[int] = []
    address: str | None = "/changes.atom?after=0"
    while address:
        found = feed(client, address)
        read += seqs(found)
        address = link(found, "next")
    assert read == list(range(1, 252))

    fill(record, 1)
    assert seqs(feed(client, f"/changes.atom?after={read[-1]}")) == [252]
    assert seqs(feed(client, "/changes.atom?after=252")) == []


def test_a_feed_without_position_starts_with_the_newest(client: Client, record: Record) -> None:
    fill(record, 150)

    found = feed(client, "/changes.atom")

    assert seqs(found) == list(range(151, 51, -1))
    assert link(found, "next") == "http://localhost/changes.atom?before=52"
    assert link(found, "self") == "http://localhost/changes.atom"


def test_feeds_are_about_their_report_or_recommendation(client: Client, record: Record) -> None:
    record.evidence(record.first)
    record.evidence(record.second)
    other = record.make.report("upper-valley")
    record.evidence(other.recommendations[0])

    assert seqs(feed(client, "/reports/lower-valley.atom")) == [3, 2, 1]
    assert seqs(feed(client, "/reports/lower-valley/88-a.atom")) == [2, 1]
    assert seqs(feed(client, "/reports/upper-valley.atom?after=0")) == [4]
    found = feed(client, "/reports/lower-valley/88-a.atom")
    assert found.feed.title.startswith(
        "[Demonstration] Lower Valley, 2023, 88(a): Release people held without charge"
    )
    assert link(found, "alternate") == "http://localhost/reports/lower-valley/88-a"


def test_an_entry_has_one_id_in_every_feed(client: Client, record: Record) -> None:
    record.evidence(record.first)

    ids = {
        feed(client, address).entries[0].id
        for address in (
            "/changes.atom",
            "/reports/lower-valley.atom",
            "/reports/lower-valley/88-a.atom",
            "/changes.atom?after=1",
        )
    }

    assert ids == {"tag:localhost,2026:ledger/2"}


def test_an_entry_tells_grade_reason_and_evidence(client: Client, record: Record) -> None:
    finding = record.finding(
        record.second, None, Grade.C, record.evidence(record.second), rationale="Six files."
    )

    entry = feed(client, "/changes.atom").entries[0]

    assert (
        entry.title
        == "[Demonstration] Lower Valley, 2023, 88(b): Finding, Not yet assessed to Not implemented"
    )
    assert entry.link == f"http://localhost/reports/lower-valley/88-b#entry-{finding.ledger_seq}"
    assert "Six files." in entry.content[0].value
    assert "The recommendation as a whole: Not yet assessed to Not implemented." in entry.content[0].value
    assert {tag.term for tag in entry.tags} == {"finding-published", "demonstration"}


def test_a_withdrawn_entry_is_told_again_so_that_readers_drop_their_copy(
    client: Client, record: Record
) -> None:
    piece = record.evidence(record.first, title="Unspeakable")
    before = feed(client, "/changes.atom").entries[0]
    record.withdraw(piece)

    withdrawal, after = feed(client, "/changes.atom").entries[:2]

    assert (before.id, before.published) == (after.id, after.published)
    assert before.updated < after.updated == withdrawal.updated
    assert "withdrawn since" in after.title
    assert "Unspeakable" not in str(after)
    assert after.link == "http://localhost/evidence/1"


def test_erased_words_are_said_to_be_removed(client: Client, record: Record) -> None:
    record.evidence(record.first)
    record.session.execute(sql("DELETE FROM ledger_content WHERE seq = 2"))
    record.session.commit()

    assert "removed to protect somebody" in client.get("/changes").text
    assert "removed to protect somebody" in feed(client, "/changes.atom").entries[0].content[0].value
    assert client.http.get("/changes.json").json["changes"][0]["content"] is None
    client.get("/evidence/1")


def test_json_says_where_the_ledger_stands_and_how_to_go_on(client: Client, record: Record) -> None:
    fill(record, 150)

    first = client.http.get("/changes.json?after=0").json
    second = client.http.get(first["next"].removeprefix("http://localhost")).json

    assert first["position"] == 151
    assert [change["seq"] for change in first["changes"] + second["changes"]] == list(range(1, 152))
    assert second["next"] is None
    assert client.http.get("/changes.json").json["next"] == "http://localhost/changes.json?before=52"


def test_json_tells_facts_and_words(client: Client, record: Record) -> None:
    record.finding(record.first, record.first.clauses[0], Grade.C, record.evidence(record.first))

    change = client.http.get("/changes.json").json["changes"][0]

    assert change["url"] == "http://localhost/reports/lower-valley/88-a#entry-3"
    assert (change["kind"], change["report"], change["recommendations"]) == (
        "finding-published",
        "lower-valley",
        ["88-a"],
    )
    assert (change["clause"], change["grade"], change["previous_grade"], change["cites"]) == (
        "a",
        "C",
        None,
        [1],
    )
    assert change["recorded_at"] == "2026-09-26T12:00:00Z"
    assert change["content"]["rationale"] == "The register shows it."
    assert (change["demonstration"], change["withdrawn"], change["corrected"]) == (True, False, False)


def test_a_position_that_is_none_is_refused_with_a_sentence(client: Client) -> None:
    for address in (
        "/changes?before=",
        "/changes.atom?after=",
        "/changes.json?before=",
        "/ledger/entries?after=",
    ):
        for value in ("x", "-1", "1.5", "", "²", "1e3", "0x1", "9" * 30):
            assert "must be a ledger position: a whole number." in client.get(address + value, 400).text


def test_positions_beyond_the_ledger_are_empty_not_errors(client: Client, record: Record) -> None:
    for value in ("999999999999", "2147483648"):
        assert client.http.get(f"/changes.json?after={value}").json["changes"] == []
        assert client.http.get(f"/ledger/entries?after={value}").data == b""
        client.get(f"/changes?before={value}")


def test_before_and_after_together_are_refused(client: Client) -> None:
    assert "not for both" in client.get("/changes.json?before=5&after=2", 400).text


def test_every_kind_of_entry_has_a_headline_and_a_story(client: Client, record: Record) -> None:
    for kind in EntryKind:
        noun = kind.value.partition("-")[0]
        ledger.append(
            record.session, kind, subject=f"{noun}/{kind.value}", report=record.report, recommendations=[record.first],
            facts={}, content={}, now=record.now,
        )  # fmt: skip
    record.session.commit()

    found = feed(client, "/changes.atom")

    told = len(EntryKind) - len(SILENT) + 1  # And the report that was entered.
    assert len(found.entries) == told
    assert all(entry.title for entry in found.entries)
    client.get("/changes")
    client.get("/reports/lower-valley/88-a")
    assert len(client.http.get("/changes.json").json["changes"]) == told
    assert views.FEED_LENGTH == 100


def test_a_corrected_report_is_told_in_sentences(
    record: Record, client: Client, keys: Keyring, config: Config, app: Flask, now: dt.datetime
) -> None:
    changes = [
        {"what": "recommendations/88-b/title", "was": "Tell families", "now": "Tell the families"},
        {"what": "symbol", "was": None, "now": "A/1"},
    ]
    ledger.append(
        record.session, EntryKind.REPORT_CORRECTED, subject="report/lower-valley", report=record.report,
        recommendations=[record.second], content={"changes": changes, **reports.content(record.report)}, now=now,
    )  # fmt: skip
    record.session.commit()
    reader = follower(record.session, keys, config, now)
    reader.seen_seq = ledger.position(record.session) - 1
    record.session.commit()
    moment = reader.next_due_at
    assert moment is not None
    with app.app_context():
        compose(record.session, keys, config, moment)
        [message] = unsent(record.session, config, moment)
        text, _ = parts(message)
    record.session.rollback()

    atom = client.http.get("/changes.atom").get_data(as_text=True)
    for told in (client.get("/changes").text, client.get("/reports/lower-valley/88-b").text, atom, text):
        told = " ".join(told.split())
        assert "recommendations/88-b/title: was “Tell families”, is now “Tell the families”." in told
        assert "symbol: was empty, is now “A/1”." in told
        assert "{" not in told.split("<entry>")[-1]
    assert "What was wrong" not in text
