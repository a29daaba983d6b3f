"""`tracker fsck` is quiet while all agrees, and names each thing that does not; it harms nobody who works."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, text, update
from sqlalchemy.orm import Session

from tests.exhibited import Exhibited, days, unguarded
from tests.factories import Factory
from tests.published import Record
from tests.s3 import s3_server
from tracker import create_app, fsck
from tracker.cli.doctor import problems as doctor_problems
from tracker.config import Config
from tracker.errors import StorageFailed
from tracker.keyring import Keyring
from tracker.models import Blob, CustodyLine, Evidence, Exhibit, Heartbeat, PublicCopy, RecordKey
from tracker.services import copies, erasure, exhibits
from tracker.services import fsck as service
from tracker.vocabulary import CustodyAction, Role

Check = Callable[..., list[str]]


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


@pytest.fixture
def files(record: Record, config: Config) -> Exhibited:
    return Exhibited(record, config)


@pytest.fixture
def check(engine: Engine, config: Config, keys: Keyring, session: Session, now: dt.datetime) -> Check:
    """Run it; the sentences, those about what was only tidied up begin with "~"."""

    def run(at: dt.datetime = now, settings: Config = config) -> list[str]:
        session.commit()
        found = [
            f"~{item.sentence}" if item.tidied else item.sentence
            for item in fsck.run(engine, settings, keys, now=at)
        ]
        session.expire_all()
        return found

    return run


def lines(session: Session, exhibit: Exhibit) -> list[CustodyAction]:
    session.rollback()
    query = select(CustodyLine.action).where(CustodyLine.exhibit_id == exhibit.id).order_by(CustodyLine.id)
    return list(session.scalars(query))


def overwrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def test_whole_exhibits_are_noted_as_checked_with_one_line_each(
    files: Exhibited, check: Check, session: Session, now: dt.datetime
) -> None:
    _, exhibit, copy = files.published(b"original", b"copy")

    assert check() == []
    assert (exhibit.checked_at, exhibit.damaged_at) == (now, None)
    assert (copy.checked_at, copy.damaged_at) == (now, None)
    assert lines(session, exhibit)[-2:] == [CustodyAction.RELEASED, CustodyAction.CHECKED]
    assert check() == []
    assert lines(session, exhibit).count(CustodyAction.CHECKED) == 2


@pytest.mark.parametrize("damage", ["missing", "differs", "longer"])
def test_damaged_bytes_are_named_marked_and_cleared_when_they_are_whole_again(
    files: Exhibited, check: Check, session: Session, now: dt.datetime, damage: str
) -> None:
    piece, exhibit, copy = files.published(b"original", b"copy")
    for row, content in ((exhibit, b"original"), (copy, b"copy")):
        path = files.path_of(row.sha256)
        if damage == "missing":
            path.unlink()
        else:
            overwrite(path, content[:-1] + b"!" if damage == "differs" else content + b"!")

    found = check()
    assert len(found) == 2
    word = "missing" if damage == "missing" else "differ"
    assert any(f"Exhibit {exhibit.key} of evidence {piece.key}" in one and word in one for one in found)
    assert any(f"Public copy {copy.key}" in one and "not served" in one for one in found)
    assert exhibit.damaged_at == copy.damaged_at == now
    assert lines(session, exhibit)[-2:] == [CustodyAction.DAMAGED, CustodyAction.DAMAGED]
    later = now + days(1)
    check(later)
    assert exhibit.damaged_at == now  # When it was first seen stays.

    for row, content in ((exhibit, b"original"), (copy, b"copy")):
        overwrite(files.path_of(row.sha256), content)
    assert check(later) == []
    assert exhibit.damaged_at is copy.damaged_at is None
    assert lines(session, exhibit)[-2:] == [CustodyAction.CHECKED, CustodyAction.CHECKED]


def test_attaching_the_same_file_again_mends_damaged_bytes(
    files: Exhibited, check: Check, record: Record, session: Session
) -> None:
    _, exhibit, _ = files.published(b"original", b"copy")
    overwrite(files.path_of(exhibit.sha256), b"0riginal")
    assert len(check()) == 1

    files.attach(record.submitted(record.second), b"original")
    assert check() == []
    assert exhibit.damaged_at is None


def test_one_blob_of_two_exhibits_is_read_once_and_noted_at_both(
    files: Exhibited, record: Record, check: Check, session: Session
) -> None:
    first = files.attach(record.submitted(record.first), b"same")
    second = files.attach(record.submitted(record.second), b"same")
    files.path_of(first.sha256).unlink()

    assert len(check()) == 2
    assert lines(session, first)[-1] is lines(session, second)[-1] is CustodyAction.DAMAGED


def aged(path: Path, by: dt.timedelta, now: dt.datetime) -> None:
    moment = (now - by).timestamp()
    os.utime(path, (moment, moment))


def place(config: Config, content: bytes) -> Path:
    digest = hashlib.sha256(content).hexdigest()
    path = config.exhibits_path / digest[:2] / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_bytes_without_a_row_stay_for_a_day_and_then_go(
    files: Exhibited, config: Config, check: Check, now: dt.datetime
) -> None:
    kept = files.attach(files.record.submitted(files.record.first), b"kept")
    aged(files.path_of(kept.sha256), days(400), now)
    young, old = place(config, b"just being uploaded"), place(config, b"left by a crash")
    aged(young, days(0.9), now)
    aged(old, days(1.1), now)

    found = check()
    assert [one for one in found if not one.startswith("~")] == []
    assert len(found) == 1
    assert old.name in found[0]
    assert not old.exists()
    assert young.exists()
    assert files.path_of(kept.sha256).exists()


def test_a_row_that_nobody_uses_goes_after_a_day_with_its_bytes(
    files: Exhibited, record: Record, check: Check, session: Session, now: dt.datetime
) -> None:
    used = files.attach(record.submitted(record.first), b"used")
    discarded = files.attach(record.submitted(record.first), b"unused")
    blob = session.get_one(Blob, discarded.sha256)
    blob.kept_at = now - days(0.5)
    session.delete(discarded)
    session.commit()
    digest = blob.sha256
    path = files.path_of(digest)

    assert check() == []
    assert path.exists()
    assert check(now + days(0.6)) == [f"~The blob {digest} was used by nothing, and was removed."]
    assert not path.exists()
    assert session.get(Blob, digest) is None
    assert files.path_of(used.sha256).exists()


def test_foreign_files_are_named_and_never_touched(files: Exhibited, config: Config, check: Check) -> None:
    files.attach(files.record.submitted(files.record.first), b"ours")
    stray = config.exhibits_path / "ab" / "notes\n\u202etxt.exe"
    stray.parent.mkdir(exist_ok=True)
    stray.write_text("x")

    [found] = check()
    assert "no exhibit" in found
    assert "\n" not in found
    assert "\u202e" not in found
    assert stray.exists()


def test_half_received_files_go_after_a_day(config: Config, check: Check, now: dt.datetime) -> None:
    config.incoming_path.mkdir(parents=True, exist_ok=True)
    old, young = config.incoming_path / ("0" * 32), config.incoming_path / ("1" * 32)
    for path, age in ((old, 1.1), (young, 0.9)):
        path.write_bytes(b"half")
        aged(path, days(age), now)

    [found] = check()
    assert found.startswith("~")
    assert not old.exists()
    assert young.exists()


def test_rows_that_contradict_each_other_are_named(
    files: Exhibited, record: Record, check: Check, session: Session
) -> None:
    piece, exhibit, copy = files.published(b"original", b"copy")
    lost = files.attach(record.submitted(record.second), b"lost")
    session.execute(update(Exhibit).where(Exhibit.id == exhibit.id).values(size=99))
    session.execute(update(PublicCopy).where(PublicCopy.id == copy.id).values(size=99))
    session.execute(update(Exhibit).where(Exhibit.id == lost.id).values(sha256=None))
    session.commit()

    found = "\n".join(check())
    assert f"Exhibit {exhibit.key} of evidence {piece.key} says that it has 99 bytes, its file has 8" in found
    assert f"Public copy {copy.key} says that it has 99 bytes, its file has 4" in found
    assert f"Exhibit {lost.key}" in found
    assert "points to bytes that the database does not know" in found


def test_a_blob_row_with_another_size_than_its_bytes_is_named(
    files: Exhibited, check: Check, session: Session
) -> None:
    _, exhibit, _ = files.published(b"original", b"copy")
    session.execute(update(Blob).where(Blob.sha256 == exhibit.sha256).values(size=9))
    session.commit()

    assert any("says that it has 9 bytes, and it has 8" in one for one in check())


def test_what_the_ledger_published_and_the_database_releases_must_be_the_same(
    files: Exhibited, record: Record, check: Check, session: Session
) -> None:
    piece, exhibit, copy = files.published(b"original", b"copy")
    session.execute(
        update(PublicCopy).where(PublicCopy.id == copy.id).values(released_at=None, released_by_id=None)
    )
    session.commit()
    found = check()
    assert any(f"evidence/{piece.number}: entry" in one and "the database does not" in one for one in found)

    session.execute(update(PublicCopy).values(released_at=record.now, released_by_id=record.rafa.id))
    other = files.copy(exhibit, b"never published")
    session.execute(
        update(PublicCopy)
        .where(PublicCopy.id == other.id)
        .values(released_at=record.now, released_by_id=record.rafa.id)
    )
    session.commit()
    found = check()
    assert any(f"the public copy {other.key} is released" in one for one in found)


def test_withdrawing_a_copy_is_no_finding(
    files: Exhibited, record: Record, check: Check, session: Session
) -> None:
    _, _, copy = files.published(b"original", b"copy")
    copies.withdraw(session, copy, reviewer=record.rafa, reason="A face can be seen.", now=record.tick())

    assert check() == []


@pytest.mark.parametrize("action", ["uploaded", "copied", "released", "withdrawn"])
def test_a_line_that_was_taken_from_a_custody_log_is_named(
    files: Exhibited, record: Record, check: Check, session: Session, action: str
) -> None:
    """The database refuses it, but who owns the database can take its guards away."""
    _, exhibit, copy = files.published(b"original", b"copy")
    files.copy(exhibit, b"another copy")
    copies.withdraw(session, copy, reviewer=record.rafa, reason="A face can be seen.", now=record.tick())
    assert check() == []
    with unguarded(session):
        session.execute(text("DELETE FROM custody_line WHERE action = :action"), {"action": action})
    found = check()
    assert any("does not tell of" in one for one in found)
    assert any("is missing" in one for one in found)
    assert all(f"exhibit {exhibit.key}" in one and "custody log" in one for one in found)


def test_an_erased_exhibit_with_bytes_is_named(
    files: Exhibited, record: Record, check: Check, session: Session
) -> None:
    exhibit = files.attach(record.submitted(record.first), b"erased")
    session.execute(update(Exhibit).values(erased_at=record.now))
    session.commit()

    assert any(f"Exhibit {exhibit.key} was erased, and its bytes are still there" in one for one in check())


def test_an_erased_exhibit_without_bytes_is_quiet(
    files: Exhibited, record: Record, check: Check, session: Session
) -> None:
    exhibit = files.attach(record.submitted(record.first), b"erased")
    digest = exhibit.sha256
    session.execute(update(Exhibit).values(erased_at=record.now, sha256=None, salt=""))
    session.execute(delete(Blob))
    session.commit()
    files.store.delete(digest)

    [found] = check()
    assert f"Exhibit {exhibit.key} was erased, and its custody log still tells which file it was" in found
    session.execute(update(CustodyLine).values(sha256=""))
    session.commit()
    assert check() == []


def test_after_an_erasure_it_is_quiet_also_where_the_program_died_before_the_bytes_were_gone(
    files: Exhibited, record: Record, make: Factory, check: Check, session: Session, now: dt.datetime
) -> None:
    piece, exhibit, copy = files.published(b"original", b"copy")
    digests = [str(exhibit.sha256), str(copy.sha256)]
    asked = erasure.request(session, piece, account=record.rafa, reason="Do no harm.", now=record.tick())
    other = make.account(Role.REVIEWER)
    assert sorted(erasure.confirm(session, asked, account=other, now=record.tick())) == sorted(digests)
    session.commit()

    assert all(one.startswith("~") for one in check(now + days(30)))
    assert not any(files.path_of(digest).exists() for digest in digests)
    assert check(now + days(30)) == []


def test_sealed_text_that_does_not_open_is_named_and_so_is_a_lost_key(
    files: Exhibited, record: Record, check: Check, session: Session
) -> None:
    first = files.attach(record.submitted(record.first), b"one")
    second = files.attach(record.submitted(record.first), b"two")
    third = files.attach(record.submitted(record.first), b"three")
    session.execute(
        text("UPDATE exhibit SET sealed = (SELECT sealed FROM exhibit WHERE id = :other) WHERE id = :id"),
        {"id": first.id, "other": second.id},
    )
    session.execute(
        update(RecordKey).where(RecordKey.evidence_id == second.evidence_id).values(wrapped=b"x" * 60)
    )
    session.execute(delete(RecordKey).where(RecordKey.evidence_id == third.evidence_id))
    session.commit()
    keys = {
        number: session.get_one(Evidence, number).key for number in (first.evidence_id, second.evidence_id)
    }

    found = check()
    assert f"The sealed text of exhibit {first.id} does not open" in "\n".join(found)
    assert f"The sealed text of exhibit {third.id} has no key any more" in "\n".join(found)
    [lost] = [one for one in found if one.startswith(f"The key of evidence {keys[second.evidence_id]}")]
    assert "records.keys" in lost
    assert not any(f"exhibit {second.id} " in one for one in found)


def test_a_damaged_ledger_is_named(files: Exhibited, check: Check, session: Session) -> None:
    piece, _, _ = files.published(b"original", b"copy")
    session.execute(update(Evidence).where(Evidence.id == piece.id).values(summary="Nothing happened."))
    session.commit()

    assert any(f"evidence/{piece.number} was changed in the database" in one for one in check())


class Slow:
    """A store whose reading can be made to wait, for two who are at work at the same time."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.reading, self.go_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def check(self, sha256: str) -> str:
        self.reading.set()
        assert self.go_on.wait(20)
        found: str = self.store.check(sha256)
        return found


