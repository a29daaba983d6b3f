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
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import keeper, storage_table
from tests.faults.cutting import Line, line_to
from tests.faults.storage_table import SHA256, Call, Keeper, Run
from tests.s3 import S3, s3_server
from tracker import storage
from tracker.config import Config
from tracker.errors import NoRoom, StorageFailed, StorageMissing
from tracker.storage import Incoming, bucket

ROOT = Path(__file__).resolve().parents[2]
MB = 1024 * 1024


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


@pytest.fixture(scope="module")
def traced() -> Iterator[Keeper]:
    """A keeper whose children strace can attach to."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    with storage_table.keeping() as made, storage_table.started("new") as data:
        try:
            made.upload(data)
        except OSError as error:
            pytest.skip(f"strace may not attach to a process here: {error}")
        yield made


@pytest.mark.parametrize("fault", storage_table.FAULTS)
def test_nothing_acknowledged_is_lost_when_a_call_fails_or_is_the_last(traced: Keeper, fault: str) -> None:
    """All calls of an upload into an empty folder, and every sixth of the other cases: `storage_table` runs all."""
    wrong, results = [], set()
    for start in storage_table.STARTS:
        with storage_table.started(start) as data:
            calls = traced.upload(data).calls
        chosen = [case for case in storage_table.cases(calls) if case[1] == fault]
        for call, _ in chosen if start == "new" else chosen[::6]:
            result, found = storage_table.one(traced, start, call, fault)
            results.add(result)
            wrong += [f"{start}, {call.name} {call.number}: {problem}" for problem in found]
    assert wrong == []
    assert ("killed" if fault == "kill -9" else "refused") in results


@pytest.mark.parametrize("start", storage_table.STARTS)
def test_everything_is_on_the_disk_before_what_relies_on_it(traced: Keeper, start: str) -> None:
    with storage_table.started(start) as data:
        run = traced.upload(data)
        assert run.result == "acknowledged"
        assert list(storage_table.order(run.calls, data)) == []
        # The look at the order sees each step that is left out or comes too late.
        needed = [call for call in run.calls if call.name == "fsync" and "rows.db" not in call.line]
        proofs = [call for call in needed if "/incoming/" in call.line]
        for left_out in (proofs, *([call] for call in needed if call not in proofs)):
            rest = [call for call in run.calls if call not in left_out]
            assert list(storage_table.order(rest, data)) != [], left_out
            assert list(storage_table.order([*rest, *left_out], data)) != [], left_out


def test_the_look_at_the_result_sees_what_was_lost(traced: Keeper) -> None:
    def said(harm: Callable[[Path], object], run: Run) -> list[str]:
        with storage_table.started("again") as data:
            harm(data / "exhibits" / SHA256[:2] / SHA256)
            return list(storage_table.problems(data, run, "again", 0))

    acknowledged, silent = Run("acknowledged", 0, []), Run("", 1, [])
    assert said(lambda path: None, acknowledged) == []
    assert "lost" in said(lambda path: path.unlink(), acknowledged)
    assert "wrong bytes under a blob's name" in said(lambda path: path.write_bytes(b"x"), silent)
    assert "no sentence (status 1)" in said(lambda path: None, silent)
    assert "something else in the store" in said(lambda path: path.with_suffix(".x").touch(), acknowledged)
    assert "half a file left" in said(lambda path: (path.parents[2] / "incoming/x").touch(), acknowledged)
    assert isinstance(Call("write", 1, ""), Call)


# Two at once, and memory


@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_processes_that_keep_the_same_file_at_once_keep_one_blob(
    where: str, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "bucket":
        monkeypatch.setenv("TRACKER_STORAGE_URL", s3.bucket())
    config = keeper.make_config(tmp_path)
    keeper.prepare(config)
    keepers = [Keeper() for _ in range(3)]
    try:
        for _ in range(8):
            for each in keepers:
                each.tell(str(tmp_path))
                assert each.hear().isdigit()
            for each in keepers:
                each.tell("go")
            for each in keepers:
                assert [each.hear(), each.hear()] == ["acknowledged", "ended 0"]
            store = storage.open_store(config)
            assert [name for name, _ in store.names()] == [SHA256]
            assert store.check(SHA256) == SHA256
            store.delete(SHA256)
    finally:
        for each in keepers:
            each.process.kill()
            each.process.communicate()
    assert keeper.rows(config) == [SHA256] * 24
    assert left(config) == []


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


def test_a_process_that_may_write_no_large_files_says_so(tmp_path: Path) -> None:
    config = keeper.make_config(tmp_path)
    keeper.prepare(config)
    with storage_table.keeping() as made:
        made.tell(str(tmp_path))
        resource.prlimit(int(made.hear()), resource.RLIMIT_FSIZE, (100_000, 100_000))
        made.tell("go")
        assert made.hear().startswith("refused The server's disk is full")
        assert made.hear() == "ended 0"
    assert left(config) == []
    assert list(storage.open_store(config).names()) == []


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


@pytest.mark.parametrize("after", [0, 100_000, 3 * MB, 12 * MB])
def test_kill_9_in_the_middle_of_an_upload_to_a_bucket_leaves_no_wrong_blob(
    far: Config, line: Line, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_STORAGE_URL", far.storage_url.get_secret_value())
    config = keeper.make_config(tmp_path / "data")
    keeper.prepare(config)
    with storage_table.keeping() as made:
        made.tell(f"{config.data_path}\t120")
        pid = int(made.hear())
        line.cut(after, then=lambda: os.kill(pid, signal.SIGKILL))
        made.tell("go")
        assert made.hear() == "ended -9"
        line.mend()
        store = storage.open_store(config)
        assert list(store.names()) == []
        assert keeper.rows(config) == []
        now = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
        assert len(storage.sweep_incoming(config, older_than=dt.timedelta(), now=now)) == 1
        made.tell(f"{config.data_path}\t120")
        made.hear()
        made.tell("go")
        assert made.hear() == "acknowledged"
    (sha256,) = keeper.rows(config)
    assert store.check(sha256) == sha256


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
