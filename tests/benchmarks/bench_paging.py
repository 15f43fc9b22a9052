"""Pages at a depth of a million items beside the first, and the change feed behind a million changes, in one run."""

import time
from statistics import median
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlmodel import Session
from starlette.testclient import TestClient

from service.entries import PAGE
from service.filters import ListQuery, Sort, position_of, position_shape
from service.web.cursors import make_cursor

pytestmark = [pytest.mark.db(isolation="clone"), pytest.mark.timeout(1200)]

ROWS = 1_001_000
DEPTH = 1_000_000
ROUNDS = 100
MOST = 1.3
FILL = text("""
    INSERT INTO item (name, description, price, created_at)
    SELECT 'Item ' || n::bigint * 7919 % :rows, 'The description of item ' || n || ', word' || n % 1000,
           (n::bigint * 104729 % 100000)::numeric / 100, 'epoch'::timestamptz + n / 3 * interval '1 minute'
    FROM generate_series(1, :rows) AS n
""")
SORTS: list[Sort] = ["id", "-id", "name", "-name", "price", "-price", "created_at", "-updated_at"]


@pytest.fixture
def a_million_items(engine: Engine) -> None:
    """The rows, with all that triggers and indexes make of them."""
    began = time.perf_counter()
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(FILL, {"rows": ROWS})
    print(f"\n{ROWS:,} items stored in {time.perf_counter() - began:.0f} s")  # noqa: T201
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE item, item_change"))


@pytest.mark.usefixtures("a_million_items")
def test_a_page_costs_the_same_at_any_depth(client: TestClient, session: Session) -> None:
    ratios = {}
    for sort in SORTS:
        first = f"/items/?sort={sort}&limit=100"
        deep = f"{first}&cursor={deep_cursor(session, sort)}"
        assert len(client.get(deep).json()) == 100
        pairs = [(seconds(client, first), seconds(client, deep)) for _ in range(ROUNDS)]
        beginning, depth = (median(times) for times in zip(*pairs, strict=True))
        ratios[sort] = depth / beginning
        print(f"sort={sort:12} {beginning * 1000:6.2f} ms, deep {depth / beginning:5.2f} times")  # noqa: T201

    assert {sort: ratio for sort, ratio in ratios.items() if ratio > MOST} == {}


@pytest.mark.usefixtures("a_million_items")
def test_searches_counts_and_changes_of_a_million_items(client: TestClient) -> None:
    now = client.get("/items/changes?since=now").headers["X-Next-Cursor"]
    page = client.get("/items/changes?limit=100")
    for name, address in {
        "a word of 0.1 %": "/items/?q=word7",
        "a word of all": "/items/?q=description&sort=price",
        "two words": "/items/?q=word7 17007&sort=name",
        "a count of all": "/items/?limit=1&include_total=true",
        "no changes": f"/items/changes?since={now}",
        "changes, first page": "/items/changes?limit=100",
        "changes, second page": page.links["next"]["url"],
    }.items():
        times = [seconds(client, address) for _ in range(10)]
        print(f"{name:22} {median(times) * 1000:8.1f} ms")  # noqa: T201


def deep_cursor(session: Session, sort: Sort) -> str:
    """A cursor to the millionth item."""
    column = sort.removeprefix("-")
    direction = "DESC" if sort.startswith("-") else "ASC"
    session.execute(text("SET LOCAL statement_timeout = 0"))
    row: Any = session.execute(
        text(
            "SELECT id, name, description, price, created_at, updated_at, version FROM item"  # noqa: S608  # our own words
            f" ORDER BY {column} {direction}, id {direction} OFFSET {DEPTH - 1} LIMIT 1"
        )
    ).one()
    session.rollback()
    (item,) = PAGE.validate_python([row], from_attributes=True)
    return make_cursor(position_of(item, sort), position_shape(sort), ListQuery(sort=sort).scope)


def seconds(client: TestClient, address: str) -> float:
    began = time.perf_counter()
    assert client.get(address).status_code == 200
    return time.perf_counter() - began
