"""Databases on PostgreSQL for tests: emptied after a test and used again, because making one takes longer than a test.

Making one copies some 900 files: 0.6 seconds of two processors' time. Emptying takes 0.02. What a test did to the
tables themselves is seen by comparing their definitions, and such a database is thrown away.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

#: Rows that are deleted stay in the files; after so many of them a fresh database is faster.
_DELETED = 5000

#: Everything that a migration or a test could do to the tables, as one hash.
_DEFINITIONS = text(
    """
    SELECT md5(string_agg(told, E'\\n' ORDER BY told)) FROM (
        SELECT concat_ws(' ', c.relname, c.relkind, c.relacl::text, c.reloptions::text, c.relrowsecurity, a.attname,
            format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid)) AS told
        FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace
        UNION ALL SELECT pg_get_indexdef(indexrelid) || indisvalid::text FROM pg_index
            JOIN pg_class c ON c.oid = indexrelid WHERE c.relnamespace = 'public'::regnamespace
        UNION ALL SELECT conrelid::regclass::text || conname || pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT pg_get_triggerdef(oid) || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT proname || prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'
        UNION ALL SELECT setconfig::text FROM pg_db_role_setting
    ) AS all_of_it
    """
)

#: The rows that migrations made stand aside, in a schema of their own.
_KEEP_ASIDE = text(
    """
    DO $$ DECLARE one text; filled bool; BEGIN
        CREATE SCHEMA pristine;
        FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', one) INTO filled;
            IF filled THEN EXECUTE format('CREATE TABLE pristine.%I AS TABLE public.%I', one, one); END IF;
        END LOOP;
    END $$
    """
)

_EMPTY = text(
    """
    DO $$ DECLARE one text; few int; deleted int := 0; BEGIN
        SET LOCAL session_replication_role = replica;
        FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            EXECUTE format('DELETE FROM public.%I', one);
            GET DIAGNOSTICS few = ROW_COUNT;
            deleted := deleted + few;
        END LOOP;
        FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'pristine' LOOP
            EXECUTE format('INSERT INTO public.%I OVERRIDING SYSTEM VALUE TABLE pristine.%I', one, one);
        END LOOP;
        PERFORM setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
            FROM pg_sequences WHERE last_value IS NOT NULL;
        PERFORM set_config('tests.deleted', deleted::text, true);
    END $$
    """
)


def keep_aside(engine: Engine) -> str:
    """Make a migrated database ready to be a template of those that are used again. Gives its definitions' hash."""
    with engine.begin() as connection:
        connection.execute(_KEEP_ASIDE)
        return str(connection.execute(_DEFINITIONS).scalar_one())


class Pool:
    """The databases of one process of the tests."""

    def __init__(
        self, url: Callable[[str], str], administrator: Connection, template: str, definitions: str
    ) -> None:
        self.url = url
        self.administrator = administrator
        self.template = template
        self.definitions = definitions
        self.free: list[tuple[str, int]] = []

    def lend(self) -> Iterator[str]:
        """The address of a database as the migrations leave it, for as long as a test takes."""
        name, deleted = self.free.pop() if self.free else (make(self.administrator, self.template), 0)
        yield self.url(name)
        deleted += self._empty(name)
        if deleted < _DELETED:
            self.free.append((name, deleted))
        else:
            drop(self.administrator, name)

    def _empty(self, name: str) -> int:
        """How many rows were deleted; `_DELETED` if it cannot be used again."""
        self.administrator.execute(
            text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name"),
            {"name": name},
        )
        engine = create_engine(self.url(name), poolclass=NullPool)
        try:
            with engine.begin() as connection:
                if connection.execute(_DEFINITIONS).scalar_one() != self.definitions:
                    return _DELETED
                connection.execute(_EMPTY)
                return int(connection.execute(text("SELECT current_setting('tests.deleted')")).scalar_one())
        except DBAPIError:
            return _DELETED


def make(administrator: Connection, template: str) -> str:
    """A new copy of that database; gives its name."""
    name = f"test_{os.urandom(6).hex()}"
    # Copying the template's files takes less time than writing its pages into the log.
    administrator.execute(text(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"))
    return name


def drop(administrator: Connection, name: str) -> None:
    """Throw it away, whoever is connected."""
    administrator.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
