"""`tracker reports`: load a report file, and list what was loaded."""

from __future__ import annotations

from pathlib import Path

import click

from tracker.cli import common


@click.group()
def reports() -> None:
    """Load and list reports."""


@reports.command()
@click.argument("file", type=click.Path(path_type=Path))
def load(file: Path) -> None:
    """Load the report in FILE, with its evidence, replies and draft findings.

    The whole file is checked first; with any mistake in it nothing is changed. Loading it again is safe: what is new
    or corrected in it is published as dated changes. The format stands in docs/report-format.md.
    """
    with common.open_tracker() as tracker:
        from tracker.services import report_file
        from tracker.services import reports as service

        parsed = report_file.read(file, today=tracker.now.date())
        summary = service.load(tracker.session, parsed, now=tracker.now)
        tracker.session.commit()
    click.echo(summary)


@reports.command("list")
def list_() -> None:
    """Show every report with its counts and the ledger position of what last touched it."""
    with common.open_tracker() as tracker:
        from tracker.services import reports as service

        found = service.overviews(tracker.session)
    for report in found:
        click.echo(
            f"{report.slug}: {report.title}\n"
            f"  {report.recommendations} recommendations, {report.clauses} clauses, {report.evidence} pieces of public "
            f"evidence, {report.replies} replies; ledger position {report.newest_seq or '-'}"
        )
    if not found:
        click.echo("No report has been loaded. Load one with: tracker reports load FILE")
