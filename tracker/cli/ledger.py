"""`tracker ledger`: verify, export and sign the record."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from tracker import verifier
from tracker.cli import common
from tracker.errors import TrackerError


@click.group()
def ledger() -> None:
    """Verify, export and sign the record."""


@ledger.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A checkpoint you kept.",
)
@click.option("--key", help="The public key you trust, in hex.")
def verify(file: Path | None, checkpoints: tuple[Path, ...], key: str | None) -> None:
    """Check the live database, or a downloaded FILE without any database.

    Finds every edit, deletion, insertion and change of order, and names the first bad entry. On the live database it
    also compares what the pages show with what the ledger says was published.
    """
    with common.plain_errors():
        try:
            notes = [path.read_text(encoding="utf-8") for path in checkpoints]
            trusted = bytes.fromhex(key) if key else None
        except OSError as error:
            raise TrackerError(f"The checkpoint {error.filename} cannot be read: {error.strerror}.") from None
        except ValueError:
            raise TrackerError(
                "The checkpoint must be plain text, and the key hexadecimal digits, as the page /ledger shows them."
            ) from None
        if file is not None:
            try:
                problems = list(verifier.check(verifier.read(str(file)), notes, trusted))
            except OSError as error:
                raise TrackerError(f"{file} cannot be read: {error.strerror}.") from None
            except ValueError as error:
                raise TrackerError(f"{file} cannot be read as a ledger: {error}") from None
        else:
            problems = _live(notes, trusted)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise SystemExit(1)
    click.echo("The ledger is whole.")


def _live(notes: list[str], key: bytes | None) -> list[str]:
    from tracker.services import audit
    from tracker.services import ledger as service

    with common.open_tracker() as tracker:
        name, own = tracker.config.ledger_origin, tracker.keys.ledger_public_key
        found = list(service.problems(tracker.session, origin=name, public_key=own))
        if not found and (notes or key):
            found = list(
                verifier.check(service.lines(tracker.session, origin=name, public_key=own), notes, key)
            )
        return found or list(audit.problems(tracker.session))


@ledger.command()
@click.argument("file", type=click.Path(path_type=Path))
def export(file: Path) -> None:
    """Write the whole ledger to FILE as JSON lines, which anybody can verify offline."""
    with common.open_tracker() as tracker:
        from tracker.services import ledger as service

        beside = file.with_name(file.name + ".new")
        count = 0
        try:
            with beside.open("w", encoding="utf-8") as out:
                for line in service.public_lines(
                    tracker.session,
                    origin=tracker.config.ledger_origin,
                    public_key=tracker.keys.ledger_public_key,
                ):
                    out.write(json.dumps(line, ensure_ascii=False) + "\n")
                    count += line["type"] == "entry"
                out.flush()
                os.fsync(out.fileno())
            beside.replace(file)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise TrackerError(f"{file} cannot be written: {error.strerror}.") from None
    click.echo(f"Wrote {count} entries to {file}.")


@ledger.command()
def checkpoint() -> None:
    """Sign the ledger's size and Merkle root as they are now, and print the signed note."""
    with common.open_tracker() as tracker:
        from tracker.services import ledger as service

        taken = service.take_checkpoint(
            tracker.session,
            origin=tracker.config.ledger_origin,
            public_key=tracker.keys.ledger_public_key,
            sign=tracker.keys.sign,
            now=tracker.now,
        )
        tracker.session.commit()
        click.echo(taken.note, nl=False)
