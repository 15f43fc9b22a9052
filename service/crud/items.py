"""Statements on single items, and the bulk load."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from sqlalchemy import text
from sqlmodel import Session, col, delete, insert, select, update

from service.models import Item
from service.schemas import ItemWrite

if TYPE_CHECKING:
    import psycopg


def insert_item(session: Session, values: ItemWrite) -> Item:
    """The new item, with what the database added to it."""
    item: Item = session.exec(insert(Item).values(values.model_dump()).returning(Item)).scalar_one()
    return item


def find_item(session: Session, item_id: int) -> Item | None:
    """The item as it is committed now, or None."""
    return session.exec(select(Item).where(col(Item.id) == item_id)).one_or_none()


def replace_item(session: Session, item_id: int, values: ItemWrite) -> Item | None:
    """The item after all that a client may set was set; None when there is none."""
    statement = update(Item).where(col(Item.id) == item_id).values(values.model_dump()).returning(Item)
    item: Item | None = session.exec(statement).scalar_one_or_none()
    return item


def delete_item(session: Session, item_id: int) -> bool:
    """Whether there was an item to delete."""
    statement = delete(Item).where(col(Item.id) == item_id).returning(col(Item.id))
    return session.exec(statement).scalar_one_or_none() is not None


def copy_items(session: Session, items: Iterable[ItemWrite]) -> None:
    """Append `items` by COPY, some twenty times faster than INSERT; they are not validated again."""
    # A bulk load is bounded by its input, not by what a request may take.
    session.execute(text("SET LOCAL statement_timeout = 0"))
    connection = cast("psycopg.Connection", session.connection().connection.driver_connection)
    with connection.cursor() as cursor, cursor.copy("COPY item (name, description, price) FROM STDIN") as copy:
        for item in items:
            copy.write_row((item.name, item.description, item.price))
