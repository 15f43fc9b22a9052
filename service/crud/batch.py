"""Statements on many items at once. What is asked for nothing sends no statement."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ColumnElement, any_, literal, text
from sqlmodel import Session, col, delete, insert, select

from service.models import Item
from service.schemas import ItemWrite

_UPDATE = text(
    """
    UPDATE item SET name = new.name, description = new.description, price = new.price
    FROM unnest(
        CAST(:id AS bigint[]), CAST(:name AS text[]), CAST(:description AS text[]), CAST(:price AS numeric[])
    ) AS new (id, name, description, price)
    WHERE item.id = new.id
    RETURNING item.*
    """
)


def lock_items(session: Session, ids: Sequence[int]) -> Sequence[Item]:
    """Those that exist, kept from other writers until the transaction ends.

    In the order of their ids: two batches on the same items cannot wait for each other.
    """
    if not ids:
        return []
    return session.exec(select(Item).where(_is_one_of(ids)).order_by(col(Item.id)).with_for_update()).all()


def insert_items(session: Session, items: Sequence[ItemWrite]) -> Sequence[Item]:
    """The new items, in the order of `items`, which is that of their ids."""
    if not items:
        return []
    # A row's nulls are written like the others' values, so that all are rows of the same statement.
    statement = insert(Item).returning(Item, sort_by_parameter_order=True).execution_options(render_nulls=True)
    return session.execute(statement, [item.model_dump() for item in items]).scalars().all()


def update_items(session: Session, values: Mapping[int, Mapping[str, Any]]) -> None:
    """Set all that a client may set; `values` are those of each id. Items that the session knows are read anew."""
    if not values:
        return
    columns = {name: [row[name] for row in values.values()] for name in ("name", "description", "price")}
    statement = select(Item).from_statement(_UPDATE.bindparams(id=list(values), **columns))
    session.execute(statement, execution_options={"populate_existing": True}).all()


def delete_items(session: Session, ids: Sequence[int]) -> None:
    """Delete them."""
    if ids:
        session.execute(delete(Item).where(_is_one_of(ids)).execution_options(synchronize_session=False))


def _is_one_of(ids: Sequence[int]) -> ColumnElement[bool]:
    return col(Item.id) == any_(literal(list(ids), ARRAY(BigInteger)))
