"""Bringing a used copy of the template back to what a fresh one is, which is cheaper than to copy and drop a database.

PostgreSQL counts the rows that are changed in each table, its catalogs included. So it is known what a test has
changed: rows of ordinary tables are put back; whatever else it was, a setting, a table, a privilege, the copy is
dropped. Counters are complete when the sessions that they count have ended. A session that was the copy's only one is
reset and used again too: to begin one takes as long as all the rest.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]

# Before 15 counters came late, and could be lost.
_COUNTS_SINCE = 15_00_00
# What migrations put into tables is kept in memory.
_MOST_BYTES = 1 << 20
# No table has the oid 0 or 1. The latter stands for who has set counters back to nothing.
_COUNTERS = """
SELECT 0, pg_stat_get_db_sessions(oid) FROM pg_database WHERE datname = current_database() UNION ALL
SELECT 1, (extract(epoch FROM reset) * 1000000)::bigint FROM pg_database, pg_stat_get_db_stat_reset_time(oid) AS reset
WHERE datname = current_database() AND reset IS NOT NULL UNION ALL
SELECT oid, changes FROM pg_class, LATERAL (
    SELECT pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid) + pg_stat_get_tuples_deleted(oid)
) AS counted (changes)
WHERE relkind IN ('r', 'm') AND NOT relisshared AND changes > 0
"""
_TABLES = """
SELECT c.oid, nspname, relname, pg_relation_size(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND relpersistence = 'p' AND nspname NOT IN ('pg_catalog', 'information_schema')
"""
_SEQUENCES = """
SELECT c.oid, nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'S'
"""
# What the setting below would not keep from firing; and a server that does not count.
_HINDERS = """
SELECT FROM pg_trigger WHERE tgenabled IN ('A', 'R') UNION ALL SELECT FROM pg_rewrite WHERE ev_enabled IN ('A', 'R')
UNION ALL SELECT WHERE current_setting('track_counts') = 'off'
"""
# An error, instead of only those rows that a policy lets see.
_ALL_ROWS = "SET LOCAL row_security = off"
# Neither triggers nor the order of references matter to rows that were valid before.
_BEGIN = sql.SQL(f"BEGIN; {_ALL_ROWS}; SET LOCAL session_replication_role = replica")
# TRUNCATE makes new files, for indexes too: where there is little, DELETE takes a tenth of the time.
_TRUNCATE = sql.SQL("TRUNCATE {}")
_ONLY = sql.SQL("ONLY {}")
_DELETE = sql.SQL("DELETE FROM ONLY {}")
_LARGE = "SELECT oid FROM unnest(%s::oid[]) AS changed (oid) WHERE pg_relation_size(oid) > 65536"
_STANDS_AT = sql.SQL("SELECT last_value, is_called FROM {}")
_REFERENCES = "SELECT conrelid, confrelid FROM pg_constraint WHERE contype = 'f'"
# A session reports what it has done when it is idle, some time; or then at once.
_REPORT = "SELECT pg_stat_force_next_flush()"


@dataclass(frozen=True, slots=True)
class Counters:
    """What happened to a database since it was made: its sessions, and by table, how many rows were changed if any."""

    sessions: int = 1
    rows: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What a fresh copy holds: its tables, their rows, who refers to whom, and a statement that resets sequences."""

    tables: dict[int, sql.Identifier]
    rows: dict[int, bytes]
    references: list[tuple[int, int]]
    sequences: sql.Composed

    @classmethod
    def read(cls, connection: Connection) -> Self | None:
        """Read it from a fresh copy; None where copies cannot be renewed."""
        if connection.info.server_version < _COUNTS_SINCE:
            return None
        with _autocommit(connection):
            found = connection.execute(_TABLES).fetchall()
            if sum(size for *_, size in found) > _MOST_BYTES or connection.execute(_HINDERS).rowcount:
                return None
            tables = {oid: sql.Identifier(schema, name) for oid, schema, name, _ in found}
            with connection.transaction():
                connection.execute(_ALL_ROWS)
                rows = {oid: _copy_out(connection, tables[oid]) for oid, *_, size in found if size}
            references = connection.execute(_REFERENCES).fetchall()
            stands = [
                sql.SQL("setval({}::regclass, {}, {})").format(oid, *row)
                for oid, schema, name in connection.execute(_SEQUENCES).fetchall()
                for row in connection.execute(_STANDS_AT.format(sql.Identifier(schema, name))).fetchall()
            ]
        # What this session has set is not what the next test has drawn.
        sequences = sql.SQL("SELECT {}; DISCARD SEQUENCES").format(sql.SQL(", ").join(stands))
        return cls(tables, rows, references, sequences)

    def restore(self, connection: Connection, before: Counters) -> Counters | None:
        """Undo what happened to a copy whose counters were `before`; its new ones, or None if that cannot be undone.

        In few round trips: each costs the thread that makes them a turn of the interpreter's lock.
        """
        with _autocommit(connection):
            connection.execute(_REPORT)
            return self._restore(connection, before, _read_counters(connection))

    def reset(self, connection: Connection, before: Counters) -> Counters | None:
        """The same, with the session that has used the copy; None also if there was another."""
        with _autocommit(connection):
            connection.execute(_REPORT)
            connection.execute("DISCARD ALL")
            now = _read_counters(connection)
            # What came while it listened.
            list(connection.notifies(timeout=0))
            return self._restore(connection, before, now) if now.sessions == before.sessions else None

    def _restore(self, connection: Connection, before: Counters, now: Counters) -> Counters | None:
        changed = {oid for oid in now.rows.keys() | before.rows.keys() if now.rows.get(oid) != before.rows.get(oid)}
        large = self._find_large(connection, changed) if changed <= self.tables.keys() else changed
        if not large <= self.tables.keys():
            return None
        if changed:
            self._put_rows_back(connection, changed, large)
        connection.execute(self.sequences)
        # Our own changes are not to be taken for the next test's.
        return _read_counters(connection) if changed else now

    def _put_rows_back(self, connection: Connection, changed: set[int], large: set[int]) -> None:
        connection.execute(sql.SQL("; ").join([_BEGIN, *self._empty(changed - large, large)]))
        for oid in changed | large:
            if content := self.rows.get(oid):
                statement = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(self.tables[oid])
                with connection.cursor().copy(statement) as copy:
                    copy.write(content)
        connection.execute(f"COMMIT; {_REPORT}")

    def _empty(self, small: set[int], large: set[int]) -> Iterator[sql.Composed]:
        yield from (_DELETE.format(self.tables[oid]) for oid in small)
        if large:
            yield _TRUNCATE.format(sql.SQL(", ").join(_ONLY.format(self.tables[oid]) for oid in large))

    def _find_large(self, connection: Connection, changed: set[int]) -> set[int]:
        """Tables to truncate, which PostgreSQL does only together with those that refer to them."""
        oids = {oid for (oid,) in connection.execute(_LARGE, [list(changed)]).fetchall()} if changed else set()
        while more := {child for child, parent in self.references if parent in oids} - oids:
            oids = oids | more
        return oids


def _read_counters(connection: Connection) -> Counters:
    counted = dict(connection.execute(_COUNTERS).fetchall())
    return Counters(counted.pop(0), counted)


@contextmanager
def _autocommit(connection: Connection) -> Iterator[None]:
    """For as long as the block lasts, a connection that begins transactions where it is told to only."""
    connection.autocommit, before = True, connection.autocommit
    try:
        yield
    finally:
        # An error may have left it in the middle of a transaction; then it is not used again.
        with suppress(psycopg.Error):
            connection.autocommit = before


def _copy_out(connection: Connection, table: sql.Identifier) -> bytes:
    with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(table)) as copy:
        return b"".join(copy)
