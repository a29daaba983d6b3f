"""The command line: `tracker …`. Commands are imported when they are called, so that `--help` answers at once."""

from __future__ import annotations

import importlib
from typing import Any

import click

# Command, module, and the line that `tracker --help` shows without importing it.
COMMANDS = {
    "init": ("tracker.cli.setup", "Database to head, keys, bundled reports; safe to repeat."),
    "run": ("tracker.cli.serve", "Web and scheduler together: the embedded default."),
    "web": ("tracker.cli.serve", "The web server alone."),
    "scheduler": ("tracker.cli.scheduler", "The scheduler alone."),
    "accounts": ("tracker.cli.accounts", "People of the team."),
    "reports": ("tracker.cli.reports", "Load and list reports."),
    "evidence": ("tracker.cli.evidence", "Bring evidence in from a table."),
    "digests": ("tracker.cli.digests", "What is owed to subscribers, and sending it."),
    "bounces": ("tracker.cli.bounces", "Mails that came back."),
    "ledger": ("tracker.cli.ledger", "Verify, export and sign the record."),
    "fsck": ("tracker.cli.fsck", "Whether database, ledger and exhibits agree."),
    "pack": ("tracker.cli.packs", "An evidence pack: what is public about a report, with its proofs."),
    "custody": ("tracker.cli.custody", "Who can open the identities of sources, and opening them."),
    "keys": ("tracker.cli.keys", "Change the key that protects restricted records."),
    "doctor": ("tracker.cli.doctor", "What is wrong, in plain words."),
    "demo": ("tracker.cli.demo", "The fictional Republic of Arvenia, any size."),
}


class Commands(click.Group):
    """Finds a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        found: click.Command = getattr(importlib.import_module(COMMANDS[name][0]), name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_module, line) in COMMANDS.items()])


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option("0.1.0", prog_name="tracker")
def main(**_: Any) -> None:
    """The recommendation compliance tracker."""
