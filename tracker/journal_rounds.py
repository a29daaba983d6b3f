"""Rounds of sending, counted twice: in the journal and in the database. Where they differ, a backup was restored.

`check` comes first in every tick, before anything is composed; `begin` before the first mail of a round is claimed;
`end` after the last. Each holds the journal, so that two senders count one after another.

Why a crash is never taken for a restored backup: a round is written as begun, then counted by the database, then
written as going, and only then are mails claimed. Killed before "going" nothing was sent; killed after it the database
has counted the round.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog
from flask import Flask

from tracker import db, journal
from tracker.config import Config
from tracker.errors import ConfigError
from tracker.journal import Journal, Line
from tracker.keyring import Keyring, MailerKeys
from tracker.services import departures, sending, subscriptions
from tracker.services.departures import Gone
from tracker.vocabulary import HoldReason

_log = structlog.get_logger()


def check(app: Flask, now: dt.datetime, *, stopping: Callable[[], bool] = lambda: False) -> Counter[str]:
    """Notice a restored backup, and write down who left since. A process without the mailer's keys leaves it alone."""
    del stopping
    with app.app_context():
        if (mailer := _mailer(app)) is None:
            return Counter()
        with journal.held(_config(app).journal_path) as book:
            taken_out = _compare(book, mailer, now)
            written = _write_departures(book, mailer)
    return +Counter({"taken out again": taken_out, "departures noted": written})


def begin(app: Flask, now: dt.datetime) -> int:
    """Count a round that has something to send; its number is for `end`. Call it outside any transaction.

    Ask `sending.held` after this, not before: this may be what notices that a backup was restored.
    """
    with app.app_context(), journal.held(_config(app).journal_path) as book:
        keys: Keyring = app.extensions["keyring"]
        _compare(book, keys.mailer, now)
        number = _next(book)
        book.append({"round": number, "what": "begin", "at": now.isoformat(timespec="seconds")})
        with db.writing() as session:
            sending.count_round(session, number)
        book.append({"round": number, "what": "going"})
    return number


def end(app: Flask, number: int, counts: Mapping[str, int]) -> None:
    """Note how a round ended."""
    with app.app_context(), journal.held(_config(app).journal_path) as book:
        # Another round may have begun meanwhile, and numbers never go back in the file.
        latest = max(number, book.last_round())
        book.append({"round": latest, "what": "sent", "of": number, "counts": dict(counts)})


def _compare(book: Journal, mailer: MailerKeys, now: dt.datetime) -> int:
    """Where the database is older than the journal, take out again whom it brought back, and hold everything."""
    with db.reading(), db.new_session(db.engine()) as session:
        counted = sending.rounds(session)
    if book.is_new and counted:
        _log.warning("journal-missing", rounds=counted)
        book.append({"round": counted, "what": "start"})
        return 0
    ahead = book.after(counted)
    if not ahead:
        return 0
    with db.writing() as session:
        taken_out = departures.replay(
            session,
            _gone(ahead),
            hashed=lambda key: _hashed(mailer, key),
            erase=subscriptions.erase,
            now=now,
        )
        # Lines without either are what a crash leaves of a round that sent nothing.
        older = taken_out > 0 or any(line.what == "going" for line in ahead)
        if older:
            sending.hold(session, HoldReason.RESTORED, now=now)
        sending.count_round(session, ahead[-1].round)
    if older:
        _log.error("backup-restored", rounds_missing=ahead[-1].round - counted, taken_out_again=taken_out)
    return taken_out


def _write_departures(book: Journal, mailer: MailerKeys) -> int:
    with db.reading(), db.new_session(db.engine()) as session:
        gone = departures.waiting(session)
    if not gone:
        return 0
    number = _next(book)
    book.append(*(_line(mailer, number, one) for one in gone))
    # Killed here, they are written once more next time, which does no harm.
    with db.writing() as session:
        departures.noted(session, gone)
        sending.count_round(session, number)
    return len(gone)


def _next(book: Journal) -> int:
    with db.reading(), db.new_session(db.engine()) as session:
        return max(book.last_round(), sending.rounds(session)) + 1


def _gone(lines: list[Line]) -> dict[str, tuple[dt.datetime, bool]]:
    """By keyed hash: when somebody went last, and whether everything was erased."""
    found: dict[str, tuple[dt.datetime, bool]] = {}
    for line in lines:
        if line.what not in journal.GONE:
            continue
        who = str(line.values.get("who"))
        with suppress(ValueError):
            at = dt.datetime.fromisoformat(str(line.values.get("at")))
            found[who] = (at, line.what == "erased" or (who in found and found[who][1]))
    return found


def _line(mailer: MailerKeys, number: int, one: Gone) -> dict[str, object]:
    return {
        "round": number,
        "what": "erased" if one.erased else "left",
        "who": _hashed(mailer, one.key),
        "at": one.at.isoformat(),
    }


def _hashed(mailer: MailerKeys, key: str) -> str:
    return mailer.keyed_hash("journal", key)


def _mailer(app: Flask) -> MailerKeys | None:
    keys: Keyring = app.extensions["keyring"]
    try:
        return keys.mailer
    except ConfigError:
        return None


def _config(app: Flask) -> Config:
    config: Config = app.extensions["settings"]
    return config
