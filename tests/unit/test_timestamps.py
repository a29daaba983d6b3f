"""Timestamps: asked of a real authority made with OpenSSL, and refused from everybody who should not be believed."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import random
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.authority import Authority, Reply, honest, send, serving
from tests.factories import Factory
from tracker import create_app, jobs, timestamps, verifier
from tracker.config import Config
from tracker.errors import ConfigError, NotFound
from tracker.keyring import Keyring
from tracker.models import Timestamp
from tracker.services import ledger
from tracker.services import timestamps as stamps
from tracker.vocabulary import EntryKind

MESSAGE = b"A checkpoint of the Arvenian ledger"
DIGEST = hashlib.sha256(MESSAGE).digest()
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "true")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Calls itself what the true one is called."""
    return Authority(tmp_path_factory.mktemp("authority") / "stranger")


def ask(authority: Authority, reply: Reply) -> timestamps.Stamp:
    with serving(reply) as url:
        return timestamps.request(url, MESSAGE, timestamps.load_roots(authority.roots))


def test_a_true_timestamp_is_kept_as_it_came_and_openssl_accepts_it(authority: Authority) -> None:
    stamp = ask(authority, honest(authority))

    assert stamp.authority == "Arvenian Time Office"
    assert abs(stamp.at - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=5)
    assert authority.verifies(stamp.token, DIGEST)
    assert not authority.verifies(stamp.token, hashlib.sha256(b"Something else").digest())
    assert verifier.stamps_digest(stamp.token, DIGEST.hex())
    assert not verifier.stamps_digest(stamp.token, hashlib.sha256(b"Something else").hexdigest())


def test_a_stranger_of_the_same_name_is_refused(authority: Authority, stranger: Authority) -> None:
    with pytest.raises(timestamps.Refused, match="not signed by an authority that timestamp_roots trusts"):
        ask(authority, honest(stranger))


def test_a_certificate_for_another_purpose_is_refused(authority: Authority) -> None:
    # The same key and number by the same root: only the purpose differs, as for a web server's certificate.
    right, wrong = (
        x509.load_pem_x509_certificate(authority.certificate(purpose)).public_bytes(Encoding.DER)
        for purpose in (x509.ExtendedKeyUsageOID.TIME_STAMPING, x509.ExtendedKeyUsageOID.SERVER_AUTH)
    )

    def twist(answer: bytes) -> bytes:
        assert right in answer
        return answer.replace(right, wrong)

    with pytest.raises(timestamps.Refused, match="Error while verifying certificates"):
        ask(authority, honest(authority, twist))


def test_an_answer_to_another_question_is_refused(authority: Authority) -> None:
    earlier: list[bytes] = []
    ask(authority, honest(authority, lambda answer: earlier.append(answer) or answer))

    with pytest.raises(timestamps.Refused, match="asked at another time"):
        ask(authority, honest(authority, lambda _: earlier[0]))


def test_a_timestamp_of_another_digest_is_refused(authority: Authority) -> None:
    def reply(handler: BaseHTTPRequestHandler, query: bytes) -> None:
        send(handler, authority.answer(query.replace(DIGEST, hashlib.sha256(b"Forged").digest())))

    with pytest.raises(timestamps.Refused, match="about something else"):
        ask(authority, reply)


def test_no_altered_byte_gives_a_timestamp_of_something_else_or_another_time(authority: Authority) -> None:
    true = ask(authority, honest(authority))
    chance = random.Random(7)
    for _ in range(25):
        place, bit = chance.randrange(len(true.token)), 1 << chance.randrange(8)

        def harm(answer: bytes, place: int = place, bit: int = bit) -> bytes:
            harmed = bytearray(answer)
            harmed[place % len(answer)] ^= bit
            return bytes(harmed)

        try:
            got = ask(authority, honest(authority, harm))
        except timestamps.Refused:
            continue
        # What no signature covers may change (parameters of algorithms): it must not change what is said.
        assert verifier.stamps_digest(got.token, DIGEST.hex())
        assert abs(got.at - true.at) < dt.timedelta(minutes=5)
        assert got.authority == true.authority


