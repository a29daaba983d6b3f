"""`tracker ledger`: verify, export, sign and prove the record."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from tracker import verifier
from tracker.cli import common
from tracker.errors import TrackerError


@click.group()
def ledger() -> None:
    """Verify, export, sign and prove the record."""


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
@click.option("--content", type=click.Path(path_type=Path), help="What a disclosure is about.")
def verify(file: Path | None, checkpoints: tuple[Path, ...], key: str | None, content: Path | None) -> None:
    """Check the live database, or without any database a FILE: a ledger, a proof or an evidence pack.

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
                holds, problems = verifier.check_file(
                    str(file), notes, trusted, str(content) if content else None
                )
            except OSError as error:
                raise TrackerError(f"{error.filename} cannot be read: {error.strerror}.") from None
            except ValueError as error:
                raise TrackerError(f"{file} cannot be read as a ledger: {error}") from None
        else:
            holds, problems = "The ledger is whole.", _live(notes, trusted)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise SystemExit(1)
    click.echo(holds)


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


@ledger.command()
@click.argument("seq", type=click.IntRange(1))
@click.option(
    "--size", type=click.IntRange(1), help="The size of an older checkpoint, instead of the newest."
)
def prove(seq: int, size: int | None) -> None:
    """Print the proof, as JSON, that entry SEQ stands in the ledger that a checkpoint signs."""
    with common.open_tracker() as tracker:
        from tracker.services import proofs

        public_key = tracker.keys.ledger_public_key
        _print(proofs.inclusion(tracker.session, seq, size=size, public_key=public_key))


@ledger.command()
@click.argument("old", type=click.IntRange(1))
@click.argument("new", type=click.IntRange(1), required=False)
def consistency(old: int, new: int | None) -> None:
    """Print the proof, as JSON, that the ledger of checkpoint NEW (the newest) begins with that of checkpoint OLD."""
    with common.open_tracker() as tracker:
        from tracker.services import proofs

        _print(proofs.consistency(tracker.session, old, new, public_key=tracker.keys.ledger_public_key))


@ledger.command()
@click.argument("subject")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--content", type=click.Path(path_type=Path), help="Write here what was sealed, if it is evidence/KEY."
)
def disclose(subject: str, file: Path, content: Path | None) -> None:
    """Write to FILE the proof that SUBJECT, such as exhibit/7h2k… or evidence/7h2k…, was sealed on its day.

    Give it to somebody together with the content itself: the original file of an exhibit, or what --content writes.
    Nothing about anything else is told.
    """
    with common.open_tracker() as tracker:
        from tracker.services import private_roots

        proof = private_roots.disclose(tracker.session, subject, public_key=tracker.keys.ledger_public_key)
        words = _sealed_words(tracker, subject, proof) if content else b""
        try:
            file.write_text(json.dumps(proof, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            if content:
                content.write_bytes(words)
        except OSError as error:
            raise TrackerError(f"{error.filename} cannot be written: {error.strerror}.") from None
    day = proof["inclusion"]["entry"]["subject"].partition("/")[2]
    click.echo(f"Wrote the proof that {subject} was sealed on {day} to {file}.")


@ledger.command()
@click.option("--entry", type=click.IntRange(1), help="Stamp one entry, instead of the newest checkpoint.")
def timestamp(entry: int | None) -> None:
    """Have the newest checkpoint, or one entry, stamped by the authority in timestamp_url."""
    with common.open_tracker() as tracker:
        from tracker import timestamps
        from tracker.services import ledger as service
        from tracker.services import timestamps as stamps

        if not tracker.config.timestamp_url:
            raise TrackerError("No timestamp authority is set: see timestamp_url in config/default.toml.")
        newest = service.newest_checkpoint(tracker.session)
        if entry is None and newest is None:
            raise TrackerError("There is no checkpoint yet. Run `tracker ledger checkpoint` first.")
        subject = f"entry/{entry}" if entry is not None or newest is None else f"checkpoint/{newest.size}"
        message = stamps.message(tracker.session, subject)
        tracker.session.rollback()  # Nobody waits for the database while the authority thinks.
        roots = timestamps.load_roots(tracker.config.timestamp_roots_path)
        stamp = timestamps.request(tracker.config.timestamp_url, message, roots)
        stamps.keep(
            tracker.session, subject, token=stamp.token, authority=stamp.authority, stamped_at=stamp.at
        )
        tracker.session.commit()
        click.echo(f"{stamp.authority} put its timestamp on {subject}: {stamp.at:%Y-%m-%d %H:%M:%S} UTC.")


def _sealed_words(tracker: common.Tracker, subject: str, proof: dict[str, Any]) -> bytes:
    """What was sealed of a piece of evidence. Raises TrackerError if it no longer says the same."""
    from sqlalchemy import select

    from tracker.models import Evidence
    from tracker.services import evidence, private_roots

    noun, _, key = subject.partition("/")
    piece = tracker.session.scalars(select(Evidence).where(Evidence.key == key)).one_or_none()
    if noun != "evidence" or piece is None:
        raise TrackerError("Only evidence has words to write. An exhibit is proven by its original file.")
    words = evidence.sealed_content(piece)
    if verifier.commitment(proof["salt"], private_roots.digest(words)) != proof["leaf"]:
        raise TrackerError(
            "What stands there now is not what was sealed on that day, so it would prove nothing."
        )
    return words


def _print(proof: dict[str, Any]) -> None:
    click.echo(json.dumps(proof, indent=2, ensure_ascii=False))
