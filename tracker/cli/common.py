"""What every command shares: opening the tracker, and errors as one clear line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from tracker.errors import ConfigError, InvalidFile, TrackerError

if TYPE_CHECKING:
    import datetime as dt

    from sqlalchemy.orm import Session

    from tracker.config import Config
    from tracker.keyring import Keyring


@dataclass(frozen=True)
class Tracker:
    """The tracker as a command sees it. The command commits: `tracker.session.commit()`."""

    config: Config
    session: Session
    keys: Keyring
    now: dt.datetime


@contextmanager
def open_tracker() -> Iterator[Tracker]:
    """Settings, keys and a session, for the length of one command."""
    # Imported when a command runs, so that `tracker --help` answers at once.
    from tracker import clock, config, db, keyring, logs

    with plain_errors():
        settings = config.load()
        logs.init(settings.log_level)
        keys = keyring.load(
            settings.keys_path, settings.secret_key.get_secret_value(), settings.mailer_keys_path
        )
        engine = db.make_engine(settings.sqlalchemy_url, keys)
        try:
            with db.new_session(engine) as session:
                yield Tracker(settings, session, keys, clock.now())
        finally:
            engine.dispose()


def check_records_key() -> None:
    """Stop the start, with a sentence, if the key that protects restricted records is not the right one."""
    with open_tracker() as tracker:
        from tracker.services import sealed

        if found := sealed.problems(tracker.session, tracker.keys):
            raise ConfigError("%(problems)s", problems=" ".join(found))


@contextmanager
def plain_errors() -> Iterator[None]:
    """What the tracker refuses, or a database that does not answer, is one line on stderr and exit code 1."""
    from sqlalchemy.exc import DatabaseError

    try:
        yield
    except TrackerError as error:
        _fail(str(error), error.problems if isinstance(error, InvalidFile) else [])
    except DatabaseError as error:
        # The statement's values may hold somebody's words, so only the database's own first line is shown.
        reason = str(error.orig).splitlines()[0] if error.orig is not None else "no answer"
        _fail(f"The database cannot be used ({reason}). Run `tracker init`; `tracker doctor` says more.", [])


def _fail(sentence: str, problems: list[str]) -> None:
    click.echo(f"Error: {sentence}", err=True)
    for problem in problems:
        click.echo(f"  {problem}", err=True)
    raise SystemExit(1)
