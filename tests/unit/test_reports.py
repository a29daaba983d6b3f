"""Loading a report file publishes everything once, and later versions of the file as dated changes."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tracker import db
from tracker.config import ROOT
from tracker.errors import InvalidFile
from tracker.keyring import Keyring
from tracker.models import Base, Clause, Evidence, Finding, LedgerEntry, Recommendation, Reply, Report, Theme
from tracker.services import audit, findings, ledger, report_file, reports
from tracker.services import evidence as evidence_service
from tracker.vocabulary import Direction, EntryKind, Grade, Precision, Role, SourceType, State, Visibility

BUNDLED = ROOT / "config" / "reports" / "ohchr-xuar-2022" / "report.toml"
SHARED = ROOT.parent / "shared" / "data" / "ohchr-xuar-2022"
EXAMPLE = """
[report]
slug = "lower-valley"
title = "Assessment of the situation in the Lower Valley"
short_title = "Lower Valley, 2023"
issuer = "Office of Assessments"
country = "Republic of Arvenia"
published_on = 2023-03-14
demonstration = true

[[addressees]]
slug = "government"
name = "Government of Arvenia"
kind = "government"

[[recommendations]]
number = "88-a"
reference = "88(a)"
addressee = "government"
title = "Release people held without charge"
text = "Release all persons held without charge, and publish the number of persons released;"

[[recommendations.clauses]]
label = "a"
title = "Release"
text = "Release all persons held without charge"

[[recommendations.clauses]]
label = "b"
title = "Publish"
text = "publish the number of persons released"

[[recommendations]]
number = "88-b"
reference = "88(b)"
addressee = "government"
title = "Tell families"
text = "Inform families of the whereabouts of relatives."

[[evidence]]
id = "E1"
date = 2025-05-14
title = "Court register lists six case files"
publisher = "Lower Valley District Court"
source_type = "official-record"
summary = "The register shows six files."
links = ["https://court.arvenia.example/1"]
bears_on.progress = ["88-a/a"]
bears_on.context = ["88-b"]

[[evidence]]
id = "E2"
date = "2025"
title = "Letters of relatives"
publisher = "Valley Legal Aid"
source_type = "organisation-report"
summary = "Four letters ask for news."
bears_on.no-change = ["88-b"]
visibility = "team"

[[replies]]
id = "R1"
date = 2025-06-01
author = "Ministry of Justice"
position = "rejects"
recommendations = ["88-a"]
summary = "The ministry rejects it."
quotations = ["There is no such case."]
evidence = "E1"

