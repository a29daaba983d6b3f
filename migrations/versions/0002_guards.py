"""The guards: triggers that keep the ledger append-only and approved findings unchanged, and the ledger's head."""

import sqlalchemy as sa
from alembic import op

revision = "0002_guards"
down_revision = "0001_schema"
branch_labels = None
depends_on = None

APPEND_ONLY = ("ledger_entry", "checkpoint")
# What a finding says, which nothing may change once two people have published it.
FINDING_WORDS = (
    "key",
    "recommendation_id",
    "clause_id",
    "grade",
    "as_of",
    "access",
    "rationale",
    "would_change",
    "search_what",
    "search_where",
    "search_languages",
    "search_until",
    "replaces_id",
    "correction",
    "proposed_by_id",
    "submitted_at",
    "approved_by_id",
    "approved_at",
    "review_reason",
)
PUBLISHED = "OLD.state IN ('accepted', 'superseded', 'withdrawn')"


def upgrade() -> None:
    # On the way back up there may be entries already: the head then stands where they end.
    op.execute(
        "INSERT INTO ledger_head (id, seq, hash) SELECT 1, "
        "coalesce((SELECT max(seq) FROM ledger_entry), 0), "
        f"coalesce((SELECT hash FROM ledger_entry ORDER BY seq DESC LIMIT 1), '{'0' * 64}')"
    )
    if op.get_bind().dialect.name == "sqlite":
        _sqlite()
    else:
        _postgresql()


def _sqlite() -> None:
    for table in APPEND_ONLY:
        key = "seq" if table == "ledger_entry" else "size"
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'The ledger is append-only.'); END"
            )
        # INSERT OR REPLACE deletes without firing the trigger above where recursive_triggers is off.
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {key} = NEW.{key}) "
            f"BEGIN SELECT RAISE(ABORT, 'The ledger is append-only.'); END"
        )
    op.execute(
        "CREATE TRIGGER ledger_content_no_update BEFORE UPDATE ON ledger_content "
        "BEGIN SELECT RAISE(ABORT, 'Published words are never edited.'); END"
    )
    changed = " OR ".join(f"NEW.{column} IS NOT OLD.{column}" for column in FINDING_WORDS)
    op.execute(
        f"CREATE TRIGGER finding_no_edit BEFORE UPDATE ON finding WHEN {PUBLISHED} AND ({changed}"
        " OR NEW.state NOT IN ('accepted', 'superseded', 'withdrawn')) "
        "BEGIN SELECT RAISE(ABORT, 'A published finding is never edited.'); END"
    )
    op.execute(
        f"CREATE TRIGGER finding_no_delete BEFORE DELETE ON finding WHEN {PUBLISHED} "
        "BEGIN SELECT RAISE(ABORT, 'A published finding is never deleted.'); END"
    )
    for verb in ("INSERT", "UPDATE", "DELETE"):
        row = "NEW" if verb == "INSERT" else "OLD"
        op.execute(
            f"CREATE TRIGGER citation_no_{verb.lower()} BEFORE {verb} ON citation "
            f"WHEN (SELECT state FROM finding WHERE id = {row}.finding_id) IN ('accepted', 'superseded', 'withdrawn') "
            "BEGIN SELECT RAISE(ABORT, 'The citations of a published finding never change.'); END"
        )


def _postgresql() -> None:
    op.execute(
        "CREATE FUNCTION tracker_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'check_violation'; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION tracker_refuse('The ledger is append-only.')"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION tracker_refuse('The ledger is append-only.')"
        )
    op.execute(
        "CREATE TRIGGER ledger_content_no_update BEFORE UPDATE ON ledger_content "
        "FOR EACH ROW EXECUTE FUNCTION tracker_refuse('Published words are never edited.')"
    )
    changed = " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in FINDING_WORDS)
    op.execute(
        f"CREATE TRIGGER finding_no_edit BEFORE UPDATE ON finding FOR EACH ROW WHEN ({PUBLISHED} AND ({changed}"
        " OR NEW.state NOT IN ('accepted', 'superseded', 'withdrawn'))) "
        "EXECUTE FUNCTION tracker_refuse('A published finding is never edited.')"
    )
    op.execute(
        f"CREATE TRIGGER finding_no_delete BEFORE DELETE ON finding FOR EACH ROW WHEN ({PUBLISHED}) "
        "EXECUTE FUNCTION tracker_refuse('A published finding is never deleted.')"
    )
    op.execute(
        "CREATE FUNCTION tracker_keep_citations() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "DECLARE target integer; BEGIN "
        "IF TG_OP = 'INSERT' THEN target := NEW.finding_id; ELSE target := OLD.finding_id; END IF; "
        "IF (SELECT state FROM finding WHERE id = target) IN ('accepted', 'superseded', 'withdrawn') THEN "
        "RAISE EXCEPTION 'The citations of a published finding never change.' USING ERRCODE = 'check_violation'; "
        "END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER citation_no_change BEFORE INSERT OR UPDATE OR DELETE ON citation "
        "FOR EACH ROW EXECUTE FUNCTION tracker_keep_citations()"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        names = op.get_bind().scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all()
        for name in names:
            op.execute(f"DROP TRIGGER {name}")
    else:
        for table in APPEND_ONLY:
            op.execute(f"DROP TRIGGER {table}_no_change ON {table}")
            op.execute(f"DROP TRIGGER {table}_no_truncate ON {table}")
        op.execute("DROP TRIGGER ledger_content_no_update ON ledger_content")
        op.execute("DROP TRIGGER finding_no_edit ON finding")
        op.execute("DROP TRIGGER finding_no_delete ON finding")
        op.execute("DROP TRIGGER citation_no_change ON citation")
        op.execute("DROP FUNCTION tracker_keep_citations()")
        op.execute("DROP FUNCTION tracker_refuse()")
    op.execute("DELETE FROM ledger_head")