def test_a_refusal_by_the_authority_is_told(authority: Authority) -> None:
    def reply(handler: BaseHTTPRequestHandler, query: bytes) -> None:
        # It knows SHA-256 only: a question about another algorithm gets a rejection.
        name = bytes.fromhex("0609608648016503040201")
        send(handler, authority.answer(query.replace(name, name[:-1] + b"\x07")))

    with pytest.raises(timestamps.Refused, match=r"refused \(status 2\)"):
        ask(authority, reply)


def drip(handler: BaseHTTPRequestHandler, query: bytes) -> None:
    del query
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\n\r\n")
    for _ in range(100):
        handler.wfile.write(b"0")
        handler.wfile.flush()
        time.sleep(0.1)


def silent(handler: BaseHTTPRequestHandler, query: bytes) -> None:
    del handler, query
    time.sleep(3)


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (lambda handler, _: send(handler, b"garbage"), "answer is not a timestamp"),
        (lambda handler, _: send(handler, b""), "answer is not a timestamp"),
        (lambda handler, _: send(handler, b"<html>", kind="text/html"), "answer is not a timestamp"),
        (lambda handler, _: send(handler, b"\x30" * 70_000), "too large"),
        (lambda handler, _: send(handler, b"", 503), "HTTP status 503"),
        (lambda handler, _: send(handler, b"", 302, Location="http://127.0.0.1:9/"), "HTTP status 302"),
        (lambda handler, _: handler.wfile.write(b"\x00\xff\n"), "cannot be reached"),
        (drip, "did not answer in time"),
        (silent, "did not answer in time"),
    ],
    ids=["garbage", "empty", "page", "huge", "down", "redirect", "no-http", "drip", "silent"],
)
def test_whatever_is_no_timestamp_is_refused_with_a_sentence(
    reply: Reply, sentence: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timestamps, "_SECONDS", 1)
    started = time.monotonic()

    with pytest.raises(timestamps.Refused, match=sentence):
        ask(authority, reply)

    assert time.monotonic() - started < 2.5


def test_an_authority_that_is_not_there_is_a_sentence(authority: Authority) -> None:
    with pytest.raises(timestamps.Refused, match="cannot be reached: ConnectionRefusedError"):
        timestamps.request("http://127.0.0.1:9/", MESSAGE, timestamps.load_roots(authority.roots))


def test_roots_that_are_missing_or_no_certificates_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        timestamps.load_roots(tmp_path / "none.pem")
    (tmp_path / "text.pem").write_text("hello")
    with pytest.raises(ConfigError, match="holds no certificates"):
        timestamps.load_roots(tmp_path / "text.pem")


def test_an_authority_without_roots_stops_the_start(make_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match="timestamp_roots"):
        make_config(timestamp_url="https://tsa.arvenia.example/")
    with pytest.raises(ConfigError, match="timestamp_url"):
        make_config(timestamp_url="ftp://tsa.arvenia.example/", timestamp_roots="roots.pem")


# What is stamped, when, and what becomes of it.


def entry(session: Session, make: Factory, now: dt.datetime, number: int = 1) -> None:
    report = make.report(f"report-{number}")
    ledger.append(
        session, EntryKind.REPORT_LOADED, subject=f"report/{number}", report=report, content={}, now=now
    )
    session.commit()


@pytest.fixture
def stamping(
    make_config: Callable[..., Config], database_url: str, authority: Authority
) -> Callable[[str], Flask]:
    def app(url: str) -> Flask:
        return create_app(
            make_config(database_url=database_url, timestamp_url=url, timestamp_roots=authority.roots)
        )

    return app


