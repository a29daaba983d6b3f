"""A digest to somebody with a key: opened by GnuPG, closed to all others, and never sent in clear instead."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.gnupg import Gnupg, keyring
from tests.mail import Events, follower, parts, read
from tracker import dispatch, openpgp
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Delivery, Subscriber
from tracker.services import subscriptions
from tracker.vocabulary import DeliveryKind, DeliveryState

DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)
TITLE = "Übung im Archiv: ئۇيغۇر"


@pytest.fixture(scope="module")
def gnupg() -> Iterator[Gnupg]:
    with keyring() as made:
        made.make(primary="ed25519", subkey="cv25519", expires="1y", part="1y")
        yield made


@pytest.fixture
def reader(
    session: Session, make: Factory, keys: Keyring, config: Config, now: dt.datetime, gnupg: Gnupg
) -> Subscriber:
    """Somebody with a key, who is owed a digest on the next day."""
    events = Events(session, make.report(), now)
    reader = follower(session, keys, config, now)
    key = openpgp.check(gnupg.public(), now=now)
    reader.openpgp_sealed = keys.seal(key.encode(), subscriptions.certificate_context(reader))
    session.commit()
    events.evidence(1, title=TITLE)
    return reader


def outbox(config: Config) -> list[bytes]:
    return [path.read_bytes() for path in sorted(config.outbox_path.glob("*.eml"))]


def test_the_whole_digest_is_encrypted_and_its_reader_finds_both_parts(
    app: Flask, session: Session, config: Config, reader: Subscriber, now: dt.datetime, gnupg: Gnupg
) -> None:
    dispatch.compose_due(app, now + DAY)
    dispatch.send_due(app, now + DAY + HOUR)

    (content,) = outbox(config)
    mail = read(content)
    assert mail.get_content_type() == "multipart/encrypted"
    assert [part.defects for part in mail.walk()] == [[], [], []]
    assert mail["To"] == "reader@arvenia.example"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    opened = gnupg.open(list(mail.iter_parts())[1].get_content())
    text, html = parts(opened)
    assert TITLE in text
    assert TITLE in html
    for secret in ("Archiv", "Lower Valley", "manage"):
        assert secret.encode() not in content
    session.expire_all()
    assert session.scalars(select(Delivery.state)).all() == [DeliveryState.SENT]


def test_when_the_key_has_expired_nothing_is_sent_in_clear_and_the_person_is_told(
    app: Flask, session: Session, config: Config, reader: Subscriber, now: dt.datetime
) -> None:
    later = now + 300 * DAY
    dispatch.compose_due(app, later)
    dispatch.send_due(app, later + HOUR)
    dispatch.send_due(app, later + 2 * HOUR)

    (content,) = outbox(config)
    mail = read(content)
    assert mail["Subject"] == "Please look at your settings"
    text, html = parts(content)
    assert "/follow/manage/" in text
    assert "Archiv" not in text + html
    session.expire_all()
    kinds = {one.kind: one.state for one in session.scalars(select(Delivery))}
    assert kinds == {
        DeliveryKind.DIGEST: DeliveryState.CANCELLED,
        DeliveryKind.KEY_PROBLEM: DeliveryState.SENT,
    }
    assert session.get_one(Subscriber, reader.id).seen_seq == 0
