"""`tracker run` and `tracker web`: the web server, with or without the scheduler beside it."""

from __future__ import annotations

import os
import socket
from typing import Any

import click

from tracker.cli import common
from tracker.config import Config
from tracker.errors import ConfigError

_address = [
    click.option("--host", help="Where to listen; overrides the setting."),
    click.option("--port", type=click.IntRange(1, 65535), help="The port; overrides the setting."),
]


def with_address(command: Any) -> Any:
    for option in reversed(_address):
        command = option(command)
    return command


@click.command()
@with_address
def run(host: str | None, port: int | None) -> None:
    """Serve pages and keep the clock: the embedded default, for one machine.

    Sets up what is missing first, and prints a one-time link for the first account while nobody has one.
    """
    with common.plain_errors():
        settings = _settings(host, port)
        _check_port(settings)
        from tracker.cli import setup

        setup.prepare()
        _first_account(settings)
        from tracker import scheduler

        clock = scheduler.start_background(settings)
        try:
            _serve(settings)
        finally:
            clock.shutdown(wait=True)


@click.command()
@with_address
@click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that answer."
)
def web(host: str | None, port: int | None, workers: int) -> None:
    """Serve pages only. Start `tracker scheduler` beside it, or no digest goes out."""
    with common.plain_errors():
        settings = _settings(host, port)
        _check_port(settings)
        from tracker import db

        engine = db.make_engine(settings.sqlalchemy_url)
        current, head = db.revisions(engine)
        engine.dispose()
        if current != head:
            raise ConfigError(
                "The database is at %(current)s, this program needs %(head)s. Run `tracker init`.",
                current=current or "nothing",
                head=head,
            )
        common.check_records_key()
        _serve(settings, workers)


def _settings(host: str | None, port: int | None) -> Config:
    # Children of the server read the environment, so an option must stand there too.
    if host:
        os.environ["TRACKER_HOST"] = host
    if port:
        os.environ["TRACKER_PORT"] = str(port)
    from tracker import config, logs

    settings = config.load()
    logs.init(settings.log_level)
    return settings


def _first_account(settings: Config) -> None:
    """While nobody can sign in, print a link by which the first admin sets up their account."""
    with common.open_tracker() as tracker:
        from tracker.services import accounts

        token = accounts.first_link(tracker.session, now=tracker.now, hours=settings.setup_link_hours)
        tracker.session.commit()
    click.echo(f"\nThe tracker is at {settings.public_url}")
    if token is not None:
        click.echo("Nobody has an account yet. Set up the first one, an admin, with this one-time link:")
        click.echo(f"  {settings.public_url}/set-up/{token}")
        click.echo(f"Its sign-in name is {accounts.FIRST_ADMIN}.")
    click.echo("Stop with Ctrl+C.\n")


def _serve(settings: Config, workers: int = 1) -> None:
    import multiprocessing

    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    # Not fork: the scheduler has threads, and locks held by threads would be copied locked.
    multiprocessing.set_start_method("spawn", force=True)
    server = Granian(
        "tracker.wsgi:make",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=workers,
        # Threads that answer, per process; more would only queue at SQLite's one writer.
        blocking_threads=4,
        websockets=False,
        log_level=LogLevels.warning,
        respawn_failed_workers=True,
    )
    server.serve()


def _check_port(settings: Config) -> None:
    # The server's own complaint about a taken port is a traceback, and comes after the scheduler has started.
    try:
        with socket.create_server((settings.host, settings.port)):
            pass
    except OSError as error:
        raise ConfigError(
            "Cannot listen on %(host)s port %(port)s (%(reason)s). Set another with TRACKER_PORT or --port.",
            host=settings.host,
            port=settings.port,
            reason=os.strerror(error.errno) if error.errno else error,
        ) from None
