"""`tracker evidence`: evidence from a table."""

from __future__ import annotations

from pathlib import Path

import click

from tracker.cli import common
from tracker.errors import NotFound, TrackerError
from tracker.vocabulary import N_


@click.group()
def evidence() -> None:
    """Bring evidence in from a table."""


@evidence.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--author", required=True, metavar="EMAIL", help="Whose work it is: somebody of the team.")
@click.option("--dry-run", is_flag=True, help="Check everything, and change nothing.")
def import_(file: Path, author: str, dry_run: bool) -> None:
    """Send the pieces in FILE (CSV, UTF-8) to the reviewers, as the work of EMAIL.

    All of them or none: with any fault nothing is imported, and every fault is named with its line and column.
    Importing the file again adds only what is new in it. Another person reviews the pieces, several at once if they
    are public. The columns stand in docs/evidence-import.md.
    """
    with common.open_tracker() as tracker:
        from tracker.services import accounts, evidence_file

        try:
            data = file.read_bytes()
        except OSError as error:
            raise TrackerError(
                N_("%(file)s cannot be read: %(why)s."), file=file, why=error.strerror
            ) from None
        account = accounts.by_email(tracker.session, author)
        if account is None:
            raise NotFound(N_("There is no account with the address %(email)s."), email=author)
        lines = evidence_file.read(data)
        outcome = evidence_file.load(tracker.session, lines, author=account, now=tracker.now)
        if dry_run:
            tracker.session.rollback()
        else:
            tracker.session.commit()
    click.echo(
        f"{'Would send' if dry_run else 'Sent'} {outcome.added} piece{'s' if outcome.added != 1 else ''} for review; {outcome.known} were there already."
    )
