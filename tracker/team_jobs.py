"""Mails that are no digests: the yearly question to subscribers, and Monday's reminders to the team.

They are queued here and sent like every other mail. While sending is held none is written.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable

import structlog
from flask import Flask
from flask_babel import force_locale
from sqlalchemy.orm import Session

from tracker import db, emails
from tracker.config import Config
from tracker.errors import ConfigError
from tracker.keyring import Keyring
from tracker.models import Subscriber
from tracker.services import deliveries, reminders, renewals, sending, subscriptions
from tracker.services.reminders import Letter
from tracker.vocabulary import DeliveryKind

_log = structlog.get_logger()

#: So many are asked in one tick, so that digests do not wait.
_MOST_ASKED = 500


def ask_renewals(
    app: Flask, now: dt.datetime, *, stopping: Callable[[], bool] = lambda: False
) -> Counter[str]:
    """Ask those who have followed for a year whether they still want it."""
    done: Counter[str] = Counter()
    with app.app_context(), force_locale("en"):
        with db.reading(), db.new_session(db.engine()) as session:
            held = sending.held(session)
            waiting = [] if held else [one.id for one in subscriptions.due_for_renewal(session, now)]
        if not waiting or not _is_mailer(app):
            return done
        for number in waiting[:_MOST_ASKED]:
            if stopping():
                break
            try:
                with db.writing() as session:
                    done["asked to renew"] += _ask(app, session, number, now)
            except Exception as error:  # noqa: BLE001 - one person's question must not stop everybody's.
                _log.error("renewal-failed", subscriber=number, error=type(error).__name__)
                done["failed"] += 1
    return +done


def _ask(app: Flask, session: Session, number: int, now: dt.datetime) -> bool:
    subscriber = session.get(Subscriber, number)
    if subscriber is None or not subscriptions.renewal_asked(session, subscriber, now=now):
        return False
    config, keys = _parts(app)
    manage = subscriptions.manage_token(subscriber, keys)
    period = renewals.period(now)
    mail = emails.mail(
        "renewal",
        subscriptions.address(subscriber, keys),
        keys.mailer.keyed_hash("message", f"{subscriber.key}/{period}")[:32],
        config=config,
        now=now,
        manage_url=f"{config.public_url}/follow/manage/{manage}",
        leave_url=f"{config.public_url}/unsubscribe/{subscriptions.leave_token(subscriber, keys)}",
        days=subscriptions.ANSWER_WITHIN[subscriber.channel].days,
    )
    deliveries.enqueue(
        session, mail, kind=DeliveryKind.RENEWAL, keys=keys, now=now, subscriber=subscriber, period=period
    )
    return True


def remind(app: Flask, now: dt.datetime, *, stopping: Callable[[], bool] = lambda: False) -> Counter[str]:
    """On Mondays: what is new for each of the team, each thing once. After downtime on a Monday: as soon as it is over."""
    done: Counter[str] = Counter()
    with app.app_context(), force_locale("en"):
        with db.reading(), db.new_session(db.engine()) as session:
            if stopping() or sending.held(session) or not reminders.is_due(session, now=now):
                return done
        if not _is_mailer(app):
            return done
        with db.writing() as session:
            week = reminders.begin_week(session, now=now)
        if week is None:
            return done
        config, _ = _parts(app)
        with db.reading(), db.new_session(db.engine()) as session:
            rows = reminders.rows(session, review_months=config.review_months, now=now)
            found = [
                reminders.letter(session, account, rows, week=week) for account in reminders.whom(session)
            ]
            for letter in found:
                if letter is not None:
                    done[_remind(app, letter, now)] += 1
    return done


def _remind(app: Flask, letter: Letter, now: dt.datetime) -> str:
    config, keys = _parts(app)
    account = letter.account
    try:
        mail = emails.mail(
            "reminder",
            account.email,
            keys.mailer.keyed_hash("message", f"account/{account.key}/{letter.period}")[:32],
            config=config,
            now=now,
            letter=letter,
            url=config.public_url,
        )
        with db.writing() as session:
            deliveries.enqueue(
                session,
                mail,
                kind=DeliveryKind.REMINDER,
                keys=keys,
                now=now,
                account=session.merge(account, load=False),
                period=letter.period,
            )
            reminders.told(session, letter, now=now)
    except Exception as error:  # noqa: BLE001 - the others get theirs; what was in this one comes next week.
        _log.error("reminder-failed", account=account.id, error=type(error).__name__)
        return "failed"
    return "reminded"


def _parts(app: Flask) -> tuple[Config, Keyring]:
    return app.extensions["settings"], app.extensions["keyring"]


def _is_mailer(app: Flask) -> bool:
    """Whether this process has the keys by which mails are written."""
    try:
        return bool(_parts(app)[1].mailer)
    except ConfigError:
        return False
