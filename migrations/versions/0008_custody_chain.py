"""The custody logs become chains, and the database refuses to delete or change their lines."""

from __future__ import annotations

import datetime as dt
import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0008_custody_chain"
down_revision = "0007_proofs"
branch_labels = None
depends_on = None

# What nothing may change in a line. `sha256` may be emptied once its exhibit is erased.
KEPT = ("id", "exhibit_id", "position", "at", "account_id", "action", "commitment", "note", "line_hash")
EDITED, DELETED = "A custody log is never edited.", "A custody log goes only with its exhibit."

EXHIBIT = sa.table(
    "exhibit",
    sa.column("id", sa.Integer),
    sa.column("key", sa.String),
    sa.column("salt", sa.String),
    sa.column("custody_count", sa.Integer),
    sa.column("custody_head", sa.String),
)
LINE = sa.table(
    "custody_line",
    sa.column("id", sa.Integer),
    sa.column("exhibit_id", sa.Integer),
    sa.column("position", sa.Integer),
    sa.column("at", sa.DateTime(timezone=True)),
    sa.column("account_id", sa.Integer),
    sa.column("action", sa.String),
    sa.column("sha256", sa.String),
    sa.column("commitment", sa.String),
    sa.column("note", sa.String),
    sa.column("line_hash", sa.String),
)
ACCOUNT = sa.table("account", sa.column("id", sa.Integer), sa.column("key", sa.String))


def upgrade() -> None:
    _drop_trigger("custody_line_no_update")
    op.add_column("exhibit", sa.Column("custody_count", sa.Integer(), nullable=False, server_default="0"))
    op.add_column(
        "exhibit", sa.Column("custody_head", sa.String(length=64), nullable=False, server_default="")
    )
    op.add_column("custody_line", sa.Column("position", sa.Integer(), nullable=False, server_default="0"))
    for name in ("commitment", "line_hash"):
        op.add_column(
            "custody_line", sa.Column(name, sa.String(length=64), nullable=False, server_default="")
        )
    _chain()
    op.create_index("uq_custody_line_position", "custody_line", ["exhibit_id", "position"], unique=True)
    if op.get_bind().dialect.name == "sqlite":
        _sqlite()
    else:
        _postgresql()


def _chain() -> None:
    """Chain the lines that are there, as they are."""
    connection = op.get_bind()
    for exhibit in connection.execute(sa.select(EXHIBIT).order_by(EXHIBIT.c.id)).all():
        lines = connection.execute(
            sa.select(LINE, ACCOUNT.c.key)
            .outerjoin_from(LINE, ACCOUNT, ACCOUNT.c.id == LINE.c.account_id)
            .where(LINE.c.exhibit_id == exhibit.id)
            .order_by(LINE.c.id)
        ).all()
        head = ""
        for position, line in enumerate(lines, 1):
            committed = ""
            if line.sha256:
                committed = hashlib.sha256(f"{exhibit.salt}\n{line.sha256}".encode()).hexdigest()
            # SQLite drops the zone, which is UTC.
            at = line.at.replace(tzinfo=dt.UTC) if line.at.tzinfo is None else line.at.astimezone(dt.UTC)
            told = {
                "exhibit": exhibit.key,
                "position": position,
                "at": at.isoformat(),
                "account": line.key,
                "action": line.action,
                "commitment": committed,
                "note": line.note,
                "previous_hash": head,
            }
            text = json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
            head = hashlib.sha256(text.encode()).hexdigest()
            connection.execute(
                sa.update(LINE)
                .where(LINE.c.id == line.id)
                .values(position=position, commitment=committed, line_hash=head)
            )
        connection.execute(
            sa.update(EXHIBIT)
            .where(EXHIBIT.c.id == exhibit.id)
            .values(custody_count=len(lines), custody_head=head)
        )


