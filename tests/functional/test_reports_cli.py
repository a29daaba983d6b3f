"""`tracker reports` and `tracker demo`, as an operator types them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from click.testing import Result
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker.config import ROOT
from tracker.models import Evidence, LedgerEntry, Report

BUNDLED = ROOT / "config" / "reports" / "ohchr-xuar-2022" / "report.toml"
GUIDE = (ROOT / "docs" / "report-format.md").read_text(encoding="utf-8")
EXAMPLE = GUIDE.split("```toml\n")[1].split("```")[0]


def test_a_report_is_loaded_once_and_listed(run: Callable[..., Result], session: Session) -> None:
    assert (
        run("reports", "list").stdout
        == "No report has been loaded. Load one with: tracker reports load FILE\n"
    )

    assert run("reports", "load", str(BUNDLED)).stdout == (
        "Loaded ohchr-xuar-2022: 16 recommendations, 42 clauses, 55 pieces of evidence, 4 replies, 12 draft findings.\n"
    )
    assert run("reports", "load", str(BUNDLED)).stdout == "ohchr-xuar-2022: Nothing new.\n"

    listed = run("reports", "list").stdout
    assert listed.startswith("ohchr-xuar-2022: OHCHR Assessment of human rights concerns")
    assert (
        "16 recommendations, 42 clauses, 55 pieces of public evidence, 4 replies; ledger position 60"
        in listed
    )
    assert run("ledger", "verify").stdout == "The ledger is whole.\n"


def test_a_corrected_file_says_what_it_changed(run: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "report.toml"
    path.write_text(EXAMPLE, encoding="utf-8")
    run("reports", "load", str(path))
    path.write_text(
        EXAMPLE.replace("Four dock workers come home", "Five dock workers come home"), encoding="utf-8"
    )

    assert (
        run("reports", "load", str(path)).stdout
        == "Loaded changes of harbour-2024: 1.\n  evidence E1 corrected\n"
    )


def test_a_wrong_file_fails_with_every_mistake_on_stderr_and_changes_nothing(
    run: Callable[..., Result], tmp_path: Path, session: Session
) -> None:
    path = tmp_path / "report.toml"
    path.write_text(
        EXAMPLE.replace("page = 12", 'page = "12"').replace('grade = "B"', 'grade = "F"'), encoding="utf-8"
    )

    done = run("reports", "load", str(path), code=1)

    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "Error: report.toml was not loaded, and nothing was changed. Problems found: 2.",
        "  report.toml, line 17, recommendations 7-a: page must be a whole number without quotes.",
        "  report.toml, line 57, findings 7-a: grade is “F”; it must be one of: A, B, C, D, E, V.",
    ]
    assert session.scalar(select(func.count()).select_from(Report)) == 0
    assert session.scalar(select(func.count()).select_from(LedgerEntry)) == 0


def test_a_missing_file_is_one_clear_sentence(run: Callable[..., Result], tmp_path: Path) -> None:
    assert run("reports", "load", str(tmp_path / "none.toml"), code=1).stderr.splitlines() == [
        "Error: none.toml was not loaded, and nothing was changed. Problems found: 1.",
        "  none.toml: there is no such file.",
    ]


def test_the_guide_shows_mistakes_as_they_are_told(run: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "report.toml"
    path.write_text(
        EXAMPLE.replace(
            'text = "publish the number of persons released"', 'text = "publish numbers"'
        ).replace("date = 2025-02-03", 'date = "2025-02-30"'),
        encoding="utf-8",
    )

    shown = run("reports", "load", str(path), code=1).stderr

    assert shown in GUIDE


def test_a_loaded_file_can_be_corrected_back(
    run: Callable[..., Result], tmp_path: Path, session: Session
) -> None:
    path = tmp_path / "report.toml"
    for title in ("Four dock", "Five dock", "Four dock"):
        path.write_text(
            EXAMPLE.replace("Four dock workers come home", f"{title} workers come home"), encoding="utf-8"
        )
        run("reports", "load", str(path))

    assert session.scalars(select(Evidence.title)).all() == ["Four dock workers come home"]
    kinds = [kind.value for kind in session.scalars(select(LedgerEntry.kind).order_by(LedgerEntry.seq))]
    assert kinds[-2:] == ["evidence-corrected", "evidence-corrected"]
    session.rollback()  # On SQLite the session of the test would keep the command waiting.
    run("ledger", "verify")


def test_a_demonstration_is_made_once_and_the_ledger_stays_whole(run: Callable[..., Result]) -> None:
    assert run("demo", "--recommendations", "3").stdout.endswith(
        "ledger entries added: http://localhost/reports/arvenia-3-1\n"
    )
    assert (
        run("demo", "--recommendations", "3").stdout == "Nothing new: http://localhost/reports/arvenia-3-1\n"
    )
    run("demo", "--recommendations", "0", code=2)
    run("ledger", "verify")
