"""The team works together over HTTP: comments, assignments, needs, dissent, history, accepting in bulk."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client, Page
from tests.published import Record
from tracker.models import (
    Account,
    Capture,
    Comment,
    DissentingNote,
    Evidence,
    EvidenceReader,
    Finding,
    HarmCheck,
    LedgerEntry,
)
from tracker.services import audit, findings, history
from tracker.services import evidence as pieces
from tracker.services.harm import QUESTIONS
from tracker.vocabulary import Access, CaptureState, EntryKind, Grade, Role, State, Visibility

As = Callable[[Account], Client]
NO_HARM = dict.fromkeys(QUESTIONS, "no")
SAMPLE = Path(__file__).parents[1] / "unit" / "arvenia-evidence.csv"


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


@pytest.fixture
def dana(make: Factory) -> Account:
    account: Account = make.account(Role.REVIEWER, "Dana")
    return account


def form(page: Page, ending: str) -> int:
    """The place of the form that is sent to an address with this ending."""
    return next(place for place, one in enumerate(page.forms) if str(one["action"]).endswith(ending))


def send(client: Client, address: str, ending: str, fill: dict[str, object], status: int = 303) -> Page:
    place = form(client.get(address), ending)
    return client.inspect(client.send(address, fill, form=place, status=status))


def again(session: Session) -> None:
    session.rollback()
    session.expire_all()


def proposed(record: Record, grade: Grade = Grade.C) -> Finding:
    piece, now = record.evidence(record.second), record.tick()
    words = findings.Fields(
        grade=grade, as_of=now.date(), access=Access.REMOTE, rationale="Seen.", evidence_ids=[piece.id]
    )
    made = findings.draft(
        record.session, words, author=record.mona, recommendation=record.second, clause=None, now=now
    )
    findings.submit(record.session, made, author=record.mona, now=now)
    record.session.commit()
    return made


def test_a_comment_is_written_answered_and_seen_in_the_queue(record: Record, as_somebody: As) -> None:
    piece, finding, reply = record.submitted(record.first), proposed(record), record.reply(record.first)
    record.session.commit()
    mona, rafa = as_somebody(record.mona), as_somebody(record.rafa)
    for noun, path, row in (("evidence", "evidence", piece), ("finding", "findings", finding), ("reply", "replies", reply)):  # fmt: skip
        address = f"/workspace/{path}/{row.key}"
        send(rafa, address, f"/comments/{noun}/{row.key}", {"body": f"Which day? ({noun})"})
        page = mona.get(address)
        assert f"Which day? ({noun})" in page.text
        assert "UTC" in page.text
        assert f"Which day? ({noun})" in mona.get("/workspace").text
        send(mona, address, f"/comments/{noun}/{row.key}/read", {})
        assert f"Which day? ({noun})" not in mona.get("/workspace").text


def test_a_comment_that_is_refused_keeps_what_was_typed(record: Record, as_somebody: As) -> None:
    piece = record.submitted(record.first)
    rafa, long = as_somebody(record.rafa), "Kept. " + "x" * 4000
    address = f"/workspace/evidence/{piece.key}"
    page = send(rafa, address, f"/comments/evidence/{piece.key}", {"body": long}, 422)
    assert dict(page.forms[-1]["fields"])["body"] == long
    send(rafa, address, f"/comments/evidence/{piece.key}", {"body": " "}, 422)
    again(record.session)
    assert record.session.scalars(select(Comment)).all() == []


def test_markup_in_a_comment_is_text(record: Record, as_somebody: As) -> None:
    piece, rafa = record.submitted(record.first), as_somebody(record.rafa)
    address = f"/workspace/evidence/{piece.key}"
    send(rafa, address, f"/comments/evidence/{piece.key}", {"body": "<b>bold</b> {{ 7 * 7 }} & more"})
    assert "<b>bold</b> {{ 7 * 7 }} & more" in rafa.get(address).text


def test_who_may_not_see_a_thing_is_told_that_there_is_none(
    record: Record, as_somebody: As, make: Factory
) -> None:
    secret = record.submitted(record.first, visibility=Visibility.RESTRICTED)
    draft = make.evidence(record.first, created_by_id=record.mona.id)
    finding = proposed(record)
    rafa = as_somebody(record.rafa)
    token = dict(rafa.get("/workspace/evidence/new").forms[-1]["fields"])["form_token"]
    for path in (
        "comments/evidence/{}", "comments/evidence/{}/read", "assignments/evidence/{}",
        "assignments/evidence/{}/release", "evidence/{}/history",
    ):  # fmt: skip
        answers = set()
        for key in (secret.key, draft.key, "0000000000zz"):
            address = f"/workspace/{path.format(key)}"
            words = {"form_token": token, "body": "x", "account": record.rafa.key}
            response = rafa.http.get(address) if "history" in path else rafa.http.post(address, data=words)
            answers.add((response.status_code, response.get_data(as_text=True).replace(key, "")))
        assert {status for status, _ in answers} == {404}
        assert len(answers) == 1
    for noun in ("finding/x", "evidence/" + finding.key, "nothing/" + secret.key, "evidence/%00"):
        rafa.post(f"/workspace/comments/{noun}", {"form_token": token, "body": "x"}, 404)
    admin = as_somebody(make.account(Role.ADMIN))
    admin.get(f"/workspace/evidence/{secret.key}/history", 403)


def test_a_thing_is_given_taken_and_let_go(record: Record, as_somebody: As, dana: Account) -> None:
    piece = record.submitted(record.first, title="Who reads this?")
    mona, rafa, other = as_somebody(record.mona), as_somebody(record.rafa), as_somebody(dana)
    address, ending = f"/workspace/evidence/{piece.key}", f"/assignments/evidence/{piece.key}"

    send(mona, address, ending, {"account": record.rafa.key})
    assert "Assigned to me 1" in rafa.get("/workspace").text
    assert f"Assigned by {record.mona.name}" in other.get(address).text
    assert "Take it" not in rafa.get(address).text
    send(other, address, ending, {"account": dana.key})
    assert "Assigned to me 0" in rafa.get("/workspace").text
    assert "Assigned to me 1" in other.get("/workspace").text
    send(rafa, address, "/release", {})
    assert "Assigned to me 0" in other.get("/workspace").text
    send(mona, address, ending, {"account": "0000000000zz"}, 404)
    page = send(mona, address, ending, {"account": record.mona.key}, 422)
    assert "cannot take it" in page.text


def test_a_return_says_what_is_wanting_and_the_author_reads_it(record: Record, as_somebody: As) -> None:
    piece, rafa, mona = record.submitted(record.first), as_somebody(record.rafa), as_somebody(record.mona)
    address = f"/workspace/evidence/{piece.key}"
    page = rafa.inspect(rafa.send(address, {"decision": "return", "reason": "Which day?"}, status=422))
    assert "Tick what is wanting" in page.text
    assert dict(page.forms[-1]["fields"])["reason"] == "Which day?"
    rafa.send(
        address, {"decision": "return", "reason": "Which day?", "needs": ["date", "nonsense"]}, status=422
    )
    rafa.send(address, {"decision": "return", "reason": "Which day?", "needs": ["date", "harm"]})
    for place in (address, f"{address}/edit", "/workspace"):
        told = mona.get(place).text
        assert "The date is missing or not proven" in told, place
        assert "Somebody could be recognised" in told
        assert "Which day?" in told


def test_a_review_that_waits_for_a_week_is_overdue(
    record: Record, as_somebody: As, now: dt.datetime, session: Session
) -> None:
    piece = record.submitted(record.first)
    from tracker import clock

    piece.submitted_at = clock.now() - dt.timedelta(days=6, hours=23)
    session.commit()
    rafa = as_somebody(record.rafa)
    assert "Waiting for 6 days" in rafa.get("/review").text
    assert "Overdue" not in rafa.get("/review").text
    piece.submitted_at = clock.now() - dt.timedelta(days=7)
    session.commit()
    for address in ("/review", "/workspace"):
        assert "Overdue Waiting for 7 days" in rafa.get(address).text


def test_the_queue_shows_what_went_stale_and_what_failed(
    record: Record, as_somebody: As, make: Factory, session: Session
) -> None:
    from tracker import clock

    long_ago = clock.now() - dt.timedelta(days=31)
    draft = make.evidence(record.first, created_by_id=record.mona.id, title="Forgotten", created_at=long_ago)
    for days in (1, 40):
        session.add(
            Capture(
                evidence_id=draft.id, url="https://a.example/", state=CaptureState.FAILED, error="No answer.",
                requested_by_id=record.mona.id, requested_at=long_ago, run_after=long_ago,
                finished_at=clock.now() - dt.timedelta(days=days),
            )
        )  # fmt: skip
        session.commit()
    mona = as_somebody(record.mona)
    told = mona.get("/workspace").text
    assert "Going stale 1" in told
    assert (
        "Files and captures 0" in told
    )  # The newer one failed 40 days ago, and the older one was asked for again.
    session.scalars(select(Capture).order_by(Capture.id.desc())).first().finished_at = clock.now()  # type: ignore[union-attr]
    session.commit()
    assert "Files and captures 1" in mona.get("/workspace").text
    assert "No answer." in mona.get("/workspace").text
    assert "Files and captures 0" in as_somebody(record.rafa).get("/workspace").text


def test_history_is_on_the_page_in_pages_and_hidden_from_the_public(
    record: Record, as_somebody: As, client: Client, make: Factory
) -> None:
    session, piece = record.session, make.evidence(record.first, created_by_id=record.mona.id)
    for number in range(60):
        before = history.snapshot(piece)
        piece.summary = f"Text {number}."
        history.record(session, piece, before, account=record.mona, now=record.tick())
    session.commit()
    mona, address = as_somebody(record.mona), f"/workspace/evidence/{piece.key}"
    page = mona.get(address)
    assert "Text 59." in page.text
    assert "Text 40." not in page.text
    longer = mona.get(f"{address}/history")
    assert "Text 12." in longer.text
    assert "Text 8." not in longer.text
    older = next(link for link in longer.links if "before=" in link)
    assert "Text 8." in mona.get(older).text
    for wrong in ("0", "-1", str(2**63), "x"):
        response = mona.http.get(f"{address}/history?before={wrong}")
        assert response.status_code in (200, 404)
    client.get(f"{address}/history", 303)


def test_a_note_on_a_proposal_is_seen_by_the_approver_and_published_with_it(
    record: Record, as_somebody: As, dana: Account, client: Client
) -> None:
    finding = proposed(record)
    rafa, other, mona = as_somebody(record.rafa), as_somebody(dana), as_somebody(record.mona)
    address = f"/workspace/findings/{finding.key}"
    assert "Attach a dissenting note" not in mona.get(address).text
    mona.get(f"{address}/dissent", 403)

    opened = dict(rafa.get(address).forms[-1]["fields"])
    page = other.inspect(other.send(f"{address}/dissent", {"body": ""}, status=422))
    assert "Say how you see it differently" in page.text
    other.send(f"{address}/dissent", {"body": "I see partial steps."})
    assert "I see partial steps." in rafa.get(address).text
    assert "I see partial steps." not in client.get("/reports/lower-valley/88-b").text
    rafa.post(f"{address}/decision", opened | {"decision": "approve", **NO_HARM}, 409)
    other.send(address, {"decision": "approve", **NO_HARM}, status=403)
    rafa.send(address, {"decision": "approve", **NO_HARM})

    page = client.get("/reports/lower-valley/88-b")
    assert page.text.count("Dissenting note") >= 2  # With the finding, and in the history.
    assert page.text.count("I see partial steps.") == 2
    for told in ("/changes", "/changes.json", "/changes.atom", "/reports/lower-valley/88-b.atom"):
        words = client.http.get(told).get_data(as_text=True)
        assert "I see partial steps." in words, told
        assert "Dana" not in words
    again(record.session)
    assert list(audit.problems(record.session)) == []


def test_a_note_on_a_finding_that_stands_is_released_by_a_second_person(
    record: Record, as_somebody: As, dana: Account, client: Client
) -> None:
    piece = record.evidence(record.second)
    finding = record.finding(record.second, None, Grade.C, piece)
    rafa, other = as_somebody(record.rafa), as_somebody(dana)
    rafa.get(f"/workspace/findings/{finding.key}/dissent", 403)  # Who approved it does not dissent from it.
    other.send(f"/workspace/findings/{finding.key}/dissent", {"body": "I see partial steps."})
    again(record.session)
    note = record.session.scalars(select(DissentingNote)).one()
    address = f"/workspace/dissent/{note.key}"
    assert "Dissenting notes 1" in rafa.get("/workspace").text
    assert "Record decision" not in other.get(address).text
    rafa.send(address, {"decision": "approve"}, status=422)
    rafa.send(address, {"decision": "approve", **NO_HARM, "person": "yes"}, status=422)
    rafa.send(address, {"decision": "return"}, status=422)
    assert "partial steps" not in client.get("/reports/lower-valley/88-b").text
    rafa.send(address, {"decision": "approve", **NO_HARM})
    assert "partial steps" in client.get("/reports/lower-valley/88-b").text

    send(rafa, address, "/withdrawal", {"reason": ""}, 422)
    send(rafa, address, "/withdrawal", {"reason": "It named a workplace."})
    for told in ("/reports/lower-valley/88-b", "/changes", "/changes.json", "/changes.atom"):
        words = client.http.get(told).get_data(as_text=True)
        assert "partial steps" not in words
        assert "It named a workplace." in words
    again(record.session)
    assert list(audit.problems(record.session)) == []


def test_a_returned_note_stands_in_its_authors_queue_and_is_taken_back(
    record: Record, as_somebody: As, dana: Account
) -> None:
    finding = record.finding(record.second, None, Grade.C, record.evidence(record.second))
    rafa, other = as_somebody(record.rafa), as_somebody(dana)
    other.send(f"/workspace/findings/{finding.key}/dissent", {"body": "I see partial steps."})
    again(record.session)
    address = f"/workspace/dissent/{record.session.scalars(select(DissentingNote.key)).one()}"
    rafa.send(address, {"decision": "return", "reason": "It names a workplace."})
    assert "Dissenting notes 1" in other.get("/workspace").text
    send(other, address, "/take-back", {})
    other.get(address, 404)


def imported(record: Record, run: Callable[..., Result], dry: bool = False) -> Result:
    record.mona.email = "mona@arvenia.example"
    record.session.commit()
    words = ["evidence", "import", str(SAMPLE), "--author", record.mona.email]
    return run(*words, *(["--dry-run"] if dry else []))


def test_imported_pieces_are_accepted_together_each_with_its_own_entry(
    record: Record, as_somebody: As, run: Callable[..., Result], client: Client
) -> None:
    assert "Would send 3 pieces" in imported(record, run, dry=True).output
    again(record.session)
    assert record.session.scalars(select(Evidence)).all() == []
    assert "Sent 3 pieces for review; 0 were" in imported(record, run).output
    assert "Sent 0 pieces for review; 3 were" in imported(record, run).output
    rafa = as_somebody(record.rafa)
    assert "2 pieces" in rafa.get("/review").text
    page = rafa.get("/workspace/review/bulk")
    assert "Quarry report" not in page.text  # For the team: it is looked at by itself.
    again(record.session)
    rows = record.session.scalars(select(Evidence).where(Evidence.visibility == Visibility.PUBLIC)).all()
    chosen = [f"{row.key}:{row.version}" for row in rows]
    yes = {"chosen": chosen, "looked": "1", **NO_HARM}
    for wrong in (
        {**yes, "chosen": []}, {**yes, "looked": None}, {**yes, "person": None}, {**yes, "detail": "yes"},
        {**yes, "source": "unsure"},
    ):  # fmt: skip
        page = rafa.inspect(rafa.send("/workspace/review/bulk", wrong, status=422))
        ticked = [value for name, value in page.forms[-1]["fields"] if name == "chosen"]
        assert sorted(ticked) == sorted(wrong["chosen"])
        client.get("/evidence/1", 404)
    rafa.send("/workspace/review/bulk", yes)

    client.get("/evidence/1", 200)
    client.get("/evidence/2", 200)
    again(record.session)
    entries = record.session.scalars(
        select(LedgerEntry).where(LedgerEntry.kind == EntryKind.EVIDENCE_PUBLISHED)
    ).all()
    assert len(entries) == 2
    assert len(record.session.scalars(select(HarmCheck)).all()) == 2
    assert list(audit.problems(record.session)) == []


def test_one_piece_that_changed_meanwhile_holds_all_of_them(
    record: Record, as_somebody: As, run: Callable[..., Result]
) -> None:
    imported(record, run)
    rafa = as_somebody(record.rafa)
    page = rafa.get("/workspace/review/bulk")
    again(record.session)
    first, second = record.session.scalars(
        select(Evidence).where(Evidence.visibility == Visibility.PUBLIC).order_by(Evidence.id)
    ).all()
    data = dict(page.forms[-1]["fields"]) | NO_HARM | {"looked": "1"}
    data["chosen"] = [f"{first.key}:{first.version}", f"{second.key}:{second.version}", "0000000000zz:1"]  # type: ignore[assignment]
    pieces.send_back(record.session, second, reviewer=record.rafa, reason="Day?", now=record.tick())
    second.summary = "Something nobody has reviewed."
    pieces.submit(record.session, second, author=record.mona, now=record.tick())
    record.session.commit()

    refused = rafa.inspect(rafa.post("/workspace/review/bulk", data, 409))

    assert "Nothing was accepted" in refused.text
    assert "One piece that is no longer there" in refused.text
    ticked = [value for name, value in refused.forms[-1]["fields"] if name == "chosen"]
    assert ticked == [f"{first.key}:{first.version}"]
    again(record.session)
    assert {first.state, second.state} == {State.SUBMITTED}
    assert record.session.scalars(select(HarmCheck)).all() == []


@pytest.mark.parametrize("what", ["own", "person", "restricted", "warning", "monitor"])
def test_what_needs_a_look_of_its_own_is_not_accepted_in_bulk(
    what: str, record: Record, as_somebody: As, run: Callable[..., Result], session: Session
) -> None:
    imported(record, run)
    again(session)
    rows = session.scalars(select(Evidence).where(Evidence.visibility == Visibility.PUBLIC)).all()
    for row in rows:
        if what == "own":
            row.created_by_id = record.rafa.id
        if what == "person":
            row.from_person = True
        if what == "restricted":
            row.visibility = Visibility.RESTRICTED
            row.readers = [EvidenceReader(account_id=record.rafa.id)]
        if what == "warning":
            row.summary = "Call +7 701 555 12 34 or write to family@arvenia.example."
    session.commit()
    if what == "monitor":
        as_somebody(record.mona).get("/workspace/review/bulk", 403)
        return
    rafa = as_somebody(record.rafa)
    page = rafa.get("/workspace/review/bulk")
    assert 'name="chosen"' not in rafa.http.get("/workspace/review/bulk").get_data(as_text=True)
    token = dict(rafa.get("/workspace/evidence/new").forms[-1]["fields"])["form_token"]
    data = {"form_token": token, "looked": "1", **NO_HARM}
    data["chosen"] = [f"{row.key}:{row.version}" for row in rows]  # type: ignore[assignment]
    refused = rafa.inspect(rafa.post("/workspace/review/bulk", data, 409))
    assert "Nothing was accepted" in refused.text
    assert page.title
    again(session)
    assert {row.state for row in rows} == {State.SUBMITTED}


def test_the_import_says_every_fault_and_exits_with_one(
    record: Record, run: Callable[..., Result], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(SAMPLE.read_text(encoding="utf-8").replace("88-a/b", "88-z"), encoding="utf-8")
    record.session.commit()
    told = run("evidence", "import", str(bad), "--author", record.mona.email.upper(), code=1).output
    assert "Line 4, column bearings: The report has no recommendation “88-z”." in told
    assert "no account" in run("evidence", "import", str(SAMPLE), "--author", "x@y.example", code=1).output
    assert "cannot be read" in run(
        "evidence", "import", str(tmp_path / "none.csv"), "--author", record.mona.email, code=1
    ).output  # fmt: skip
    again(record.session)
    assert record.session.scalars(select(Evidence)).all() == []


def test_no_route_of_the_teams_is_public(app: Flask) -> None:
    """Every new route says who may use it, and none of them is public."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint.partition(".")[0] in ("comments", "assignments", "dissent", "teamwork", "workspace"):
            assert app.view_functions[rule.endpoint].access  # type: ignore[attr-defined]
