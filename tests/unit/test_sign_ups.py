"""The mailer's inbox: sealed by the web process, opened once, and nothing in it stops the rest."""

from __future__ import annotations

import datetime as dt
import json
import threading
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from tests.mail import EVERYTHING, follower
from tests.unit.test_subscriptions import Asker
from tracker import db, keyring
from tracker.config import Config
from tracker.errors import ConfigError
from tracker.keyring import Keyring
from tracker.models import Delivery, SignUp, Subscriber
from tracker.services import choices as chosen
from tracker.services import old_addresses, sign_ups, subscriptions
from tracker.services.deliveries import Mail
from tracker.vocabulary import SubscriberState


@pytest.fixture
def asker(session: Session, keys: Keyring, now: dt.datetime) -> Asker:
    return Asker(session, keys, now)


@pytest.fixture
def web_keys(keys: Keyring) -> Keyring:
    """What a web process has: everything but the mailer's own."""
    return Keyring(keys._secret, keys._ledger, None, keys._mailer_public, keys.records)


def seal(keys: Keyring, now: dt.datetime, **changed: Any) -> SignUp:
    words = {"address": "a@arvenia.example", "choices": chosen.plain(EVERYTHING), "openpgp": None, **changed}
    return SignUp(sealed=keys.seal(json.dumps(words).encode(), sign_ups.CONTEXT), created_at=now)


def test_the_web_process_can_lay_in_and_open_nothing(
    session: Session, web_keys: Keyring, now: dt.datetime
) -> None:
    sign_ups.ask(session, "reader@arvenia.example", EVERYTHING, keys=web_keys, now=now)
    session.commit()

    row = session.scalars(select(SignUp)).one()
    assert row.created_at == now.replace(minute=0)
    assert b"reader" not in row.sealed
    with pytest.raises(ConfigError):
        sign_ups.take_sign_ups(
            session,
            keys=web_keys,
            compose=lambda _: Mail("<1>", b""),
            confirm_for=dt.timedelta(hours=1),
            now=now,
        )


def test_nobody_sees_from_its_length_how_long_an_address_is(
    session: Session, web_keys: Keyring, now: dt.datetime
) -> None:
    for address in ("a@b.example", f"{'x' * 64}@{'y' * 60}.{'z' * 60}.example"):
        sign_ups.ask(session, address, EVERYTHING, keys=web_keys, now=now)
    session.commit()

    assert len({len(sealed) for sealed in session.scalars(select(SignUp.sealed))}) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"address": "no address"},
        {"address": "two\r\nlines@arvenia.example"},
        {"address": "nul\0@arvenia.example"},
        {"address": "x" * 300 + "@arvenia.example"},
        {"address": "böse@arvenia.example"},
        {"address": None},
        {"choices": None},
        {"choices": {}},
        {"choices": {**chosen.plain(EVERYTHING), "timezone": "Mars/Olympus"}},
        {"choices": {**chosen.plain(EVERYTHING), "hour": 24}},
        {"choices": {**chosen.plain(EVERYTHING), "hour": "7"}},
        {"choices": {**chosen.plain(EVERYTHING), "frequency": "hourly"}},
        {"choices": {**chosen.plain(EVERYTHING), "language": "en\0"}},
        {"choices": {**chosen.plain(EVERYTHING), "follows": [["report", 99, None, ""]]}},
        {"choices": {**chosen.plain(EVERYTHING), "follows": [["report", 2**40, None, ""]]}},
        {"choices": {**chosen.plain(EVERYTHING), "follows": [["search", None, None, "nul\0"]]}},
    ],
)
@pytest.mark.only("postgresql")
def test_who_has_the_web_process_can_lay_in_what_they_like_and_it_is_dropped(
    changed: dict[str, Any], asker: Asker, session: Session, keys: Keyring, now: dt.datetime
) -> None:
    session.add(seal(keys, now, **changed))
    session.commit()

    assert asker.take() == 0
    assert asker.done == [{"dropped": 1}]
    assert session.scalar(select(func.count()).select_from(SignUp)) == 0
    assert session.scalar(select(func.count()).select_from(Subscriber)) == 0


def test_what_is_damaged_never_stops_the_rest(
    asker: Asker, session: Session, keys: Keyring, now: dt.datetime
) -> None:
    session.add(seal(keys, now))
    session.flush()
    session.add(SignUp(sealed=b"damaged", created_at=now))
    session.add(SignUp(sealed=keys.seal(b"[1, 2", sign_ups.CONTEXT), created_at=now))
    session.add(SignUp(sealed=keys.seal(b"[]", sign_ups.CONTEXT), created_at=now))
    session.add(SignUp(sealed=keys.seal(b"{}", "another context"), created_at=now))
    session.flush()
    session.add(seal(keys, now, address="b@arvenia.example"))
    session.commit()

    assert asker.take() == 2
    assert asker.done == [{"taken": 2, "dropped": 4}]
    # In the order in which they came.
    assert [mail.recipient for mail in asker.mails] == ["a@arvenia.example", "b@arvenia.example"]
    assert asker.take() == 2
    assert asker.done[-1] == {}


