"""`tracker init`: everything the first start needs, and nothing twice."""

from __future__ import annotations

import click

from tracker.cli import common
from tracker.errors import ConfigError


@click.command()
def init() -> None:
    """Bring the database to head, make the keys, load the bundled reports. Safe to repeat."""
    with common.plain_errors():
        prepare()


def prepare() -> None:
    """Do it, and print what was done."""
    from tracker import clock, config, db, keyring, logs
    from tracker.services import report_file, reports, sealed

    settings = config.load()
    logs.init(settings.log_level)
    try:
        settings.data_path.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = keyring.create(settings.keys_path, settings.mailer_keys_path)
    except OSError as error:
        raise ConfigError(
            "Nothing can be written to %(path)s (%(reason)s). Choose another folder with TRACKER_DATA_DIR.",
            path=settings.data_path,
            reason=error.strerror,
        ) from None
    if made:
        click.echo(
            f"Keys made in {settings.keys_path}. Keep a copy of them apart from the database's backups."
        )
    keys = keyring.load(settings.keys_path, settings.secret_key.get_secret_value(), settings.mailer_keys_path)
    engine = db.make_engine(settings.sqlalchemy_url, keys)
    before, head = db.revisions(engine)
    if before != head:
        db.upgrade(engine)
        click.echo(f"Database brought to {head}.")
    with db.new_session(engine) as session:
        # Asked before anything is written that nobody could read.
        if found := sealed.problems(session, keys):
            raise ConfigError("%(problems)s", problems=" ".join(found))
        sealed.ensure_canary(session, keys)
        session.commit()
        for path in settings.report_paths:
            now = clock.now()
            summary = reports.load(session, report_file.read(path, today=now.date()), now=now)
            session.commit()
            click.echo(str(summary))
    engine.dispose()