def _sqlite() -> None:
    same = " AND ".join(f"NEW.{column} IS OLD.{column}" for column in KEPT)
    op.execute(
        f"CREATE TRIGGER custody_line_no_update BEFORE UPDATE ON custody_line WHEN NOT (NEW.sha256 = '' AND {same} "
        "AND EXISTS (SELECT 1 FROM exhibit WHERE id = OLD.exhibit_id AND erased_at IS NOT NULL)) "
        f"BEGIN SELECT RAISE(ABORT, '{EDITED}'); END"
    )
    # Lines that go with their exhibit go after it.
    op.execute(
        "CREATE TRIGGER custody_line_no_delete BEFORE DELETE ON custody_line "
        "WHEN EXISTS (SELECT 1 FROM exhibit WHERE id = OLD.exhibit_id) "
        f"BEGIN SELECT RAISE(ABORT, '{DELETED}'); END"
    )
    # INSERT OR REPLACE deletes without firing the trigger above where recursive_triggers is off.
    op.execute(
        "CREATE TRIGGER custody_line_no_replace BEFORE INSERT ON custody_line WHEN EXISTS (SELECT 1 FROM custody_line "
        "WHERE id = NEW.id OR (exhibit_id = NEW.exhibit_id AND position = NEW.position)) "
        f"BEGIN SELECT RAISE(ABORT, '{EDITED}'); END"
    )


def _postgresql() -> None:
    same = " AND ".join(f"NEW.{column} IS NOT DISTINCT FROM OLD.{column}" for column in KEPT)
    op.execute(
        "CREATE FUNCTION tracker_keep_custody() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF TG_OP = 'DELETE' THEN "
        # Lines that go with their exhibit go after it.
        "IF NOT EXISTS (SELECT 1 FROM exhibit WHERE id = OLD.exhibit_id) THEN RETURN OLD; END IF; "
        f"RAISE EXCEPTION '{DELETED}' USING ERRCODE = 'check_violation'; END IF; "
        f"IF NEW.sha256 = '' AND {same} "
        "AND EXISTS (SELECT 1 FROM exhibit WHERE id = OLD.exhibit_id AND erased_at IS NOT NULL) THEN RETURN NEW; END IF; "
        f"RAISE EXCEPTION '{EDITED}' USING ERRCODE = 'check_violation'; END $$"
    )
    op.execute(
        "CREATE TRIGGER custody_line_no_change BEFORE UPDATE OR DELETE ON custody_line "
        "FOR EACH ROW EXECUTE FUNCTION tracker_keep_custody()"
    )
    op.execute(
        "CREATE TRIGGER custody_line_no_truncate BEFORE TRUNCATE ON custody_line "
        f"FOR EACH STATEMENT EXECUTE FUNCTION tracker_refuse('{DELETED}')"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name in ("custody_line_no_update", "custody_line_no_delete", "custody_line_no_replace"):
            _drop_trigger(name)
    else:
        _drop_trigger("custody_line_no_change")
        _drop_trigger("custody_line_no_truncate")
        op.execute("DROP FUNCTION tracker_keep_custody()")
    op.drop_index("uq_custody_line_position", "custody_line")
    for name in ("position", "commitment", "line_hash"):
        op.drop_column("custody_line", name)
    op.drop_column("exhibit", "custody_head")
    op.drop_column("exhibit", "custody_count")
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER custody_line_no_update BEFORE UPDATE ON custody_line "
            f"BEGIN SELECT RAISE(ABORT, '{EDITED}'); END"
        )
    else:
        op.execute(
            "CREATE TRIGGER custody_line_no_update BEFORE UPDATE ON custody_line "
            f"FOR EACH ROW EXECUTE FUNCTION tracker_refuse('{EDITED}')"
        )


def _drop_trigger(name: str) -> None:
    table = "" if op.get_bind().dialect.name == "sqlite" else " ON custody_line"
    op.execute(f"DROP TRIGGER {name}{table}")
