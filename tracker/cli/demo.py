"""`tracker demo`: the fictional Republic of Arvenia, of any size."""

from __future__ import annotations

import click

from tracker.cli import common

SHOW_PROGRESS_ABOVE = 200


@click.command()
@click.option(
    "--recommendations", type=click.IntRange(1, 100_000), default=13, show_default=True, help="How many."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 999_999),
    default=1,
    show_default=True,
    help="Another seed, another story.",
)
def demo(recommendations: int, seed: int) -> None:
    """Make a demonstration report with evidence, replies and findings. Everything in it is invented, and says so.

    The same size and seed give the same report. Safe to repeat: it is made once, and an interrupted one is finished.
    """
    with common.open_tracker() as tracker:
        from tracker.services import demo as service
        from tracker.services import ledger

        before = ledger.position(tracker.session)
        made = service.make(tracker.session, recommendations=recommendations, seed=seed, now=tracker.now)
        if recommendations > SHOW_PROGRESS_ABOVE:
            from rich.console import Console
            from rich.progress import track

            # On stderr, so that what is printed at the end can be read by another program.
            steps = track(
                made,
                description="Inventing Arvenia",
                total=1 + -(-recommendations // service.BATCH),
                console=Console(stderr=True),
            )
        else:
            steps = made
        for _ in steps:
            tracker.session.commit()
        added = ledger.position(tracker.session) - before
    address = f"{tracker.config.public_url}/reports/{service.slug(recommendations, seed)}"
    click.echo(f"{'Nothing new' if not added else f'{added} ledger entries added'}: {address}")