def test_people_write_while_it_reads_and_what_they_erase_is_no_finding(
    files: Exhibited, record: Record, engine: Engine, session: Session, now: dt.datetime
) -> None:
    exhibit = files.attach(record.submitted(record.first), b"erased meanwhile")
    slow, found = Slow(files.store), []

    def run() -> None:
        found.extend(service.check_bytes(fsck.Transactions(engine), slow, now=now))

    thread = threading.Thread(target=run)
    thread.start()
    assert slow.reading.wait(20)
    session.execute(text("UPDATE exhibit SET sha256 = NULL, erased_at = :now"), {"now": str(now)})
    session.execute(delete(Blob))
    session.commit()  # Nobody holds the writer's place.
    files.store.delete(str(exhibit.sha256))
    slow.go_on.set()
    thread.join(20)
    assert found == []


def test_bytes_stored_again_while_they_are_swept_are_refused_or_kept_never_lost(
    files: Exhibited, record: Record, engine: Engine, session: Session, config: Config, now: dt.datetime
) -> None:
    """Somebody uploads what was left by a crash. The bytes are swept after they were stored and before the row is."""
    piece = record.submitted(record.first)
    path = place(config, b"left by a crash")
    aged(path, days(2), now)
    swept = threading.Event()

    class Store:
        def __getattr__(self, name: str) -> Any:
            return getattr(files.store, name)

        def keep(self, incoming: Any) -> None:
            incoming.discard()  # As if it had been there before: the narrowest moment.
            with fsck.Transactions(engine)(writing=True) as own:
                assert service._remove_orphan(own, files.store, path.name)
            swept.set()

    # On SQLite whoever writes has the writer's place, so nobody is swept under them: begin reading.
    session.rollback()
    store, incoming = Store(), files.receive(b"left by a crash")
    store.keep(incoming)
    with pytest.raises(StorageFailed):
        exhibits.record_blob(session, incoming, store=store, now=now)  # type: ignore[arg-type]
    session.rollback()
    assert swept.is_set()
    assert session.get(Blob, path.name) is None
    assert piece.id


