"""The journal outlives crashes, and notices that an older database was put back."""

from __future__ import annotations

import datetime as dt
import json
import multiprocessing
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from tests.conftest import postgresql_binaries
from tests.factories import Factory
from tests.mail import Events
from tests.mailing import mail, reader
from tracker import create_app, db, journal, journal_rounds
from tracker.config import Config
from tracker.errors import ConfigError
from tracker.keyring import Keyring
from tracker.models import Delivery, Departure, Sending, Subscriber
from tracker.services import departures, sending, subscriptions
from tracker.vocabulary import DeliveryState, HoldReason, ReleaseWay, Role, SubscriberState

DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)


@pytest.fixture
def app(config: Config) -> Iterator[Flask]:
    app = create_app(config)
    yield app
    app.extensions["engine"].dispose()


def lines(config: Config) -> list[dict[str, object]]:
    return [json.loads(line) for line in (config.journal_path / journal.FILE).read_text().splitlines()]


# The file


def test_rounds_are_counted_on_and_read_from_the_end(tmp_path: Path) -> None:
    with journal.held(tmp_path / "new") as book:
        assert (book.is_new, book.last_round(), book.after(0)) == (True, 0, [])
        for number in range(1, 3000):
            book.append({"round": number, "what": "begin", "filler": "x" * 50})
    with journal.held(tmp_path / "new") as book:
        assert (book.is_new, book.last_round()) == (False, 2999)
        assert [line.round for line in book.after(1500)] == list(range(1501, 3000))

    assert (tmp_path / "new" / journal.FILE).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_a_line_torn_by_a_crash_counts_for_nothing_and_harms_no_other(tmp_path: Path) -> None:
    with journal.held(tmp_path) as book:
        book.append({"round": 1, "what": "begin"}, {"round": 1, "what": "going"})
    with (tmp_path / journal.FILE).open("ab") as file:
        file.write(b'{"round": 2, "wha')
    with journal.held(tmp_path) as book:
        assert book.last_round() == 1
        book.append({"round": 2, "what": "begin"})
        assert [(line.round, line.what) for line in book.after(0)] == [
            (1, "begin"), (1, "going"), (2, "begin"),
        ]  # fmt: skip


def test_one_process_at_a_time_holds_it(tmp_path: Path) -> None:
    def count(folder: Path) -> None:
        for _ in range(25):
            with journal.held(folder) as book:
                book.append({"round": book.last_round() + 1, "what": "begin"})

    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=count, args=(tmp_path,)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()

    with journal.held(tmp_path) as book:
        assert [line.round for line in book.after(0)] == list(range(1, 76))


def test_where_it_cannot_be_written_a_sentence_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="Without it nothing is sent"), journal.held(tmp_path / "file"):
        pass


def test_the_operator_hears_what_is_wrong_with_it(tmp_path: Path) -> None:
    assert journal.problem(tmp_path, 0) is None
    assert "missing" in str(journal.problem(tmp_path, 7))
    with journal.held(tmp_path):
        pass
    assert journal.problem(tmp_path, 7) is None
    (tmp_path / journal.FILE).chmod(0o644)
    assert "chmod 600" in str(journal.problem(tmp_path, 7))


# Rounds


def test_a_round_is_counted_by_both_and_named_by_neither(
    app: Flask, session: Session, config: Config, now: dt.datetime
) -> None:
    number = journal_rounds.begin(app, now)
    journal_rounds.end(app, number, {"sent": 3})

    assert number == 1
    assert lines(config) == [
        {"round": 1, "what": "begin", "at": "2026-11-22T12:30:00+00:00"},
        {"round": 1, "what": "going"},
        {"round": 1, "what": "sent", "of": 1, "counts": {"sent": 3}},
    ]
    assert sending.rounds(session) == 1
    assert journal_rounds.begin(app, now) == 2
    assert not journal_rounds.check(app, now)
    session.rollback()
    assert sending.held(session) is None


