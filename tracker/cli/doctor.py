"""`tracker doctor`: what is wrong with this installation, in plain words."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import smtplib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from tracker.cli import common
from tracker.config import Config

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from tracker.keyring import Keyring


# Greylisting and a relay that restarts are over by then.
_LATE = dt.timedelta(hours=6)


@click.command()
def doctor() -> None:
    """Check settings, keys, disk, exhibits, database, ledger, mail and the scheduler's heartbeat. Exit 1 if anything is wrong."""
    with common.plain_errors():
        from tracker import config

        settings = config.load()
        found = list(problems(settings))
        said = list(notes(settings))
    for note in said:
        click.echo(f"· {note}")
    for problem in found:
        click.echo(f"✗ {problem}")
    if found:
        raise SystemExit(1)
    click.echo("✓ Settings, keys, disk, exhibits, database, ledger, mail and scheduler are in order.")


def notes(settings: Config) -> Iterator[str]:
    """What is as it was chosen to be, and good to know."""
    from tracker import keyring

    folder = settings.mailer_keys_path
    if any((settings.keys_path / name).exists() for name in keyring.FILES) and not _has_mailer(settings):
        owner = _owner(folder)
        yield f"This user cannot read the mailer's keys in {folder} (they belong to {owner}). That is right for the web process. The scheduler needs them: run this command as its user too."
    if settings.smtp_url.get_secret_value() and not settings.bounce_address:
        yield "No bounce_address is set: only what the mail server refuses at once is noticed, not what comes back later."
    elif settings.bounce_address and not settings.bounce_mailbox.get_secret_value():
        yield "No bounce_mailbox is set: bounces are read only where `tracker bounces read FILE` is run."


def _has_mailer(settings: Config) -> bool:
    from tracker.errors import ConfigError

    keys = _keys(settings)
    try:
        return keys is None or bool(keys.mailer)
    except ConfigError:
        return False


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except (OSError, KeyError):
        return "another user"


def problems(settings: Config) -> Iterator[str]:
    """One sentence per thing that is wrong, with what to do about it."""
    from tracker import capture, keyring

    if not settings.data_path.is_dir():
        yield f"The data folder {settings.data_path} does not exist. Run `tracker init`."
        return
    if settings.data_path.stat().st_mode & 0o007:
        yield f"The data folder {settings.data_path} can be entered by everybody on this machine. Run: chmod 700 {settings.data_path}"
    usage = shutil.disk_usage(settings.data_path)
    if usage.free < 500 * 1024 * 1024:
        yield f"Only {usage.free // 2**20} MB are free where {settings.data_path} lies. Make room: a full disk stops everything."
    keys = keyring.problems(settings.keys_path, settings.mailer_keys_path)
    yield from keys
    host = urlsplit(settings.public_url).hostname or ""
    if (
        host not in ("localhost", "127.0.0.1")
        and not settings.public_url.startswith("https://")
        and not host.endswith(".onion")
    ):
        yield "base_url does not start with https://. Passwords and digests' links would travel in clear."
    yield from _storage(settings)
    yield from _database(settings)
    yield from _mail(settings)
    if problem := capture.proxy_problem(settings):
        yield problem


def _storage(settings: Config) -> Iterator[str]:
    """Keep a small random file in the store of exhibits, read it and remove it again."""
    from tracker import storage
    from tracker.errors import TrackerError

    if settings.bucket is None and settings.data_path.stat().st_uid != os.geteuid():
        # What was made here would belong to this user, and the server could not write beside it.
        yield f"The data folder {settings.data_path} belongs to another user. Run this command as that user, to check the store of exhibits."
        return
    bucket = settings.bucket
    if bucket is not None and bucket.endpoint.startswith("http:"):
        host = urlsplit(bucket.endpoint).hostname
        if host not in ("localhost", "127.0.0.1", "::1"):
            yield f"storage_url says tls=no, so exhibits travel to {host} in clear. Leave it out."
    try:
        storage.check_room(settings, 0)
        with storage.receive(settings, limit=1024) as receiver:
            receiver.write(os.urandom(1024))
            probe = receiver.finish()
        store = storage.open_store(settings)
        store.keep(probe)
        try:
            whole = store.check(probe.sha256) == probe.sha256
        finally:
            store.delete(probe.sha256)
        if not whole or store.size(probe.sha256) is not None:
            yield "The store of exhibits gives back other bytes than it was given, or does not remove what it should. Do not use it."
    except TrackerError as error:
        yield f"The store of exhibits: {error}"


