"""`tracker doctor` tries the store of exhibits and says in plain words what is wrong with it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.s3 import S3
from tracker import storage
from tracker.cli import doctor
from tracker.config import Config

MakeConfig = Callable[..., Config]


def said(config: Config) -> list[str]:
    """The sentences about exhibits."""
    return [
        problem
        for problem in doctor.problems(config)
        if "exhibits" in problem or "storage_url" in problem or "belongs to another" in problem
    ]


def test_a_store_that_works_is_in_order_and_holds_nothing_of_the_trial(
    s3: S3, make_config: MakeConfig
) -> None:
    for config in (make_config(), make_config(storage_url=s3.bucket("tracker"))):
        assert said(config) == []
        assert list(storage.open_store(config).names()) == []
        assert list(config.incoming_path.iterdir()) == []


def test_each_fault_of_the_store_has_its_sentence(s3: S3, make_config: MakeConfig) -> None:
    (no_bucket,) = said(make_config(storage_url=f"s3://k:s@127.0.0.1:{s3.port}/no-such-bucket?tls=no"))
    assert no_bucket == (
        "The store of exhibits: The object store has no such bucket. Tell the operator to check storage_url."
    )
    (nobody,) = said(make_config(storage_url="s3://k:hush@127.0.0.1:1/exhibits?tls=no"))
    assert "cannot be reached" in nobody
    assert "hush" not in nobody
    in_clear, _ = said(make_config(storage_url="s3://k:s@localhost.localdomain:1/exhibits?tls=no"))
    assert "exhibits travel to localhost.localdomain in clear" in in_clear

    config = make_config()
    config.exhibits_path.write_text("no folder")
    (no_folder,) = said(config)
    assert "cannot store or read the file (EEXIST)" in no_folder


def test_a_full_or_read_only_disk_has_its_sentence(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config()
    disk = config.exhibits_path
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True
    ).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        with pytest.raises(OSError, match="No space"):
            (disk / "filler").write_bytes(bytes(2**21))
        (full,) = said(config)
        assert "nearly full" in full
        (disk / "filler").unlink()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        (read_only,) = said(config)
        assert "EROFS" in read_only
    finally:
        subprocess.run(["umount", disk], check=True)


def test_nothing_is_made_in_a_folder_of_another_user(make_config: MakeConfig) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a folder away")
    config = make_config()
    os.chown(config.data_path, 12345, 12345)
    assert "belongs to another user" in said(config)[0]
    assert not config.exhibits_path.exists()
    assert not config.incoming_path.exists()
