"""The main job over HTTP: log evidence, accept it, propose a finding, approve it, see it in public."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import NO_HARM, NOT_ENTERED, Record
from tracker.models import Account, Evidence, Finding, Recommendation, Reply, Report
from tracker.services import audit, evidence, ledger
from tracker.vocabulary import Grade, Role, State, Visibility

As = Callable[[Account], Client]


@pytest.fixture
def report(make: Factory) -> Report:
    return make.report()  # type: ignore[no-any-return]


@pytest.fixture
def first(report: Report) -> Recommendation:
    return report.recommendations[0]


def answers(first: Recommendation, **values: object) -> dict[str, object]:
    """What Mona types about a piece of evidence."""
    return {
        "title": "Court register lists six case files",
        "occurred-day": "",
        "occurred-month": "5",
        "occurred-year": "2025",
        "summary": "The register shows six files.",
        f"bearings-c{first.clauses[0].id}": "progress",
        "publisher": "Lower Valley District Court",
        "source_type": "official-record",
        "links": "https://court.arvenia.example/register",
        "language": "French",
        "reliability": "B",
        "credibility": "2",
        "visibility": "public",
        "team_note": "Ask about the other five.",
        "review": "1",
        **values,
    }


def again(session: Session) -> None:
    """Look at the database as it is now."""
    session.rollback()
    session.expire_all()


def one(session: Session, kind: type) -> Any:
    """The only row of its kind, as it is now."""
    again(session)
    return session.scalars(select(kind)).one()


def test_from_evidence_to_a_published_finding(
    session: Session,
    report: Report,
    first: Recommendation,
    mona: Account,
    rafa: Account,
    client: Client,
    as_somebody: As,
) -> None:
    monitor, reviewer = as_somebody(mona), as_somebody(rafa)

    monitor.send("/workspace/evidence/new", answers(first))
    piece = one(session, Evidence)
    assert piece.state is State.SUBMITTED
    client.get("/evidence/1", 404)
    assert "Court register" in reviewer.get("/review").text
    reviewer.send(f"/workspace/evidence/{piece.key}", {"decision": "accept", **NO_HARM})
    shown = client.get("/evidence/1").text
    assert "Court register lists six case files" in shown
    assert "May 2025" in shown
    assert "Ask about the other five" not in shown
    assert "Mona" not in shown

    piece = one(session, Evidence)
    monitor.send(
        "/workspace/findings/new?recommendation=lower-valley/88-a",
        {
            "targets": [clause.id for clause in first.clauses],
            "grade": "B",
            "as_of-day": "2", "as_of-month": "9", "as_of-year": "2026",
            "access": "guided",
            "rationale": "Six files were opened. Nobody has been charged.",
            "evidence_ids": [piece.id],
            "review": "1",
        },
    )  # fmt: skip
    again(session)
    proposals = session.scalars(select(Finding).order_by(Finding.id)).all()
    assert [proposal.state for proposal in proposals] == [State.SUBMITTED, State.SUBMITTED]
    assert "Not yet assessed" in client.get("/reports/lower-valley/88-a").text
    assert "Nobody has been charged" not in client.get("/reports/lower-valley/88-a").text

    reviewer.send(
        f"/workspace/findings/{proposals[0].key}",
        {"decision": "approve", "reason": "Checked twice.", **NO_HARM},
    )
    page = client.get("/reports/lower-valley/88-a").text
    assert "Partially implemented" in page
    assert "Nobody has been charged" in page
    assert "Checked twice." in page
    assert "Partially implemented" in client.get("/reports/lower-valley").text
    assert "Nobody has been charged" in client.http.get("/changes.atom").get_data(as_text=True)
    again(session)
    assert list(audit.problems(session)) == [NOT_ENTERED]
    for name in ("Mona", "Rafa", mona.email, rafa.email):
        for address in (
            "/",
            "/reports/lower-valley",
            "/reports/lower-valley/88-a",
            "/changes.json",
            "/ledger/entries",
        ):
            assert name not in client.http.get(address).get_data(as_text=True)


def test_a_draft_is_seen_by_its_author_alone(
    session: Session, first: Recommendation, mona: Account, rafa: Account, make: Factory, as_somebody: As
) -> None:
    as_somebody(mona).send("/workspace/evidence/new", answers(first, review=None, draft="1"))
    key = one(session, Evidence).key

    assert "Draft" in as_somebody(mona).get(f"/workspace/evidence/{key}").text
    as_somebody(rafa).get(f"/workspace/evidence/{key}", 404)
    as_somebody(make.account(Role.ADMIN)).get(f"/workspace/evidence/{key}", 403)


def test_a_mistake_is_named_at_its_field_and_nothing_typed_is_lost(
    session: Session, first: Recommendation, mona: Account, as_somebody: As
) -> None:
    response = as_somebody(mona).send(
        "/workspace/evidence/new",
        answers(first, **{"occurred-day": "31", "occurred-month": "6", "occurred-year": "2026"}),
        status=422,
    )

    html = response.get_data(as_text=True)
    page = as_somebody(mona).inspect(response)
    assert "31.6.2026 does not exist" in page.text
    assert page.title.startswith("Error:")
    fields = dict(page.forms[-1]["fields"])
    assert fields["title"] == "Court register lists six case files"
    assert fields["team_note"] == "Ask about the other five."
    assert fields["occurred-day"] == "31"
    assert fields[f"bearings-c{first.clauses[0].id}"] == "progress"
    assert 'href="#occurred-day"' in html
    assert session.scalars(select(Evidence)).all() == []


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"title": ""}, "Enter a title"),
        ({"summary": ""}, "Write a summary"),
        ({"links": "javascript:alert(1)"}, "not a web address"),
        ({"title": "A\u202eB"}, "Character 2 (U+202E) cannot be stored"),
        ({"title": "A\x00B"}, "Character 2 (U+0000) cannot be stored"),
        ({"title": "x" * 201}, "Shorten this to 200 characters"),
        ({"visibility": "restricted"}, "Name at least one reviewer"),
        ({"reliability": "Z"}, ""),
    ],
)
def test_bad_input_gets_a_sentence(
    values: dict[str, object],
    sentence: str,
    session: Session,
    first: Recommendation,
    mona: Account,
    as_somebody: As,
) -> None:
    response = as_somebody(mona).send("/workspace/evidence/new", answers(first, **values), status=422)

    assert sentence in as_somebody(mona).inspect(response).text
    assert session.scalars(select(Evidence)).all() == []


def test_uyghur_and_emoji_come_back_exactly(
    session: Session, first: Recommendation, mona: Account, as_somebody: As
) -> None:
    title = "ئۇيغۇرچە خەت، می‌خواهم 👩‍👧"
    as_somebody(mona).send("/workspace/evidence/new", answers(first, title=title))

    piece = one(session, Evidence)
    assert piece.title == title
    assert title in as_somebody(mona).http.get(f"/workspace/evidence/{piece.key}").get_data(as_text=True)


def test_a_stale_save_is_answered_409_with_both_texts(
    session: Session, first: Recommendation, mona: Account, as_somebody: As
) -> None:
    monitor = as_somebody(mona)
    monitor.send("/workspace/evidence/new", answers(first, review=None))
    piece = one(session, Evidence)
    address = f"/workspace/evidence/{piece.key}/edit"
    monitor.send(address, answers(first, summary="From the first tab.", review=None))

    response = monitor.send(
        address,
        answers(first, summary="From the second tab.", version=piece.version, review=None),
        status=409,
    )

    page = monitor.inspect(response)
    assert "From the first tab." in page.text
    assert dict(page.forms[-1]["fields"])["summary"] == "From the second tab."
    assert one(session, Evidence).summary == "From the first tab."
    monitor.post(address, MultiDict([*page.forms[-1]["fields"], ("draft", "1")]))
    assert one(session, Evidence).summary == "From the second tab."


@pytest.fixture
def proposal(
    session: Session,
    make: Factory,
    report: Report,
    first: Recommendation,
    mona: Account,
    now: dt.datetime,
    as_somebody: As,
) -> Finding:
    """Mona's proposal on 88(b), which has no clauses."""
    second = report.recommendations[1]
    piece = make.evidence(second)
    evidence.publish(session, piece, now=now)
    session.commit()
    as_somebody(mona).send(
        "/workspace/findings/new?recommendation=lower-valley/88-b",
        {
            "grade": "C", "as_of-day": "2", "as_of-month": "9", "as_of-year": "2026", "access": "remote",
            "rationale": "Nothing was said.", "evidence_ids": [piece.id], "review": "1",
        },
    )  # fmt: skip
    return one(session, Finding)  # type: ignore[return-value]


