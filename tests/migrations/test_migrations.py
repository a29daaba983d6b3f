"""Every migration goes up, down and up again with data in the tables, and its end equals the models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, select, text
from sqlalchemy.exc import DBAPIError

from tests.conftest import NOW
from tests.exhibited import Exhibited
from tests.factories import Factory
from tests.published import Record
from tracker import db
from tracker.config import Config
from tracker.models import Base, Exhibit
from tracker.services import erasure, evidence, exhibits, fsck_rows
from tracker.vocabulary import CustodyAction, Role

VERSIONS = sorted((Path(__file__).resolve().parents[2] / "migrations" / "versions").glob("*.py"))


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory.from_config(db.alembic_config()).get_heads()) == 1


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_a_migration_is_numbered_and_imports_nothing_of_ours(path: Path) -> None:
    words = path.read_text(encoding="utf-8")

    assert re.fullmatch(r"\d{4}_[a-z_]+", path.stem)
    assert re.search(rf"^revision = ['\"]{path.stem}['\"]", words, re.MULTILINE)
    assert "import tracker" not in words
    assert "from tracker" not in words


def test_the_migrated_database_equals_the_models(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def shape(engine: Engine) -> dict[str, object]:
    """Tables with columns, indexes, constraints, and the triggers."""
    found = inspect(engine)
    triggers = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
        if engine.dialect.name == "sqlite"
        else "SELECT DISTINCT trigger_name FROM information_schema.triggers ORDER BY 1"
    )
    with engine.connect() as connection:
        names = connection.scalars(text(triggers)).all()
    return {
        "triggers": names,
        **{
            table: (
                [
                    (column["name"], str(column["type"]), column["nullable"])
                    for column in found.get_columns(table)
                ],
                sorted(str(index["name"]) for index in found.get_indexes(table)),
                sorted(str(check["name"]) for check in found.get_check_constraints(table)),
                sorted(str(key["name"]) for key in found.get_foreign_keys(table)),
            )
            for table in sorted(found.get_table_names())
        },
    }


def test_every_step_goes_up_down_and_up_again_to_the_same_shape(empty_database: str) -> None:
    engine = db.make_engine(empty_database)
    for path in VERSIONS:
        db.upgrade(engine, path.stem)
        first = shape(engine)
        db.downgrade(engine, "-1")
        db.upgrade(engine, path.stem)
        assert shape(engine) == first, path.stem
    engine.dispose()


def test_the_guards_go_down_and_up_with_data_and_nothing_is_lost(engine: Engine) -> None:
    with db.new_session(engine) as session:
        make = Factory(session, NOW)
        piece = make.evidence(make.report().recommendations[0])
        evidence.publish(session, piece, now=NOW)
        session.commit()
    with engine.connect() as connection:
        before = {
            table.name: connection.execute(table.select()).all() for table in Base.metadata.sorted_tables
        }

    db.downgrade(engine, "0001_schema")
    # The head of the ledger belongs to the guards; with entries in the ledger it is rebuilt from the newest one.
    db.upgrade(engine)

    with engine.connect() as connection:
        after = {
            table.name: connection.execute(table.select()).all() for table in Base.metadata.sorted_tables
        }
    assert after == before


def test_custody_logs_are_chained_with_what_is_in_them(engine: Engine, config: Config) -> None:
    """As the program would have chained them, also after a way down and up again; an erased exhibit's without hashes."""
    with db.new_session(engine) as session:
        record = Record(session, Factory(session, NOW), NOW)
        files = Exhibited(record, config)
        _, exhibit, _ = files.published(b"original", b"copy")
        exhibits.log_look(
            session, exhibit, CustodyAction.DOWNLOADED, account=record.rafa, now=NOW.replace(microsecond=7)
        )
        exhibits.note_damage(session, exhibit.copies[0].id, now=NOW)
        session.commit()
        erased, *_ = files.published(b"erased", b"its copy")
        asked = erasure.request(session, erased, account=record.rafa, reason="Do no harm.", now=NOW)
        erasure.confirm(session, asked, account=record.make.account(Role.REVIEWER), now=NOW)
        session.commit()
        erased_id = erased.exhibits[0].id
    lines = Base.metadata.tables["custody_line"]
    kept = select(lines).where(lines.c.exhibit_id != erased_id).order_by(lines.c.id)
    heads = select(Exhibit.id, Exhibit.custody_count, Exhibit.custody_head).where(Exhibit.id != erased_id)
    with engine.connect() as connection:
        before = connection.execute(kept).all(), connection.execute(heads).all()
    assert len(before[0]) == 5

    db.downgrade(engine, "0007_proofs")
    with pytest.raises(DBAPIError, match="A custody log is never edited"), engine.begin() as connection:
        connection.execute(text("UPDATE custody_line SET note = 'x'"))
    for _ in range(2):
        db.upgrade(engine)
        with engine.connect() as connection:
            assert (connection.execute(kept).all(), connection.execute(heads).all()) == before
        with db.new_session(engine) as session:
            assert list(fsck_rows._chains(session)) == []
        with pytest.raises(DBAPIError, match="A custody log goes only"), engine.begin() as connection:
            connection.execute(text("DELETE FROM custody_line"))
        db.downgrade(engine, "0007_proofs")


