"""How PostgreSQL finds pages of a million items, and changes among a million: through an index, without sorting.

The table has a hundredth of that. Its statistics say a million, on as few pages as there are, which makes a scan of all
look cheaper than it would be. `tests/benchmarks/bench_paging.py` has the real million.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlmodel import Session

from service import crud
from service.entries import PAGE
from service.feed import Snapshot
from service.filters import ItemFilter, Sort, position_of
from service.testing.data import db_data
from tests.api.lists import SORTS

ROWS = 10_000
FILL = text("""
    INSERT INTO item (name, description, price, created_at)
    SELECT 'Item ' || n * 7919 % :rows, 'word' || n % 1000, n % 5000, 'epoch'::timestamptz + n / 3 * interval '1 minute'
    FROM generate_series(1, :rows) AS n
""")
PRETEND = text("UPDATE pg_class SET reltuples = 1000000 WHERE oid IN ('item'::regclass, 'item_change'::regclass)")


@db_data()
def a_million_items(session: Session) -> None:
    session.execute(FILL, {"rows": ROWS})
    session.commit()
    session.execute(text("ANALYZE item, item_change"))
    session.execute(PRETEND)


def plan_of(session: Session, query: Callable[[], object]) -> str:
    """How PostgreSQL would run the one statement of `query`."""
    sent: list[tuple[str, Any]] = []
    connection = session.connection()

    def keep(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        sent.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", keep)
    query()
    event.remove(connection, "before_cursor_execute", keep)
    ((statement, parameters),) = sent
    return "\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())


@pytest.mark.usefixtures("a_million_items")
@pytest.mark.parametrize("sort", SORTS)
def test_every_page_of_every_sort_is_read_from_its_index(session: Session, sort: Sort) -> None:
    deep = crud.list_page(session, ItemFilter(), sort=sort, limit=ROWS // 2)[-1]
    (item,) = PAGE.validate_python([deep])
    first = plan_of(session, lambda: crud.list_page(session, ItemFilter(), sort=sort, limit=101))
    later = plan_of(
        session,
        lambda: crud.list_page(session, ItemFilter(), sort=sort, after=position_of(item, sort), limit=101),
    )

    column = sort.removeprefix("-")
    for plan in (first, later):
        assert "Sort" not in plan
        assert "Seq Scan" not in plan
        assert f"using {'item_pkey' if column == 'id' else f'item_{column}_id'} on item" in plan
        assert ("Backward" in plan) == sort.startswith("-")
    # The index leads to the position: nothing before it is read and thrown away.
    assert "Index Cond" in later
    assert "Filter" not in first + later


@pytest.mark.usefixtures("a_million_items")
@pytest.mark.parametrize(
    ("chosen", "index"),
    [
        (ItemFilter(q="word7"), "item_search"),
        (ItemFilter(name="Item 7"), "item_name_id"),
        (ItemFilter(min_price=Decimal(7), max_price=Decimal(7)), "item_price_id"),
    ],
    ids=str,
)
def test_a_filter_that_leaves_little_is_read_from_its_index(session: Session, chosen: ItemFilter, index: str) -> None:
    plan = plan_of(session, lambda: crud.list_page(session, chosen, limit=101))

    assert index in plan
    assert "Seq Scan" not in plan


@pytest.mark.usefixtures("a_million_items")
@pytest.mark.parametrize(("after", "index"), [(0, "item_change_xid"), (ROWS // 2, "item_change_pkey")])
def test_changes_are_found_by_their_transactions_and_later_pages_by_their_numbers(
    session: Session, after: int, index: str
) -> None:
    newest = session.execute(text("SELECT max(xid) FROM item_change")).scalar_one()
    seen, until = Snapshot(newest + 1, (newest - 1,)), Snapshot(newest + 100, (newest + 2, newest + 3))

    plan = plan_of(session, lambda: crud.list_changes(session, seen=seen, until=until, after=after, limit=101))

    assert index in plan
    assert "Seq Scan" not in plan
