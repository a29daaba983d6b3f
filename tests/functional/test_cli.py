"""The command line, as an operator types it, with wrong words too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.factories import Factory
from tracker.config import ROOT, Config
from tracker.services import evidence
from tracker.vocabulary import Role

Run = Callable[..., Result]


def tracker(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command as a process of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
    return subprocess.run(
        [sys.executable, "-m", "tracker", *words],
        cwd=ROOT, env=clean | environ, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_help_names_every_command_and_loads_none_of_them() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tracker", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    for name in (
        "init",
        "run",
        "web",
        "scheduler",
        "accounts",
        "reports",
        "digests",
        "ledger",
        "doctor",
        "demo",
    ):
        assert f"  {name} " in done.stdout
    assert "sqlalchemy" not in done.stderr
    assert "flask" not in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nonsense"], "No such command"),
        (["accounts", "add", "x@arvenia.example"], "Missing option '--role'"),
        (
            ["ledger", "verify", "no-such-file.jsonl"],
            "no-such-file.jsonl cannot be read: No such file or directory.",
        ),
        (["ledger", "verify", "pyproject.toml"], "pyproject.toml cannot be read as a ledger"),
        (["ledger", "verify", "--key", "zz"], "the key hexadecimal digits"),
        (["ledger", "verify", "--checkpoint", "none.txt"], "The checkpoint none.txt cannot be read"),
        (["reports", "load", "no-such-file.toml"], "no-such-file.toml"),
        (["digests", "due", "--now", "yesterday"], "yesterday"),
        (["web", "--port", "99999"], "99999"),
    ],
)
def test_a_wrong_word_gets_one_clear_line_and_no_traceback(
    words: list[str], sentence: str, tmp_path: Path
) -> None:
    assert tracker("init", TRACKER_DATA_DIR=str(tmp_path), TRACKER_REPORTS="").returncode in (0, 1)

    done = tracker(*words, TRACKER_DATA_DIR=str(tmp_path))

    assert done.returncode in (1, 2), done.stdout
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("TRACKER_PROT", "8000", "TRACKER_PROT is not a setting of the tracker"),
        ("TRACKER_PORT", "eighty", "Setting port"),
        ("TRACKER_SECRET_KEY", "short", "at least 32 characters"),
        ("TRACKER_DATABASE_URL", "mysql://x/y", "mysql is not supported"),
        ("TRACKER_DATABASE_URL", "nonsense", "not a database address"),
        ("TRACKER_CONFIG", "/no/such/file.toml", "does not exist"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_a_sentence(name: str, value: str, sentence: str) -> None:
    done = tracker("doctor", **{name: value})

    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_init_is_safe_to_repeat(run: Run, session: Session, config: Config) -> None:
    first = run("init").stdout
    second = run("init").stdout

    assert "Loaded ohchr-xuar-2022: 16 recommendations, 42 clauses, 55 pieces of evidence" in first
    assert second == "ohchr-xuar-2022: Nothing new.\n"
    assert session.scalar(text("SELECT count(*) FROM evidence")) == 55


def test_an_exported_ledger_verifies_offline_and_a_harmed_one_names_the_first_bad_entry(
    run: Run, tmp_path: Path
) -> None:
    run("init")
    note = run("ledger", "checkpoint").stdout
    kept, file = tmp_path / "checkpoint.txt", tmp_path / "ledger.jsonl"
    kept.write_text(note)

    assert run("ledger", "export", str(file)).stdout == f"Wrote 60 entries to {file}.\n"
    assert run("ledger", "verify", str(file), "--checkpoint", str(kept)).stdout == "The ledger is whole.\n"

    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[7]["payload"] = lines[7]["payload"].replace("ohchr-xuar-2022", "ohchr-xuar-2023")
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "Entry 7 was altered" in run("ledger", "verify", str(file), code=1).stderr


def test_verify_on_the_live_database_finds_a_changed_row(run: Run, session: Session) -> None:
    run("init")
    assert run("ledger", "verify").stdout == "The ledger is whole.\n"

    session.execute(text("UPDATE evidence SET title = 'Another title' WHERE number = 3"))
    session.commit()

    assert "evidence/3 was changed in the database: “title” differs" in run("ledger", "verify", code=1).stderr


def test_export_to_a_place_that_cannot_be_written_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    run("init")

    assert (
        "cannot be written" in run("ledger", "export", str(tmp_path / "no" / "ledger.jsonl"), code=1).stderr
    )
    assert not (tmp_path / "no").exists()


def test_doctor_says_in_plain_words_what_is_missing(
    run: Run, make: Factory, session: Session, config: Config
) -> None:
    config.data_path.chmod(0o700)
    said = run("doctor", code=1).stdout
    assert "no admin who can sign in" in said
    assert "The scheduler has never run" in said

    make.account(Role.ADMIN, password_hash="x")
    run("digests", "send")
    said = run("doctor", code=1).stdout
    assert "no admin" not in said


def test_doctor_finds_a_damaged_record(run: Run, make: Factory, session: Session, config: Config) -> None:
    piece = make.evidence(make.report().recommendations[0])
    evidence.publish(session, piece, now=make.now)
    session.commit()
    session.execute(text("UPDATE evidence SET summary = 'Nothing happened.'"))
    session.commit()

    assert "evidence/1 was changed in the database" in run("doctor", code=1).stdout