def test_the_proposer_cannot_approve_even_by_a_direct_post(
    session: Session, proposal: Finding, mona: Account, as_somebody: As
) -> None:
    mona.role = Role.REVIEWER
    session.commit()
    own = as_somebody(mona)
    token = dict(own.get("/workspace").forms[0]["fields"])["form_token"]

    response = own.post(
        f"/workspace/findings/{proposal.key}/decision",
        {"form_token": token, "decision": "approve", "reason": "", **NO_HARM},
        status=403,
    )

    assert "Another reviewer must look at it" in response.get_data(as_text=True)
    assert one(session, Finding).state is State.SUBMITTED


def test_approving_twice_is_refused_with_a_sentence(
    session: Session, proposal: Finding, rafa: Account, make: Factory, as_somebody: As
) -> None:
    reviewer, second = as_somebody(rafa), as_somebody(make.account(Role.REVIEWER))
    address = f"/workspace/findings/{proposal.key}"
    late = second.get(address).forms[-1]
    reviewer.send(address, {"decision": "approve", **NO_HARM})
    again(session)
    before = ledger.position(session)

    response = second.post(
        f"{address}/decision", dict(late["fields"]) | {"decision": "approve", **NO_HARM}, status=409
    )

    assert "decided this meanwhile" in response.get_data(as_text=True)
    again(session)
    assert ledger.position(session) == before


