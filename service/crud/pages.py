"""Statements on items in pages, filtered and sorted."""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import ColumnElement, func, literal_column, tuple_
from sqlmodel import Session, SQLModel, col, select

from service.filters import ItemFilter, ItemPosition, Sort, sort_columns
from service.models import Item
from service.schemas import ItemRead

_COLUMNS = SQLModel.metadata.tables[Item.__tablename__].columns
_SHOWN = tuple(ItemRead.model_fields)

Row = dict[str, Any]


def list_page(
    session: Session, chosen: ItemFilter, *, sort: Sort = "id", after: ItemPosition | None = None, limit: int
) -> Sequence[Row]:
    """The first `limit` items of `chosen` in the order of `sort`, or the first that follow the position `after`.

    The position is compared as a row, so that the sort's index leads to it: a page costs the same at any depth.
    Columns, for the session to make an object of each row would take longer than all else that a page does.
    """
    statement = sqlalchemy.select(*map(_COLUMNS.__getitem__, _SHOWN)).where(*matching(chosen), *_beyond(after, sort))
    rows = session.execute(statement.order_by(*_order(sort)).limit(limit))
    return [dict(zip(_SHOWN, row, strict=True)) for row in rows]


def count_items(session: Session, chosen: ItemFilter) -> int:
    """How many items there are of `chosen`."""
    return session.exec(select(func.count()).select_from(Item).where(*matching(chosen))).one()


def matching(chosen: ItemFilter) -> Iterator[ColumnElement[bool]]:
    """What a row has to fulfil, to be one of `chosen`; for every statement that takes the filter."""
    if chosen.q is not None:
        words = func.websearch_to_tsquery(literal_column("'simple'::regconfig"), chosen.q)
        yield _COLUMNS["search"].bool_op("@@")(words)
    if chosen.name is not None:
        yield col(Item.name) == chosen.name
    if chosen.min_price is not None:
        yield col(Item.price) >= chosen.min_price
    if chosen.max_price is not None:
        yield col(Item.price) <= chosen.max_price
    if chosen.updated_since is not None:
        yield col(Item.updated_at) >= chosen.updated_since


def _order(sort: Sort) -> list[ColumnElement[Any]]:
    return [_COLUMNS[name].desc() if sort.startswith("-") else _COLUMNS[name].asc() for name in sort_columns(sort)]


def _beyond(position: ItemPosition | None, sort: Sort) -> Iterator[ColumnElement[bool]]:
    if position is not None:
        row = tuple_(*(_COLUMNS[name] for name in sort_columns(sort)))
        yield row < position if sort.startswith("-") else row > position
