"""What was acknowledged is there and whole, whatever the disk, the object store or the process does in the middle."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import delete

from tests.exhibited import unguarded
from tests.faults import keeper, storage_table
from tests.faults.cutting import Line, line_to
from tests.faults.place import SHA256, STARTS, Place, placed, problems
from tests.faults.traced import Keeper, Run, keeping
from tests.s3 import S3, s3_server
from tracker import db, storage
from tracker.config import Config
from tracker.errors import NoRoom, StorageFailed, StorageMissing
from tracker.models import Base, CustodyLine, Exhibit
from tracker.storage import Incoming, bucket

ROOT = Path(__file__).resolve().parents[2]
MB = 1024 * 1024


@pytest.fixture
def make_own(tmp_path: Path, database_url: str) -> Callable[..., Config]:
    """Settings with a data folder of its own, whose keys nobody else uses."""

    def make(storage_url: str = "") -> Config:
        (tmp_path / "own").mkdir()
        return keeper.make_config(tmp_path / "own", database_url, storage_url)

    return make


@pytest.fixture
def line(s3: S3) -> Iterator[Line]:
    with line_to(s3.port) as line:
        yield line


@pytest.fixture
def far(s3: S3, line: Line, make_config: Callable[..., Config]) -> Config:
    """Settings whose exhibits are stored in a bucket at the other end of a line that can be cut."""
    return make_config(
        storage_url=s3.bucket("x").replace(f":{s3.port}/", f":{line.port}/"), exhibit_free_percent=0
    )


def received(config: Config, content: bytes) -> Incoming:
    with storage.receive(config, limit=10**9) as receiver:
        receiver.write(content)
        return receiver.finish()


def left(config: Config) -> list[Path]:
    return list(config.incoming_path.rglob("*"))


# Every call fails once


@pytest.fixture
def place(make_own: Callable[..., Config]) -> Iterator[Place]:
    with placed(make_own()) as place:
        yield place


@pytest.fixture
def traced(place: Place) -> Iterator[Keeper]:
    """A keeper whose children strace can attach to."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    with keeping(place.config) as made:
        place.begin("new")
        try:
            made.upload()
        except OSError as error:
            pytest.skip(f"strace may not attach to a process here: {error}")
        yield made


def test_nothing_acknowledged_is_lost_when_a_call_fails_or_is_the_last(traced: Keeper, place: Place) -> None:
    """The calls that matter most, and some of all others: `python -m tests.faults.storage_table` runs all."""
    wrong, results = [], Counter[str]()
    for start in STARTS:
        place.begin(start)
        for call, fault in storage_table.some(traced.upload().calls, start):
            run, found = storage_table.one(traced, place, start, call, fault)
            results[run.result] += 1
            wrong += [f"{start}, {call.name} {call.number}, {fault}: {problem}" for problem in found]
    assert wrong == []
    assert results.keys() == {"acknowledged", "refused", "killed"}


def test_everything_is_on_the_disk_before_what_relies_on_it(traced: Keeper, place: Place) -> None:
    for start in STARTS:
        place.begin(start)
        run = traced.upload()
        assert run.result == "acknowledged"
        assert list(storage_table.order(run.calls, place)) == []
        # The look at the order sees each step that is left out or comes too late.
        answered = next(number for number, call in enumerate(run.calls) if "acknowledged" in call.line)
        before = run.calls[:answered]
        needed = [call for call in before if call.name == "fsync"]
        proofs = [call for call in needed if "/incoming/" in call.line]
        if place.file:
            needed += [call for call in before if call.name == "fdatasync" and "-wal>" in call.line][-1:]
        for left_out in (proofs, *([call] for call in needed if call not in proofs)):
            rest = [call for call in run.calls if call not in left_out]
            assert list(storage_table.order(rest, place)) != [], left_out
            assert list(storage_table.order([*rest, *left_out], place)) != [], left_out


def test_the_look_at_the_result_sees_what_was_lost(place: Place) -> None:
    def said(harm: Callable[[], object], run: Run, start: str = "again") -> list[str]:
        place.begin(start)
        harm()
        return list(problems(place, run, start, 0))

    def forget(table: type[Base]) -> None:
        with db.new_session(place.engine) as session, unguarded(session):
            session.execute(delete(table))

    acknowledged, silent = Run("acknowledged", 0, []), Run("", 1, [])
    assert said(lambda: None, acknowledged) == []
    missing = said(place.blob.unlink, acknowledged)
    assert "lost" in missing
    assert any(problem.startswith("fsck: ") and "missing" in problem for problem in missing)
    assert "wrong bytes under a blob's name" in said(lambda: place.blob.write_bytes(b"x"), silent)
    assert "no sentence (status 1)" in said(lambda: None, silent)
    assert "something else in the store" in said(place.blob.with_suffix(".x").touch, acknowledged)
    assert "half a file left" in said((place.config.incoming_path / "x").touch, acknowledged)
    assert "lost" in said(lambda: forget(Exhibit), acknowledged)
    assert "lost" in said(lambda: None, acknowledged, "new")
    assert "an exhibit without its line of custody, or a line too many" in said(
        lambda: forget(CustodyLine), acknowledged
    )