def test_publishing_without_evidence_is_refused(
    session: Session, report: Report, mona: Account, as_somebody: As
) -> None:
    response = as_somebody(mona).send(
        "/workspace/findings/new?recommendation=lower-valley/88-b",
        {
            "grade": "A", "as_of-day": "2", "as_of-month": "9", "as_of-year": "2026", "access": "open",
            "rationale": "All is well.", "review": "1",
        },
        status=422,
    )  # fmt: skip

    assert "Cite at least one accepted piece of evidence" in response.get_data(as_text=True)
    assert session.scalars(select(Finding)).all() == []


def test_an_unanswered_harm_question_is_asked_again(
    session: Session, proposal: Finding, rafa: Account, as_somebody: As
) -> None:
    response = as_somebody(rafa).send(
        f"/workspace/findings/{proposal.key}",
        {"decision": "approve", "person": "no", "reason": "Fine."},
        status=422,
    )

    page = as_somebody(rafa).inspect(response)
    assert "Answer this question before you approve" in page.text
    assert dict(page.forms[-1]["fields"])["reason"] == "Fine."
    assert one(session, Finding).state is State.SUBMITTED


def test_a_returned_proposal_comes_back_with_its_reason_and_stays_private(
    session: Session, proposal: Finding, mona: Account, rafa: Account, client: Client, as_somebody: As
) -> None:
    as_somebody(rafa).send(
        f"/workspace/findings/{proposal.key}",
        {"decision": "return", "needs": "evidence", "reason": "Say which office."},
    )

    assert "Say which office." in as_somebody(mona).get("/workspace").text
    assert "Say which office." not in client.get("/reports/lower-valley/88-b").text
    assert one(session, Finding).state is State.RETURNED


def test_a_prepared_draft_is_taken_up_and_proposed(
    session: Session, proposal: Finding, mona: Account, make: Factory, as_somebody: As, now: dt.datetime
) -> None:
    prepared = Finding(
        recommendation_id=proposal.recommendation_id, created_at=now, rationale="Prepared words."
    )
    session.add(prepared)
    session.commit()
    monitor = as_somebody(mona)
    assert "Prepared drafts of findings" in monitor.get("/workspace").text

    monitor.send(
        f"/workspace/findings/{prepared.key}/edit",
        {
            "grade": "V", "as_of-day": "1", "as_of-month": "9", "as_of-year": "2026", "access": "refused",
            "search_what": "visits", "search_where": "Gazette", "search_languages": "English",
            "search_until-day": "1", "search_until-month": "9", "search_until-year": "2026", "review": "1",
        },
    )  # fmt: skip

    again(session)
    assert (prepared.state, prepared.proposed_by_id) == (State.SUBMITTED, mona.id)


def test_withdrawn_evidence_disappears_from_every_public_page(
    session: Session, proposal: Finding, rafa: Account, client: Client, as_somebody: As
) -> None:
    piece = one(session, Evidence)
    assert piece.title in client.get("/evidence/1").text

    as_somebody(rafa).send(f"/workspace/evidence/{piece.key}", {"reason": "A forgery."})

    for address in ("/evidence/1", "/reports/lower-valley", "/reports/lower-valley/88-b", "/changes"):
        shown = client.get(address).text
        assert piece.title not in shown, address
    assert "A forgery." in client.get("/evidence/1").text
    assert piece.title not in client.http.get("/changes.json").get_data(as_text=True)
    assert piece.title not in client.http.get("/changes.atom").get_data(as_text=True)


