"""Runs the migrations on the connection that `tracker.database` (or a test) hands over."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from tracker.models import Base, UTCDateTime


def render_item(kind: str, item: object, _context: object) -> str | bool:
    """Write plain types into migrations, so that they import nothing of ours."""
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        render_item=render_item,
        compare_type=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