[[findings]]
recommendation = "88-a"
clause = "all"
grade = "B"
as_of = 2025-06-30
access = "remote"
rationale = "Files were opened for six people."
cites = ["E1"]
"""


@pytest.fixture
def load(session: Session, tmp_path: Path, now: dt.datetime) -> Callable[..., reports.Summary]:
    """Load the example, changed by (old, new) pairs, and commit."""

    def load(*changes: tuple[str, str], at: dt.datetime = now) -> reports.Summary:
        text = EXAMPLE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "report.toml"
        path.write_text(text, encoding="utf-8")
        summary = reports.load(session, report_file.read(path, today=at.date()), now=at)
        session.commit()
        session.expire_all()
        return summary

    return load


@pytest.fixture
def whole(session: Session, keys: Keyring) -> Any:
    """Afterwards the ledger verifies and agrees with the rows, whatever the test did."""
    yield
    session.rollback()
    assert list(audit.problems(session)) == []
    assert list(ledger.problems(session, origin="test", public_key=keys.ledger_public_key)) == []


pytestmark = pytest.mark.usefixtures("whole")


def kinds(session: Session) -> list[str]:
    return [kind.value for kind in session.scalars(select(LedgerEntry.kind).order_by(LedgerEntry.seq))]


def newest(session: Session) -> LedgerEntry:
    return session.scalars(select(LedgerEntry).order_by(LedgerEntry.seq.desc()).limit(1)).one()


def everything(session: Session) -> dict[str, list[Any]]:
    """Every row of every table."""
    session.expire_all()
    return {
        name: sorted(map(repr, session.execute(select(table)).all()))
        for name, table in Base.metadata.tables.items()
    }


def test_the_bundled_report_loads_completely_and_its_second_load_changes_nothing(
    session: Session, now: dt.datetime
) -> None:
    parsed = report_file.read(BUNDLED, today=now.date())

    summary = reports.load(session, parsed, now=now)
    session.commit()

    assert (summary.recommendations, summary.clauses, summary.evidence, summary.replies, summary.findings) == (
        16, 42, 55, 4, 12,
    )  # fmt: skip
    stored = [
        session.scalar(select(func.count()).select_from(kind))
        for kind in (Recommendation, Clause, Evidence, Reply)
    ]
    assert stored == [16, 42, 55, 4]
    assert kinds(session) == ["report-loaded"] + ["evidence-published"] * 55 + ["reply-published"] * 4
    assert session.scalars(select(Evidence.number).order_by(Evidence.id)).all() == list(range(1, 56))
    drafts = session.scalars(select(Finding)).all()
    assert len(drafts) == 12
    assert {(draft.state, draft.proposed_by_id, draft.ledger_seq) for draft in drafts} == {
        (State.DRAFT, None, None)
    }
    before = everything(session)

    again = reports.load(session, report_file.read(BUNDLED, today=now.date()), now=now + dt.timedelta(days=1))
    session.commit()

    assert (again.new, again.changes, again.notes) == (False, [], [])
    assert everything(session) == before


@pytest.mark.skipif(not SHARED.exists(), reason="the source data are not beside the project")
def test_the_bundled_report_says_what_its_source_data_say(session: Session, now: dt.datetime) -> None:
    reports.load(session, report_file.read(BUNDLED, today=now.date()), now=now)
    source = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in SHARED.glob("*.json")}
    numbers = {
        item["id"]: item["reference"].replace("(", "-").replace(")", "")
        for item in source["recommendations"]["recommendations"]
    }

    words = [
        (row.number, row.reference, row.title, row.text, row.page, row.addressee.name, row.addressee.chapeau,
         [(clause.label, clause.title, clause.text) for clause in row.clauses])
        for row in session.scalars(select(Recommendation).order_by(Recommendation.position))
    ]  # fmt: skip
    assert words == [
        (numbers[item["id"]], item["reference"], item["title"], item["text"], item["page"], item["addressee"],
         item["chapeau"], [(clause["label"], clause["title"], clause["text"]) for clause in item["clauses"]])
        for item in source["recommendations"]["recommendations"]
    ]  # fmt: skip

    pieces = session.scalars(select(Evidence).order_by(Evidence.number)).all()
    for row, event in zip(pieces, source["events"]["events"], strict=True):
        assert row.imported_as == f"ohchr-xuar-2022/{event['id']}"
        assert (row.title, row.summary, row.publisher) == (
            event["title"],
            event["summary"],
            event["publisher"],
        )
        assert [link.url for link in row.links] == event["urls"]
        assert row.occurred_on is not None
        assert row.occurred_on.isoformat().startswith(event["date"])
        precision = {"approximate": "about", "conflict": "about"}.get(
            event["date_precision"], event["date_precision"]
        )
        assert row.date_precision.value == precision
        assert {
            (item.recommendation.number, item.clause.label if item.clause else None) for item in row.bearings
        } == {(numbers[item["recommendation"]], item["clause"]) for item in event["bears_on"]}
        assert (row.reliability, row.credibility, row.language) == (None, None, "")
        if not event["reading_as_noted"].endswith("(IC)") and event["id"] != "E33":
            assert {item.direction.value for item in row.bearings} == {event["reading"].replace("_", "-")}
        assert "UNVERIFIED" not in row.remark

    for reply, said in zip(
        session.scalars(select(Reply).order_by(Reply.id)), source["replies"]["replies"], strict=True
    ):
        assert (reply.author, reply.summary) == (said["author"], said["summary"])
        assert reply.position is not None
        assert reply.position.value == said["position"].replace(" ", "-")
        assert [quotation.text for quotation in reply.quotations] == said["quotations"]
        assert {target.recommendation.number for target in reply.targets} == {
            numbers[one] for one in said["recommendations"]
        }
        assert (reply.evidence.imported_as if reply.evidence else None) == (
            f"ohchr-xuar-2022/{said['event']}" if "event" in said else None
        )

    drafts = {row.imported_as: row for row in session.scalars(select(Finding))}
    for draft in source["draft-findings"]["findings"]:
        labels = "abcdefg" if draft["clause"] == "all" else [draft["clause"] or "-"]
        for label in labels:
            row = drafts.pop(f"ohchr-xuar-2022/{numbers[draft['recommendation']]}/{label}")
            assert row.grade is not None
            assert (row.grade.value, row.rationale) == (draft["grade"], draft["rationale"])
            assert {item.evidence.imported_as for item in row.citations} == {
                f"ohchr-xuar-2022/{one}" for one in draft["cites"]
            }
    assert drafts == {}


def test_progress_of_others_is_not_shown_as_progress_of_the_government(
    session: Session, now: dt.datetime
) -> None:
    reports.load(session, report_file.read(BUNDLED, today=now.date()), now=now)

    statement = session.scalars(select(Evidence).where(Evidence.imported_as == "ohchr-xuar-2022/E07")).one()

    assert {(item.recommendation.number, item.direction) for item in statement.bearings} == {
        ("153", Direction.PROGRESS), ("151-i", Direction.CONTEXT), ("151-ii", Direction.CONTEXT),
    }  # fmt: skip


def test_the_ledger_proves_which_words_were_entered(load: Any, session: Session) -> None:
    load()

    entry = session.get(LedgerEntry, 1)
    assert entry is not None
    assert (entry.kind, entry.subject) == (EntryKind.REPORT_LOADED, "report/lower-valley")
    facts, words = ledger.facts_of(entry), ledger.content_of(entry)
    assert (facts["recommendations_count"], facts["clauses_count"], facts["published_on"]) == (
        2,
        2,
        "2023-03-14",
    )
    assert words is not None
    assert words["recommendations"][0]["clauses"][1] == {
        "label": "b",
        "title": "Publish",
        "text": "publish the number of persons released",
    }


def test_evidence_for_the_team_and_drafts_are_loaded_and_not_published(load: Any, session: Session) -> None:
    load()

    piece = session.scalars(select(Evidence).where(Evidence.imported_as == "lower-valley/E2")).one()
    assert (piece.state, piece.visibility, piece.number, piece.ledger_seq) == (
        State.ACCEPTED,
        Visibility.TEAM,
        None,
        None,
    )
    assert piece.date_precision is Precision.YEAR
    assert kinds(session) == ["report-loaded", "evidence-published", "reply-published"]
    assert "Letters of relatives" not in "".join(
        json.dumps(ledger.content_of(entry)) for entry in session.scalars(select(LedgerEntry))
    )


def test_evidence_made_public_later_is_published_then(load: Any, session: Session) -> None:
    load()

    summary = load(('visibility = "team"', 'visibility = "public"'))

    assert summary.changes == ["evidence E2 made public"]
    assert kinds(session)[-1] == "evidence-published"
    assert load(('visibility = "team"', 'visibility = "public"')).changes == []


def test_published_evidence_is_not_hidden_by_a_file(load: Any, session: Session) -> None:
    public = ('visibility = "team"', 'visibility = "public"')
    load(public)
    before = everything(session)

    summary = load()

    assert summary.notes == ["evidence E2 is public already; withdraw it in the browser if it must go."]
    assert everything(session) == before


def test_corrected_official_words_become_one_dated_change(
    load: Any, session: Session, now: dt.datetime
) -> None:
    load()

    later = now + dt.timedelta(days=3)
    summary = load(
        ("publish the number", "publish the numbers"),
        ('title = "Tell families"', 'title = "Tell the families"'),
        ("Lower Valley, 2023", "Lower Valley (2023)"),
        at=later,
    )

    entry = newest(session)
    assert (entry.kind, entry.recorded_at.date()) == (EntryKind.REPORT_CORRECTED, later.date())
    assert kinds(session).count("report-corrected") == 1
    assert ledger.facts_of(entry)["changed"] == [
        "short_title", "recommendations/88-a/text", "recommendations/88-a/clauses/b/text", "recommendations/88-b/title",
    ]  # fmt: skip
    words = ledger.content_of(entry)
    assert words is not None
    assert words["changes"][3] == {
        "what": "recommendations/88-b/title",
        "was": "Tell families",
        "now": "Tell the families",
    }
    assert words["recommendations"][0]["clauses"][1]["text"] == "publish the numbers of persons released"
    assert ledger.facts_of(entry)["recommendations"] == ["88-a", "88-b"]
    assert len(summary.changes) == 4
    assert (
        load(
            ("publish the number", "publish the numbers"),
            ('title = "Tell families"', 'title = "Tell the families"'),
            ("Lower Valley, 2023", "Lower Valley (2023)"),
        ).changes
        == []
    )


def test_themes_come_from_the_file_and_are_shared_between_reports(load: Any, session: Session) -> None:
    load()
    loaded = select(LedgerEntry).where(LedgerEntry.kind == EntryKind.REPORT_LOADED)
    before = ledger.content_of(session.scalars(loaded).one())
    assert before is not None
    assert "themes" not in before["recommendations"][0]

    themes = 'title = "Tell families"\nthemes = ["Détention", "Family life", "détention"]'
    summary = load(('title = "Tell families"', themes))

    assert summary.changes == ["recommendations/88-b/themes corrected"]
    words = ledger.content_of(newest(session))
    assert words is not None
    assert words["changes"] == [
        {"what": "recommendations/88-b/themes", "was": None, "now": "Détention, Family life"}
    ]
    assert words["recommendations"][1]["themes"] == ["Détention", "Family life"]
    assert session.scalars(select(Theme.slug).order_by(Theme.slug)).all() == ["detention", "family-life"]
    assert load(('title = "Tell families"', themes)).changes == []


def test_corrected_evidence_says_what_was_wrong_and_keeps_its_number(load: Any, session: Session) -> None:
    load()

    load(
        ("date = 2025-05-14", 'date = "2025-05"'),
        ("lists six case", "lists seven case"),
        (
            'bears_on.progress = ["88-a/a"]\nbears_on.context = ["88-b"]',
            'bears_on.mixed = ["88-b", "88-a/a"]',
        ),
    )

    entry = newest(session)
    assert (entry.kind, entry.subject) == (EntryKind.EVIDENCE_CORRECTED, "evidence/1")
    assert ledger.facts_of(entry)["precision"] == "month"
    words = ledger.content_of(entry)
    assert words is not None
    assert words["title"] == "Court register lists seven case files"
    assert words["correction"].splitlines() == [
        "Title was “Court register lists six case files”, is now “Court register lists seven case files”.",
        "Date was 2025-05-14, is now 2025-05-01.",
        "Precision was “Exact day”, is now “Month only”.",
        "What it bears on was “88-a/a: Progress”; “88-b: Context”, is now “88-b: Mixed”; “88-a/a: Mixed”.",
    ]
    piece = session.scalars(select(Evidence).where(Evidence.number == 1)).one()
    assert (piece.version, piece.ledger_seq) == (2, entry.seq)
    assert {item.direction for item in piece.bearings} == {Direction.MIXED}


def test_a_changed_note_for_the_team_is_stored_and_never_published(load: Any, session: Session) -> None:
    load()
    entries = kinds(session)

    summary = load(
        (
            'summary = "The register shows six files."',
            'summary = "The register shows six files."\nteam_note = "Ask the clerk."',
        )
    )

    assert summary.changes == ["evidence E1 corrected"]
    assert kinds(session) == entries
    assert session.scalars(select(Evidence.team_note).where(Evidence.number == 1)).one() == "Ask the clerk."


def test_a_corrected_reply_is_recorded(load: Any, session: Session) -> None:
    load()

    load(
        ('position = "rejects"', 'position = "disputes"'),
        ('evidence = "E1"', 'source = { publisher = "Gazette" }'),
    )

    entry = newest(session)
    assert entry.kind is EntryKind.REPLY_CORRECTED
    words = ledger.content_of(entry)
    assert words is not None
    assert "Position was “Rejects”, is now “Disputes”." in words["correction"]
    assert "Evidence was “1”, is now empty." in words["correction"]
    assert words["source"]["publisher"] == "Gazette"


def test_what_is_added_to_a_file_is_published(load: Any, session: Session) -> None:
    load()

    summary = load(
        (
            '[[evidence]]\nid = "E1"',
            """[[recommendations]]