def test_two_mailers_at_once_take_each_sign_up_once(
    engine: Engine, session: Session, keys: Keyring, now: dt.datetime
) -> None:
    for number in range(40):
        session.add(seal(keys, now, address=f"r{number}@arvenia.example"))
    session.commit()
    start = threading.Barrier(2)
    taken: list[int] = []

    def run() -> None:
        start.wait()
        while True:
            with db.new_session(engine) as own, own.begin():
                done = sign_ups.take_sign_ups(
                    own,
                    keys=keys,
                    compose=lambda asked: Mail(f"<{asked.name}@localhost>", b"mail"),
                    confirm_for=dt.timedelta(hours=1),
                    now=now,
                )
            if not done:
                return
            taken.append(done["taken"])

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(taken) == 40
    assert session.scalar(select(func.count()).select_from(Delivery)) == 40
    assert session.scalar(select(func.count()).select_from(Subscriber)) == 40


# Those of older releases


def as_before(session: Session, subscriber: Subscriber, keys: Keyring, address: str) -> tuple[str, str]:
    """Make this row what a release before 0009 wrote; its two links' tokens."""
    old = keys.keyed_hash("subscriber", address)
    subscriber.address_hash, subscriber.address_old = old, True
    subscriber.address_sealed = keys.seal(address.encode(), f"subscriber.address/{old}")
    manage, leave = (
        keys.keyed_hash(purpose, f"{subscriber.key}/{old}")[:32] for purpose in ("manage", "leave")
    )
    subscriber.manage_token_hash = subscriptions.hash_token(manage)
    subscriber.leave_token_hash = subscriptions.hash_token(leave)
    session.commit()
    return manage, leave


def test_old_rows_get_the_mailers_own_hash_lock_and_links(
    session: Session, asker: Asker, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    reader = follower(session, keys, config, now)
    manage, leave = as_before(session, reader, keys, "reader@arvenia.example")
    # Mails that go out before it is done carry links that work.
    assert subscriptions.manage_token(reader, keys) == manage
    assert subscriptions.address(reader, keys) == "reader@arvenia.example"

    assert old_addresses.left_to_do(session) == 1
    assert old_addresses.rekey(session, keys, now=now) == 1
    session.commit()
    session.expire_all()
    assert old_addresses.rekey(session, keys, now=now) == 0

    assert subscriptions.address(reader, keys) == "reader@arvenia.example"
    assert reader.address_hash == keys.mailer.keyed_hash("subscriber", "reader@arvenia.example")
    new = subscriptions.manage_token(reader, keys)
    assert new != manage
    # The links in mails that arrived already work on, and so do the new ones.
    for token in (manage, new):
        assert subscriptions.by_manage_token(session, token) is reader
    assert subscriptions.by_leave_token(session, leave) is reader
    # The same person asking again is known.
    asker.ask("Reader@arvenia.example", after=dt.timedelta(days=2))
    assert session.scalar(select(func.count()).select_from(Subscriber)) == 1

    assert not old_addresses.end_links(session, now=now + dt.timedelta(days=60))
    assert old_addresses.end_links(session, now=now + dt.timedelta(days=61))
    session.commit()
    session.expire_all()
    assert subscriptions.by_manage_token(session, manage) is None
    assert subscriptions.by_leave_token(session, leave) is None
    assert subscriptions.by_manage_token(session, new) is reader


def test_two_old_rows_of_one_mailbox_both_stay(
    session: Session, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    addresses = ["ann@gmail.com", "a.nn@gmail.com"]
    rows = [follower(session, keys, config, now, f"{number}@arvenia.example") for number in range(2)]
    for row, address in zip(rows, addresses, strict=True):
        as_before(session, row, keys, address)

    while old_addresses.rekey(session, keys, now=now):
        session.commit()

    assert [subscriptions.address(row, keys) for row in rows] == addresses
    assert rows[0].address_hash != rows[1].address_hash


def test_an_old_row_that_does_not_open_is_given_up_and_keeps_no_old_hash(
    session: Session, keys: Keyring, config: Config, now: dt.datetime, tmp_path: Any
) -> None:
    keyring.create(tmp_path / "others")
    other = keyring.load(tmp_path / "others")
    reader = follower(session, keys, config, now)
    as_before(session, reader, keys, "reader@arvenia.example")
    old = reader.address_hash
    reader.address_sealed = other.seal(b"reader@arvenia.example", f"subscriber.address/{old}")
    session.commit()

    assert old_addresses.rekey(session, keys, now=now) == 1

    assert (reader.state, reader.left_at, reader.next_due_at) == (SubscriberState.FAILED, now, None)
    assert reader.address_hash != old
    subscriptions.forget_expired(session, now=now + dt.timedelta(days=31))
    assert session.scalar(select(func.count()).select_from(Subscriber)) == 0


def test_choices_from_the_mailers_inbox_are_those_that_were_entered(asker: Asker, session: Session) -> None:
    asker.ask(choices=EVERYTHING)

    subscriber = session.scalars(select(Subscriber)).one()
    assert subscriptions.asked(subscriber) == EVERYTHING
