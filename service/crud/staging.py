"""The statements of an import. Its rows are staged in a temporary table, which ends with the transaction."""

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from sqlalchemy import Row, text
from sqlmodel import Session

from service.crud.ids import MAX_SEQUENCE_ID


def create_staging(session: Session) -> None:
    """An empty staging table."""
    session.execute(
        text(
            "CREATE TEMP TABLE staged_item (line bigint, id bigint, name text, description text,"
            " price numeric(12, 2), content text) ON COMMIT DROP"
        )
    )


def copy_staged(connection: psycopg.Connection[Any], rows: Iterable[Sequence[object]]) -> None:
    """Stage `rows`, in the order of the table's columns, by COPY; raises the driver's errors."""
    with connection.cursor() as cursor, cursor.copy("COPY staged_item FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def count_repeated_ids(session: Session) -> int:
    """How many rows have the id of an earlier one."""
    count: int = session.execute(text("SELECT count(id) - count(DISTINCT id) FROM staged_item")).scalar_one()
    return count


def list_repeated_ids(session: Session, *, limit: int) -> Sequence[Row[tuple[int, int, str]]]:
    """The first `limit` rows with the id of an earlier one: their line, the first line that has it, their content."""
    return session.execute(
        text(
            "SELECT line, first_line, content FROM"
            " (SELECT *, min(line) OVER (PARTITION BY id) AS first_line FROM staged_item WHERE id IS NOT NULL) AS given"
            " WHERE line > first_line ORDER BY line LIMIT :limit"
        ),
        {"limit": limit},
    ).all()


def count_staged(session: Session) -> tuple[int, int]:
    """How many items the staged rows would create, and how many they would replace."""
    created, updated = session.execute(
        text(
            "SELECT count(*) FILTER (WHERE item.id IS NULL), count(item.id)"
            " FROM staged_item LEFT JOIN item ON item.id = staged_item.id"
        )
    ).one()
    return created, updated


def list_staged_ids(session: Session, *, limit: int) -> Sequence[int]:
    """At most `limit` of the ids that are given, in no order."""
    found = text("SELECT id FROM staged_item WHERE id IS NOT NULL LIMIT :limit")
    return session.execute(found, {"limit": limit}).scalars().all()


def find_highest_id(session: Session) -> int | None:
    """The highest id of a staged row that is within reach of the sequence; None if no row has one."""
    highest: int | None = session.execute(
        text("SELECT max(id) FROM staged_item WHERE id <= :limit"), {"limit": MAX_SEQUENCE_ID}
    ).scalar_one()
    return highest


def write_staged_by_id(session: Session) -> tuple[int, int]:
    """Create or replace the items whose ids are given; how many were created, and how many replaced."""
    # Always in the order of ids, so that two imports do not wait for each other. A row that was inserted has no xmax.
    created, updated = session.execute(
        text(
            "WITH written AS ("
            "INSERT INTO item (id, name, description, price)"
            " SELECT id, name, description, price FROM staged_item WHERE id IS NOT NULL ORDER BY id"
            " ON CONFLICT (id) DO UPDATE SET"
            " name = excluded.name, description = excluded.description, price = excluded.price"
            " RETURNING item.xmax = 0 AS is_new)"
            " SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM written"
        )
    ).one()
    return created, updated


def insert_staged(session: Session) -> int:
    """Create the items without a given id, in the file's order; how many."""
    inserted = session.connection().execute(
        text(
            "INSERT INTO item (name, description, price)"
            " SELECT name, description, price FROM staged_item WHERE id IS NULL ORDER BY line"
        )
    )
    return inserted.rowcount


def drop_staging(session: Session) -> None:
    """Remove the staging table; the transaction may be a part of a longer one."""
    session.execute(text("DROP TABLE staged_item"))
