"""The base of all tables: naming, times, enums, and the random keys that addresses use."""

from __future__ import annotations

import datetime as dt
import enum
import secrets
from typing import Any

from sqlalchemy import DateTime, Enum, MetaData
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

# Crockford's base 32 without the letters that are read wrongly; 12 of them are 60 random bits.
_KEY_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"


class UTCDateTime(TypeDecorator[dt.datetime]):
    """An aware time in UTC. Naive times are refused; SQLite, which drops the zone, gets it back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A time without a zone cannot be stored.")
        return value.astimezone(dt.UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        assert isinstance(value, dt.datetime)
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class Base(DeclarativeBase):
    """Parent of every model."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy declares it this way.
        dt.datetime: UTCDateTime(),
        # Stored by value; checked by Python and, where a rule hangs on it, by a named CHECK of the table.
        enum.Enum: Enum(
            enum.Enum,
            native_enum=False,
            validate_strings=True,
            length=32,
            values_callable=lambda words: [word.value for word in words],
        ),
    }


def new_key() -> str:
    """A random name for addresses of things that are not public yet, so that nobody can count them."""
    return "".join(secrets.choice(_KEY_LETTERS) for _ in range(12))
