"""`tracker bounces`: mails that came back, from files."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from tracker.cli import common
from tracker.errors import TrackerError
from tracker.vocabulary import N_


@click.group()
def bounces() -> None:
    """Mails that came back."""


@bounces.command()
@click.argument("files", type=click.Path(path_type=Path, allow_dash=True), nargs=-1, required=True)
def read(files: tuple[Path, ...]) -> None:
    """Read bounces from FILES: single mails, mbox files or Maildir folders; "-" is standard input.

    Stops digests to mailboxes that do not exist, and lets others rest. Prints how many, never whose. The files stay as
    they are; reading them again changes nothing.
    """
    with common.open_tracker() as tracker:
        from tracker import bounces as parser
        from tracker.services import bounces as service

        _ = tracker.keys.mailer  # Without them nothing could be told apart: said before anything is read.
        done: Counter[str] = Counter()
        for mail in _mails(files):
            report = parser.read(mail)
            if report is None:
                done["no bounce"] += 1
                continue
            taken = service.take(tracker.session, report, keys=tracker.keys, now=tracker.now)
            tracker.session.commit()
            done[taken.value] += 1
    if not done:
        click.echo("There was nothing to read.")
    for outcome, count in sorted(done.items()):
        click.echo(f"{outcome.capitalize()}: {count}")


def _mails(files: tuple[Path, ...]) -> Iterator[bytes]:
    from tracker import bounces as parser

    for file in files:
        try:
            if str(file) == "-":
                yield from parser.split(sys.stdin.buffer)
            else:
                yield from parser.messages(file)
        except OSError as error:
            raise TrackerError(
                N_("%(file)s cannot be read: %(why)s."), file=file, why=error.strerror
            ) from None