@pytest.mark.parametrize("dies", ["after begin", "after counting", "after going"])
def test_a_crash_at_any_point_is_not_taken_for_a_restored_backup(
    app: Flask, session: Session, now: dt.datetime, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    real = journal.Journal.append

    def append(book: journal.Journal, *rows: dict[str, object]) -> None:
        if rows[0]["what"] == "going":
            die()
        real(book, *rows)

    journal_rounds.begin(app, now)
    with monkeypatch.context() as patch:
        if dies == "after begin":
            patch.setattr(sending, "count_round", die)
        elif dies == "after counting":
            patch.setattr(journal.Journal, "append", append)
        with suppress(Killed):
            journal_rounds.begin(app, now)

    journal_rounds.check(app, now)
    assert journal_rounds.begin(app, now) in (2, 3)
    assert sending.held(session) is None


def test_who_leaves_is_noted_once_and_by_nobodys_name(
    app: Flask, session: Session, config: Config, keys: Keyring, now: dt.datetime
) -> None:
    stays, leaves, refused, erased = (reader(session, now) for _ in range(4))
    leaves.state, leaves.left_at = SubscriberState.LEFT, now
    refused.state, refused.left_at = SubscriberState.FAILED, now
    departures.note(session, erased, now=now)
    names = [one.key for one in (stays, leaves, refused, erased)]
    session.delete(erased)
    session.commit()

    assert journal_rounds.check(app, now) == {"departures noted": 3}
    assert not journal_rounds.check(app, now)

    found = lines(config)
    assert [line["what"] for line in found] == ["left", "left", "erased"]
    assert {line["who"] for line in found} == {keys.mailer.keyed_hash("journal", name) for name in names[1:]}
    written = (config.journal_path / journal.FILE).read_text()
    assert not any(name in written for name in names)
    session.expire_all()
    assert session.scalars(select(Departure)).all() == []
    assert sending.rounds(session) == 1


def test_who_came_back_and_left_again_is_noted_again(
    app: Flask, session: Session, config: Config, now: dt.datetime
) -> None:
    person = reader(session, now, state=SubscriberState.LEFT, left_at=now)
    journal_rounds.check(app, now)
    session.expire_all()
    person.left_at = now + DAY
    session.commit()

    assert journal_rounds.check(app, now + DAY) == {"departures noted": 1}


def test_killed_between_the_file_and_the_database_departures_are_noted_twice_and_nothing_is_held(
    app: Flask, session: Session, now: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader(session, now, state=SubscriberState.LEFT, left_at=now)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(departures, "noted", die)
        with pytest.raises(KeyboardInterrupt):
            journal_rounds.check(app, now)

    assert journal_rounds.check(app, now) == {"departures noted": 1}
    assert sending.held(session) is None


def test_a_lost_journal_is_a_warning_and_begins_anew(
    app: Flask, session: Session, config: Config, now: dt.datetime
) -> None:
    for _ in range(3):
        journal_rounds.begin(app, now)
    (config.journal_path / journal.FILE).unlink()

    with capture_logs() as log:
        journal_rounds.check(app, now)
        journal_rounds.check(app, now)

    assert [entry["event"] for entry in log] == ["journal-missing"]
    assert sending.held(session) is None
    assert journal_rounds.begin(app, now) == 4


def test_a_process_without_the_mailers_keys_leaves_the_journal_alone(
    make_config: Callable[..., Config], database_url: str, session: Session, now: dt.datetime, tmp_path: Path
) -> None:
    config = make_config(database_url=database_url, mailer_keys_dir=tmp_path / "elsewhere")
    reader(session, now, state=SubscriberState.LEFT, left_at=now)
    app = create_app(config)

    assert not journal_rounds.check(app, now)
    assert not (config.journal_path / journal.FILE).exists()
    app.extensions["engine"].dispose()


# Yesterday's backup


class Backup:
    """Copies the database away, and puts the copy back as an operator would."""

    def __init__(self, app: Flask, session: Session, url: str, folder: Path) -> None:
        self.app, self.session, self.url, self.folder = app, session, url, folder

    def take(self) -> None:
        self.session.rollback()
        if self.url.startswith("sqlite"):
            self._close()
            shutil.copy(self.url.removeprefix("sqlite:///"), self.folder / "copy")
        else:
            self._run("pg_dump", "--format=custom", f"--file={self.folder / 'copy'}", self._dsn())

    def restore(self) -> None:
        self.session.rollback()
        if self.url.startswith("sqlite"):
            self._close()
            path = self.url.removeprefix("sqlite:///")
            for tail in ("-wal", "-shm"):
                Path(path + tail).unlink(missing_ok=True)
            shutil.copy(self.folder / "copy", path)
        else:
            self._close()
            self._run(
                "pg_restore", "--clean", "--if-exists", f"--dbname={self._dsn()}", str(self.folder / "copy")
            )
        self.session.expire_all()

    def _close(self) -> None:
        # The last connection that closes brings the write-ahead log into the file.
        for engine in (self.session.get_bind(), self.app.extensions["engine"]):
            engine.dispose()

    def _dsn(self) -> str:
        return self.url

    def _run(self, program: str, *words: str) -> None:
        binaries = postgresql_binaries()
        assert binaries is not None
        if not (binaries / program).exists():
            pytest.skip(f"{program} is not among the installed binaries")
        subprocess.run([binaries / program, *words], check=True, capture_output=True)


@pytest.fixture
def backup(app: Flask, session: Session, database_url: str, tmp_path: Path) -> Backup:
    return Backup(app, session, database_url, tmp_path)


def send_everything(app: Flask, session: Session, now: dt.datetime) -> None:
    """What a round of sending does to the rows."""
    number = journal_rounds.begin(app, now)
    with db.new_session(app.extensions["engine"]) as own, own.begin():
        if sending.held(own):
            return
        for delivery in own.scalars(select(Delivery).where(Delivery.state == DeliveryState.PENDING)):
            delivery.state = DeliveryState.SENT
    journal_rounds.end(app, number, {"sent": 1})
    session.rollback()


def test_yesterdays_backup_sends_nothing_again_and_brings_nobody_back(
    app: Flask, session: Session, backup: Backup, now: dt.datetime
) -> None:
    stays, leaves, erased = (reader(session, now - DAY) for _ in range(3))
    waiting = mail(session, now, subscriber=leaves)
    mail(session, now, subscriber=stays)
    send_everything(app, session, now - DAY)  # The day before: both agree about it.
    mail(session, now, subscriber=stays)
    session.expire_all()
    waiting.state = DeliveryState.PENDING
    session.commit()
    backup.take()

    send_everything(app, session, now)
    session.expire_all()
    leaves.state, leaves.left_at = SubscriberState.LEFT, now
    departures.note(session, erased, now=now)
    number = erased.id
    subscriptions.erase(session, erased)
    session.commit()
    journal_rounds.check(app, now)
    backup.restore()
    assert session.get_one(Subscriber, number).state is SubscriberState.CONFIRMED

    with capture_logs() as log:
        done = journal_rounds.check(app, now + HOUR)
    session.rollback()
    session.expire_all()

    assert done["taken out again"] == 2
    assert sending.held(session) is HoldReason.RESTORED
    assert [entry["event"] for entry in log if entry["log_level"] == "error"] == ["backup-restored"]
    assert session.get(Subscriber, number) is None
    assert session.get_one(Subscriber, leaves.id).state is SubscriberState.LEFT
    assert session.get_one(Subscriber, stays.id).state is SubscriberState.CONFIRMED
    assert session.get_one(Delivery, waiting.id).state is DeliveryState.CANCELLED
    pending = select(Delivery).where(Delivery.state == DeliveryState.PENDING)
    assert len(session.scalars(pending).all()) == 1
    # It stays so, however often it is started; and the hold is told of once.
    with capture_logs() as log:
        journal_rounds.check(app, now + 2 * HOUR)
        send_everything(app, session, now + 2 * HOUR)
    assert log == []
    session.expire_all()
    assert len(session.scalars(pending).all()) == 1


def test_a_restore_that_only_brought_somebody_back_is_noticed_too(
    app: Flask, session: Session, backup: Backup, now: dt.datetime
) -> None:
    person = reader(session, now - DAY)
    backup.take()
    person.state, person.left_at = SubscriberState.LEFT, now
    session.commit()
    journal_rounds.check(app, now)
    backup.restore()

    assert journal_rounds.check(app, now)["taken out again"] == 1
    assert sending.held(session) is HoldReason.RESTORED


def test_who_asked_anew_after_leaving_stays(
    app: Flask, session: Session, backup: Backup, now: dt.datetime
) -> None:
    person = reader(session, now - DAY, state=SubscriberState.LEFT, left_at=now - DAY)
    journal_rounds.check(app, now - DAY)
    session.expire_all()
    person.state, person.left_at, person.confirmed_at = SubscriberState.CONFIRMED, None, now
    session.commit()
    backup.take()
    journal_rounds.begin(app, now)
    backup.restore()

    assert "taken out again" not in journal_rounds.check(app, now)
    session.expire_all()
    assert session.get_one(Subscriber, person.id).state is SubscriberState.CONFIRMED


@pytest.mark.parametrize("way", list(ReleaseWay))
def test_people_choose_what_becomes_of_it(
    app: Flask, session: Session, backup: Backup, make: Factory, now: dt.datetime, way: ReleaseWay
) -> None:
    ada = make.account(Role.ADMIN, password_hash="x")
    events = Events(session, make.report(), now)
    events.evidence(1)
    events.evidence(2)
    person = reader(session, now - DAY, seen_seq=1)
    delivery = mail(session, now, subscriber=person)
    backup.take()
    send_everything(app, session, now)
    backup.restore()
    journal_rounds.check(app, now)
    session.rollback()

    sending.release(session, account=ada, needed=1, way=way, now=now)
    session.commit()
    session.expire_all()

    sent = way is ReleaseWay.SEND
    assert session.get_one(Delivery, delivery.id).state is (
        DeliveryState.PENDING if sent else DeliveryState.CANCELLED
    )
    assert session.get_one(Subscriber, person.id).seen_seq == (1 if sent else 2)
    journal_rounds.check(app, now)
    session.rollback()
    assert sending.held(session) is None
    assert session.get_one(Sending, 1).journal == 1
    session.execute(text("SELECT 1"))