number = "88-c"
reference = "88(c)"
addressee = "government"
title = "Repeal Decree 41"
text = "Repeal Decree 41."

[[evidence]]
id = "E0"
date = "2024"
title = "Decree 41 is renewed"
publisher = "Gazette"
source_type = "law"
summary = "The decree is renewed."
bears_on.regress = ["88-c"]

[[evidence]]
id = "E1\"""",
        )
    )

    assert summary.changes == ["recommendations/88-c added", "evidence E0 added"]
    assert kinds(session)[-2:] == ["report-corrected", "evidence-published"]
    assert (
        session.scalars(select(Evidence.number).where(Evidence.imported_as == "lower-valley/E0")).one() == 2
    )


def test_what_vanished_from_a_file_is_told_and_kept(load: Any, session: Session) -> None:
    load()
    before = everything(session)
    cut = EXAMPLE.index("[[evidence]]\nid")

    summary = load((EXAMPLE[cut:], ""))

    assert summary.changes == []
    assert summary.notes == [
        "evidence E1 is no longer in the file; withdraw it in the browser if it was wrong.",
        "evidence E2 is no longer in the file; withdraw it in the browser if it was wrong.",
        "reply R1 is no longer in the file; withdraw it in the browser if it was wrong.",
        "draft finding 88-a/a is no longer in the file; it stays as it was.",
        "draft finding 88-a/b is no longer in the file; it stays as it was.",
    ]
    assert everything(session) == before


