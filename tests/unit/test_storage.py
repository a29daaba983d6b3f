"""What is kept comes back byte for byte, from a folder and from a bucket, and what is refused leaves nothing behind."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from werkzeug.exceptions import ClientDisconnected
from werkzeug.formparser import MultiPartParser
from werkzeug.wsgi import LimitedStream

from tests.s3 import S3, s3_server
from tracker import storage
from tracker.config import Config
from tracker.errors import Conflict, Invalid, NoRoom, NotFound, StorageFailed, StorageMissing, TooLarge
from tracker.storage import FolderStore, Incoming, Store

HOUR = dt.timedelta(hours=1)
NOTHING = "0" * 64
MakeConfig = Callable[..., Config]


@pytest.fixture
def folder(make_config: MakeConfig) -> Config:
    """Settings whose exhibits are stored in a folder."""
    return make_config()


@pytest.fixture(params=["folder", "bucket", "bucket with a prefix"])
def settings(request: pytest.FixtureRequest, make_config: MakeConfig) -> Config:
    if request.param == "folder":
        return make_config()
    prefix = "arvenia/tracker" if "prefix" in request.param else ""
    return make_config(storage_url=request.getfixturevalue("s3").bucket(prefix))


@pytest.fixture
def store(settings: Config) -> Store:
    return storage.open_store(settings)


def received(settings: Config, content: bytes, step: int = 70_000) -> Incoming:
    with storage.receive(settings, limit=100 * storage.incoming.MB) as receiver:
        for place in range(0, len(content), step):
            receiver.write(content[place : place + step])
        return receiver.finish()


def kept(store: Store, settings: Config, content: bytes = b"The decree of Arvenia.") -> str:
    incoming = received(settings, content)
    store.keep(incoming)
    return incoming.sha256


def left(settings: Config) -> list[str]:
    return sorted(path.name for path in settings.incoming_path.rglob("*"))


# Both stores


@pytest.mark.parametrize("size", [0, 1, 70_000, 1_048_576, 5_242_881, 11_000_000])
def test_what_is_kept_comes_back_byte_for_byte(
    store: Store, settings: Config, size: int, tmp_path: Path
) -> None:
    content = os.urandom(size)
    incoming = received(settings, content)
    assert (incoming.sha256, incoming.size) == (hashlib.sha256(content).hexdigest(), size)
    assert store.size(incoming.sha256) is None

    store.keep(incoming)

    chunks = list(store.open(incoming.sha256))
    assert b"".join(chunks) == content
    assert max(map(len, chunks), default=0) <= 1_048_576
    assert store.size(incoming.sha256) == size
    assert store.check(incoming.sha256) == incoming.sha256
    store.fetch(incoming.sha256, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert left(settings) == []


def test_the_same_content_twice_is_one_blob(store: Store, settings: Config) -> None:
    first, second = kept(store, settings), kept(store, settings)
    other = kept(store, settings, b"Another decree.")

    assert first == second
    assert sorted(name for name, _ in store.names()) == sorted({first, other})
    assert left(settings) == []


def test_every_blob_is_named_with_the_time_it_was_kept(store: Store, settings: Config) -> None:
    incoming = received(settings, b"x")
    os.utime(incoming.path, (0, 0))
    store.keep(incoming)
    ((_, at),) = store.names()
    assert abs(at - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)


def test_what_is_deleted_is_gone_and_deleting_again_is_no_mistake(store: Store, settings: Config) -> None:
    sha256 = kept(store, settings)
    store.delete(sha256)
    store.delete(sha256)

    assert list(store.names()) == []
    assert store.size(sha256) is None
    with pytest.raises(StorageMissing):
        store.open(sha256)
    kept(store, settings)
    assert store.check(sha256) == sha256


@pytest.mark.parametrize(
    "name",
    ["", NOTHING, "../x", "../../keys/secret", "/etc/passwd", "a" * 63, "A" * 64, f"{'a' * 64}\n", "ab/" + "a" * 61,
     "..", ".", "\0", "é" * 64, "٣" * 64, "a" * 5000],
)  # fmt: skip
def test_a_name_that_is_no_blobs_reaches_nothing(
    store: Store, settings: Config, name: str, tmp_path: Path
) -> None:
    sha256 = kept(store, settings)
    (settings.data_path / "x").write_text("not a blob")
    assert store.size(name) is None
    store.delete(name)
    for ask in (store.open, store.check, lambda name: store.fetch(name, tmp_path / "copy")):
        with pytest.raises(NotFound):
            ask(name)
    assert not (tmp_path / "copy").exists()
    assert (settings.data_path / "x").exists()
    assert store.check(sha256) == sha256


def test_a_file_that_changed_after_it_was_received_is_not_kept(store: Store, settings: Config) -> None:
    for harm in (
        lambda path: path.write_bytes(b"other!"),
        lambda path: path.write_bytes(b"received and more"),
    ):
        incoming = received(settings, b"received")
        harm(incoming.path)
        with pytest.raises(StorageFailed, match="changed while it was being stored"):
            store.keep(incoming)
        assert list(store.names()) == []
        assert left(settings) == []


def test_a_link_in_place_of_the_received_file_is_not_kept(store: Store, settings: Config) -> None:
    secret = settings.data_path / "secret.txt"
    secret.write_bytes(b"key")
    incoming = received(settings, b"key")
    incoming.path.unlink()
    incoming.path.symlink_to(secret)

    with pytest.raises((StorageFailed, StorageMissing)):
        store.keep(incoming)
    assert list(store.names()) == []
    assert secret.read_bytes() == b"key"


def test_a_copy_is_never_written_over_a_file_that_is_there(
    store: Store, settings: Config, tmp_path: Path
) -> None:
    sha256 = kept(store, settings)
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(StorageFailed):
        store.fetch(sha256, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_download_that_is_left_in_the_middle_closes_its_file(store: Store, settings: Config) -> None:
    sha256 = kept(store, settings, os.urandom(3_000_000))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        chunks = store.open(sha256)
        next(chunks)
        chunks.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) <= before + 2


# The folder


def blob(settings: Config, sha256: str) -> Path:
    return settings.exhibits_path / sha256[:2] / sha256


def test_files_and_folders_are_for_their_owner_only(folder: Config) -> None:
    incoming = received(folder, b"x")
    incoming.path.chmod(0o644)  # As a program that made it may have left it.
    storage.open_store(folder).keep(incoming)

    path = blob(folder, incoming.sha256)
    assert path.stat().st_mode & 0o777 == 0o600
    for place in (path.parent, folder.exhibits_path, folder.incoming_path):
        assert place.stat().st_mode & 0o777 == 0o700


def test_a_damaged_blob_is_told_and_mended_by_the_same_file(folder: Config, tmp_path: Path) -> None:
    store = FolderStore(folder)
    sha256 = kept(store, folder, b"The decree.")
    for harm in (b"The decree?", b"short", b""):
        blob(folder, sha256).write_bytes(harm)
        assert store.check(sha256) == hashlib.sha256(harm).hexdigest()
        with pytest.raises(StorageFailed, match="damaged"):
            store.fetch(sha256, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()

        assert kept(store, folder, b"The decree.") == sha256
        assert store.check(sha256) == sha256


def test_links_in_the_folder_are_never_followed(folder: Config, tmp_path: Path) -> None:
    store = FolderStore(folder)
    sha256 = kept(store, folder)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / sha256).write_bytes(b"The decree of Arvenia.")

    blob(folder, sha256).unlink()
    blob(folder, sha256).symlink_to(outside / sha256)
    assert store.size(sha256) is None
    with pytest.raises(StorageMissing):
        store.open(sha256)
    assert [name for name, _ in store.names()] == [f"./{sha256[:2]}/{sha256}"]
    kept(store, folder)
    assert not blob(folder, sha256).is_symlink()

    shutil.rmtree(blob(folder, sha256).parent)
    blob(folder, sha256).parent.symlink_to(outside)
    assert store.size(sha256) is None
    with pytest.raises(StorageFailed):
        kept(store, folder)
    with pytest.raises(StorageFailed):
        store.delete(sha256)
    assert (outside / sha256).read_bytes() == b"The decree of Arvenia."
    assert left(folder) == []


def test_whatever_else_lies_in_the_folder_is_named_by_its_place(folder: Config) -> None:
    store = FolderStore(folder)
    sha256 = kept(store, folder)
    root = folder.exhibits_path
    (root / "stray.txt").write_text("x")
    (root / sha256).write_text("not in its folder")
    (root / "zz" / "deep").mkdir(parents=True)
    (root / "zz" / sha256).write_text("in a wrong folder")
    (root / "zz" / "deep" / "x").write_text("x")
    (root / sha256[:2] / f"{sha256}.new").write_text("x")
    os.mkfifo(root / "fifo")
    Path(os.fsdecode(bytes(root) + b"/\xff\xfe")).write_text("x")

    names = [name for name, _ in store.names()]

    assert sorted(names) == sorted(
        [sha256, "./stray.txt", f"./{sha256}", f"./zz/{sha256}", "./zz/deep/x", f"./{sha256[:2]}/{sha256}.new",
         "./fifo", "./\\udcff\\udcfe"]
    )  # fmt: skip


def test_exhibits_may_lie_on_another_disk(folder: Config, tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm") / tmp_path.name
    try:
        elsewhere.mkdir(mode=0o700)
    except OSError:
        pytest.skip("there is no second file system at /dev/shm")
    try:
        if elsewhere.stat().st_dev == folder.data_path.stat().st_dev:
            pytest.skip("/dev/shm is the same file system")
        folder.exhibits_path.symlink_to(elsewhere)
        store = FolderStore(folder)
        content = os.urandom(3_000_000)
        sha256 = kept(store, folder, content)
        assert kept(store, folder, content) == sha256

        assert store.check(sha256) == sha256
        assert [name for name, _ in store.names()] == [sha256]
        assert left(folder) == []
        assert list((elsewhere / "incoming").iterdir()) == []
        (elsewhere / "incoming" / "half").write_bytes(b"x")
        now = dt.datetime.now(dt.UTC) + 2 * HOUR
        assert storage.sweep_incoming(folder, older_than=HOUR, now=now) == ["./half"]
    finally:
        shutil.rmtree(elsewhere)


def test_a_data_folder_that_is_missing_or_no_folder_is_a_sentence(
    folder: Config, make_config: MakeConfig, tmp_path: Path
) -> None:
    with pytest.raises(StorageFailed, match="ENOENT"):
        storage.receive(make_config(data_dir=str(tmp_path / "none")), limit=1)
    folder.exhibits_path.write_text("a file")
    with pytest.raises(StorageFailed, match="EEXIST"):
        kept(FolderStore(folder), folder)
    assert left(folder) == []


# The bucket


def test_a_bucket_or_a_server_that_is_not_there_is_a_sentence(
    s3: S3, make_config: MakeConfig, tmp_path: Path
) -> None:
    nobody = f"s3://key:secret@127.0.0.1:{s3.port}/no-such-bucket?tls=no"
    closed = "s3://key:secret@127.0.0.1:1/exhibits?tls=no"
    without_tls = s3.bucket().removesuffix("?tls=no")
    for url, sentence in (
        (nobody, "no such bucket"),
        (closed, "cannot be reached"),
        (without_tls, "cannot be reached"),
    ):
        settings = make_config(storage_url=url)
        store = storage.open_store(settings)
        with pytest.raises(StorageFailed, match=sentence):
            kept(store, settings)
        assert left(settings) == []
        if url != nobody:
            for ask in (store.open, store.size, store.delete, store.check):
                with pytest.raises(StorageFailed, match="cannot be reached"):
                    ask(NOTHING)
            with pytest.raises(StorageFailed, match="cannot be reached"):
                list(store.names())
    with pytest.raises(StorageFailed):
        list(storage.open_store(make_config(storage_url=nobody)).names())


def test_a_key_that_the_server_refuses_is_a_sentence_without_the_key(make_config: MakeConfig) -> None:
    # The first request is free, and makes the bucket.
    with s3_server(INITIAL_NO_AUTH_ACTION_COUNT="1") as server:
        settings = make_config(storage_url=server.bucket(key="AKIAARVENIA", secret="hush-hush"))
        store = storage.open_store(settings)
        with pytest.raises(StorageFailed, match="refuses the tracker's key") as caught:
            kept(store, settings)
        for ask in (store.open, store.size, store.delete, lambda _: list(store.names())):
            with pytest.raises(StorageFailed):
                ask(NOTHING)
    assert "hush" not in str(caught.value) + repr(settings.bucket) + repr(settings)
    assert caught.value.__suppress_context__
    assert left(settings) == []


def test_variables_meant_for_other_programs_change_nothing(
    s3: S3, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_config(storage_url=s3.bucket())
    for name, value in {
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_SESSION_TOKEN": "x",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true", "AWS_BUCKET": "other", "AWS_ACCESS_KEY_ID": "other",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    store = storage.open_store(settings)
    assert store.check(kept(store, settings))


def test_whatever_else_lies_in_the_bucket_is_named_by_its_place(s3: S3, make_config: MakeConfig) -> None:
    settings = make_config(storage_url=s3.bucket("exhibits"))
    store = storage.open_store(settings)
    sha256 = kept(store, settings)
    bucket = settings.bucket
    assert bucket is not None
    for key in ("stray.txt", sha256, f"zz/{sha256}"):
        s3.send("PUT", f"{bucket.name}/exhibits/{key}", b"x")
    s3.send("PUT", f"{bucket.name}/elsewhere/x", b"Not under our prefix, so not ours to look at.")

    assert sorted(name for name, _ in store.names()) == sorted(
        ["./stray.txt", f"./{sha256}", f"./zz/{sha256}", sha256]
    )
    s3.send("PUT", f"{bucket.name}/exhibits/a/../b", b"x")
    with pytest.raises(StorageFailed, match="Tell the operator to remove it"):
        list(store.names())


def test_a_blob_that_was_changed_in_the_bucket_is_told_and_mended(
    s3: S3, make_config: MakeConfig, tmp_path: Path
) -> None:
    settings = make_config(storage_url=s3.bucket())
    store = storage.open_store(settings)
    sha256 = kept(store, settings)
    assert settings.bucket is not None
    s3.send("PUT", f"{settings.bucket.name}/{sha256[:2]}/{sha256}", b"The decree of Arvenia?")
    assert store.check(sha256) != sha256
    with pytest.raises(StorageFailed, match="damaged"):
        store.fetch(sha256, tmp_path / "copy")
    kept(store, settings)
    assert store.check(sha256) == sha256


def test_a_forked_child_is_refused_before_it_hangs(s3: S3, make_config: MakeConfig) -> None:
    settings = make_config(storage_url=s3.bucket())
    store = storage.open_store(settings)
    sha256 = kept(store, settings)
    pid = os.fork()
    if pid == 0:
        try:
            store.size(sha256)
        except RuntimeError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert store.check(sha256) == sha256


# Receiving


def test_a_file_over_the_limit_is_refused_at_the_byte_and_leaves_nothing(folder: Config) -> None:
    with storage.receive(folder, limit=2_000_000) as receiver:
        receiver.write(b"x" * 2_000_000)
        assert receiver.finish().size == 2_000_000
    receiver = storage.receive(folder, limit=2_000_000)
    receiver.write(b"x" * 1_999_999)
    with pytest.raises(TooLarge) as caught:
        receiver.write(b"xx")
    assert caught.value.status == 413
    assert receiver.closed
    assert len(left(folder)) == 1
    with pytest.raises(ValueError, match="closed"):
        receiver.write(b"x")


def test_what_is_left_closed_or_forgotten_unfinished_leaves_nothing(folder: Config) -> None:
    with storage.receive(folder, limit=9) as receiver:
        receiver.write(b"x")
    storage.receive(folder, limit=9).close()
    storage.receive(folder, limit=9).discard()
    with pytest.raises(KeyboardInterrupt), storage.receive(folder, limit=9):
        raise KeyboardInterrupt
    forgotten = storage.receive(folder, limit=9)
    assert len(left(folder)) == 1
    del forgotten
    assert left(folder) == []


def test_a_finished_file_stays_until_it_is_kept_or_discarded(folder: Config) -> None:
    with storage.receive(folder, limit=9, name="upload01") as receiver:
        receiver.write(b"abc")
        incoming = receiver.finish()
    receiver.close()
    assert left(folder) == ["upload01"]
    assert incoming.path == folder.incoming_path / "upload01"
    incoming.discard()
    incoming.discard()
    assert left(folder) == []


def test_the_file_can_be_read_while_it_is_received_and_still_grows_at_its_end(folder: Config) -> None:
    with storage.receive(folder, limit=99) as receiver:
        receiver.write(b"one ")
        receiver.seek(0)
        assert receiver.read(2) == b"on"
        receiver.write(bytearray(b"two"))
        assert receiver.tell() == 7
        receiver.seek(0)
        assert receiver.read() == b"one two"
        assert receiver.finish().sha256 == hashlib.sha256(b"one two").hexdigest()


def test_a_progress_page_can_watch_the_file_grow(folder: Config) -> None:
    with storage.receive(folder, limit=99, name="upload01") as receiver:
        receiver.write(b"x" * 42)
        assert (folder.incoming_path / "upload01").stat().st_size == 42


@pytest.mark.parametrize(
    "name", ["", "short", "../../keys/x", "UPLOAD01", "upload01\n", "a" * 33, "upload/01", "ａｂｃｄｅｆｇｈ"]
)
def test_an_upload_cannot_choose_its_place(folder: Config, name: str) -> None:
    with pytest.raises(Invalid):
        storage.receive(folder, limit=9, name=name)
    assert left(folder) == []


def test_an_upload_sent_twice_at_once_is_taken_once(folder: Config) -> None:
    with storage.receive(folder, limit=9, name="upload01") as receiver:
        receiver.write(b"abc")
        with pytest.raises(Conflict, match="already begun"):
            storage.receive(folder, limit=9, name="upload01")
        assert receiver.finish().path.read_bytes() == b"abc"


def test_while_little_of_the_disk_is_free_no_file_is_taken(
    folder: Config, make_config: MakeConfig, tmp_path: Path
) -> None:
    usage = shutil.disk_usage(tmp_path)
    storage.check_room(make_config(exhibit_free_percent=0), 1)
    with pytest.raises(NoRoom, match="nearly full") as caught:
        storage.check_room(make_config(exhibit_free_percent=0), usage.total)
    assert caught.value.status == 507
    floor = int(usage.free * 100 / usage.total) + 2
    if floor > 90:
        pytest.skip("the disk is all but empty")
    full = make_config(exhibit_free_percent=floor)
    with pytest.raises(NoRoom):
        storage.check_room(full, 0)
    # Nobody said how much was coming.
    receiver = storage.receive(full, limit=100_000_000)
    receiver.write(b"x" * 16_000_000)
    with pytest.raises(NoRoom):
        receiver.write(b"x" * 1_000_000)
    assert left(full) == []


def multipart(body: bytes, sent: bytes, settings: Config) -> Incoming:
    """What a browser sends, as werkzeug takes it in; `sent` of `body` arrives."""
    parser = MultiPartParser(
        stream_factory=lambda **_: storage.receive(settings, limit=1_000_000)  # type: ignore[arg-type,return-value]
    )
    stream = LimitedStream(io.BytesIO(sent), len(body))
    _, files = parser.parse(stream, b"cut", len(body))  # type: ignore[arg-type]
    receiver = files["file"].stream
    assert isinstance(receiver, storage.Receiver)
    return receiver.finish()


def form(content: bytes) -> bytes:
    head = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="decree.pdf"\r\n\r\n'
    return head + content + b"\r\n--cut--\r\n"


def test_werkzeug_writes_an_upload_straight_into_its_file(folder: Config) -> None:
    content = os.urandom(700_000)
    incoming = multipart(form(content), form(content), folder)
    assert incoming.path.read_bytes() == content
    assert incoming.sha256 == hashlib.sha256(content).hexdigest()


def test_a_client_that_vanishes_at_99_percent_leaves_nothing(folder: Config) -> None:
    body = form(os.urandom(700_000))
    with pytest.raises(ClientDisconnected):
        multipart(body, body[: len(body) * 99 // 100], folder)
    assert left(folder) == []


def test_werkzeug_passes_on_that_a_file_is_too_large(folder: Config) -> None:
    body = form(os.urandom(1_100_000))
    with pytest.raises(TooLarge):
        multipart(body, body, folder)
    assert left(folder) == []


def test_what_was_left_half_received_is_swept_and_what_still_grows_is_not(folder: Config) -> None:
    now = dt.datetime.now(dt.UTC)
    old = (now - 25 * HOUR).timestamp()
    growing = storage.receive(folder, limit=9, name="growing1")
    for name in ("deadbeef", "\udcff"):
        (folder.incoming_path / name).write_bytes(b"half")
        os.utime(folder.incoming_path / name, (old, old))
    (folder.incoming_path / "link").symlink_to(folder.keys_path)
    os.utime(folder.incoming_path / "link", (old, old), follow_symlinks=False)
    os.utime(growing.path, (old, old))
    growing.write(b"x")

    swept = storage.sweep_incoming(folder, older_than=24 * HOUR, now=now)

    assert sorted(swept) == ["./\\udcff", "./deadbeef", "./link"]
    assert left(folder) == ["growing1"]
    assert folder.keys_path.is_dir()
    assert storage.sweep_incoming(folder, older_than=24 * HOUR, now=now) == []
    growing.discard()
