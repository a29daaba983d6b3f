"""Comments are the team's own: seen by who may see the thing, sealed with it, gone with it."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import Record
from tracker.errors import Conflict, Invalid, NotFound
from tracker.models import Comment, Evidence, EvidenceReader
from tracker.queries import teamwork
from tracker.services import comments, drafts, evidence, findings, history
from tracker.vocabulary import Access, Grade, Role, State, Visibility


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def restricted(record: Record) -> Evidence:
    piece = record.submitted(record.first, visibility=Visibility.RESTRICTED)
    piece.readers = [EvidenceReader(account_id=record.rafa.id)]
    record.session.commit()
    return piece


def test_comments_stand_in_the_order_in_which_they_were_written(record: Record) -> None:
    piece = record.submitted(record.first)
    comments.add(record.session, piece, "Which day?", author=record.rafa, now=record.tick())
    comments.add(record.session, piece, "The fourteenth.", author=record.mona, now=record.tick())
    record.session.commit()

    assert [one.body for one in teamwork.comments(record.session, piece)] == ["Which day?", "The fourteenth."]


@pytest.mark.parametrize(("body", "sentence"), [("", "Write something"), ("x" * 4001, "4000 characters")])
def test_an_empty_or_endless_comment_is_refused_at_its_field(
    body: str, sentence: str, record: Record
) -> None:
    with pytest.raises(Invalid, match=sentence) as refused:
        comments.add(
            record.session, record.submitted(record.first), body, author=record.rafa, now=record.tick()
        )
    assert refused.value.field == "body"


def test_only_who_may_see_a_thing_comments_on_it(record: Record, make: Factory) -> None:
    other, admin = make.account(Role.REVIEWER), make.account(Role.ADMIN)
    gone = make.account(Role.REVIEWER, active=False)
    piece, draft = (
        restricted(record),
        record.make.evidence(record.first, created_by_id=record.mona.id, state=State.DRAFT),
    )
    open_piece = record.submitted(record.first)
    for row, who in (
        (piece, other), (draft, record.rafa), (draft, other), (open_piece, admin), (open_piece, gone),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            comments.add(record.session, row, "Hello", author=who, now=record.tick())
    comments.add(record.session, piece, "Named", author=record.rafa, now=record.tick())
    comments.add(record.session, draft, "Own", author=record.mona, now=record.tick())


def test_a_comment_on_restricted_evidence_is_ciphertext_in_the_database(record: Record) -> None:
    comments.add(record.session, restricted(record), "SECRET", author=record.rafa, now=record.tick())
    record.session.commit()

    assert "SECRET" not in str(record.session.execute(text("SELECT * FROM comment")).all())
    record.session.expunge_all()
    assert record.session.scalars(select(Comment)).one().body == "SECRET"


def test_comments_history_and_reasons_are_sealed_when_their_evidence_becomes_restricted(
    record: Record,
) -> None:
    session, piece = record.session, record.submitted(record.first)
    comments.add(session, piece, "SECRET remark", author=record.rafa, now=record.tick())
    evidence.send_back(session, piece, reviewer=record.rafa, reason="SECRET reason", now=record.tick())
    words = evidence.Fields(title="SECRET title", reader_ids=[record.rafa.id])
    evidence.edit(session, piece, words, author=record.mona, version=piece.version, now=record.tick())
    session.commit()
    assert "SECRET" in everything(session)

    evidence.edit(
        session, piece,
        evidence.Fields(title="SECRET title", visibility=Visibility.RESTRICTED, reader_ids=[record.rafa.id]),
        author=record.mona, version=piece.version, now=record.tick(),
    )  # fmt: skip
    session.commit()

    assert "SECRET" not in everything(session)
    session.expunge_all()
    piece = session.scalars(select(Evidence)).one()
    assert piece.review_reason == "SECRET reason"
    assert teamwork.comments(session, piece)[0].body == "SECRET remark"
    assert "SECRET title" in {one.now for one in teamwork.history(session, piece, record.rafa, limit=50)}

    evidence.edit(
        session, piece, evidence.Fields(title="SECRET title"), author=record.mona, version=piece.version,
        now=record.tick(),
    )  # fmt: skip
    session.commit()
    assert "SECRET remark" in everything(session)


def everything(session: Session) -> str:
    told = ""
    for table in ("evidence", "comment", "field_change", "activity"):
        told += str(session.execute(text(f"SELECT * FROM {table}")).all())
    return told


def test_a_reason_for_returning_restricted_evidence_is_sealed_and_read(record: Record) -> None:
    piece = restricted(record)
    evidence.send_back(record.session, piece, reviewer=record.rafa, reason="SECRET reason", now=record.tick())
    record.session.commit()

    assert "SECRET" not in everything(record.session)
    record.session.expire_all()
    assert piece.review_reason == "SECRET reason"


def test_comments_die_with_a_draft_that_is_discarded(record: Record, make: Factory) -> None:
    session = record.session
    draft = make.evidence(record.first, created_by_id=record.mona.id)
    finding = findings.draft(
        session, findings.Fields(grade=Grade.C, access=Access.OPEN), author=record.mona,
        recommendation=record.second, clause=None, now=record.tick(),
    )  # fmt: skip
    for row in (draft, finding):
        comments.add(session, row, "A note to myself", author=record.mona, now=record.tick())
        drafts.discard(session, row, author=record.mona, version=row.version, now=record.tick())
    session.commit()

    assert session.scalars(select(Comment)).all() == []


def test_nothing_is_added_to_erased_evidence(record: Record) -> None:
    piece = record.submitted(record.first, state=State.ERASED)
    with pytest.raises(Conflict, match="erased"):
        comments.add(record.session, piece, "Too late", author=record.rafa, now=record.tick())


def test_the_queue_tells_of_comments_since_ones_own_last_act(record: Record, make: Factory) -> None:
    session, piece = record.session, record.submitted(record.first)

    def told(who: object) -> list[str]:
        session.commit()
        found = teamwork.unread(session, who)  # type: ignore[arg-type]
        return [comment.body for list_ in found.values() for comment in list_]

    comments.add(session, piece, "First", author=record.rafa, now=record.tick())
    comments.add(session, piece, "Second", author=record.rafa, now=record.tick())
    assert told(record.mona) == ["First", "Second"]
    assert told(record.rafa) == []
    assert told(make.account(Role.REVIEWER)) == []

    comments.add(session, piece, "Answer", author=record.mona, now=record.tick())
    assert (told(record.mona), told(record.rafa)) == ([], ["Answer"])

    comments.mark_read(session, piece, reader=record.rafa, now=record.tick())
    assert told(record.rafa) == []
    comments.add(session, piece, "Once more", author=record.mona, now=record.tick())
    assert told(record.rafa) == ["Once more"]

    # Restricted from now on, to others: what was said there is nothing to them any more.
    piece.visibility = Visibility.RESTRICTED
    history.reseal(session, piece)
    assert told(record.rafa) == []
