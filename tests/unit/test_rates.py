"""All senders together never hand over more mails than the limit, in no minute, wherever it begins."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import random
import threading
from collections import Counter

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from tracker import db
from tracker.models import MailRate
from tracker.services import rates


def grant(session: Session, now: dt.datetime, wanted: int = 4, key: str = "all", limit: int = 10) -> int:
    return rates.grant(session, key, wanted, limit_per_minute=limit, now=now)


def after(now: dt.datetime, seconds: float) -> dt.datetime:
    return now + dt.timedelta(seconds=seconds)


def test_what_is_over_the_limit_is_not_granted_until_a_minute_has_passed(
    session: Session, now: dt.datetime
) -> None:
    assert [grant(session, now) for _ in range(4)] == [4, 4, 2, 0]
    assert grant(session, after(now, 30)) == 0
    assert grant(session, after(now, 61)) == 4


def test_a_minute_may_begin_anywhere(session: Session, now: dt.datetime) -> None:
    assert grant(session, now, wanted=1) == 1
    assert grant(session, after(now, 59), wanted=9) == 9
    # The first is forgotten, the nine are not: a window that begins with the first would allow ten more.
    assert grant(session, after(now, 61), wanted=10) == 1
    assert grant(session, after(now, 120), wanted=10) == 9


def test_no_minute_ever_holds_more_than_the_limit(session: Session, now: dt.datetime) -> None:
    dice = random.Random(7)
    went: list[tuple[float, int]] = []
    seconds = 0.0
    for _ in range(300):
        seconds += dice.choice([0, 0.3, 1, 5, 20])
        # Clocks of several machines are not quite the same.
        moment = seconds - dice.choice([0, 0, 0, 2])
        found = grant(session, after(now, moment), wanted=dice.randint(1, 9))
        if found and dice.random() < 0.3:
            rates.give_back(session, "all", 1, granted_at=after(now, moment), now=after(now, seconds))
            found -= 1
        went.append((moment, found))
    for start, _ in went:
        assert sum(count for moment, count in went if start <= moment < start + 60) <= 10
    assert sum(count for _, count in went) > 0.8 * 10 * seconds / 61


def test_keys_do_not_touch_each_other(session: Session, now: dt.datetime) -> None:
    assert grant(session, now, wanted=10) == 10
    assert grant(session, now, key="other") == 4


def test_no_limit_grants_everything_and_keeps_nothing(session: Session, now: dt.datetime) -> None:
    assert grant(session, now, wanted=10_000, limit=0) == 10_000
    assert grant(session, now, wanted=-1, limit=0) == 0
    assert session.scalar(select(func.count()).select_from(MailRate)) == 0


def test_what_is_given_back_may_go_to_others(session: Session, now: dt.datetime) -> None:
    assert grant(session, now, wanted=10) == 10
    rates.give_back(session, "all", 3, granted_at=now, now=after(now, 5))
    assert grant(session, after(now, 6), wanted=10) == 3


def test_what_counts_no_more_cannot_be_given_back(session: Session, now: dt.datetime) -> None:
    assert grant(session, now, wanted=10) == 10
    assert grant(session, after(now, 62), wanted=10) == 10
    rates.give_back(session, "all", 5, granted_at=now, now=after(now, 63))
    assert grant(session, after(now, 64)) == 0


def test_a_clock_that_is_put_back_does_not_stop_everything(session: Session, now: dt.datetime) -> None:
    assert grant(session, now, wanted=10) == 10
    assert grant(session, after(now, -3600)) == 4


def test_what_is_rolled_back_was_not_granted(session: Session, now: dt.datetime) -> None:
    grant(session, now, wanted=2)
    session.commit()
    grant(session, now, wanted=8)
    session.rollback()
    assert grant(session, now, wanted=10) == 8


def test_old_counters_are_forgotten(session: Session, now: dt.datetime) -> None:
    grant(session, now, key="old")
    grant(session, after(now, 90), key="new")
    rates.forget_expired(session, now=after(now, 150))
    assert list(session.scalars(select(MailRate.key))) == ["new"]


def test_many_at_once_are_granted_exactly_the_limit(engine: Engine, now: dt.datetime) -> None:
    got: Counter[str] = Counter()

    def take() -> None:
        for number in range(8):
            with db.new_session(engine) as own, own.begin():
                moment = after(now, number)
                everybody = rates.grant(own, "all", 3, limit_per_minute=40, now=moment)
                domain = rates.grant(own, "domain", everybody, limit_per_minute=25, now=moment)
                rates.give_back(own, "all", everybody - domain, granted_at=moment, now=moment)
            got["domain"] += domain

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got["domain"] == 25
    with db.new_session(engine) as own:
        assert rates.grant(own, "all", 99, limit_per_minute=40, now=after(now, 8)) == 15


def _sender(url: str, now: dt.datetime) -> int:
    engine = db.make_engine(url)
    total = 0
    for _ in range(20):
        with db.new_session(engine) as own, own.begin():
            total += rates.grant(own, "all", 2, limit_per_minute=50, now=now)
    engine.dispose()
    return total


def test_many_processes_are_granted_exactly_the_limit(database_url: str, now: dt.datetime) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = pool.starmap(_sender, [(database_url, now)] * 3, chunksize=1)
    assert sum(found) == 50
