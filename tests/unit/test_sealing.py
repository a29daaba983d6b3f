"""Restricted text is ciphertext in the database, plain to the program, and notices being moved."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import Engine, select, text, update
from sqlalchemy.orm import Session

from tests.factories import Factory
from tracker import db
from tracker.keyring import Keyring
from tracker.models import Activity, Evidence, EvidenceDetail, EvidenceLink, RecordKey
from tracker.models.sealing import UNREADABLE, SealBroken
from tracker.services import activity, states
from tracker.vocabulary import Detail, State, Visibility

SECRET = "SECRET of the quarry"


@pytest.fixture
def piece(make: Factory) -> Evidence:
    report = make.report()
    found: Evidence = make.evidence(
        report.recommendations[0], visibility=Visibility.RESTRICTED, title=SECRET, team_note=SECRET
    )
    found.details = [
        EvidenceDetail(detail=Detail.EXACT_PLACE, visibility=Visibility.RESTRICTED, value=SECRET)
    ]
    make.session.commit()
    return found


def everything(session: Session) -> str:
    """All that stands in the tables that may hold words about evidence."""
    told = ""
    for table in ("evidence", "evidence_link", "evidence_detail", "activity"):
        told += str(session.execute(text(f"SELECT * FROM {table}")).all())
    return told


def test_the_database_holds_no_word_of_it_and_the_program_reads_it(session: Session, piece: Evidence) -> None:
    assert piece.title == SECRET  # Also right after it was written.
    assert "SECRET" not in everything(session)
    assert "court.arvenia" not in everything(session)
    session.expire_all()
    assert (piece.title, piece.team_note, piece.details[0].value) == (SECRET, SECRET, SECRET)
    assert piece.links[0].url.startswith("https://court.arvenia.example/")
    session.expunge_all()
    assert session.scalars(select(Evidence)).one().title == SECRET


def test_an_edit_is_sealed_again_and_other_changes_keep_it(session: Session, piece: Evidence) -> None:
    before = bytes(piece.sealed or b"")
    piece.title = "ANOTHER secret"
    session.commit()
    assert piece.sealed != before
    session.expire_all()
    assert (piece.title, piece.team_note) == ("ANOTHER secret", SECRET)
    states.move(session, piece, State.SUBMITTED, review_reason="")
    session.commit()
    session.expire_all()
    assert piece.title == "ANOTHER secret"
    assert "ANOTHER" not in everything(session)


def test_it_stands_in_the_open_again_when_it_is_no_longer_restricted(
    session: Session, piece: Evidence
) -> None:
    piece.visibility = Visibility.TEAM
    for link in piece.links:
        session.add(link)
        link.position = link.position
    session.commit()
    session.expire_all()
    assert piece.sealed is None
    assert session.execute(text("SELECT title FROM evidence")).scalar_one() == SECRET
    assert piece.details[0].sealed is not None  # A detail is sealed always.


def test_swapped_ciphertexts_do_not_open_and_nothing_is_written_over_them(
    session: Session, make: Factory, piece: Evidence
) -> None:
    other = make.evidence(piece.bearings[0].recommendation, visibility=Visibility.RESTRICTED, title="Other")
    rows = {row.id: row.sealed for row in (piece, other)}
    for row, donor in ((piece, other), (other, piece)):
        session.execute(update(Evidence).where(Evidence.id == row.id).values(sealed=rows[donor.id]))
    session.commit()
    session.expire_all()
    assert (piece.title, other.title) == (UNREADABLE, UNREADABLE)
    piece.team_note = "new"
    with pytest.raises(SealBroken):
        session.flush()
    session.rollback()


def test_swapping_the_keys_of_two_records_does_not_help(
    session: Session, make: Factory, piece: Evidence
) -> None:
    other = make.evidence(piece.bearings[0].recommendation, visibility=Visibility.RESTRICTED, title="Other")
    keys = {row.evidence_id: row.wrapped for row in session.scalars(select(RecordKey))}
    for row, donor in ((piece, other), (other, piece)):
        session.execute(
            update(RecordKey).where(RecordKey.evidence_id == row.id).values(wrapped=keys[donor.id])
        )
    session.commit()
    session.info.clear()
    session.expire_all()
    assert piece.title == UNREADABLE


def test_a_destroyed_key_erases_every_word(session: Session, piece: Evidence) -> None:
    session.execute(update(RecordKey).values(wrapped=None))
    session.commit()
    session.info.clear()
    session.expire_all()
    assert (piece.title, piece.details[0].value, piece.links[0].url) == ("", "", "")


def test_without_the_keys_sealed_text_is_refused_and_not_shown_empty(
    database_url: str, piece: Evidence
) -> None:
    engine = db.make_engine(database_url)
    with db.new_session(engine) as session, pytest.raises(SealBroken):
        session.scalars(select(Evidence)).all()
    engine.dispose()


def test_reasons_given_about_restricted_evidence_are_sealed_too(
    session: Session, make: Factory, piece: Evidence, keys: Keyring
) -> None:
    activity.record(
        session, make.account(), "evidence-returned", f"evidence/{piece.key}", now=make.now, reason=SECRET
    )
    session.commit()
    assert "SECRET" not in everything(session)
    session.expire_all()
    assert session.scalars(select(Activity)).one().reason == SECRET


def test_links_of_open_evidence_stay_as_they_are(session: Session, make: Factory) -> None:
    make.evidence(make.report().recommendations[0])
    assert session.scalars(select(EvidenceLink.sealed)).all() == [None]


def test_two_people_who_write_the_first_sealed_text_at_once_use_one_key(
    engine: Engine, session: Session, make: Factory
) -> None:
    piece = make.evidence(make.report().recommendations[0])
    both = Barrier(2)

    def write(detail: Detail) -> None:
        with db.new_session(engine) as own:
            mine = own.get_one(Evidence, piece.id)
            assert mine.record_key is None
            if engine.dialect.name == "sqlite":
                own.rollback()  # There is one writer; the other one waits from its beginning on.
            both.wait()
            own.add(
                EvidenceDetail(
                    evidence=mine, detail=detail, visibility=Visibility.TEAM, value=f"SECRET {detail.value}"
                )
            )
            own.commit()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, (Detail.EXACT_PLACE, Detail.NAMES)))

    session.rollback()
    session.expire_all()
    assert {detail.value for detail in piece.details} == {"SECRET exact-place", "SECRET names"}
    assert len(session.scalars(select(RecordKey)).all()) == 1
