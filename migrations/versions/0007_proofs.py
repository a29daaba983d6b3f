"""Timestamps by others, and the leaves of the days' sealed roots."""

import sqlalchemy as sa
from alembic import op

revision = "0007_proofs"
down_revision = "0006_teamwork"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "timestamp",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(length=40), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("authority", sa.String(length=200), nullable=False),
        sa.Column("stamped_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timestamp")),
    )
    op.create_index(op.f("ix_timestamp_subject"), "timestamp", ["subject"], unique=False)

    op.create_table(
        "private_commitment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("leaf", sa.String(length=64), nullable=False),
        sa.Column("ledger_seq", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["ledger_seq"], ["ledger_entry.seq"], name=op.f("fk_private_commitment_ledger_seq")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_private_commitment")),
    )
    op.create_index("ix_private_commitment_day", "private_commitment", ["day", "leaf"], unique=False)
    op.create_index(op.f("ix_private_commitment_subject"), "private_commitment", ["subject"], unique=False)


def downgrade() -> None:
    op.drop_table("private_commitment")
    op.drop_table("timestamp")