def test_a_renumbered_recommendation_is_a_new_one_and_the_old_one_stays(load: Any, session: Session) -> None:
    load()

    renumbered = [
        ('number = "88-b"', 'number = "88-z"'),
        ('reference = "88(b)"', 'reference = "88(z)"'),
        ('["88-b"]', '["88-z"]'),
    ]
    summary = load(*renumbered)

    assert session.scalars(select(Recommendation.number).order_by(Recommendation.position)).all() == [
        "88-a",
        "88-z",
        "88-b",
    ]
    assert summary.notes == ["recommendations/88-b is no longer in the file; it stays as it was."]
    assert load(*renumbered).changes == []


def test_a_new_order_is_a_change_too(load: Any, session: Session) -> None:
    load()
    second = EXAMPLE[EXAMPLE.index('[[recommendations]]\nnumber = "88-b"') : EXAMPLE.index("[[evidence]]")]

    load(
        (second, ""),
        ('[[recommendations]]\nnumber = "88-a"', second + '[[recommendations]]\nnumber = "88-a"'),
    )

    words = ledger.content_of(newest(session))
    assert words is not None
    assert words["changes"] == [{"what": "recommendations/order", "was": "88-a, 88-b", "now": "88-b, 88-a"}]
    assert [item["number"] for item in words["recommendations"]] == ["88-b", "88-a"]