def test_a_sweep_waits_for_whoever_is_writing_the_row(
    files: Exhibited, engine: Engine, session: Session, config: Config, now: dt.datetime
) -> None:
    path = place(config, b"found again")
    aged(path, days(2), now)
    session.rollback()
    session.add(Blob(sha256=path.name, size=11, kept_at=now))
    session.flush()
    outcome: list[bool] = []

    def sweep() -> None:
        with fsck.Transactions(engine)(writing=True) as own:
            outcome.append(service._remove_orphan(own, files.store, path.name))

    thread = threading.Thread(target=sweep)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    session.commit()
    thread.join(20)
    assert outcome == [False]
    assert path.exists()


def test_two_at_once_find_the_same(
    files: Exhibited, engine: Engine, config: Config, keys: Keyring, session: Session, now: dt.datetime
) -> None:
    _, exhibit, _ = files.published(b"original", b"copy")
    overwrite(files.path_of(exhibit.sha256), b"0riginal")
    aged(place(config, b"orphan"), days(2), now)
    found: list[list[fsck.Item]] = [[], []]
    threads = [
        threading.Thread(target=lambda own=own: own.extend(fsck.run(engine, config, keys, now=now)))
        for own in found
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [len([item for item in own if not item.tidied]) for own in found] == [1, 1]
    assert sum(item.tidied for own in found for item in own) == 1


def test_a_store_that_does_not_answer_ends_the_run_and_marks_nothing(
    files: Exhibited, record: Record, engine: Engine, session: Session, now: dt.datetime
) -> None:
    made = [files.attach(record.submitted(record.first), bytes([number])) for number in range(6)]

    class Silent:
        def __getattr__(self, name: str) -> Any:
            return getattr(files.store, name)

        def check(self, sha256: str) -> str:
            raise StorageFailed("The object store cannot be reached.")

    with pytest.raises(StorageFailed):
        list(service.check_bytes(fsck.Transactions(engine), Silent(), now=now))  # type: ignore[arg-type]
    session.expire_all()
    assert [exhibit.damaged_at for exhibit in made] == [None] * 6


# The week.


def test_the_weekly_check_is_run_once_by_two_schedulers(
    engine: Engine, session: Session, now: dt.datetime
) -> None:
    transaction = fsck.Transactions(engine)

    def claim(at: dt.datetime) -> bool:
        with transaction(writing=True) as own:
            return service.claim(own, now=at)

    assert [claim(now), claim(now)] == [True, False]
    assert not claim(now + dt.timedelta(hours=5))
    assert claim(now + dt.timedelta(hours=7))  # The first one died: nothing was heard of it.
    with transaction(writing=True) as own:
        service.finish(own, findings=0, now=now + dt.timedelta(hours=8))
    assert not claim(now + days(7))
    assert claim(now + days(7.5))
    assert claim(now - days(30))  # The clock was set back.


def test_two_claims_at_the_same_moment_give_one_run(engine: Engine, now: dt.datetime) -> None:
    start, won = threading.Barrier(4), []

    def claim() -> None:
        start.wait()
        with fsck.Transactions(engine)(writing=True) as own:
            won.append(service.claim(own, now=now))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(won) == [False, False, False, True]


def test_the_scheduler_checks_once_a_week_and_doctor_says_what_it_found(
    files: Exhibited, config: Config, session: Session, now: dt.datetime
) -> None:
    _, exhibit, _ = files.published(b"original", b"copy")
    files.path_of(exhibit.sha256).unlink()
    app = create_app(config)
    session.commit()

    assert fsck.weekly(app, now, stopping=lambda: True) is not None
    session.rollback()
    assert session.get(Heartbeat, service.DONE) is None  # It was stopped before its end.
    session.rollback()
    assert fsck.weekly(app, now + days(0.3)) == 1
    assert fsck.weekly(app, now + days(1)) is None
    row = session.get_one(Heartbeat, service.DONE)
    assert row.detail == "1"
    said = service.overdue(session, now=now + days(1))
    assert said is not None
    assert "found 1 things" in said
    row.detail = "0"
    assert service.overdue(session, now=now + days(8)) is None
    late = service.overdue(session, now=now + days(9))
    assert late is not None
    assert "last checked" in late
    session.rollback()
    assert any("The last check of the exhibits" in one for one in doctor_problems(config))
    app.extensions["engine"].dispose()


def test_doctor_wants_a_first_check_only_where_there_is_something_to_check(
    files: Exhibited, session: Session, now: dt.datetime
) -> None:
    assert service.overdue(session, now=now) is None
    session.rollback()
    files.attach(files.record.submitted(files.record.first), b"old", now=now - days(8))
    assert "never been checked" in (service.overdue(session, now=now) or "")


# The bucket.


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with s3_server() as found:
        yield found


def test_it_does_the_same_with_a_bucket(
    server: Any,
    record: Record,
    make_config: Any,
    database_url: str,
    check: Check,
    session: Session,
    now: dt.datetime,
) -> None:
    url = server.bucket("exhibits")
    config = make_config(database_url=database_url, storage_url=url)
    files = Exhibited(record, config)
    _, exhibit, copy = files.published(b"original", b"copy")
    assert check(settings=config) == []
    bucket = url.split("/")[3]
    server.send("PUT", f"{bucket}/exhibits/{str(copy.sha256)[:2]}/{copy.sha256}", b"c0py")
    server.send("DELETE", f"{bucket}/exhibits/{str(exhibit.sha256)[:2]}/{exhibit.sha256}")
    server.send("PUT", f"{bucket}/exhibits/stray", b"x")

    found = "\n".join(check(settings=config))
    assert f"Exhibit {exhibit.key}" in found
    assert f"Public copy {copy.key}" in found
    assert "stray'" in found


# The command.


def test_the_command_names_what_differs_and_exits_with_one(
    files: Exhibited, config: Config, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from tracker.cli import main

    _, exhibit, _ = files.published(b"original", b"copy")
    session.commit()
    for name, value in (
        ("DATA_DIR", config.data_dir),
        ("BASE_URL", config.base_url),
        ("DATABASE_URL", config.database_url.get_secret_value()),
    ):
        monkeypatch.setenv(f"TRACKER_{name}", str(value))
    done = CliRunner().invoke(main, ["fsck"])
    assert (done.exit_code, done.stdout) == (0, "Database, ledger and store agree: 2 blobs, 0.0 MB.\n")

    files.path_of(exhibit.sha256).unlink()
    done = CliRunner().invoke(main, ["fsck"])
    assert done.exit_code == 1
    assert exhibit.key in done.stdout
    assert "One thing differs." in done.stderr
