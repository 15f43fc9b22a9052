"""The statement of an export: PostgreSQL writes the file, as the API writes items, and nobody here reads it."""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from sqlalchemy import ColumnElement, Dialect, Select, SQLColumnExpression, case, func, literal_column, select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlmodel import col

from service.models import Item

CHUNK_BYTES = 64 * 1024
DIALECT: Dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]
# CSV whose quote and delimiter never occur in JSON passes it through as it is; COPY's text format would escape it.
AS_IT_IS = r"FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02'"


def copy_ndjson(connection: psycopg.Connection[Any], where: Sequence[ColumnElement[bool]]) -> Iterator[bytes]:
    """The items that `where` lets through, oldest first, as lines of JSON; raises the driver's errors."""
    price = col(Item.price)
    # A whole number has one place, as a float is printed.
    shortest = case((price == func.trunc(price), func.trunc(price, 1)), else_=func.trim_scale(price))
    items = _select_items(where, price=shortest).subquery("exported")
    return _copy(connection, select(func.row_to_json(literal_column("exported"))).select_from(items), AS_IT_IS)


def copy_csv(connection: psycopg.Connection[Any], where: Sequence[ColumnElement[bool]]) -> Iterator[bytes]:
    """The items that `where` lets through, oldest first, as CSV with a header; raises the driver's errors.

    Prices have both their places, for readers of CSV that know no type.
    """
    return _copy(connection, _select_items(where, price=col(Item.price)), "FORMAT csv, HEADER")


def _select_items(where: Sequence[ColumnElement[bool]], *, price: SQLColumnExpression[Any]) -> Select[Any]:
    columns: list[Any] = [
        col(Item.id),
        col(Item.name),
        col(Item.description),
        price.label("price"),
        _rfc3339(col(Item.created_at)).label("created_at"),
        _rfc3339(col(Item.updated_at)).label("updated_at"),
        col(Item.version),
    ]
    return select(*columns).where(*where).order_by(col(Item.id))


def _rfc3339(time: Any) -> ColumnElement[str]:  # noqa: ANN401  # a column whose type SQLModel does not tell
    text = func.to_char(func.timezone("UTC", time), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    return func.replace(text, ".000000Z", "Z")


def _copy(connection: psycopg.Connection[Any], selected: Select[Any], options: str) -> Iterator[bytes]:
    """The output of COPY in pieces of some CHUNK_BYTES. To close this before its end cancels the statement."""
    query = selected.compile(dialect=DIALECT)
    statement: Any = f"COPY ({query.string}) TO STDOUT ({options})"
    held = bytearray()
    with connection.cursor() as cursor, cursor.copy(statement, query.construct_params()) as copy:
        for row in copy:
            held += row
            if len(held) >= CHUNK_BYTES:
                yield bytes(held)
                held.clear()
    if held:
        yield bytes(held)
