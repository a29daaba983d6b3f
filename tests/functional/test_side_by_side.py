"""Two saves of the same thing: the second is refused with both texts side by side, and nothing typed is lost."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from tests.factories import Factory
from tests.functional.conftest import Client, Page
from tests.published import Record
from tracker.models import Account, Evidence, FieldChange, Finding, Reply
from tracker.services import findings, replies
from tracker.vocabulary import Access, Grade, Position, Role, State, Visibility

As = Callable[[Account], Client]


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def fields(page: Page) -> dict[str, Any]:
    """The last form of a page as a browser would send it."""
    return dict(page.forms[-1]["fields"])


def between(page_text: str, start: str, end: str) -> str:
    return page_text.partition(start)[2].partition(end)[0]


def test_every_field_that_differs_stands_side_by_side_and_saving_again_works(
    record: Record, as_somebody: As, make: Factory
) -> None:
    first, session = record.first, record.session
    piece = make.evidence(first, created_by_id=record.mona.id)
    here, there = as_somebody(record.mona), as_somebody(record.mona)
    address = f"/workspace/evidence/{piece.key}/edit"
    mine, theirs = fields(here.get(address)), fields(there.get(address))
    session.rollback()
    part = f"bearings-c{first.clauses[1].id}"
    theirs |= {
        "title": "Their title", "occurred-day": "1", "occurred-month": "2", "occurred-year": "2024",
        "place": "Their valley", "summary": "Their summary.\n\nTwo parts.", "publisher": "Their court",
        "source_type": "law", "links": "https://their.arvenia.example/", "language": "fr", "reliability": "C",
        "credibility": "4", "remark": "Their remark", "team_note": "Their note", "visibility": "restricted",
        "readers": str(record.rafa.id), part: "regress", "names": "Their names", "draft": "1",
    }  # fmt: skip
    there.post(address, theirs)
    mine |= {
        "title": "My title", "occurred-day": "", "occurred-month": "7", "occurred-year": "2023",
        "place": "My valley", "summary": "My summary.", "publisher": "My court", "source_type": "media",
        "links": "https://mine.arvenia.example/", "language": "de", "reliability": "D", "credibility": "5",
        "remark": "My remark", "team_note": "My note", "visibility": "team", part: "mixed",
        "names": "My names", "draft": "1",
    }  # fmt: skip
    refused = here.inspect(here.post(address, mine, 409))

    told = refused.text
    for label, their_words, my_words in (
        ("Title", "Their title", "My title"),
        ("When it happened", "1 2 2024", "7 2023"),
        ("Where it happened", "Their valley", "My valley"),
        ("Summary for the public", "Their summary. Two parts.".replace(". T", ".T"), "My summary."),
        ("What it bears on", "88(a) b: Regress", "88(a): Progress88(a) b: Mixed"),
        ("Who says so", "Their court", "My court"),
        ("Type of source", "Law or order", "Media"),
        ("Where it was published", "https://their.arvenia.example/", "https://mine.arvenia.example/"),
        ("Language of the source", "fr", "de"),
        ("The source is", "Fairly reliable source", "Not usually reliable source"),
        ("The information is", "doubtful", "improbable"),
        ("Remark on the date or the copy", "Their remark", "My remark"),
        ("Note for colleagues", "Their note", "My note"),
        ("Who may see this piece", "Restricted", "Team only"),
        ("Who may read it", record.rafa.name, "Nothing"),
        ("Names", "Their names", "My names"),
    ):
        compared = between(
            told.partition("side by side")[2], f"{label} What stands there now", " 1. What happened"
        )
        left, _, right = compared.partition("What you typed")
        assert their_words in left, (label, left[:300])
        assert right.strip().startswith(my_words), (label, right[:300])
    kept = fields(refused)
    for name, value in mine.items():
        if name not in ("form_token", "version", "draft"):
            assert kept[name] == value, name
    assert kept["version"] == "2"

    here.post(address, kept | {"draft": "1"})
    session.expire_all()
    assert (piece.title, piece.visibility, piece.version) == ("My title", Visibility.TEAM, 3)
    changed = session.scalars(select(FieldChange).where(FieldChange.field == "title")).all()
    assert [(one.was.split()[0], one.now) for one in changed] == [
        ("Court", "Their title"),
        ("Their", "My title"),
    ]


def test_what_was_sent_for_review_meanwhile_shows_what_was_typed_and_does_not_change(
    record: Record, as_somebody: As, make: Factory
) -> None:
    piece = make.evidence(record.first, created_by_id=record.mona.id)
    here, there = as_somebody(record.mona), as_somebody(record.mona)
    address = f"/workspace/evidence/{piece.key}/edit"
    mine, theirs = fields(here.get(address)), fields(there.get(address))
    record.session.rollback()
    there.post(address, theirs | {"review": "1"})

    refused = here.inspect(
        here.post(address, mine | {"summary": "A long evening's work.", "draft": "1"}, 409)
    )

    assert "sent for review since you opened it" in refused.text
    assert fields(refused)["summary"] == "A long evening's work."
    record.session.expire_all()
    assert (piece.state, piece.summary) == (
        State.SUBMITTED,
        "The register of the district court shows case files.",
    )
    here.get(address, 403)
    as_somebody(record.rafa).post(address, mine, 400)  # Another person's token; and with their own:
    rafa = as_somebody(record.rafa)
    token = fields(rafa.get("/workspace/evidence/new"))["form_token"]
    rafa.post(address, mine | {"form_token": token}, 403)


def test_two_saves_of_a_proposal_or_a_reply_stand_side_by_side_too(
    record: Record, as_somebody: As, session: Session
) -> None:
    proposal = findings.draft(
        session, findings.Fields(grade=Grade.C, access=Access.OPEN, rationale="As it was."),
        author=record.mona, recommendation=record.second, clause=None, now=record.tick(),
    )  # fmt: skip
    reply = replies.draft(
        session, replies.Fields(author="Mission", position=Position.NOTES, summary="As it was."),
        report=record.report, author=record.mona, now=record.tick(),
    )  # fmt: skip
    session.commit()
    here, there = as_somebody(record.mona), as_somebody(record.mona)
    for noun, key, name in (("findings", proposal.key, "rationale"), ("replies", reply.key, "summary")):
        address = f"/workspace/{noun}/{key}/edit"
        mine, theirs = fields(here.get(address)), fields(there.get(address))
        there.post(address, theirs | {name: "Their words.", "draft": "1"})
        refused = here.inspect(here.post(address, mine | {name: "My words.", "draft": "1"}, 409))
        told = refused.text.partition("side by side")[2]
        assert "What stands there now Their words." in told.replace("  ", " ")
        assert "What you typed My words." in told.replace("  ", " ")
        here.post(address, fields(refused) | {"draft": "1"})
    session.rollback()
    session.expire_all()
    assert session.scalars(select(Finding.rationale)).one() == "My words."
    assert session.scalars(select(Reply.summary)).one() == "My words."


def together(count: int, act: Callable[[int], None]) -> None:
    """Do it in so many threads at once; what one of them meets is raised here."""
    barrier, met = threading.Barrier(count), []

    def one(number: int) -> None:
        try:
            barrier.wait(30)
            act(number)
        except BaseException as error:  # noqa: BLE001 - handed on below.
            met.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if met:
        raise met[0]


def test_twenty_people_who_save_twenty_pieces_at_once_lose_nothing(
    record: Record, as_somebody: As, make: Factory
) -> None:
    people = [make.account(Role.MONITOR) for _ in range(20)]
    rows = [make.evidence(record.first, created_by_id=person.id) for person in people]
    clients = [as_somebody(person) for person in people]
    opened = [fields(client.get(f"/workspace/evidence/{row.key}/edit")) for client, row in zip(clients, rows, strict=True)]  # fmt: skip
    record.session.rollback()

    def save(number: int) -> None:
        words = opened[number] | {"summary": f"Saved by {number}.", "draft": "1"}
        clients[number].post(f"/workspace/evidence/{rows[number].key}/edit", words)

    together(20, save)

    record.session.expire_all()
    assert [row.summary for row in rows] == [f"Saved by {number}." for number in range(20)]
    assert len(record.session.scalars(select(FieldChange)).all()) == 20


def test_of_twenty_saves_of_one_piece_each_is_kept_and_every_step_stands_in_its_history(
    record: Record, as_somebody: As, make: Factory
) -> None:
    """One is saved, nineteen are shown the other's words; saving again and again all arrive, one after the other."""
    piece = make.evidence(record.first, created_by_id=record.mona.id)
    clients = [as_somebody(record.mona) for _ in range(20)]
    address = f"/workspace/evidence/{piece.key}/edit"
    opened = [fields(client.get(address)) for client in clients]
    record.session.rollback()
    first_answers: list[int] = []

    def save(number: int) -> None:
        words = opened[number] | {"summary": f"Saved by {number}.", "draft": "1"}
        for attempt in range(60):
            response = clients[number].http.post(address, data=MultiDict(words))
            if attempt == 0:
                first_answers.append(response.status_code)
            if response.status_code == 303:
                return
            assert response.status_code == 409
            page = Page(response.get_data(as_text=True))
            assert f"Saved by {number}." in page.text
            words = fields(page) | {"draft": "1"}
        raise AssertionError("never saved")

    together(20, save)

    assert sorted(first_answers) == [303] + [409] * 19
    record.session.expire_all()
    steps = record.session.scalars(
        select(FieldChange).where(FieldChange.field == "summary").order_by(FieldChange.version)
    ).all()
    assert sorted(step.now for step in steps) == sorted(f"Saved by {number}." for number in range(20))
    assert [step.was for step in steps[1:]] == [step.now for step in steps[:-1]]
    assert (piece.version, piece.summary) == (21, steps[-1].now)
    assert record.session.get_one(Evidence, piece.id).state is State.DRAFT