def test_the_migrations_start_from_nothing_and_end_at_nothing(empty_database: str) -> None:
    engine = db.make_engine(empty_database)
    db.upgrade(engine)
    db.downgrade(engine, "base")

    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    with db.migrating(engine) as config:
        command.upgrade(config, "head")
    assert db.revisions(engine)[0] == db.revisions(engine)[1]
    engine.dispose()


def test_foreign_keys_are_enforced_again_after_a_migration(engine: Engine, database: str) -> None:
    db.downgrade(engine, "0001_schema")
    db.upgrade(engine)

    if database == "sqlite":
        with engine.connect() as connection:
            assert connection.scalar(text("PRAGMA foreign_keys")) == 1


def test_digests_of_older_releases_are_kept_and_what_was_not_sent_is_told_again(
    empty_database: str,
) -> None:
    engine = db.make_engine(empty_database)
    db.upgrade(engine, "0008_custody_chain")
    moment = "2026-11-23 07:00:00.000000" + ("+00:00" if engine.dialect.name == "postgresql" else "")
    people = {1: "sent", 2: "sent", 3: "pending", 4: "data-sent"}
    with engine.begin() as connection:
        for number, state in people.items():
            connection.execute(
                text(
                    "INSERT INTO subscriber (id, key, address_hash, address_sealed, state, frequency, weekday, month_day,"
                    " hour, timezone, language, created_at, manage_token_hash, leave_token_hash, seen_seq)"
                    " VALUES (:id, :name, :name, :bytes, 'confirmed', 'weekly', 0, 1, 7, 'UTC', 'en', :at, :name, :name, 9)"
                ),
                {"id": number, "name": f"s{number}", "bytes": b"sealed", "at": moment},
            )
            connection.execute(
                text("INSERT INTO follow (id, subscriber_id, scope) VALUES (:id, :id, 'everything')"),
                {"id": number},
            )
            connection.execute(
                text(
                    "INSERT INTO digest (id, subscriber_id, period, from_seq, to_seq, changes, created_at)"
                    " VALUES (:id, :id, 'weekly/2026-11-23', 4, 9, 5, :at)"
                ),
                {"id": number, "at": moment},
            )
            connection.execute(
                text(
                    "INSERT INTO delivery (id, kind, subscriber_id, digest_id, message_id, message_sealed, state, created_at,"
                    " due_at, attempts, ambiguous) VALUES (:id, 'digest', :id, :id, :name, :bytes, :state, :at, :at, 1, 0)"
                ),
                {"id": number, "name": f"<{number}@x>", "bytes": b"mail", "state": state, "at": moment},
            )

    db.upgrade(engine)
    with engine.connect() as connection:
        # They said the same, so they are one now, with four people's deliveries less the one that was not sent.
        assert connection.execute(text("SELECT from_seq, to_seq, changes FROM digest")).all() == [(4, 9, 5)]
        assert connection.execute(
            text("SELECT subscriber_id, period, state, from_seq FROM delivery ORDER BY id")
        ).all() == [
            (1, "weekly/2026-11-23", "sent", 4),
            (2, "weekly/2026-11-23", "sent", 4),
            (4, "weekly/2026-11-23", "uncertain", 4),
        ]
        assert connection.scalars(text("SELECT seen_seq FROM subscriber ORDER BY id")).all() == [9, 9, 4, 9]
        keys = set(connection.scalars(text("SELECT follow_key FROM subscriber")))
    from tracker.services.choices import EVERYTHING, follow_key

    assert keys == {follow_key(EVERYTHING)}

    db.downgrade(engine, "0008_custody_chain")
    with engine.connect() as connection:
        assert connection.scalars(text("SELECT id FROM subscriber ORDER BY id")).all() == [1, 2, 3, 4]
        assert connection.execute(
            text("SELECT subscriber_id, period, from_seq FROM digest ORDER BY id")
        ).all() == [(number, "weekly/2026-11-23", 4) for number in (1, 2, 4)]
        assert connection.scalars(text("SELECT state FROM delivery ORDER BY id")).all() == [
            "sent",
            "sent",
            "uncertain",
        ]
    db.upgrade(engine)
    engine.dispose()
