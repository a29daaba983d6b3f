"""`tracker keys`: the key outside the database that protects restricted records."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from tracker.cli import common
from tracker.errors import TrackerError

if TYPE_CHECKING:
    from tracker.cli.common import Tracker


@click.group()
def keys() -> None:
    """Change the key that protects restricted records."""


@keys.command()
def rotate() -> None:
    """Make a new key, wrap every record's own key anew with it, then forget the old one.

    Everything stays readable meanwhile, and people go on working. It may be interrupted at any point: run it again,
    and it goes on where it was. Copy keys/records.keys to your backup of keys afterwards, and destroy older copies
    when no backup of the database needs them any more (docs/operating.md says when).
    """
    with common.open_tracker() as tracker:
        from tracker import wrapping_keys

        path = tracker.config.keys_path / wrapping_keys.FILE
        with wrapping_keys.alone(path):
            active, known = wrapping_keys.read(path)
            if len(known) == 1:
                active = wrapping_keys.add(path)
                click.echo(f"The new key is {active}.")
            else:
                click.echo(f"A rotation to the key {active} was begun before, and goes on.")
            done = _rewrap_all(tracker, active)
            wrapping_keys.drop(path, frozenset(known))
    click.echo(f"{done} records wrapped anew with {active}. Older keys are dropped. Back up {path} now.")


def _rewrap_all(tracker: Tracker, active: str) -> int:
    """Wrap every record anew, batch by batch; return how many, when no record needs an older key any more."""
    from rich.console import Console
    from rich.progress import Progress

    from tracker.services import sealed

    session, done = tracker.session, 0
    sealed.ensure_canary(session, tracker.keys)
    session.commit()
    # On stderr, so that what is printed at the end can be read by another program.
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("Wrapping records anew", total=sealed.waiting(session, active=active))
        # Records that were begun with the old key meanwhile are taken in the next round.
        while True:
            broken = _round(tracker, active, lambda count: progress.advance(bar, count))
            done = int(progress.tasks[bar].completed)
            if broken:
                names = ", ".join(map(str, broken))
                raise TrackerError(
                    "The keys of these pieces of evidence do not open, because somebody altered them: ids %(names)s. "
                    "Restore their rows in record_key from a backup and run this again. The older key is kept.",
                    names=names,
                )
            retired = sealed.retire(session, active=active)
            session.commit()
            if retired:
                return done


def _round(tracker: Tracker, active: str, advance: Callable[[int], None]) -> list[int]:
    from tracker.services import sealed

    after = 0
    broken: list[int] = []
    while True:
        step = sealed.rewrap(tracker.session, tracker.keys, active=active, after=after)
        tracker.session.commit()
        if not step.count:
            return broken
        after = step.last
        broken += step.broken
        advance(step.count - len(step.broken))