def test_an_untouched_draft_follows_the_file_and_a_taken_up_one_does_not(
    load: Any, session: Session, make: Factory, now: dt.datetime
) -> None:
    load()
    monitor = make.account(Role.MONITOR)
    taken = session.scalars(select(Finding).where(Finding.imported_as == "lower-valley/88-a/a")).one()
    fields = findings.Fields(grade=Grade.C, rationale="My own words.")
    findings.edit(session, taken, fields, author=monitor, version=taken.version, now=now)
    session.commit()

    summary = load(("Files were opened for six people.", "Files were opened for seven people."))

    assert summary.changes == ["draft finding 88-a/b changed"]
    rationales = session.scalars(select(Finding.rationale).order_by(Finding.imported_as)).all()
    assert rationales == ["My own words.", "Files were opened for seven people."]


def test_withdrawn_evidence_does_not_come_back_with_the_file(
    load: Any, session: Session, make: Factory, now: dt.datetime
) -> None:
    load()
    reviewer = make.account(Role.REVIEWER)
    piece = session.scalars(select(Evidence).where(Evidence.number == 1)).one()
    evidence_service.withdraw(session, piece, reviewer=reviewer, reason="It was another court.", now=now)
    session.commit()
    before = everything(session)

    assert load().notes == []
    assert everything(session) == before
    assert load(("lists six case", "lists nine case")).notes == [
        "evidence E1 was withdrawn; its change in the file was left out."
    ]
    assert everything(session) == before