def test_the_newest_checkpoint_is_stamped_once_a_day(
    stamping: Callable[[str], Flask],
    authority: Authority,
    session: Session,
    make: Factory,
    keys: Keyring,
    now: dt.datetime,
) -> None:
    with serving(honest(authority)) as url:
        app = stamping(url)
        assert not jobs.daily_timestamp(app, now)
        entry(session, make, now)
        jobs.daily_checkpoint(app, now)

        assert jobs.daily_timestamp(app, now)
        assert not jobs.daily_timestamp(app, now + HOUR)
        assert not jobs.daily_timestamp(app, now + DAY)

        entry(session, make, now + DAY, 2)
        jobs.daily_checkpoint(app, now + DAY)
        assert jobs.daily_timestamp(app, now + DAY)
    session.rollback()
    kept = session.scalars(select(Timestamp).order_by(Timestamp.id)).all()
    assert [stamp.subject for stamp in kept] == ["checkpoint/1", "checkpoint/2"]
    note = ledger.newest_checkpoint(session).note.encode()  # type: ignore[union-attr]
    assert authority.verifies(kept[1].token, hashlib.sha256(note).digest())
    origin = app.extensions["settings"].ledger_origin
    lines = list(ledger.lines(session, origin=origin, public_key=keys.ledger_public_key))
    assert [line["subject"] for line in lines if line["type"] == "timestamp"] == [
        "checkpoint/1",
        "checkpoint/2",
    ]
    assert list(verifier.check(lines)) == []
    app.extensions["engine"].dispose()


def test_where_no_authority_is_set_none_is_asked(
    config: Config, session: Session, make: Factory, now: dt.datetime
) -> None:
    app = create_app(config)
    entry(session, make, now)
    jobs.daily_checkpoint(app, now)

    assert not jobs.daily_timestamp(app, now)
    app.extensions["engine"].dispose()


def test_a_refusal_is_tried_again_and_is_late_after_a_day(
    stamping: Callable[[str], Flask],
    authority: Authority,
    stranger: Authority,
    session: Session,
    make: Factory,
    now: dt.datetime,
) -> None:
    entry(session, make, now)
    with serving(honest(stranger)) as url:
        app = stamping(url)
        jobs.daily_checkpoint(app, now)
        with pytest.raises(timestamps.Refused):
            jobs.daily_timestamp(app, now)
        app.extensions["engine"].dispose()
    session.rollback()
    assert session.scalars(select(Timestamp)).all() == []
    assert not stamps.late(session, now=now + HOUR)
    assert stamps.late(session, now=now + 3 * HOUR)
    session.rollback()

    with serving(honest(authority)) as url:
        app = stamping(url)
        assert jobs.daily_timestamp(app, now + HOUR)
        app.extensions["engine"].dispose()
    session.rollback()
    assert not stamps.late(session, now=now + 3 * HOUR)
    assert not stamps.late(session, now=now + 5 * DAY)


@pytest.mark.parametrize("subject", ["checkpoint/9", "entry/9"])
def test_only_what_exists_is_stamped(session: Session, subject: str) -> None:
    with pytest.raises(NotFound, match=subject):
        stamps.message(session, subject)


def test_the_verifier_finds_a_timestamp_that_is_about_something_else(
    stamping: Callable[[str], Flask],
    authority: Authority,
    session: Session,
    make: Factory,
    keys: Keyring,
    now: dt.datetime,
) -> None:
    entry(session, make, now)
    message = stamps.message(session, "entry/1")
    assert hashlib.sha256(message).hexdigest() == ledger.plain(session.get(ledger.LedgerEntry, 1))["hash"]
    with serving(honest(authority)) as url:
        stamp = timestamps.request(url, message, timestamps.load_roots(authority.roots))
    stamps.keep(session, "entry/1", token=stamp.token, authority=stamp.authority, stamped_at=stamp.at)
    lines = list(ledger.lines(session, origin="arvenia.example/ledger", public_key=keys.ledger_public_key))
    assert list(verifier.check(lines)) == []

    def problems(**change: Any) -> list[str]:
        return list(
            verifier.check([{**line, **change} if line["type"] == "timestamp" else line for line in lines])
        )

    forged = stamp.token.replace(hashlib.sha256(message).digest(), DIGEST)
    assert problems(token=base64.b64encode(forged).decode()) == [
        "The timestamp of entry/1 is about something else."
    ]
    assert problems(subject="entry/2") == ["There is a timestamp of entry/2, which is not in this ledger."]
    assert problems(token="?") == ["The timestamp of entry/1 cannot be read."]
