"""The records' key is changed while everything is killed, doubled or busy; nothing becomes unreadable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, text

from tests.factories import Factory
from tracker import db, keyring, wrapping_keys
from tracker.config import Config
from tracker.models import Canary, Evidence, RecordKey
from tracker.vocabulary import State, Visibility

ROOT = Path(__file__).resolve().parents[2]
RECORDS = 45  # The rotating process takes 20 in a batch.


@pytest.fixture
def config(tmp_path: Path, make_config: Callable[..., Config], database_url: str) -> Config:
    """Keys of its own: the other tests share theirs."""
    keyring.create(tmp_path / "data" / "keys")
    return make_config(database_url=database_url)


@pytest.fixture
def keys(config: Config) -> keyring.Keyring:
    return keyring.load(config.keys_path)


@pytest.fixture
def engine(config: Config, keys: keyring.Keyring) -> Iterator[Engine]:
    engine = db.make_engine(config.sqlalchemy_url, keys)
    yield engine
    engine.dispose()


@pytest.fixture
def sealed(engine: Engine, now: object, make_own: Factory) -> int:
    first = make_own.report().recommendations[0]
    for number in range(RECORDS):
        make_own.session.add(
            Evidence(
                title=f"Secret {number}",
                visibility=Visibility.RESTRICTED,
                state=State.SUBMITTED,
                created_at=now,
            )
        )
    make_own.session.commit()
    assert first.id
    return RECORDS


@pytest.fixture
def make_own(engine: Engine, now: object) -> Iterator[Factory]:
    with db.new_session(engine) as session:
        yield Factory(session, now)  # type: ignore[arg-type]


def rotate(config: Config, point: str = "nowhere", *, keep: bool = False) -> subprocess.Popen[str]:
    environment = {
        "TRACKER_DATA_DIR": str(config.data_dir),
        "TRACKER_DATABASE_URL": config.sqlalchemy_url,
        "TRACKER_BASE_URL": config.base_url,
        "PATH": os.environ["PATH"],
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.rotator", point],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def all_readable(config: Config) -> None:
    """With what lies on the disk now, and nothing that anybody remembers."""
    engine = db.make_engine(config.sqlalchemy_url, keyring.load(config.keys_path))
    with db.new_session(engine) as session:
        titles = {piece.title for piece in session.scalars(select(Evidence))}
        assert titles >= {f"Secret {number}" for number in range(RECORDS)}
        _, known = wrapping_keys.read(config.keys_path / wrapping_keys.FILE)
        used = set(session.scalars(select(RecordKey.kid).where(RecordKey.wrapped.is_not(None))))
        assert used <= set(known)
        assert set(session.scalars(select(Canary.kid))) <= set(known)
    engine.dispose()


@pytest.mark.parametrize(
    "point",
    ["after_adding", "after_the_canary", "in_a_batch", "after_a_batch", "before_retiring", "before_dropping"],
)
def test_a_rotation_that_is_killed_goes_on_where_it_was(point: str, config: Config, sealed: int) -> None:
    old, _ = wrapping_keys.read(config.keys_path / wrapping_keys.FILE)
    killed = rotate(config, point)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    all_readable(config)
    begun, known = wrapping_keys.read(config.keys_path / wrapping_keys.FILE)
    assert len(known) == 2

    again = rotate(config)
    told, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors
    assert "goes on" in told

    all_readable(config)
    active, known = wrapping_keys.read(config.keys_path / wrapping_keys.FILE)
    assert (active, set(known)) == (begun, {begun})
    assert old not in known


def test_of_two_rotations_at_once_one_is_sent_away_with_a_sentence(config: Config, sealed: int) -> None:
    both = [rotate(config), rotate(config)]
    results = [(one.communicate(timeout=90), one.returncode) for one in both]
    assert 0 in [code for _, code in results]
    for (_, errors), code in results:
        assert code == 0 or "rotated already" in errors
    all_readable(config)
    assert len(wrapping_keys.read(config.keys_path / wrapping_keys.FILE)[1]) == 1


def test_people_who_go_on_sealing_lose_nothing(
    config: Config, engine: Engine, sealed: int, now: object
) -> None:
    """They loaded their keys before, and use them all the while."""
    stop = threading.Event()
    made, failures = [], []

    def work() -> None:
        while not stop.is_set():
            try:
                with db.new_session(engine) as session:
                    session.execute(text("SELECT 1"))
                    piece = Evidence(
                        title="Secret while rotating", visibility=Visibility.RESTRICTED, created_at=now
                    )
                    session.add(piece)
                    session.commit()
                    made.append(piece.id)
            except Exception as error:  # noqa: BLE001 - told at the end.
                failures.append(error)
            # As fast as they can, three threads would make more than the rotation rewraps, and it would not end.
            stop.wait(0.02)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(2):
            rotation = rotate(config)
            _, errors = rotation.communicate(timeout=90)
            assert rotation.returncode == 0, errors
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert failures == []
    assert made
    all_readable(config)
    fresh = db.make_engine(config.sqlalchemy_url, keyring.load(config.keys_path))
    with db.new_session(fresh) as session:
        titles = session.scalars(select(Evidence).where(Evidence.id.in_(made)))
        assert {piece.title for piece in titles} == {"Secret while rotating"}
    fresh.dispose()


def test_a_record_whose_key_was_destroyed_stays_destroyed(
    config: Config, engine: Engine, sealed: int
) -> None:
    with db.new_session(engine) as session:
        erased = session.scalars(select(RecordKey).limit(1)).one()
        owner, erased.wrapped = erased.evidence_id, None
        session.commit()
    rotation = rotate(config)
    _, errors = rotation.communicate(timeout=60)
    assert rotation.returncode == 0, errors
    with db.new_session(engine) as session:
        assert session.get_one(RecordKey, owner).wrapped is None


def test_a_record_that_somebody_altered_is_named_and_keeps_the_old_key(
    config: Config, engine: Engine, sealed: int
) -> None:
    old, _ = wrapping_keys.read(config.keys_path / wrapping_keys.FILE)
    with db.new_session(engine) as session:
        broken = session.scalars(select(RecordKey).limit(1)).one()
        owner, whole = broken.evidence_id, broken.wrapped
        broken.wrapped = b"altered" * 9
        session.commit()
    rotation = rotate(config)
    _, errors = rotation.communicate(timeout=60)
    assert rotation.returncode == 1
    assert f"ids {owner}." in errors
    assert old in wrapping_keys.read(config.keys_path / wrapping_keys.FILE)[1]

    with db.new_session(engine) as session:
        session.get_one(RecordKey, owner).wrapped = whole
        session.commit()
    rotation = rotate(config)
    rotation.communicate(timeout=60)
    assert rotation.returncode == 0
    all_readable(config)
    with db.new_session(engine) as session:
        assert session.scalar(select(func.count()).select_from(RecordKey)) == RECORDS


def test_without_the_key_the_start_stops_with_a_sentence(
    config: Config, engine: Engine, keys: keyring.Keyring
) -> None:
    from tracker.services import sealed as service

    with db.new_session(engine) as session:
        service.ensure_canary(session, keys)
        session.commit()
        assert service.problems(session, keys) == []
    # Lost, and made anew by somebody who meant well.
    (config.keys_path / wrapping_keys.FILE).unlink()
    keyring.create(config.keys_path)
    started = rotate(config, "check")
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 1
    assert "Restore keys/records.keys from your backup" in errors
