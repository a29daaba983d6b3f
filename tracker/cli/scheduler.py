"""`tracker scheduler`: the clock as a process of its own."""

from __future__ import annotations

import click

from tracker.cli import common


@click.command()
def scheduler() -> None:
    """Compose and send digests when they are due, until it is stopped. Several at once are safe."""
    from tracker import config, logs, mailer
    from tracker import scheduler as clock

    with common.plain_errors():
        settings = config.load()
        logs.init(settings.log_level)
        mailer.check(settings)
        common.check_records_key()
        clock.run_forever(settings)
