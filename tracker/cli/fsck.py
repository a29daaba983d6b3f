"""`tracker fsck`: whether database, ledger and exhibits agree."""

from __future__ import annotations

import click

from tracker.cli import common

SHOW_PROGRESS_ABOVE = 100 * 2**20


@click.command()
def fsck() -> None:
    """Hash every exhibit again, and compare database, ledger and store both ways. Exit 1 if anything differs.

    Each thing that differs is named, with what to do. What a crash left behind is removed once it is a day old. Safe
    while people work; the scheduler does the same once a week.
    """
    with common.open_tracker() as tracker:
        from rich.console import Console
        from rich.progress import Progress
        from sqlalchemy import Engine

        from tracker import db
        from tracker import fsck as checks
        from tracker.services import fsck as service

        engine = tracker.session.get_bind()
        assert isinstance(engine, Engine)
        with db.reading():
            count, size = service.total(tracker.session)
            tracker.session.rollback()
        findings = 0
        # On stderr, so that what is found can be read by another program.
        with Progress(console=Console(stderr=True), disable=size < SHOW_PROGRESS_ABOVE) as progress:
            task = progress.add_task("Hashing exhibits", total=size)
            for item in checks.run(
                engine,
                tracker.config,
                tracker.keys,
                now=tracker.now,
                looked=lambda read: progress.advance(task, read),
            ):
                findings += not item.tidied
                click.echo(item.sentence)
    if findings:
        click.echo("One thing differs." if findings == 1 else f"{findings} things differ.", err=True)
        raise SystemExit(1)
    click.echo(f"Database, ledger and store agree: {count} blobs, {size / 2**20:.1f} MB.")
