"""What the clock does: publish, take back, compose and send, capture, forget, seal.

`tick` may run at any time, as often as one likes, in several processes at once: what is owed stands in tables under
unique keys. One failure does not stop the rest.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

import structlog
from flask import Flask
from flask_babel import force_locale
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tracker import (
    bounce_mailbox,
    bounces,
    capture,
    db,
    dispatch,
    emails,
    journal_rounds,
    media,
    packs,
    storage,
    team_jobs,
    timestamps,
)
from tracker.config import Config
from tracker.errors import CaptureFailed, Conflict, Invalid, TrackerError
from tracker.keyring import Keyring
from tracker.models import Capture, Heartbeat
from tracker.services import (
    accounts,
    attempts,
    captures,
    consents,
    erasure,
    evidence,
    exhibits,
    issues,
    ledger,
    old_addresses,
    private_roots,
    rates,
    reminders,
    renewals,
    sign_ins,
    sign_ups,
    subscriptions,
)
from tracker.services import bounces as came_back
from tracker.services import timestamps as stamps

_log = structlog.get_logger()

# After so many failures in one look the rest waits for the next one.
_MOST_FAILURES = 5


def tick(app: Flask, now: dt.datetime, *, stopping: Callable[[], bool] = lambda: False) -> Counter[str]:
    """Do everything that is due at `now`; return how often what happened. `stopping` ends it after the current item."""
    done: Counter[str] = Counter()
    for part in (
        journal_rounds.check,  # First: if an old backup was restored, nothing may be composed or sent.
        publish_due,
        expire_consents,
        take_sign_ups,
        dispatch.compose_due,
        team_jobs.ask_renewals,
        team_jobs.remind,
        dispatch.send_due,
        capture_due,
        purge,
        read_bounces,
    ):
        try:
            done += part(app, now, stopping=stopping)
        except Exception as error:  # noqa: BLE001 - the rest must go on.
            _log.error("tick-failed", part=part.__name__, error=type(error).__name__)
            done["failed"] += 1
    return done


def expire_consents(
    app: Flask, now: dt.datetime, *, stopping: Callable[[], bool] = lambda: False
) -> Counter[str]:
    """Take back what may not be public any more, before anything more is told of it."""
    del stopping
    with _ready(app) as (_, _, engine), _transaction(engine) as session:
        taken_back = consents.expire(session, now=now)
    if taken_back:
        _log.info("consents-expired", count=taken_back)
    return Counter({"consents expired": taken_back} if taken_back else {})


def publish_due(
    app: Flask, now: dt.datetime, *, stopping: Callable[[], bool] = lambda: False
) -> Counter[str]:
    """Publish accepted evidence whose day has come, before digests are composed."""
    done: Counter[str] = Counter()
    with _ready(app) as (_, _, engine):
        with db.reading(), _transaction(engine) as session:
            waiting = list(evidence.due(session, now=now))
        for number in waiting:
            if stopping():
                break
            with _transaction(engine) as session:
                published = evidence.publish_due(session, number, now=now)
            done["published"] += published is not None
    if done["published"]:
        _log.info("evidence-published", count=done["published"])
    return +done


def take_sign_ups(
    app: Flask, now: dt.datetime, *, stopping: Callable[[], bool] = lambda: False
) -> Counter[str]:
    """Open what came in at the public form, and queue the mails that ask whether it was them."""
    done: Counter[str] = Counter()
    with _ready(app) as (config, keys, engine):
        compose = partial(emails.confirmation, config=config, now=now)
        wait = dt.timedelta(hours=config.confirm_link_hours)
        # Those of older releases first: until then their addresses would not be found.
        rekeyed = 0
        while not stopping():
            with _transaction(engine) as session:
                if not (batch := old_addresses.rekey(session, keys, now=now)):
                    break
            rekeyed += batch
        if rekeyed:
            _log.info("old-addresses-rekeyed", count=rekeyed)
            db.wipe_log(engine)  # Or the hashes that the web process could make would stand in it still.
        while not stopping():
            with _transaction(engine) as session:
                taken = sign_ups.take_sign_ups(session, keys=keys, compose=compose, confirm_for=wait, now=now)
            if not taken:
                break
            done += taken
    if done["dropped"]:
        _log.warning("sign-ups-dropped", count=done["dropped"])
    return Counter({f"sign-ups {what}": count for what, count in done.items()})


def capture_due(
    app: Flask, now: dt.datetime, *, stopping: Callable[[], bool] = lambda: False
) -> Counter[str]:
    """Capture one web page that somebody asked for: one a tick, so that mails do not wait for slow pages."""
    done: Counter[str] = Counter()
    with _ready(app) as (config, _, engine):
        if config.capture == "off" or stopping():
            return done
        with _transaction(engine) as session:
            if lost := captures.recover(session, now=now):
                done["ended in the middle"] += lost
        with _transaction(engine) as session:
            claimed = captures.claim(session, now=now)
        if claimed is not None:
            try:
                outcome = _capture(engine, claimed, config, now)
            except Conflict:
                outcome = "taken over"
            done[outcome] += 1
            _log.info("capture-ended", outcome=outcome, attempt=claimed.attempts)
    return done


def _capture(engine: Engine, claimed: Capture, config: Config, now: dt.datetime) -> str:
    started = time.monotonic()

    def moment() -> dt.datetime:
        return now + dt.timedelta(seconds=time.monotonic() - started)

    try:
        with _transaction(engine) as session:
            captures.still_wanted(session, claimed.id)
        # Nothing is open towards the database while the other side takes its time.
        storage.check_room(config, capture.Limits().total_bytes)
        with storage.receive(config, limit=config.exhibit_max_mb * 2**20) as file:
            found = capture.capture(claimed.url, file, settings=config, now=moment())
            incoming = file.finish()
        try:
            examined = media.examine(incoming.path, "capture.warc.gz")
            store = storage.open_store(config)
            store.keep(incoming)
            with _transaction(engine) as session:
                row = captures.still_wanted(session, claimed.id)
                exhibit = exhibits.attach(
                    session,
                    row.evidence,
                    incoming,
                    examined,
                    name=media.clean_name(f"{urlsplit(claimed.url).hostname} {now:%Y-%m-%d}.warc.gz"),
                    account=None,
                    store=store,
                    captured_from=claimed.url,
                    now=moment(),
                )
                captures.done(
                    session, row, exhibit, attempt=claimed.attempts, skipped=found.skipped, now=moment()
                )
        finally:
            incoming.discard()
    except Conflict:
        raise
    except TrackerError as error:
        lasting = isinstance(error, Invalid) or (isinstance(error, CaptureFailed) and error.lasting)
        with _transaction(engine) as session:
            captures.failed(
                session,
                claimed.id,
                attempt=claimed.attempts,
                sentence=str(error),
                lasting=lasting,
                now=moment(),
            )
        return "failed"
    return "captured"


def purge(app: Flask, now: dt.datetime, *, stopping: Callable[[], bool] = lambda: False) -> Counter[str]:
    """Forget what has no purpose any more: people who never confirmed or left, old sign-ins, links, counters, packs."""
    del stopping
    with _ready(app) as (config, _, engine):
        with _transaction(engine) as session:
            for service in (subscriptions, renewals, sign_ins, accounts, attempts, rates, reminders):
                service.forget_expired(session, now=now)
            if cancelled := issues.sweep(session, now=now):
                _log.info("mails-of-discarded-issues-cancelled", count=cancelled)
            ended = old_addresses.end_links(session, now=now)
        with db.reading(), _transaction(engine) as session:
            packs.forget(session, config, now=now)
            erased = erasure.lately(session, now=now)
        if erased or ended:
            db.wipe_log(engine)  # Somebody was reading when it was erased, perhaps.
    return Counter()


def read_bounces(
    app: Flask, now: dt.datetime, *, stopping: Callable[[], bool] = lambda: False
) -> Counter[str]:
    """Look into the mailbox of bounces, every five minutes, and do what they ask for."""
    done: Counter[str] = Counter()
    with _ready(app) as (config, keys, engine):
        if config.bounces is None:
            return done
        with _transaction(engine) as session:
            if not came_back.claim(session, now=now):
                return done

        def handle(mail: bytes) -> bool | None:
            report = bounces.read(mail)
            if report is None or not report.tokens:
                return False
            try:
                with _transaction(engine) as session:
                    taken = came_back.take(session, report, keys=keys, now=now)
            except Exception as error:  # noqa: BLE001 - it stays where it is, and the others must go on.
                _log.error("bounce-failed", error=type(error).__name__)
                done["failed"] += 1
                return None
            done[taken.value] += 1
            return True

        def enough() -> bool:
            return stopping() or done["failed"] >= _MOST_FAILURES

        try:
            bounce_mailbox.visit(config.bounces, handle, stopping=enough)
        except bounce_mailbox.MailboxFailed as error:
            _log.error("bounce-mailbox-failed", reason=str(error))
    if +done:
        _log.info("bounces-read", **{taken.name.lower(): done[taken.value] for taken in came_back.Taken})
    return +done


def heartbeat(app: Flask, now: dt.datetime, name: str = "scheduler") -> None:
    """Note that the background part of the program is alive: `tracker doctor` and /health look at it."""
    with _ready(app) as (_, _, engine), _transaction(engine) as session:
        row = session.get(Heartbeat, name, with_for_update=True)
        if row is None:
            session.add(Heartbeat(name=name, at=now))
        else:
            row.at = now


def daily_checkpoint(app: Flask, now: dt.datetime) -> bool:
    """Sign the ledger as it is, unless that was done today or nothing was published since. True: it was signed."""
    with _ready(app) as (config, keys, engine), _transaction(engine) as session:
        newest = ledger.newest_checkpoint(session)
        position = ledger.position(session)
        if position == (newest.size if newest else 0) or (newest and newest.created_at.date() >= now.date()):
            return False
        dispatch.sign_checkpoint(session, config, keys, now)
    return True


def seal_days(app: Flask, now: dt.datetime) -> int:
    """Append the sealed root of every day that is over and has none yet, one by one. Returns how many."""
    done = 0
    with _ready(app) as (_, _, engine):
        while True:
            with _transaction(engine) as session:
                day = private_roots.next_day(session, now=now)
                if day is None:
                    return done
                done += private_roots.publish_day(session, day=day, now=now) is not None


def daily_timestamp(app: Flask, now: dt.datetime) -> bool:
    """Have the newest checkpoint stamped, once a day, where an authority is set. Raises what went wrong."""
    with _ready(app) as (config, _, engine):
        if not config.timestamp_url:
            return False
        with db.reading(), _transaction(engine) as session:
            subject = stamps.due(session, now=now)
            message = stamps.message(session, subject) if subject else b""
        if subject is None:
            return False
        roots = timestamps.load_roots(config.timestamp_roots_path)
        stamp = timestamps.request(config.timestamp_url, message, roots)
        with _transaction(engine) as session:
            stamps.keep(session, subject, token=stamp.token, authority=stamp.authority, stamped_at=stamp.at)
    _log.info("timestamp-kept", subject=subject)
    return True


@contextmanager
def _ready(app: Flask) -> Iterator[tuple[Config, Keyring, Engine]]:
    # Mails are rendered outside any request: templates and words come from the app.
    with app.app_context(), force_locale("en"):
        yield app.extensions["settings"], app.extensions["keyring"], db.engine()


@contextmanager
def _transaction(engine: Engine) -> Iterator[Session]:
    with db.new_session(engine) as session, session.begin():
        yield session
