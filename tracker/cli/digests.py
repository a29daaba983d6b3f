"""`tracker digests`: what is owed to subscribers at a moment, and composing and sending it."""

from __future__ import annotations

import datetime as dt

import click

from tracker.cli import common


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
    """What is owed to subscribers, and sending it."""


@digests.command()
@_now
def due(now: dt.datetime | None) -> None:
    """What is owed at that moment: how much, never to whom."""
    from tracker import db
    from tracker.services import digests as service

    with common.open_tracker() as tracker, db.reading():
        composing, sending = service.owed(tracker.session, now=now or tracker.now)
    click.echo(f"Digests to compose: {composing}")
    click.echo(f"Mails to send: {sending}")


@digests.command()
@_now
def send(now: dt.datetime | None) -> None:
    """Compose and deliver what is owed. Safe to repeat, also while the scheduler runs."""
    from tracker import create_app, dispatch, jobs, mailer

    with common.open_tracker() as tracker:
        mailer.check(tracker.config)
        app = create_app(tracker.config)
        moment = now or tracker.now
        done = jobs.take_sign_ups(app, moment)
        done += dispatch.compose_due(app, moment) + dispatch.send_due(app, moment)
        app.extensions["engine"].dispose()
    if not done:
        click.echo("Nothing is owed.")
    for outcome, count in sorted(done.items()):
        click.echo(f"{outcome.capitalize()}: {count}")
    if done["failed"]:
        raise SystemExit(1)