def test_a_finding_that_rests_on_withdrawn_evidence_is_shown_to_the_team(
    session: Session, proposal: Finding, mona: Account, rafa: Account, as_somebody: As
) -> None:
    reviewer, piece = as_somebody(rafa), one(session, Evidence)
    reviewer.send(f"/workspace/findings/{proposal.key}", {"decision": "approve", **NO_HARM})
    assert "Findings that rest on it" in reviewer.get(f"/workspace/evidence/{piece.key}").text
    assert "Resting on withdrawn evidence 0" in as_somebody(mona).get("/workspace").text

    reviewer.send(f"/workspace/evidence/{piece.key}", {"reason": "A forgery."})

    assert "Resting on withdrawn evidence 1" in as_somebody(mona).get("/workspace").text


def test_restricted_evidence_is_the_same_404_for_those_who_are_not_named(
    session: Session, first: Recommendation, mona: Account, rafa: Account, make: Factory, as_somebody: As
) -> None:
    as_somebody(mona).send(
        "/workspace/evidence/new", answers(first, visibility="restricted", readers=[rafa.id])
    )
    key = one(session, Evidence).key
    other = as_somebody(make.account(Role.REVIEWER))

    forbidden = other.http.get(f"/workspace/evidence/{key}")
    missing = other.http.get("/workspace/evidence/0123456789ab")

    as_somebody(rafa).get(f"/workspace/evidence/{key}")
    assert (forbidden.status_code, missing.status_code) == (404, 404)
    strip = lambda text: text.replace(key, "").replace("0123456789ab", "")  # noqa: E731
    from tests.functional.conftest import Page

    assert (
        Page(strip(forbidden.get_data(as_text=True))).text == Page(strip(missing.get_data(as_text=True))).text
    )
    assert "Court register" not in other.get("/review").text


def test_a_reply_of_the_state_goes_the_same_way(
    session: Session, report: Report, mona: Account, rafa: Account, client: Client, as_somebody: As
) -> None:
    as_somebody(mona).send(
        "/workspace/replies/new",
        {
            "author": "Ministry of the Interior", "position": "rejects", "replied-day": "22", "replied-month": "1",
            "replied-year": "2024", "recommendation_ids": [report.recommendations[0].id],
            "summary": "The ministry says that all was examined.",
            "quotations": "All allegations have been examined.\n\nNo further step is needed.",
            "source_publisher": "Gazette", "source_url": "https://gazette.arvenia.example/", "review": "1",
        },
    )  # fmt: skip
    reply = one(session, Reply)
    assert [quotation.text for quotation in reply.quotations] == [
        "All allegations have been examined.", "No further step is needed.",
    ]  # fmt: skip
    assert "examined" not in client.get("/reports/lower-valley/88-a").text

    as_somebody(rafa).send(f"/workspace/replies/{reply.key}", {"decision": "accept"})

    shown = client.get("/reports/lower-valley/88-a").text
    assert "No further step is needed." in shown
    assert "Rejects" in shown
    assert "Rejects" in client.get("/reports/lower-valley").text


def test_evidence_for_the_team_is_accepted_and_stays_out_of_sight(
    session: Session, first: Recommendation, mona: Account, rafa: Account, client: Client, as_somebody: As
) -> None:
    as_somebody(mona).send("/workspace/evidence/new", answers(first, visibility="team"))
    piece = one(session, Evidence)

    as_somebody(rafa).send(f"/workspace/evidence/{piece.key}", {"decision": "accept", **NO_HARM})

    assert one(session, Evidence).state is State.ACCEPTED
    assert piece.visibility is Visibility.TEAM
    for address in ("/", "/reports/lower-valley", "/reports/lower-valley/88-a", "/changes"):
        assert "Court register" not in client.get(address).text
    client.get("/evidence/1", 404)


def test_every_staff_page_opens_for_those_it_is_for(
    session: Session, proposal: Finding, mona: Account, rafa: Account, make: Factory, as_somebody: As
) -> None:
    for person, addresses in [
        (
            mona,
            [
                "/workspace",
                "/workspace/evidence/new",
                "/workspace/findings/new",
                "/workspace/replies/new",
                "/account",
            ],
        ),
        (rafa, ["/workspace", "/review", f"/workspace/findings/{proposal.key}"]),
        (make.account(Role.ADMIN), ["/people", "/outbox", "/account"]),
    ]:
        for address in addresses:
            as_somebody(person).get(address)


