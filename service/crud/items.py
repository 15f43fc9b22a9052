"""Statements on single items, and the bulk load."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import ARRAY, ColumnElement, Text, all_, any_, false, literal, literal_column, text
from sqlmodel import Session, col, delete, insert, select, update

from service.models import Item
from service.preconditions import UNCONDITIONAL, Precondition
from service.schemas import ItemWrite

if TYPE_CHECKING:
    import psycopg

# As `version_tag` in web/conditional.py writes it, which a test compares.
TAG = literal_column(
    """'"' || item.version || '-' || to_hex((extract(epoch FROM item.updated_at) * 1000000)::bigint) || '"'""", Text()
)
# What a statement returns is what the session knows: it need not find out in Python which of its objects it changes.
FRESH = {"synchronize_session": False, "populate_existing": True}


def insert_item(session: Session, values: ItemWrite) -> Item:
    """The new item, with what the database added to it."""
    item: Item = session.exec(insert(Item).values(values.model_dump()).returning(Item)).scalar_one()
    return item


def find_item(session: Session, item_id: int, condition: Precondition = UNCONDITIONAL) -> Item | None:
    """The item as it is committed now, or None when there is none, or none that meets the condition."""
    return session.exec(select(Item).where(col(Item.id) == item_id, *_holds(condition))).one_or_none()


def update_item(
    session: Session, item_id: int, values: Mapping[str, Any], condition: Precondition = UNCONDITIONAL
) -> Item | None:
    """The item after the columns in `values` were set; None when there is none, or none that meets the condition."""
    statement = update(Item).where(col(Item.id) == item_id, *_holds(condition)).values(values).returning(Item)
    item: Item | None = session.exec(statement, execution_options=FRESH).scalar_one_or_none()
    return item


def delete_item(session: Session, item_id: int, condition: Precondition = UNCONDITIONAL) -> bool:
    """Whether there was an item to delete that met the condition."""
    statement = delete(Item).where(col(Item.id) == item_id, *_holds(condition)).returning(col(Item.id))
    return session.exec(statement, execution_options=FRESH).scalar_one_or_none() is not None


def _holds(condition: Precondition) -> Iterator[ColumnElement[bool]]:
    """The condition in SQL: PostgreSQL decides on the row that it locks, whatever anybody read before."""
    if condition.one_of is not None:
        yield any_(literal(list(condition.one_of), ARRAY(Text))) == TAG
    if condition.none_of is None:
        yield false()
    elif condition.none_of:
        yield all_(literal(list(condition.none_of), ARRAY(Text))) != TAG


def copy_items(session: Session, items: Iterable[ItemWrite]) -> None:
    """Append `items` by COPY, some twenty times faster than INSERT; they are not validated again."""
    # A bulk load is bounded by its input, not by what a request may take.
    session.execute(text("SET LOCAL statement_timeout = 0"))
    connection = cast("psycopg.Connection", session.connection().connection.driver_connection)
    with connection.cursor() as cursor, cursor.copy("COPY item (name, description, price) FROM STDIN") as copy:
        for item in items:
            copy.write_row((item.name, item.description, item.price))