# Two at once, and memory


def test_processes_that_keep_the_same_file_at_once_keep_one_blob(
    database: str, s3: S3, make_own: Callable[..., Config]
) -> None:
    """SQLite with a folder, PostgreSQL with a bucket."""
    with placed(make_own(storage_url="" if database == "sqlite" else s3.bucket())) as place:
        place.begin("new")
        with ExitStack() as stack:
            keepers = [stack.enter_context(keeping(place.config)) for _ in range(3)]
            for _ in range(5):
                for each in keepers:
                    each.begin()
                for each in keepers:
                    each.tell("go")
                for each in keepers:
                    assert [each.hear(), each.hear()] == ["acknowledged", "ended 0"]
                assert [name for name, _ in place.store.names()] == [SHA256]
                assert place.is_whole()
                place.store.delete(SHA256)
        assert len(place.exhibits()) == 15
        assert place.uploads() == place.exhibits()
        keeper.upload(place.engine, place.config)
        assert place.fsck() == []
        assert place.half() == []


def test_two_people_may_attach_the_first_files_to_a_piece_at_once(place: Place) -> None:
    """Its key is made with the first sealed text, and both of them come with the first one."""
    place.begin("new")
    incoming = keeper.receive(place.config, keeper.CONTENT)
    with ThreadPoolExecutor() as pool, db.new_session(place.engine) as session:
        keeper.attach(session, place.config, incoming)
        other = pool.submit(keeper.upload, place.engine, place.config, b"another file" * 1000)
        wait([other], 1)  # On PostgreSQL it comes as far as the key.
        session.commit()
        other.result()
    assert len(place.exhibits()) == 2
    assert place.fsck() == []


def grown(config: Config, megabytes: int, limit: int) -> tuple[str, int]:
    """What `weigh` says: what happened, and by how many MB its process grew."""
    environment = {
        **os.environ,
        "TRACKER_STORAGE_URL": config.storage_url.get_secret_value(),
    }
    command = [sys.executable, "-m", "tests.faults.weigh", str(config.data_path), str(megabytes), str(limit)]
    said = subprocess.check_output(command, cwd=ROOT, env=environment, text=True, timeout=120).split()
    return said[0], int(said[1])


def test_201_mb_are_refused_and_200_mb_stored_in_little_memory(make_config: Callable[..., Config]) -> None:
    config = make_config()
    what, megabytes = grown(config, 201, 200)
    assert (what, left(config)) == ("TooLarge", [])
    assert megabytes < 12
    what, megabytes = grown(config, 200, 200)
    assert (what, left(config)) == ("whole", [])
    assert megabytes < 12


def test_a_large_file_goes_to_a_bucket_and_back_in_little_memory(
    s3: S3, make_config: Callable[..., Config]
) -> None:
    config = make_config(storage_url=s3.bucket())
    what, megabytes = grown(config, 100, 200)
    assert (what, left(config)) == ("whole", [])
    assert megabytes < 50


# The disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", disk], capture_output=True
    ).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_disk_that_fills_up_is_a_sentence_and_later_uploads_work(small_disk: Path) -> None:
    config = keeper.make_config(small_disk)
    store = storage.open_store(config)
    sha256 = received(config, b"kept").sha256
    store.keep(received(config, b"kept"))
    with pytest.raises(NoRoom, match="disk is full"):
        received(config, os.urandom(6 * MB))
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(6 * MB))
    with pytest.raises(NoRoom, match="disk is full"):
        received(config, os.urandom(MB))

    assert store.check(sha256) == sha256  # Reading goes on.
    with pytest.raises(NoRoom, match="nearly full"):
        storage.check_room(config.model_copy(update={"exhibit_free_percent": 10}), 0)
    filler.unlink()
    incoming = received(config, os.urandom(MB))
    store.keep(incoming)
    assert store.check(incoming.sha256) == incoming.sha256
    assert len(list(store.names())) == 2


def test_a_full_disk_of_exhibits_apart_from_the_data_is_a_sentence(
    small_disk: Path, make_config: Callable[..., Config]
) -> None:
    config = make_config(exhibit_free_percent=0)
    config.exhibits_path.symlink_to(small_disk)
    store = storage.open_store(config)
    with pytest.raises(NoRoom, match="disk is full"):
        store.keep(received(config, os.urandom(6 * MB)))
    assert list(store.names()) == []
    assert left(config) == []
    assert list((small_disk / "incoming").iterdir()) == []
    with pytest.raises(NoRoom, match="nearly full"):
        storage.check_room(config, 6 * MB)