def test_everything_that_a_reviewer_would_miss_is_said_at_once(
    first: Recommendation, mona: Account, as_somebody: As
) -> None:
    page = as_somebody(mona).send(
        "/workspace/evidence/new", {"title": "Six case files", "review": "1"}, status=422
    )

    assert "7 answers need your attention" in page.text
    assert "Write a summary" in page.text
    assert "Enter who says so." in page.text
    assert "Choose at least one recommendation" in page.text


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (("1", "1", "2999", ""), "This date lies in the future."),
        (("", "", "2999", ""), "This date lies in the future."),
        (("", "5", "2025", "1"), "An approximate date needs a day."),
        (("", "", "2025", "1"), "An approximate date needs a day."),
    ],
)
def test_a_date_that_nobody_can_know_so_is_refused(
    first: Recommendation, mona: Account, as_somebody: As, typed: tuple[str, ...], sentence: str
) -> None:
    parts = ("occurred-day", "occurred-month", "occurred-year", "occurred-about")

    page = as_somebody(mona).send(
        "/workspace/evidence/new", answers(first, **dict(zip(parts, typed, strict=True))), status=422
    )

    assert sentence in page.text


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def test_a_correction_says_what_was_wrong(record: Record, as_somebody: As) -> None:
    first = record.first
    standing = record.finding(first, first.clauses[0], Grade.C, record.evidence(first))
    address = f"/workspace/findings/new?recommendation=lower-valley/{first.number}&correct={standing.key}"

    page = as_somebody(record.mona).send(address, {"review": "1"}, status=422)

    assert "Say what was wrong with the finding that stands." in page.text


def test_a_superseded_finding_is_shown_beside_the_one_before_it(record: Record, as_somebody: As) -> None:
    first, cited = record.first, record.evidence(record.first)
    old = record.finding(first, first.clauses[0], Grade.C, cited)
    record.finding(first, first.clauses[0], Grade.B, cited)

    text = as_somebody(record.mona).get(f"/workspace/findings/{old.key}").text

    assert "The finding, and the one before it" in text
    assert "No finding stood here." in text
    assert "Proposed" not in text


def discarding(client: Client, address: str) -> dict[str, str]:
    """The fields of the form that discards something, on its page."""
    forms = client.get(address.removesuffix("/discard")).forms
    return dict(next(form["fields"] for form in forms if form["action"] == address))


def test_a_draft_is_discarded_by_its_author_alone(
    session: Session, first: Recommendation, mona: Account, rafa: Account, as_somebody: As
) -> None:
    monitor = as_somebody(mona)
    monitor.send("/workspace/evidence/new", answers(first, review=None, draft="1"))
    key = one(session, Evidence).key
    address = f"/workspace/evidence/{key}/discard"
    token = dict(as_somebody(rafa).get("/workspace").forms[0]["fields"])["form_token"]
    as_somebody(rafa).http.post(address, data={"form_token": token, "version": "1"})
    assert one(session, Evidence).key == key

    own = discarding(monitor, address)
    monitor.post(address, own | {"version": "99"}, status=409)
    monitor.post(address, own)

    again(session)
    assert session.scalars(select(Evidence)).all() == []
    monitor.get(f"/workspace/evidence/{key}", 404)


def test_what_was_sent_for_review_or_published_is_not_discarded(
    session: Session, proposal: Finding, mona: Account, as_somebody: As
) -> None:
    monitor = as_somebody(mona)
    token = dict(monitor.get("/workspace").forms[0]["fields"])["form_token"]

    monitor.post(
        f"/workspace/findings/{proposal.key}/discard",
        {"form_token": token, "version": str(proposal.version)},
        status=403,
    )

    assert one(session, Finding).key == proposal.key


def test_a_returned_proposal_and_a_draft_of_a_reply_are_discarded(
    session: Session, report: Report, proposal: Finding, mona: Account, rafa: Account, as_somebody: As
) -> None:
    monitor = as_somebody(mona)
    as_somebody(rafa).send(
        f"/workspace/findings/{proposal.key}",
        {"decision": "return", "needs": "evidence", "reason": "Say which office."},
    )
    address = f"/workspace/findings/{proposal.key}/discard"
    monitor.post(address, discarding(monitor, address))
    monitor.send("/workspace/replies/new", {"author": "Ministry", "draft": "1"})
    address = f"/workspace/replies/{one(session, Reply).key}/discard"
    monitor.post(address, discarding(monitor, address))

    again(session)
    assert session.scalars(select(Finding)).all() == []
    assert session.scalars(select(Reply)).all() == []
