"""The sealed root of the day: it comes every day, tells nothing, and opens one thing at a time."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.mail import follower
from tracker import create_app, dispatch, jobs, verifier
from tracker.config import Config
from tracker.errors import NotFound
from tracker.keyring import Keyring
from tracker.models import LedgerEntry, PrivateCommitment
from tracker.queries import changes
from tracker.services import audit, ledger, private_roots
from tracker.vocabulary import EntryKind

DAY = dt.timedelta(days=1)
CONTENT = b"The scanned register of the Lower Valley District Court"


@pytest.fixture
def begun(session: Session, make: Factory, now: dt.datetime) -> Session:
    """A ledger with one entry."""
    ledger.append(
        session, EntryKind.REPORT_LOADED, subject="report/1", report=make.report(), content={}, now=now
    )
    session.commit()
    return session


def roots(session: Session) -> list[LedgerEntry]:
    query = select(LedgerEntry).where(LedgerEntry.kind == EntryKind.PRIVATE_ROOT).order_by(LedgerEntry.seq)
    return list(session.scalars(query))


def publish(session: Session, now: dt.datetime) -> LedgerEntry:
    """The root of the day before `now`."""
    entry = private_roots.publish_day(session, day=(now - DAY).date(), now=now)
    assert entry is not None
    session.commit()
    return entry


def disclosed(session: Session, keys: Keyring, subject: str, now: dt.datetime) -> dict[str, Any]:
    ledger.take_checkpoint(
        session,
        origin="arvenia.example/ledger",
        public_key=keys.ledger_public_key,
        sign=keys.sign,
        now=now,
    )
    proof = private_roots.disclose(session, subject, public_key=keys.ledger_public_key)
    return json.loads(json.dumps(proof))  # type: ignore[no-any-return]


def problems(proof: dict[str, Any], content: bytes | None = CONTENT) -> list[str]:
    digest = hashlib.sha256(content).hexdigest() if content is not None else None
    return list(verifier.check_proof(proof, (), None, digest))


@pytest.mark.parametrize(("held", "leaves"), [(0, 64), (1, 64), (63, 64), (64, 128)])
def test_a_root_tells_neither_what_there_was_nor_how_much(
    held: int, leaves: int, begun: Session, now: dt.datetime
) -> None:
    for number in range(held):
        private_roots.commit(begun, f"exhibit/{number}", CONTENT, now=now)

    entry = publish(begun, now + DAY)

    facts = ledger.facts_of(entry)
    assert set(facts) == {"root", "leaves", "report", "recommendations", "content"}
    assert (facts["leaves"], facts["report"], facts["recommendations"]) == (leaves, None, [])
    assert entry.subject == f"private-root/{now.date()}"
    assert begun.scalar(select(func.count()).select_from(PrivateCommitment)) == leaves
    # Whoever counts by the hashes learns nothing: the same content leaves another one each time.
    assert begun.scalar(select(func.count(PrivateCommitment.leaf.distinct()))) == leaves


def test_there_is_one_root_a_day_and_none_for_today(begun: Session, now: dt.datetime) -> None:
    assert private_roots.publish_day(begun, day=now.date(), now=now) is None
    assert private_roots.publish_day(begun, day=now.date() + DAY, now=now) is None
    publish(begun, now + DAY)
    assert private_roots.publish_day(begun, day=now.date(), now=now + DAY) is None

    assert len(roots(begun)) == 1


def test_what_was_held_is_proven_with_the_content_and_without_naming_anything_else(
    begun: Session, keys: Keyring, now: dt.datetime
) -> None:
    other = private_roots.commit(begun, "exhibit/2", b"Another file", now=now)
    private_roots.commit(begun, "exhibit/1", hashlib.sha256(CONTENT).hexdigest(), now=now)
    salt = other.salt
    publish(begun, now + DAY)

    proof = disclosed(begun, keys, "exhibit/1", now)

    assert problems(proof) == []
    assert (
        list(verifier.check_proof(proof, (), keys.ledger_public_key, hashlib.sha256(CONTENT).hexdigest()))
        == []
    )
    assert salt not in json.dumps(proof)
    assert problems(proof, b"Another file") == ["The content is not what was sealed."]
    assert problems(proof, None) == ["Give the content too, with --content: without it nothing is proven."]


def test_a_dict_is_sealed_as_canonical_json(begun: Session, keys: Keyring, now: dt.datetime) -> None:
    private_roots.commit(begun, "evidence/1", {"title": "Register", "number": 1}, now=now)
    publish(begun, now + DAY)

    proof = disclosed(begun, keys, "evidence/1", now)

    assert problems(proof, b'{"number":1,"title":"Register"}') == []


@pytest.mark.parametrize("text", ["abc", "zz" * 32, "ab" * 31])
def test_a_text_that_is_no_hash_is_not_sealed_by_mistake(text: str, begun: Session, now: dt.datetime) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the sentence is Python's or ours.
        private_roots.commit(begun, "evidence/1", text, now=now)


def test_no_changed_part_of_a_disclosure_goes_unnoticed(
    begun: Session, keys: Keyring, now: dt.datetime
) -> None:
    private_roots.commit(begun, "exhibit/1", CONTENT, now=now)
    publish(begun, now + DAY)
    proof = disclosed(begun, keys, "exhibit/1", now)

    def with_entry(**change: Any) -> dict[str, Any]:
        entry = proof["inclusion"]["entry"] | change
        return {**proof, "inclusion": {**proof["inclusion"], "entry": entry}}

    harmed = [
        {**proof, "salt": "00" * 32},
        {**proof, "leaf": "00" * 32},
        {**proof, "index": (proof["index"] + 1) % 64},
        {**proof, "proof": proof["proof"][:-1]},
        {**proof, "proof": ["00" * 32, *proof["proof"][1:]]},
        {**proof, "day": "2020-01-01"},
        {name: value for name, value in proof.items() if name != "salt"},
        with_entry(subject="private-root/2020-01-01"),
        with_entry(payload=proof["inclusion"]["entry"]["payload"].replace('"leaves":64', '"leaves":65')),
        {**proof, "inclusion": {**proof["inclusion"], "root": "00" * 32}},
        {**proof, "inclusion": []},
    ]
    for one in harmed:
        assert problems(one), one


def test_another_kind_of_entry_seals_nothing(begun: Session, keys: Keyring, now: dt.datetime) -> None:
    """Somebody who may publish evidence cannot pass a fact of it off as a sealed root."""
    private_roots.commit(begun, "exhibit/1", CONTENT, now=now)
    publish(begun, now + DAY)
    proof = disclosed(begun, keys, "exhibit/1", now)
    facts = json.loads(proof["inclusion"]["entry"]["payload"])
    posed = ledger.append(
        begun,
        EntryKind.EVIDENCE_PUBLISHED,
        subject="evidence/9",
        report=None,
        facts={"root": facts["root"], "leaves": facts["leaves"]},
        content={},
        now=now,
    )
    proof_of_posed = disclosed(begun, keys, "exhibit/1", now)
    from tracker.services import proofs

    proof_of_posed["inclusion"] = proofs.inclusion(begun, posed.seq, public_key=keys.ledger_public_key)

    assert problems(proof_of_posed) == ["Nothing proves that this stands under the sealed root in entry 3."]


def test_what_is_not_sealed_yet_or_was_never_held_cannot_be_disclosed(
    begun: Session, keys: Keyring, now: dt.datetime
) -> None:
    private_roots.commit(begun, "exhibit/1", CONTENT, now=now)
    publish(begun, now)

    for subject in ("exhibit/1", "exhibit/7", ""):
        with pytest.raises(NotFound, match="Nothing sealed"):
            private_roots.disclose(begun, subject, public_key=keys.ledger_public_key)


def test_what_was_committed_late_goes_into_the_next_root(
    begun: Session, keys: Keyring, now: dt.datetime
) -> None:
    """A transaction that ends after midnight, or a clock that was set back."""
    first = publish(begun, now + DAY)
    late = private_roots.commit(begun, "exhibit/1", CONTENT, now=now)
    begun.commit()

    second = publish(begun, now + 2 * DAY)

    assert late.ledger_seq == second.seq != first.seq
    assert problems(disclosed(begun, keys, "exhibit/1", now)) == []


def test_what_was_erased_can_never_be_proven_again_and_the_root_still_stands(
    begun: Session, keys: Keyring, now: dt.datetime
) -> None:
    private_roots.commit(begun, "exhibit/1", CONTENT, now=now)
    private_roots.commit(begun, "exhibit/2", b"Another file", now=now)
    publish(begun, now + DAY)

    private_roots.forget(begun, "exhibit/1")

    with pytest.raises(NotFound):
        private_roots.disclose(begun, "exhibit/1", public_key=keys.ledger_public_key)
    assert problems(disclosed(begun, keys, "exhibit/2", now), b"Another file") == []
    rows = begun.scalars(select(PrivateCommitment).where(PrivateCommitment.subject == "")).all()
    assert len({(row.subject, row.salt) for row in rows}) == 1  # It looks like padding.


def test_the_first_root_is_yesterdays_and_an_empty_ledger_has_none(
    session: Session, make: Factory, now: dt.datetime
) -> None:
    assert private_roots.next_day(session, now=now) is None
    report = make.report()
    ledger.append(session, EntryKind.REPORT_LOADED, subject="report/1", report=report, content={}, now=now)

    assert private_roots.next_day(session, now=now) is None
    assert private_roots.next_day(session, now=now + DAY) == now.date()
    assert private_roots.next_day(session, now=now + 900 * DAY) == now.date() + 899 * DAY


@pytest.fixture
def app(config: Config) -> Any:
    app = create_app(config)
    yield app
    app.extensions["engine"].dispose()


def test_missed_days_are_made_good_one_by_one(app: Flask, begun: Session, now: dt.datetime) -> None:
    private_roots.commit(begun, "exhibit/1", CONTENT, now=now)
    begun.commit()
    assert jobs.seal_days(app, now) == 0
    assert jobs.seal_days(app, now + DAY) == 1
    assert jobs.seal_days(app, now + DAY) == 0
    assert jobs.seal_days(app, now + 5 * DAY) == 4

    begun.rollback()
    assert [entry.subject for entry in roots(begun)] == [
        f"private-root/{now.date() + number * DAY}" for number in range(5)
    ]


def test_two_schedulers_at_once_make_one_root_a_day(app: Flask, begun: Session, now: dt.datetime) -> None:
    begun.rollback()
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: jobs.seal_days(app, now + 4 * DAY), range(2)))

    assert sum(made) == 1  # Only yesterday's: the ledger began before roots did.
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: jobs.seal_days(app, now + 9 * DAY), range(2)))
    assert sum(made) == 5
    subjects = [entry.subject for entry in roots(begun)]
    assert len(subjects) == len(set(subjects)) == 6


def test_roots_are_no_news_and_the_audit_finds_nothing_wrong(begun: Session, now: dt.datetime) -> None:
    before = list(audit.problems(begun))
    told = [change.seq for change in changes.read(begun, limit=None)]
    publish(begun, now + DAY)

    assert [change.seq for change in changes.read(begun, limit=None)] == told
    assert changes.read(begun, after=1, limit=None) == []
    assert changes.about_subject(begun, f"private-root/{now.date()}") == []
    assert list(audit.problems(begun)) == before


def test_a_day_on_which_only_a_root_came_gives_nobody_a_digest(
    app: Flask, begun: Session, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    follower(begun, keys, config, now)
    begun.commit()
    assert jobs.seal_days(app, now + DAY) == 1

    assert dispatch.compose_due(app, now + DAY) == {"nothing new": 1}


def test_the_command_line_seals_discloses_and_the_standalone_program_agrees(
    make_config: Callable[..., Config],
    database_url: str,
    begun: Session,
    keys: Keyring,
    now: dt.datetime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from click.testing import CliRunner

    from tracker.cli import main

    private_roots.commit(begun, "exhibit/1", CONTENT, now=now)
    publish(begun, now + DAY)
    config = make_config(database_url=database_url)
    monkeypatch.setenv("TRACKER_DATA_DIR", str(config.data_dir))
    monkeypatch.setenv("TRACKER_BASE_URL", config.base_url)
    monkeypatch.setenv("TRACKER_DATABASE_URL", database_url)
    proof, content = tmp_path / "proof.json", tmp_path / "register.png"
    content.write_bytes(CONTENT)

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["ledger", *words])
        return done.exit_code, done.output

    assert run("disclose", "exhibit/1", str(proof)) == (1, "Error: There is no checkpoint yet. The first one is taken within a day.\n")  # fmt: skip
    assert run("checkpoint")[0] == 0
    assert run("disclose", "exhibit/1", str(proof)) == (
        0,
        f"Wrote the proof that exhibit/1 was sealed on {now.date()} to {proof}.\n",
    )
    assert run("disclose", "exhibit/9", str(proof))[0] == 1
    assert run("disclose", "exhibit/1", str(tmp_path / "no" / "proof.json"))[0] == 1
    holds = f"The proof holds: this content was sealed on {now.date()}, and the ledger has said so since.\n"
    assert run("verify", str(proof), "--content", str(content)) == (0, holds)
    done = subprocess.run(
        [
            sys.executable,
            verifier.__file__,
            "--disclosed",
            str(proof),
            "--content",
            str(content),
            "--key",
            keys.ledger_public_key.hex(),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, holds)
    content.write_bytes(CONTENT + b"!")
    assert run("verify", str(proof), "--content", str(content)) == (
        1,
        "The content is not what was sealed.\n",
    )
