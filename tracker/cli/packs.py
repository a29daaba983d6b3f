"""`tracker pack`: an evidence pack for everybody."""

from __future__ import annotations

from pathlib import Path

import click

from tracker.cli import common
from tracker.errors import NotFound, TrackerError


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--report", required=True, help="The report, as it stands in the address of its page.")
@click.option("--recommendation", help="Only this recommendation, such as 151-ii.")
def pack(file: Path, report: str, recommendation: str | None) -> None:
    """Write to FILE what is public about a report or a recommendation, with exhibits, ledger entries and proofs.

    Anybody can check it offline: python3 -I verifier.py FILE
    """
    from functools import partial

    from tracker import create_app, packs
    from tracker.services.packs import Wanted

    with common.open_tracker() as tracker:
        wanted = Wanted(report, recommendation)
        try:
            packs.cover(tracker.session, wanted, config=tracker.config, keys=tracker.keys, now=tracker.now)
        except NotFound:
            within = f" with a recommendation {recommendation}" if recommendation else ""
            raise TrackerError(f"No report is called {report}{within}. See: tracker reports list") from None
        tracker.session.commit()
        app = create_app(tracker.config)
        engine = app.extensions["engine"]
        make = partial(
            packs.write,
            wanted=wanted,
            engine=engine,
            config=tracker.config,
            keys=tracker.keys,
            now=tracker.now,
        )
        try:
            with app.app_context():
                packs.write_file(file, make)
        except OSError as error:
            raise TrackerError(f"{file} cannot be written: {error.strerror}.") from None
        finally:
            engine.dispose()
    click.echo(f"Wrote {file}: {file.stat().st_size / 2**20:.1f} MB.")