def test_a_changed_clause_under_an_approved_finding_is_recorded(
    load: Any, session: Session, make: Factory, now: dt.datetime
) -> None:
    load()
    monitor, reviewer = make.account(Role.MONITOR), make.account(Role.REVIEWER)
    draft = session.scalars(select(Finding).where(Finding.imported_as == "lower-valley/88-a/a")).one()
    findings.submit(session, draft, author=monitor, now=now)
    findings.approve(
        session, draft, reviewer=reviewer, harm=dict.fromkeys(findings.HARM_QUESTIONS, "no"), now=now
    )
    session.commit()

    load(('text = "Release all persons held without charge"', 'text = "Release all persons"'))

    assert newest(session).kind is EntryKind.REPORT_CORRECTED
    session.refresh(draft)
    assert (draft.state, draft.grade) == (State.ACCEPTED, Grade.B)


def test_a_load_that_dies_before_its_end_leaves_nothing(
    session: Session, now: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(session)
    parsed = report_file.read(BUNDLED, today=now.date())
    reports.load(session, parsed, now=now)

    session.rollback()

    assert everything(session) == before


def test_two_first_loads_at_once_enter_the_report_once(
    engine: Engine, session: Session, load: Any, tmp_path: Path, now: dt.datetime
) -> None:
    import threading

    path = tmp_path / "report.toml"
    path.write_text(EXAMPLE, encoding="utf-8")
    parsed = report_file.read(path, today=now.date())
    done: list[reports.Summary] = []

    def work() -> None:
        with db.new_session(engine) as own:
            done.append(reports.load(own, parsed, now=now))
            own.commit()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(summary.new for summary in done) == [False, True]
    assert kinds(session) == ["report-loaded", "evidence-published", "reply-published"]


def test_reports_are_listed_with_their_counts(load: Any, session: Session) -> None:
    load()

    assert reports.overviews(session) == [
        reports.Overview("lower-valley", "Assessment of the situation in the Lower Valley", 2, 2, 1, 1, 3)
    ]


def test_a_refused_file_leaves_the_database_as_it_was(load: Any, session: Session) -> None:
    load()
    before = everything(session)

    with pytest.raises(InvalidFile):
        load(("lists six case", "lists seven case"), ('grade = "B"', 'grade = "Z"'))

    assert everything(session) == before


def test_a_copy_of_the_bundled_files_elsewhere_is_the_same_report(
    session: Session, tmp_path: Path, now: dt.datetime
) -> None:
    reports.load(session, report_file.read(BUNDLED, today=now.date()), now=now)
    shutil.copytree(BUNDLED.parent, tmp_path / "copy")

    assert (
        reports.load(
            session, report_file.read(tmp_path / "copy" / "report.toml", today=now.date()), now=now
        ).changes
        == []
    )
    assert session.scalar(select(func.count()).select_from(Report)) == 1
    assert SourceType.UN_DOCUMENT in set(session.scalars(select(Evidence.source_type)))
