"""Text that is encrypted at rest: the keys of records, and the columns that hold ciphertexts."""

import sqlalchemy as sa
from alembic import op

revision = "0003_sealing"
down_revision = "0002_guards"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "canary",
        sa.Column("kid", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_canary")),
    )
    op.create_table(
        "record_key",
        sa.Column("evidence_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=12), nullable=False),
        sa.Column("kid", sa.String(length=16), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["evidence_id"], ["evidence.id"], name=op.f("fk_record_key_evidence_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("evidence_id", name=op.f("pk_record_key")),
        sa.UniqueConstraint("name", name=op.f("uq_record_key_name")),
    )
    op.create_index(op.f("ix_record_key_kid"), "record_key", ["kid"], unique=False)

    op.create_table(
        "evidence_detail",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("evidence_id", sa.Integer(), nullable=False),
        sa.Column(
            "detail",
            sa.Enum("exact-date", "exact-place", "names", name="detail", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column(
            "visibility",
            sa.Enum("public", "team", "restricted", name="visibility", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("visibility <> 'public'", name=op.f("ck_evidence_detail_never_public")),
        sa.ForeignKeyConstraint(
            ["evidence_id"], ["evidence.id"], name=op.f("fk_evidence_detail_evidence_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence_detail")),
        sa.UniqueConstraint("evidence_id", "detail", name=op.f("uq_evidence_detail_evidence_id_detail")),
    )
    op.add_column("activity", sa.Column("sealed", sa.LargeBinary(), nullable=True))
    op.add_column("evidence", sa.Column("place", sa.String(length=200), nullable=False, server_default=""))
    op.add_column("evidence", sa.Column("needs", sa.String(length=200), nullable=False, server_default=""))
    op.add_column("evidence", sa.Column("not_before", sa.Date(), nullable=True))
    op.add_column(
        "evidence", sa.Column("from_person", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("evidence", sa.Column("sealed", sa.LargeBinary(), nullable=True))
    op.add_column("evidence_link", sa.Column("sealed", sa.LargeBinary(), nullable=True))
    op.add_column("finding", sa.Column("needs", sa.String(length=200), nullable=False, server_default=""))
    op.add_column("reply", sa.Column("needs", sa.String(length=200), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("reply", "needs")
    op.drop_column("finding", "needs")
    op.drop_column("evidence_link", "sealed")
    op.drop_column("evidence", "sealed")
    op.drop_column("evidence", "from_person")
    op.drop_column("evidence", "not_before")
    op.drop_column("evidence", "needs")
    op.drop_column("evidence", "place")
    op.drop_column("activity", "sealed")
    op.drop_table("evidence_detail")
    op.drop_table("record_key")
    op.drop_table("canary")
