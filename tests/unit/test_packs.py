"""What goes into a pack, and the proofs in it."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from typing import Any

import pytest
from sqlalchemy.orm import Session

from tests.exhibited import Exhibited
from tests.factories import Factory
from tests.published import Record
from tracker import packs as edge
from tracker import verifier
from tracker.config import Config
from tracker.errors import Conflict, Invalid, NotAllowed, NotFound
from tracker.keyring import Keyring
from tracker.models import Consent, Evidence
from tracker.services import ledger, packs
from tracker.services.pack_record import _prover
from tracker.services.packs import Wanted
from tracker.vocabulary import ConsentScope, Role, SourceType, Visibility


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


@pytest.fixture
def sign(session: Session, config: Config, keys: Keyring, now: dt.datetime) -> Any:
    """Take a checkpoint of the ledger as it is."""

    def take() -> None:
        ledger.take_checkpoint(
            session, origin=config.ledger_origin, public_key=keys.ledger_public_key, sign=keys.sign, now=now
        )
        session.commit()

    return take


def test_proofs_that_are_reckoned_together_are_those_of_rfc_6962() -> None:
    leaves = [hashlib.sha256(bytes([number])).digest() for number in range(70)]
    for size in range(1, len(leaves)):
        prove, root = _prover(leaves[:size]), verifier.tree_root(leaves[:size])
        for index in range(size):
            assert prove(index) == verifier.inclusion_proof(leaves[:size], index)
            assert verifier.verify_inclusion(leaves[index], index, size, prove(index), root)


def consent(record: Record, piece: Evidence, scope: ConsentScope, **values: Any) -> None:
    record.session.add(
        Consent(
            **{
                "evidence_id": piece.id,
                "scope": scope,
                "given_on": dt.date(2026, 1, 1),
                "recorded_by_id": record.mona.id,
                "recorded_at": record.now,
                **values,
            }
        )
    )
    record.session.commit()
    record.session.refresh(piece)


@pytest.mark.parametrize(
    ("scopes", "leaves"),
    [
        ([], False),
        ([ConsentScope.INTERNAL], False),
        ([ConsentScope.UN], True),
        ([ConsentScope.PUBLISH], True),
        ([ConsentScope.UN, ConsentScope.INTERNAL], False),
        ([ConsentScope.INTERNAL, ConsentScope.UN], True),
    ],
)
def test_what_a_person_agreed_to_last_decides_what_may_leave(
    record: Record, scopes: list[ConsentScope], leaves: bool, now: dt.datetime
) -> None:
    piece = record.submitted(
        record.first, visibility=Visibility.TEAM, from_person=True, source_type=SourceType.TESTIMONY
    )
    for day, scope in enumerate(scopes, 1):
        consent(record, piece, scope, given_on=dt.date(2026, 1, day))
    assert packs.may_leave(piece, on=now.date()) is leaves


def test_consent_that_ran_out_or_was_withdrawn_is_none(record: Record, now: dt.datetime) -> None:
    piece = record.submitted(record.first, visibility=Visibility.TEAM, from_person=True)
    consent(record, piece, ConsentScope.UN, expires_on=now.date())
    assert packs.may_leave(piece, on=now.date())
    assert not packs.may_leave(piece, on=now.date() + dt.timedelta(days=1))
    piece.consents[0].withdrawn_on = now.date()
    assert packs.agreed(piece, on=now.date()) == [None]


def test_what_no_person_gave_needs_no_consent(record: Record, now: dt.datetime) -> None:
    piece = record.submitted(record.first)
    assert packs.agreed(piece, on=now.date()) == []
    assert packs.may_leave(piece, on=now.date())


def test_the_mark_changes_with_everything_that_a_pack_says(
    record: Record, config: Config, session: Session, sign: Any, now: dt.datetime
) -> None:
    held, wanted = Exhibited(record, config), Wanted("lower-valley", "88-a")
    seen = set()

    def changed() -> bool:
        before = len(seen)
        seen.add(packs.mark(session, wanted))
        return len(seen) == before + 1

    assert changed()
    assert not changed()
    _, _, copy = held.published(b"original", b"copy")
    assert changed()
    sign()
    assert changed()
    copy.damaged_at = now
    session.commit()
    assert changed()
    held.attach(record.submitted(record.second, visibility=Visibility.TEAM), b"not public")
    assert not changed()


def test_nothing_is_gathered_that_no_checkpoint_covers(
    record: Record, session: Session, sign: Any, now: dt.datetime
) -> None:
    wanted = Wanted("lower-valley")
    with pytest.raises(Conflict):
        packs.gather(session, wanted, review_months=3, now=now)
    sign()
    assert packs.covered(session, wanted)
    assert packs.gather(session, wanted, review_months=3, now=now).pieces == []
    record.evidence(record.first)
    assert not packs.covered(session, wanted)
    with pytest.raises(Conflict):
        packs.gather(session, wanted, review_months=3, now=now)


def test_evidence_that_a_finding_cites_is_in_the_pack_of_its_recommendation(
    record: Record, session: Session, sign: Any, now: dt.datetime
) -> None:
    from tracker.vocabulary import Grade

    cited, other = record.evidence(record.second), record.evidence(record.third)
    record.finding(record.first, record.first.clauses[0], Grade.C, cited)
    sign()
    found = packs.gather(session, Wanted("lower-valley", "88-a"), review_months=3, now=now)
    assert [piece.name for piece in found.pieces] == [str(cited.number)]
    assert other.number


def test_only_the_team_exports(
    record: Record, session: Session, sign: Any, make: Factory, now: dt.datetime
) -> None:
    sign()
    admin = make.account(Role.ADMIN)
    contents = packs.gather(session, Wanted("lower-valley", viewer=admin), review_months=3, now=now)
    with pytest.raises(NotAllowed):
        packs.record_export(session, contents, account=admin, now=now)


@pytest.mark.parametrize("limit", ["MOST_BYTES", "MOST_FILES"])
def test_too_much_for_one_file_is_refused(
    record: Record,
    config: Config,
    session: Session,
    sign: Any,
    now: dt.datetime,
    limit: str,
    monkeypatch: Any,
) -> None:
    Exhibited(record, config).published(b"original", b"copy")
    sign()
    monkeypatch.setattr(packs, limit, 1)
    with pytest.raises(Invalid, match="for each recommendation"):
        packs.gather(session, Wanted("lower-valley"), review_months=3, now=now)


@pytest.mark.parametrize("wanted", [Wanted("none"), Wanted("lower-valley", "none"), Wanted("lower\0valley")])
def test_what_there_is_not_is_not_found(record: Record, session: Session, wanted: Wanted) -> None:
    with pytest.raises(NotFound):
        packs.find(session, wanted)


def test_a_failed_write_leaves_no_file(tmp_path: Any) -> None:
    def fail(file: Any) -> None:
        file.write(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        edge.write_file(tmp_path / "pack.zip", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_pack_is_as_the_verifier_wants_it_whatever_its_pieces() -> None:
    into = io.BytesIO()
    with edge._Pack(into) as pack:
        pack.add("a/empty.txt", [])
        pack.add("a/pieces.bin", [b"one", b"", b"two"])
    assert set(verifier._members(into)) == {"a/empty.txt", "a/pieces.bin"}
    assert pack.listed[1]["sha256"] == hashlib.sha256(b"onetwo").hexdigest()