def test_a_read_only_disk_still_serves_and_refuses_with_a_sentence(small_disk: Path) -> None:
    config = keeper.make_config(small_disk)
    store = storage.open_store(config)
    incoming = received(config, b"kept")
    store.keep(incoming)
    waiting = received(config, b"waiting")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)

    for act in (
        lambda: received(config, b"new"),
        lambda: store.keep(waiting),
        lambda: store.delete(incoming.sha256),
    ):
        with pytest.raises(StorageFailed, match="EROFS"):
            act()
    assert b"".join(store.open(incoming.sha256)) == b"kept"
    assert [name for name, _ in store.names()] == [incoming.sha256]


def test_a_process_that_may_write_no_large_files_says_so(place: Place) -> None:
    with keeping(place.config) as made:
        place.begin("new")
        resource.prlimit(made.begin(), resource.RLIMIT_FSIZE, (100_000, 100_000))
        made.tell("go")
        assert made.hear().startswith("refused The server's disk is full")
        assert made.hear() == "ended 0"
    assert place.half() == []
    assert list(place.store.names()) == []
    assert place.exhibits() == []


# The line to the object store


def test_a_line_cut_in_the_middle_of_an_upload_leaves_nothing_and_the_next_upload_works(
    far: Config, line: Line
) -> None:
    store = storage.open_store(far)
    content = os.urandom(22 * MB)
    for after in (1000, 3 * MB, 12 * MB, 21 * MB):
        incoming = received(far, content)
        line.cut(after)
        with pytest.raises(StorageFailed, match="cannot be reached"):
            store.keep(incoming)
        line.mend()
        assert list(store.names()) == []
        assert store.size(incoming.sha256) is None
        assert left(far) == []
    store.keep(received(far, content))
    assert store.check(incoming.sha256) == incoming.sha256


def test_a_line_cut_in_the_middle_of_a_download_is_told_and_leaves_no_half_copy(
    far: Config, line: Line, tmp_path: Path
) -> None:
    store = storage.open_store(far)
    incoming = received(far, os.urandom(22 * MB))
    store.keep(incoming)
    for after in (1000, 7 * MB):
        line.cut(after)
        with pytest.raises(StorageFailed, match="cannot be reached"):
            store.fetch(incoming.sha256, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
        line.mend()
    store.fetch(incoming.sha256, tmp_path / "copy")
    assert hashlib.sha256((tmp_path / "copy").read_bytes()).hexdigest() == incoming.sha256


def test_an_object_store_that_falls_silent_is_given_up(
    far: Config, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "ANSWER", dt.timedelta(seconds=0.5))
    store = storage.open_store(far)
    incoming = received(far, os.urandom(12 * MB))
    line.cut(7 * MB, dead=True)
    failed: list[BaseException] = []

    def keep() -> None:
        try:
            store.keep(incoming)
        except StorageFailed as error:
            failed.append(error)

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert failed
    assert left(far) == []
    line.mend()
    assert list(store.names()) == []


def test_kill_9_in_the_middle_of_an_upload_to_a_bucket_leaves_no_wrong_blob(
    s3: S3, line: Line, make_own: Callable[..., Config]
) -> None:
    far = s3.bucket("x").replace(f":{s3.port}/", f":{line.port}/")
    with placed(make_own(storage_url=far)) as place, keeping(place.config) as made:
        place.begin("new")
        for after in (0, 100_000, 3 * MB, 12 * MB):
            pid = made.begin(120)
            line.cut(after, then=partial(os.kill, pid, signal.SIGKILL))
            made.tell("go")
            assert made.hear() == "ended -9"
            line.mend()
            assert list(place.store.names()) == []
            assert place.exhibits() == []
            assert len(place.half()) == 1
            assert place.fsck() == []
            assert place.half() == []
        made.begin(120)
        made.tell("go")
        assert made.hear() == "acknowledged"
        assert made.hear() == "ended 0"
        ((sha256, _),) = place.store.names()
        assert place.store.check(sha256) == sha256
        assert place.fsck() == []
        assert len(place.exhibits()) == 1


def test_an_object_store_that_is_killed_is_a_sentence(make_config: Callable[..., Config]) -> None:
    with s3_server() as server:
        config = make_config(storage_url=server.bucket())
        store = storage.open_store(config)
        incoming = received(config, b"kept")
        store.keep(incoming)
        assert store.check(incoming.sha256) == incoming.sha256
        server.kill()
        for act in (
            lambda: store.open(incoming.sha256),
            lambda: store.delete(incoming.sha256),
            lambda: store.keep(received(config, b"new")),
        ):
            with pytest.raises(StorageFailed, match="cannot be reached") as caught:
                act()
            assert not isinstance(caught.value, StorageMissing)
    assert left(config) == []