def _database(settings: Config) -> Iterator[str]:
    from sqlalchemy import select
    from sqlalchemy.exc import SQLAlchemyError

    from tracker import clock, db
    from tracker.models import Account, Heartbeat
    from tracker.vocabulary import Role

    engine = db.make_engine(settings.sqlalchemy_url, _keys(settings))
    try:
        current, head = db.revisions(engine)
        if current != head:
            yield f"The database is at {current or 'nothing'}, this program needs {head}. Run `tracker init`."
            return
        with db.reading(), db.new_session(engine) as session:
            if (
                session.scalars(
                    select(Account).where(
                        Account.active, Account.role == Role.ADMIN, Account.password_hash.is_not(None)
                    )
                ).first()
                is None
            ):
                yield "There is no admin who can sign in. `tracker run` prints a link for the first one; or run: tracker accounts add EMAIL --role admin"
            heartbeat = session.get(Heartbeat, "scheduler")
            age = clock.now() - heartbeat.at if heartbeat else None
            if age is None:
                yield "The scheduler has never run, so no digest goes out. Start `tracker run` or `tracker scheduler`."
            elif age > dt.timedelta(minutes=5):
                yield f"The scheduler was last seen {int(age.total_seconds() // 60)} minutes ago. Restart it and look at its log."
            elif age < dt.timedelta(minutes=-5):
                yield "The scheduler's heartbeat lies in the future: this machine's clock was set back. Check the clock."
            yield from _sending(settings, session)
            yield from _ledger(settings, session)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or type(error).__name__).splitlines()[0]
        yield f"The database cannot be used: {reason}. Check database_url, and that the server runs or the file is whole."
    finally:
        engine.dispose()


def _sending(settings: Config, session: Session) -> Iterator[str]:
    """What is held, in doubt or late."""
    from tracker import clock, journal
    from tracker.queries import issues
    from tracker.services import sending

    if _has_mailer(settings) and (wrong := journal.problem(settings.journal_path, sending.rounds(session))):
        yield wrong
    if reason := sending.held(session):
        yield f"All sending is held: {reason.label}. An admin looks at /sending and releases it; or: tracker digests release all --as EMAIL"
    for run in issues.held(session):
        why = run.issue.held_because
        yield f"Issue {run.issue.id} is held, {run.waiting} mails wait: {why.label if why else 'held'}. An admin releases or discards it at /sending/{run.issue.id}."
    if uncertain := len(issues.uncertain(session)):
        yield f"Mails that were perhaps sent twice: {uncertain}. An admin decides about each at /sending."
    oldest = issues.oldest_waiting(session, now=clock.now())
    if oldest is not None and sending.held(session) is None and clock.now() - oldest > _LATE:
        hours = int((clock.now() - oldest).total_seconds() // 3600)
        yield f"The oldest mail has waited for {hours} hours. `tracker digests issues` shows what the mail server says."


def _keys(settings: Config) -> Keyring | None:
    """The keys, with which alone sealed rows can be read; None if they are not whole, which is named already."""
    from tracker import keyring
    from tracker.errors import ConfigError

    try:
        return keyring.load(
            settings.keys_path, settings.secret_key.get_secret_value(), settings.mailer_keys_path
        )
    except ConfigError:
        return None


def _ledger(settings: Config, session: Session) -> Iterator[str]:
    from tracker import clock
    from tracker.services import audit, fsck, ledger, sealed

    yield from _timestamps(settings, session)
    if late := fsck.overdue(session, now=clock.now()):
        yield late
    keys = _keys(settings)
    if keys is None:
        return
    yield from sealed.problems(session, keys)
    if keys.records.rotating:
        yield "Changing the records' key was interrupted. Run `tracker keys rotate` again: it goes on where it was."
    yield from ledger.problems(session, origin=settings.ledger_origin, public_key=keys.ledger_public_key)
    yield from audit.problems(session)


def _timestamps(settings: Config, session: Session) -> Iterator[str]:
    from tracker import clock, timestamps
    from tracker.errors import ConfigError
    from tracker.services import timestamps as stamps

    if not settings.timestamp_url:
        return
    try:
        timestamps.load_roots(settings.timestamp_roots_path)
    except ConfigError as error:
        yield str(error)
    if stamps.late(session, now=clock.now()):
        yield "The newest checkpoint has had no timestamp for more than a day. `tracker ledger timestamp` says why."


def _mail(settings: Config) -> Iterator[str]:
    url = settings.smtp_url.get_secret_value()
    if not url:
        return  # The outbox folder is a choice, not a fault.
    parts = urlsplit(url)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        yield "smtp_url must look like smtp://host:587 or smtps://host:465."
        return
    try:
        kind = smtplib.SMTP_SSL if parts.scheme == "smtps" else smtplib.SMTP
        with kind(
            parts.hostname, parts.port or (465 if parts.scheme == "smtps" else 587), timeout=10
        ) as server:
            server.ehlo()
            loopback = parts.hostname in ("localhost", "127.0.0.1", "::1")
            if parts.scheme == "smtp" and not loopback and not server.has_extn("starttls"):
                yield "The mail server does not offer STARTTLS. The tracker sends nothing without it."
    except (TimeoutError, OSError, smtplib.SMTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        yield f"The mail server cannot be reached: {reason}. Check smtp_url."
