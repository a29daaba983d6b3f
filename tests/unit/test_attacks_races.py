"""Two requests at once: one decides about a piece of evidence, the other still holds it as it was before.

On SQLite there is one writer at a time, from the beginning of its transaction on: these ask PostgreSQL alone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from tests.exhibited import Exhibited
from tests.factories import Factory
from tests.published import NO_HARM, Record
from tracker import db
from tracker.config import Config
from tracker.errors import TrackerError
from tracker.examiner.traces import Examined
from tracker.models import Account, Capture, Comment, Consent, Evidence, Exhibit, PublicCopy, evidence_source
from tracker.models.sealing import SealBroken
from tracker.services import captures, consents, copies, erasure, evidence, exhibits, sources
from tracker.services.harm import Harm
from tracker.vocabulary import ConsentScope, CopyMethod, FileKind, Role, State, Visibility


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


@pytest.fixture
def held(record: Record, config: Config) -> Exhibited:
    return Exhibited(record, config)


@pytest.fixture
def other(engine: Engine) -> Iterator[Session]:
    """The session of the other request."""
    if engine.dialect.name == "sqlite":
        pytest.skip("There is one writer at a time.")
    with db.new_session(engine) as own:
        yield own


def erase(record: Record, piece: Evidence, make: Factory) -> None:
    asked = erasure.request(record.session, piece, reason="Asked.", account=record.mona, now=record.tick())
    record.session.commit()
    erasure.confirm(record.session, asked, account=record.rafa, now=record.tick())
    record.session.commit()


Late = Callable[[Session, Evidence, Account, Exhibited], object]


def late_file(own: Session, piece: Evidence, mona: Account, held: Exhibited) -> None:
    exhibits.check_allowed(piece, account=mona)
    exhibits.attach(
        own, piece, held.kept(b"late"), Examined(FileKind.JPEG), name="late.jpg", account=mona,
        store=held.store, now=held.record.now,
    )  # fmt: skip


def late_capture(own: Session, piece: Evidence, mona: Account, held: Exhibited) -> None:
    # As the clock does it, which has asked before whether it is still wanted.
    exhibits.attach(
        own, piece, held.kept(b"late"), Examined(FileKind.JPEG), name="late.warc.gz", account=None,
        store=held.store, captured_from="https://court.arvenia.example/", now=held.record.now,
    )  # fmt: skip


def late_copy(own: Session, piece: Evidence, mona: Account, held: Exhibited) -> None:
    copies.prepare(
        own, piece.exhibits[0], held.kept(b"\xff\xd8\xfflate"), FileKind.JPEG, CopyMethod.PIXELS,
        description="A late gate.", account=mona, store=held.store, now=held.record.now,
    )  # fmt: skip


def late_request(own: Session, piece: Evidence, mona: Account, held: Exhibited) -> None:
    captures.queue(
        own, piece, piece.links[0].url, author=mona, check=lambda _url: None, now=held.record.now,
        settings=held.config.model_copy(update={"capture": "direct"}),
    )  # fmt: skip


def late_consent(own: Session, piece: Evidence, mona: Account, held: Exhibited) -> None:
    fields = consents.Fields(ConsentScope.INTERNAL, dt.date(2026, 1, 1), language="en", note="late")
    consents.record(own, piece, fields, author=mona, now=held.record.now)


def late_source(own: Session, piece: Evidence, mona: Account, held: Exhibited) -> None:
    source = sources.create(own, author=mona, now=held.record.now)
    sources.link(own, piece, source, account=mona, now=held.record.now)


@pytest.mark.parametrize(
    "late", [late_file, late_capture, late_copy, late_request, late_consent, late_source]
)
def test_nothing_is_hung_on_evidence_that_was_erased_a_moment_before(
    late: Late, record: Record, held: Exhibited, other: Session, make: Factory
) -> None:
    piece = record.submitted(record.first)
    held.attach(piece, b"early")
    record.accept(piece)
    mine = other.get_one(Evidence, piece.id)
    mona = other.get_one(Account, record.mona.id)
    for name in ("links", "exhibits", "record_key", "sources", "consents"):
        getattr(mine, name)  # As a page reads them.
    erase(record, piece, make)
    with pytest.raises(TrackerError) as refused:
        late(other, mine, mona, held)
    other.rollback()
    assert not isinstance(refused.value, SealBroken), "a sentence, and not an error of ours"
    session = record.session
    session.rollback()
    count = {kind: session.scalar(select(func.count()).select_from(kind)) for kind in (Exhibit, Capture, Comment, Consent, PublicCopy, evidence_source)}  # fmt: skip
    assert count == {Exhibit: 1, Capture: 0, Comment: 0, Consent: 0, PublicCopy: 0, evidence_source: 0}


def test_a_copy_that_was_released_a_moment_before_is_not_thrown_away(
    record: Record, held: Exhibited, other: Session
) -> None:
    _, exhibit, _ = held.published(b"original", b"\xff\xd8\xff copy")
    made = held.copy(exhibit, b"\xff\xd8\xff another copy")
    mine, mona = other.get_one(PublicCopy, made.id), other.get_one(Account, record.mona.id)
    assert mine.exhibit.evidence.state is State.ACCEPTED
    copies.release(
        record.session, made, reviewer=record.rafa, seen=str(made.sha256), harm=Harm(NO_HARM),
        now=record.tick(),
    )  # fmt: skip
    record.session.commit()
    with pytest.raises(TrackerError):
        copies.discard(other, mine, account=mona, now=record.now)
    other.rollback()
    record.session.rollback()
    assert record.session.get(PublicCopy, made.id, populate_existing=True) is not None


def test_a_page_that_is_to_be_captured_is_sealed_if_its_evidence_was_restricted_a_moment_before(
    record: Record, held: Exhibited, other: Session
) -> None:
    """Sent back to its author, who restricted it, while a colleague had it open."""
    piece = record.submitted(record.first)
    mine = other.get_one(Evidence, piece.id)
    mona = other.get_one(Account, record.mona.id)
    assert mine.links
    session = record.session
    evidence.send_back(session, piece, reviewer=record.rafa, reason="Restrict it.", now=record.tick())
    fields = evidence.Fields(
        title=piece.title, visibility=Visibility.RESTRICTED, reader_ids=[record.rafa.id],
        links=[link.url for link in piece.links],
    )  # fmt: skip
    evidence.edit(session, piece, fields, author=record.mona, version=piece.version, now=record.tick())
    session.commit()
    late_request(other, mine, mona, held)
    other.commit()
    assert session.scalars(select(Capture.sealed)).one() is not None


def test_accepting_and_taking_back_a_consent_at_once_leaves_nothing_public(
    record: Record, held: Exhibited, other: Session
) -> None:
    piece = record.submitted(record.first, from_person=True)
    fields = consents.Fields(ConsentScope.PUBLISH, dt.date(2026, 1, 1), language="en")
    line = consents.record(record.session, piece, fields, author=record.mona, now=record.tick())
    record.session.commit()
    mine, rafa = other.get_one(Evidence, piece.id), other.get_one(Account, record.rafa.id)
    assert mine.consents  # Read before it is taken back.
    consents.withdraw(record.session, line, account=record.mona, on=record.now.date(), now=record.tick())
    record.session.commit()
    with pytest.raises(TrackerError):
        evidence.accept(other, mine, reviewer=rafa, harm=Harm(NO_HARM), now=record.tick())
    other.rollback()
    assert Role.REVIEWER is rafa.role
