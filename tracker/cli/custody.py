"""`tracker custody`: who can open the identities of sources, and opening them on a machine of one's own.

`keygen`, `open` and `reseal` run where there is no tracker: Python, click and cryptography are all they need.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click

from tracker import sealed_file
from tracker.cli import common
from tracker.errors import TrackerError
from tracker.sealed_file import Line, Opened

_LEAST_PASSPHRASE = 12
Made = TypeVar("Made")
_FILE = click.Path(path_type=Path)


@click.group()
def custody() -> None:
    """Who can open the identities of sources, and opening them.

    On a custodian's own machine, never on the server: keygen, open, reseal. On the server: add, list, retire, export,
    import.
    """


@custody.command()
@click.argument("file", type=_FILE)
@click.option(
    "--no-passphrase", is_flag=True, help="Keep the key in the open: whoever has the file has the key."
)
def keygen(file: Path, no_passphrase: bool) -> None:
    """Make a custodian's private key in FILE, and print the public key for the server.

    On your own machine. If FILE or its passphrase is lost, what was sealed to it stays closed: keep a copy elsewhere.
    """
    with _plain_errors():
        public = sealed_file.make_key(file, None if no_passphrase else _new_passphrase())
    if no_passphrase:
        click.echo(
            f"Warning: {file} has no passphrase. Whoever gets the file can open every identity.", err=True
        )
    click.echo(sealed_file.key_text(public))
    click.echo(f"Fingerprint, to compare by voice: {sealed_file.spoken(sealed_file.fingerprint(public))}")


@custody.command()
@click.argument("name")
@click.argument("public_key")
def add(name: str, public_key: str) -> None:
    """Let the custodian NAME open the identities that are entered from now on.

    Compare the fingerprint with the custodian by voice. Identities entered before stay closed to them, because the
    server cannot open those: another custodian hands them over with `tracker custody reseal`.
    """
    with common.open_tracker() as tracker:
        from tracker.services import custodians as service

        key = sealed_file.read_key_text(public_key)
        custodian = service.add(tracker.session, name=name, public_key=key, now=tracker.now)
        tracker.session.commit()
        click.echo(f"{custodian.name} is a custodian.")
        click.echo(f"Fingerprint, to compare by voice: {service.spoken(custodian)}")
        needed, there = tracker.config.custodians_needed, len(service.active(tracker.session))
        if there < needed:
            click.echo(f"{there} of {needed} custodians: no identity can be entered yet.", err=True)


@custody.command("list")
def list_() -> None:
    """Show the custodians with the fingerprints of their keys."""
    with common.open_tracker() as tracker:
        from tracker.services import custodians as service

        for custodian in service.everybody(tracker.session):
            state = f"retired {custodian.retired_at:%Y-%m-%d}" if custodian.retired_at else "active"
            print_ = service.spoken(custodian)
            click.echo(f"{custodian.name}\t{print_}\tsince {custodian.added_at:%Y-%m-%d}\t{state}")


@custody.command()
@click.argument("name")
def retire(name: str) -> None:
    """Seal nothing more to NAME. What was sealed to them before, their key still opens."""
    with common.open_tracker() as tracker:
        from tracker.services import custodians as service

        service.retire(tracker.session, name=name, now=tracker.now)
        tracker.session.commit()
        click.echo(f"{name} has retired. Their key still opens what was sealed to it before.")
        needed, there = tracker.config.custodians_needed, len(service.active(tracker.session))
        if there < needed:
            click.echo(f"{there} of {needed} custodians: no identity can be entered any more.", err=True)


@custody.command()
@click.argument("words", nargs=-1, required=True, metavar="[PSEUDONYM]... FILE")
@click.option("--all", "everything", is_flag=True, help="The records of all sources.")
def export(words: Sequence[str], everything: bool) -> None:
    """Write sealed records to FILE, to carry them to a custodian. Nobody else can read it."""
    *pseudonyms, name = words
    file = Path(name)
    if everything == bool(pseudonyms):
        raise click.UsageError("Name the sources, or say --all; and the file at the end.")
    with common.open_tracker() as tracker:
        from tracker.services import source_records

        lines = list(source_records.sealed_lines(tracker.session, None if everything else pseudonyms))
        count = sealed_file.write_lines(file, lines)
        click.echo(f"Wrote {count} sealed records to {file}.")


@custody.command("open")
@click.argument("file", type=_FILE)
@click.option("--key", "key_file", type=_FILE, required=True, help="Your private key, as keygen made it.")
def open_(file: Path, key_file: Path) -> None:
    """Show the identities in FILE that are sealed to your key, every version. On your own machine.

    They appear on the screen and are written nowhere.
    """
    with _plain_errors():
        private = sealed_file.read_key(key_file, _passphrase)
        mine = _mine(file, sealed_file.read_lines(file), private.public_key().public_bytes_raw())
        found, refusals = _each(mine, lambda line: sealed_file.open_line(line, private))
    for one in found:
        _show(one)
    _end(refusals)


@custody.command()
@click.argument("file", type=_FILE)
@click.argument("out", type=_FILE)
@click.option("--key", "key_file", type=_FILE, required=True, help="Your private key, as keygen made it.")
@click.option(
    "--to", "keys", multiple=True, required=True, help="The new custodian's public key. May be repeated."
)
def reseal(file: Path, out: Path, key_file: Path, keys: tuple[str, ...]) -> None:
    """Seal the identities in FILE to further custodians, into OUT. On your own machine.

    The server takes OUT in with `tracker custody import`. It holds nothing that the new custodians alone could not open.
    """
    with _plain_errors():
        publics = [sealed_file.read_key_text(key) for key in keys]
        private = sealed_file.read_key(key_file, _passphrase)
        mine = _mine(file, sealed_file.read_lines(file), private.public_key().public_bytes_raw())
        for public in publics:
            click.echo(f"To {sealed_file.spoken(sealed_file.fingerprint(public))}", err=True)
        click.confirm(
            "Have you heard each of these fingerprints from the new custodian's own mouth?",
            abort=True,
            err=True,
        )
        passed, refusals = _each(
            mine, lambda line: [sealed_file.pass_on(line, private, public) for public in publics]
        )
        count = sealed_file.write_lines(out, [line for made in passed for line in made])
    click.echo(f"Wrote {count} sealed records to {out}.")
    _end(refusals)


@custody.command("import")
@click.argument("file", type=_FILE)
def import_(file: Path) -> None:
    """Take in what `reseal` wrote, so that the new custodians can open it. Nothing is written over."""
    with common.open_tracker() as tracker:
        from tracker.services import source_records

        lines = sealed_file.read_lines(file)
        count = source_records.take_in(tracker.session, lines, now=tracker.now)
        tracker.session.commit()
        click.echo(f"Took in {count} sealed records; {len(lines) - count} were here already.")


def _mine(file: Path, lines: Sequence[Line], public: bytes) -> list[Line]:
    own = sealed_file.fingerprint(public)
    mine = [line for line in lines if line.place.custodian == own]
    if not mine:
        others = sorted({sealed_file.spoken(line.place.custodian) for line in lines})
        raise TrackerError(
            "Nothing in %(file)s is sealed to your key, %(own)s. It is sealed to: %(others)s.",
            file=file,
            own=sealed_file.spoken(own),
            others=_on_screen(", ".join(others)) or "nobody",
        )
    return mine


def _each(lines: Sequence[Line], act: Callable[[Line], Made]) -> tuple[list[Made], list[str]]:
    """What could be opened, and a sentence for each record that could not: one bad record must not hold up the rest."""
    made, refusals = [], []
    for line in lines:
        try:
            made.append(act(line))
        except sealed_file.Damaged as error:
            refusals.append(str(error))
    return made, refusals


def _end(refusals: Sequence[str]) -> None:
    for sentence in refusals:
        click.echo(f"Error: {_on_screen(sentence)}", err=True)
    if refusals:
        raise SystemExit(1)


def _show(found: Opened) -> None:
    click.echo(
        f"{_on_screen(found.pseudonym)}, version {found.version}, recorded {_on_screen(found.recorded_on)}"
    )
    for label, words in (
        ("Name", found.identity.name),
        ("Contact", found.identity.contact),
        ("How to reach them safely", found.identity.safe_contact),
        ("Notes", found.identity.notes),
    ):
        if words:
            click.echo(f"  {label}: " + _on_screen(words).replace("\n", "\n    "))
    click.echo("")


def _on_screen(words: str) -> str:
    """Without what could steer a terminal or turn the direction of the text. Joiners stay: Uyghur needs them."""
    return "".join(
        letter
        if letter in "\n\u200c\u200d" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Cn")
        else "\N{REPLACEMENT CHARACTER}"
        for letter in words
    )


def _new_passphrase() -> str:
    while True:
        words: str = click.prompt(
            "Passphrase", hide_input=True, confirmation_prompt="The same again", err=True
        )
        if len(words) >= _LEAST_PASSPHRASE:
            return words
        click.echo(
            f"Use at least {_LEAST_PASSPHRASE} characters: five words that nobody can guess.", err=True
        )


def _passphrase() -> str:
    words: str = click.prompt("Passphrase", hide_input=True, err=True)
    return words


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Like `common.plain_errors`, without the libraries of the server."""
    try:
        yield
    except TrackerError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(1) from None
