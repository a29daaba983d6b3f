"""The demonstration shows what an exhibit is, by the services that people use, and keeps its own rules."""

from __future__ import annotations

from collections.abc import Callable

from click.testing import Result
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.functional.conftest import Client
from tracker.cli.demo import picture
from tracker.keyring import Keyring
from tracker.models import (
    Account,
    Comment,
    DissentingNote,
    Evidence,
    EvidenceDetail,
    Exhibit,
    PublicCopy,
    Report,
)
from tracker.services import audit, demo_exhibit, ledger
from tracker.vocabulary import State, Visibility


def test_the_demonstration_shows_an_exhibit_hidden_parts_remarks_a_dissent_and_a_restricted_piece(
    run: Callable[..., Result], session: Session, client: Client, keys: Keyring
) -> None:
    run("demo", "--recommendations", "1")

    piece = session.scalars(select(Evidence).where(Evidence.title == demo_exhibit.TITLE)).one()
    copy = session.scalars(select(PublicCopy)).one()
    number, key, sha256 = piece.number, copy.key, copy.sha256
    assert session.scalars(select(DissentingNote.state)).all() == [State.ACCEPTED]
    assert session.scalar(select(func.count(Comment.id))) == 2
    assert session.scalar(select(func.count(EvidenceDetail.id))) == 3
    restricted = session.scalars(select(Evidence).where(Evidence.visibility == Visibility.RESTRICTED)).one()
    assert restricted.state is State.ACCEPTED
    assert restricted.sealed is not None
    assert not any(session.scalars(select(Account.active)))
    assert list(audit.problems(session)) == []
    assert list(ledger.problems(session, origin="test", public_key=keys.ledger_public_key)) == []
    session.rollback()

    page = client.http.get(f"/evidence/{number}").get_data(as_text=True)
    assert "This country does not exist" in page
    assert f"/evidence/{number}/files/{key}" in page
    for hidden in ("Kestrel Street", "14 March", "Ilan Mork", "Valley 7"):
        assert hidden not in page
    assert b"Valley 7" in picture()
    assert b"Valley 7" not in client.http.get(f"/evidence/{number}/files/{key}").data
    assert sha256 is not None
    assert run("fsck").output.startswith("Database, ledger and store agree")


def test_it_is_made_once_for_each_report_and_is_the_same_file_each_time(
    run: Callable[..., Result], session: Session
) -> None:
    for seed, words in (("1", "added"), ("1", "Nothing new"), ("2", "added")):
        assert words in run("demo", "--recommendations", "1", "--seed", seed).output

    assert session.scalar(select(func.count(Report.id))) == 2
    assert session.scalar(select(func.count(Exhibit.id))) == 2
    assert len(set(session.scalars(select(Exhibit.sha256)))) == 1
    assert picture() == picture()
