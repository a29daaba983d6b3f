"""`tracker accounts`: people of the team, from the command line of the machine."""

from __future__ import annotations

import click

from tracker.cli import common
from tracker.errors import NotFound
from tracker.models import Account
from tracker.vocabulary import N_, Role


@click.group()
def accounts() -> None:
    """People of the team: add, list, let back in, deactivate."""


@accounts.command()
@click.argument("email")
@click.option(
    "--role", type=click.Choice(Role, case_sensitive=False), required=True, help="What they may do."
)
@click.option("--name", default="", help="A working name for colleagues; it need not be a real one.")
def add(email: str, role: Role, name: str) -> None:
    """Make an account for EMAIL and print its one-time set-up link. No mail is sent."""
    from tracker.services import accounts as service

    with common.open_tracker() as tracker:
        hours = tracker.config.setup_link_hours
        _, token = service.invite(
            tracker.session, email=email, name=name, role=role, now=tracker.now, hours=hours
        )
        tracker.session.commit()
        _show(tracker, token)


@accounts.command()
@click.argument("email")
def link(email: str) -> None:
    """Print a new one-time set-up link for EMAIL.

    Also the way back in for somebody who lost the phone or the password: using the link replaces both.
    """
    from tracker.services import accounts as service

    with common.open_tracker() as tracker:
        account = _find(tracker, email)
        hours = tracker.config.setup_link_hours
        token = service.renew_invitation(tracker.session, account, now=tracker.now, hours=hours)
        tracker.session.commit()
        _show(tracker, token)


@accounts.command()
@click.argument("email")
def deactivate(email: str) -> None:
    """Sign EMAIL out everywhere and let nobody sign in to the account any more."""
    from tracker.services import accounts as service

    with common.open_tracker() as tracker:
        account = _find(tracker, email)
        service.set_active(tracker.session, account, False, by=None, now=tracker.now)
        tracker.session.commit()
        click.echo(f"{account.email} is signed out and cannot sign in any more.")


@accounts.command("list")
def list_() -> None:
    """Show who has an account."""
    from tracker.services import accounts as service

    with common.open_tracker() as tracker:
        for account in service.everybody(tracker.session):
            state = "deactivated" if not account.active else "active" if account.is_set_up else "not set up"
            click.echo(f"{account.email}\t{account.role.value}\t{state}\t{account.name}")


def _find(tracker: common.Tracker, email: str) -> Account:
    from tracker.services import accounts as service

    account = service.by_email(tracker.session, email)
    if account is None:
        raise NotFound(N_("There is no account with the address %(email)s."), email=email)
    return account


def _show(tracker: common.Tracker, token: str) -> None:
    click.echo(f"One-time set-up link, valid for {tracker.config.setup_link_hours} hours:", err=True)
    click.echo(f"{tracker.config.public_url}/set-up/{token}")
