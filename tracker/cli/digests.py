"""`tracker digests`: what is owed to subscribers at a moment, composing and sending it, and releasing what is held."""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from tracker.cli import common

if TYPE_CHECKING:
    from flask import Flask
    from sqlalchemy.orm import Session

    from tracker.cli.common import Tracker
    from tracker.models import Account


class Moment(click.ParamType[dt.datetime]):
    """An ISO date and time; without a zone it is UTC."""

    name = "iso-time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        """The aware moment, or one clear line."""
        try:
            found = dt.datetime.fromisoformat(str(value))
            return (found if found.tzinfo else found.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is not a time. Write it like 2026-11-23T07:00 (UTC) or 2026-11-23T08:00+01:00.",
                param,
                ctx,
            )


_now = click.option("--now", type=Moment(), help="At this moment instead of now. Without a zone: UTC.")


@click.group()
def digests() -> None:
    """What is owed to subscribers, sending it, and releasing what is held."""


@digests.command()
@_now
def due(now: dt.datetime | None) -> None:
    """What is owed at that moment, and what is held: how much, never to whom."""
    from tracker import db
    from tracker.queries import issues
    from tracker.services import digests as service

    with common.open_tracker() as tracker, db.reading():
        composing, sending = service.owed(tracker.session, now=now or tracker.now)
        held, uncertain = issues.held(tracker.session), issues.uncertain(tracker.session)
        _say_held(tracker.session)
    click.echo(f"Digests to compose: {composing}")
    click.echo(f"Mails to send: {sending}")
    for run in held:
        reason = run.issue.held_because
        click.echo(f"Issue {run.issue.id} is held, {run.waiting} mails: {reason.label if reason else ''}.")
    if uncertain:
        click.echo(f"Perhaps sent twice, decide at /sending: {len(uncertain)}")


@digests.command()
@_now
@click.option("--dry-run", is_flag=True, help="Say what would be composed and sent. Changes nothing.")
def send(now: dt.datetime | None, dry_run: bool) -> None:
    """Compose and deliver what is owed. Safe to repeat, also while the scheduler runs."""
    from tracker import clock_guard, create_app, dispatch, jobs, journal_rounds, mailer

    with common.open_tracker() as tracker:
        moment = now or tracker.now
        app = create_app(tracker.config)
        try:
            if dry_run:
                _dry_run(app, tracker.session, moment)
                return
            mailer.check(tracker.config)
            _ = tracker.keys.mailer  # Stops here, with a sentence, where this user may not send.
            if now is None:
                clock_guard.check(app, moment)
            noticed = journal_rounds.check(app, moment)
            held = _say_held(tracker.session)
            tracker.session.rollback()
            with _progress(tracker, moment) as stopping:
                done = jobs.take_sign_ups(app, moment, stopping=stopping)
                done += dispatch.compose_due(app, moment, stopping=stopping)
                done += dispatch.send_due(app, moment, stopping=stopping)
        finally:
            app.extensions["engine"].dispose()
    if noticed["taken out again"]:
        click.echo(f"Had left or were erased, and were taken out again: {noticed['taken out again']}")
    if not done and not held:
        click.echo("Nothing is owed.")
    for outcome, count in sorted(done.items()):
        click.echo(f"{outcome.capitalize()}: {count}")
    if done["failed"] or held:
        raise SystemExit(1)


@digests.command(name="issues")
@click.option("--last", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many.")
def past(last: int) -> None:
    """Past issues, the newest first: state, counts, and what the relay said."""
    from tracker import db
    from tracker.queries import issues

    with common.open_tracker() as tracker, db.reading():
        runs = issues.runs(tracker.session, limit=last)
    if not runs:
        click.echo("There is no issue yet.")
    for run in runs:
        counts = ", ".join(f"{state.value} {count}" for state, count in run.states.items()) or "no mails"
        said = "".join(f"; {answer}: {count}" for answer, count in run.answers)
        click.echo(
            f"{run.issue.id}  {run.issue.hour:%Y-%m-%dT%H:%MZ}  {run.issue.state.value}  {run.digests} digests, {counts}{said}"
        )


@digests.command()
@click.argument("issue", metavar="ISSUE|all")
@click.option("--as", "email", required=True, metavar="EMAIL", help="The admin who releases.")
@click.option(
    "--consider-sent",
    is_flag=True,
    help="With all, after a restored backup: send nothing of what is due, and tell none of it again.",
)
def release(issue: str, email: str, consider_sent: bool) -> None:
    """Release a held issue; `all`: let mails go out again after everything was held. Where two admins are needed, each runs it."""
    from tracker.services import issues, sending
    from tracker.vocabulary import ReleaseWay

    if issue != "all" and not (issue.isascii() and issue.isdigit()):
        raise click.UsageError("Write the number of an issue (`tracker digests issues` lists them), or: all")
    if consider_sent and issue != "all":
        raise click.UsageError("--consider-sent is for all, after a backup was restored.")
    with common.open_tracker() as tracker:
        needed = 2 if tracker.config.hold_digests == "two" else 1
        account = _admin(tracker.session, email)
        if issue == "all":
            way = ReleaseWay.CONSIDER_SENT if consider_sent else ReleaseWay.SEND
            done = sending.release(tracker.session, account=account, needed=needed, way=way, now=tracker.now)
            what = "Mails go"
        else:
            found = issues.by_number(tracker.session, int(issue))
            done = issues.release(tracker.session, found, account=account, needed=needed, now=tracker.now)
            what = f"Issue {issue} goes"
        tracker.session.commit()
    click.echo(f"{what} out." if done else f"Noted. {what} out when a second admin releases, too.")


def _admin(session: Session, email: str) -> Account:
    from tracker.errors import NotFound
    from tracker.services import accounts

    account = accounts.by_email(session, email.strip().lower())
    if account is None:
        raise NotFound("There is no account with this e-mail address. `tracker accounts list` shows them.")
    return account


def _say_held(session: Session) -> bool:
    from tracker.services import sending

    reason = sending.held(session)
    if reason is None:
        return False
    click.echo(
        f"All sending is held: {reason.label}. Look at /sending, or run: tracker digests release all --as EMAIL"
    )
    return True


def _dry_run(app: Flask, session: Session, moment: dt.datetime) -> None:
    from flask_babel import force_locale

    from tracker import db
    from tracker.queries import issues
    from tracker.views.changes import headline

    with db.reading(), app.app_context(), force_locale("en"):
        held = _say_held(session)
        coming = issues.coming(session, now=moment, until=moment)
        for hour in coming.hours:
            what = hour.frequency.label if hour.frequency else "ready"
            click.echo(f"Would send: {hour.count} × {hour.kind.label} ({what})")
        for content in coming.contents:
            click.echo(f"To {content.count} ({content.language}, {content.disclosure.value}):")
            for change in content.changes:
                click.echo(f"  {headline(change)}")
        if coming.quiet:
            click.echo(f"Due, and nothing happened to what they follow: {coming.quiet}")
        for run in issues.held(session):
            click.echo(f"Held, and not sent: issue {run.issue.id}, {run.waiting} mails")
    if held:
        click.echo("While all sending is held, none of this would go out.")
    elif not coming.hours:
        click.echo("Nothing is owed.")


@contextmanager
def _progress(tracker: Tracker, moment: dt.datetime) -> Iterator[Callable[[], bool]]:
    """What the jobs ask between two items; where a person watches, a bar moves on with it."""
    if not sys.stderr.isatty():
        yield lambda: False
        return
    from rich.console import Console
    from rich.progress import Progress

    from tracker import db
    from tracker.services import digests as service

    def owed() -> int:
        with db.reading(), tracker.session.begin():
            return sum(service.owed(tracker.session, now=moment))

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("Digests and mails", total=owed())
        looked = time.monotonic()

        def stopping() -> bool:
            nonlocal looked
            # Counting what is left is a look at the database: once a second is often enough.
            if time.monotonic() - looked > 1:
                left, looked = owed(), time.monotonic()
                total = max(progress.tasks[0].total or 0, left)
                progress.update(bar, total=total, completed=total - left)
            return False

        yield stopping
