"""`tracker custody`: keys made elsewhere, sealed records carried over, opened where there is no tracker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update
from sqlalchemy.orm import Session

from tests.factories import Factory
from tracker import sealed_file
from tracker.cli import main
from tracker.config import ROOT
from tracker.keyring import Keyring
from tracker.models import Account, Source, SourceRecord
from tracker.sealed_file import Identity
from tracker.services import sources

Run = Callable[..., Result]
WHO = Identity("Ayla Sarik", "+000 555 0101", "Through her cousin\non market days", "Speaks Arvenian")

# What is not installed on a custodian's machine cannot be imported: only Python, click, cryptography and the tracker.
ELSEWHERE = """
import importlib.abc, sys
ALLOWED = {"tracker", "click", "cryptography", "cffi", "_cffi_backend", *sys.stdlib_module_names}
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED:
            raise ModuleNotFoundError(f"No module named {name!r} here", name=name)
sys.meta_path.insert(0, Refuse())
from tracker.cli import main
main()
"""


def elsewhere(folder: Path, *words: str, typed: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
    """A command on a machine without database, settings, keys or the server's libraries."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{ELSEWHERE}", "custody", *words],
        cwd=folder, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}, input=typed, text=True,
        capture_output=True, timeout=60, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done


def offline(*words: str, typed: str = "", code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["custody", *words], input=typed)
    assert done.exit_code == code, done.output + repr(done.exception)
    return done


@pytest.fixture
def north(tmp_path: Path) -> Path:
    """The folder of custodian north, on a machine of her own, with an open key."""
    folder = tmp_path / "north"
    folder.mkdir()
    offline("keygen", str(folder / "key"), "--no-passphrase")
    return folder


def public(folder: Path) -> str:
    return sealed_file.key_text(
        sealed_file.read_key(folder / "key", lambda: "").public_key().public_bytes_raw()
    )


@pytest.fixture
def source(run: Run, north: Path, session: Session, mona: Account, keys: Keyring, make: Factory) -> Source:
    run("custody", "add", "North", public(north))
    made = sources.create(session, author=mona, now=make.now)
    sources.record_identity(session, made, WHO, keys=keys, custodians_needed=1, author=mona, now=make.now)
    session.commit()
    return made


def test_a_key_is_made_with_a_passphrase_asked_twice(tmp_path: Path) -> None:
    file = tmp_path / "key"
    words = "five words nobody can guess"
    told = offline("keygen", str(file), typed=f"short\nshort\n{words}\n{words}\n")
    assert "at least 12 characters" in told.stderr
    [key, print_] = told.stdout.strip().splitlines()[-2:]
    assert key.startswith("tracker-custodian:")
    assert print_.endswith(sealed_file.spoken(sealed_file.fingerprint(sealed_file.read_key_text(key))))
    assert "exists already" in offline("keygen", str(file), typed=f"{words}\n{words}\n", code=1).stderr
    bare = offline("keygen", str(tmp_path / "bare"), "--no-passphrase")
    assert "Whoever gets the file" in bare.stderr


def test_custodians_are_added_listed_and_retired(run: Run, north: Path) -> None:
    told = run("custody", "add", "North", public(north))
    assert "1 of 2 custodians: no identity can be entered yet." in told.stderr
    print_ = sealed_file.spoken(sealed_file.fingerprint(sealed_file.read_key_text(public(north))))
    assert print_ in told.stdout
    assert run("custody", "add", "Else", public(north), code=1).stderr == (
        "Error: This key is here already, as North.\n"
    )
    assert "not a custodian's public key" in run("custody", "add", "X", public(north)[:-3], code=1).stderr
    listed = run("custody", "list").stdout
    assert listed.startswith(f"North\t{print_}\tsince ")
    assert listed.rstrip().endswith("active")
    assert "still opens" in run("custody", "retire", "North").stdout
    assert "retired" in run("custody", "list").stdout
    assert "no custodian named South" in run("custody", "retire", "South", code=1).stderr


def test_an_identity_is_opened_on_another_machine(
    run: Run, source: Source, north: Path, tmp_path: Path
) -> None:
    file = tmp_path / "carried.jsonl"
    assert run("custody", "export", source.pseudonym.lower(), str(file)).stdout == (
        f"Wrote 1 sealed records to {file}.\n"
    )
    assert file.stat().st_mode & 0o777 == 0o600
    before = sorted(path.name for path in north.iterdir())
    told = elsewhere(north, "open", str(file), "--key", "key")
    assert told.stdout == (
        f"{source.pseudonym}, version 1, recorded 2026-11-22\n  Name: Ayla Sarik\n  Contact: +000 555 0101\n"
        "  How to reach them safely: Through her cousin\n    on market days\n  Notes: Speaks Arvenian\n\n"
    )
    assert sorted(path.name for path in north.iterdir()) == before  # Nothing was written.


def test_a_passphrase_is_asked_for_elsewhere(
    tmp_path: Path, run: Run, source: Source, session: Session
) -> None:
    words = "five words nobody can guess"
    key = elsewhere(tmp_path, "keygen", "second", typed=f"{words}\n{words}\n").stdout.splitlines()[-2]
    run("custody", "add", "South", key)
    file = tmp_path / "carried"
    run("custody", "export", "--all", str(file))
    told = elsewhere(tmp_path, "open", str(file), "--key", "second", typed=f"{words}\n", code=1)
    assert "Nothing in" in told.stderr  # Entered before South was there.
    assert (
        "passphrase is wrong"
        in elsewhere(tmp_path, "open", str(file), "--key", "second", typed="wrong\n", code=1).stderr
    )


def test_a_wrong_key_and_an_altered_record_are_told_apart(
    run: Run, source: Source, north: Path, tmp_path: Path, session: Session
) -> None:
    file, other = tmp_path / "carried", tmp_path / "other"
    run("custody", "export", "--all", str(file))
    offline("keygen", str(other), "--no-passphrase")
    told = offline("open", str(file), "--key", str(other), code=1)
    assert "sealed to your key" in told.stderr
    assert "Ayla" not in told.output

    broken = bytearray(session.query(SourceRecord).one().sealed)
    broken[40] ^= 1
    session.execute(update(SourceRecord).values(sealed=bytes(broken)))
    session.commit()
    run("custody", "export", "--all", str(tmp_path / "altered"))
    told = offline("open", str(tmp_path / "altered"), "--key", str(north / "key"), code=1)
    assert told.stderr == (
        f"Error: {source.pseudonym}, version 1, does not open: it was altered, or moved from another place.\n"
    )
    assert "is not a sealed record" in offline("open", str(other), "--key", str(north / "key"), code=1).stderr
    assert (
        "cannot be read" in offline("open", str(tmp_path / "no"), "--key", str(north / "key"), code=1).stderr
    )
    assert "not a custodian's key file" in offline("open", str(file), "--key", str(file), code=1).stderr


def test_export_writes_over_nothing_and_wants_to_know_which(run: Run, source: Source, tmp_path: Path) -> None:
    file = tmp_path / "carried"
    run("custody", "export", str(file), code=2)
    run("custody", "export", "--all", source.pseudonym, str(file), code=2)
    assert "no source S-0000" in run("custody", "export", "S-0000", str(file), code=1).stderr
    assert not file.exists()
    file.write_text("mine")
    assert "exists already" in run("custody", "export", "--all", str(file), code=1).stderr
    assert file.read_text() == "mine"


def test_an_earlier_custodian_hands_over_to_a_later_one(
    run: Run, source: Source, north: Path, tmp_path: Path
) -> None:
    south = tmp_path / "south"
    south.mkdir()
    elsewhere(south, "keygen", "key", "--no-passphrase")
    carried, handed = tmp_path / "carried", tmp_path / "handed"
    run("custody", "add", "South", public(south))
    run("custody", "export", "--all", str(carried))
    words = ("reseal", str(carried), str(handed), "--key", "key", "--to", public(south))
    assert "Aborted" in elsewhere(north, *words, typed="n\n", code=1).stderr
    assert not handed.exists()
    told = elsewhere(north, *words, typed="y\n")
    assert (
        sealed_file.spoken(sealed_file.fingerprint(sealed_file.read_key_text(public(south)))) in told.stderr
    )
    assert b"Ayla" not in handed.read_bytes()
    assert run("custody", "import", str(handed)).stdout == "Took in 1 sealed records; 0 were here already.\n"
    assert run("custody", "import", str(handed)).stdout == "Took in 0 sealed records; 1 were here already.\n"
    again = tmp_path / "again"
    run("custody", "export", "--all", str(again))
    assert "Name: Ayla Sarik" in elsewhere(south, "open", str(again), "--key", "key").stdout


def test_what_a_hostile_server_sealed_cannot_steer_the_custodians_terminal(
    tmp_path: Path, north: Path
) -> None:
    key = sealed_file.read_key_text(public(north))
    place = sealed_file.Place("abc", 1, sealed_file.fingerprint(key))
    plain = sealed_file.compose("S-7F3K", 1, "2026", Identity("A\x1b[2J\u202eB\u200cC"))
    line = sealed_file.Line("S-7F3K", place, "2026", sealed_file.seal(plain, key, place))
    sealed_file.write_lines(tmp_path / "file", [line])
    told = offline("open", str(tmp_path / "file"), "--key", str(north / "key")).stdout
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert "\u200c" in told
