"""The article's five scenarios against server processes, from outside: HTTP, psycopg and Redis, and no code of ours."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis
import requests
from psycopg.rows import dict_row
from sqlalchemy import Engine

from tests.cli.conftest import Terminal, serve

KEY = "all_items_cache"
WIDGET = {"name": "Widget", "description": "Größe 👍🏽", "price": 10.99}

pytestmark = [pytest.mark.slow, pytest.mark.db(isolation="clone")]


@pytest.fixture
def items(configured: Terminal) -> str:
    """The address of the items, at a server of two workers."""
    _, url = serve(configured, "--workers", "2")
    return f"{url}/items/"


@pytest.fixture
def database(engine: Engine) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A connection that sees each statement's moment."""
    address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True, row_factory=dict_row) as connection:
        yield connection


Database = psycopg.Connection[dict[str, Any]]


def create(items: str, **changes: object) -> dict[str, Any]:
    answer = requests.post(items, json=WIDGET | changes, timeout=5)
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


def test_a_created_item_is_in_the_database(items: str, database: Database) -> None:
    body = create(items)

    row = database.execute("SELECT name, description, price::text FROM item WHERE id = %s", [body["id"]]).fetchone()

    assert {name: body[name] for name in WIDGET} == WIDGET
    assert row == {**WIDGET, "price": "10.99"}


def test_items_that_are_in_the_database_are_listed(items: str, database: Database) -> None:
    database.execute("INSERT INTO item (name, price) SELECT 'Item ' || n, n FROM generate_series(1, 3) AS n")

    answer = requests.get(items, timeout=5)

    assert answer.status_code == 200
    assert [(item["name"], item["price"]) for item in answer.json()] == [("Item 1", 1), ("Item 2", 2), ("Item 3", 3)]


def test_an_updated_item_is_changed_in_the_database(items: str, database: Database) -> None:
    item_id = create(items)["id"]

    answer = requests.put(f"{items}{item_id}", json={"name": "Gadget", "price": 20.5}, timeout=5)

    assert (answer.status_code, answer.json()["name"]) == (200, "Gadget")
    row = database.execute("SELECT name, description, price::text, version FROM item").fetchone()
    assert row == {"name": "Gadget", "description": None, "price": "20.50", "version": 2}


def test_a_deleted_item_is_gone_from_the_database(items: str, database: Database) -> None:
    address = f"{items}{create(items)['id']}"

    answer = requests.delete(address, timeout=5)

    assert (answer.status_code, answer.json()) == (200, {"message": "Item deleted successfully"})
    assert database.execute("SELECT FROM item").fetchall() == []
    assert requests.delete(address, timeout=5).status_code == 404
    assert requests.get(address, timeout=5).status_code == 404


def test_the_list_is_in_redis_from_its_first_read_to_the_next_write(items: str, redis_client: redis.Redis) -> None:
    item_id = create(items)["id"]
    assert redis_client.exists(KEY) == 0

    first = requests.get(items, timeout=5)

    raw = redis_client.get(KEY)
    assert isinstance(raw, bytes)
    assert json.loads(json.loads(raw)[0])["name"] == "Widget"
    # However often it is asked.
    assert {requests.get(items, timeout=5).content for _ in range(8)} == {first.content}
    for method, address in (("POST", items), ("PUT", f"{items}{item_id}"), ("DELETE", f"{items}{item_id}")):
        requests.get(items, timeout=5)
        assert redis_client.exists(KEY) == 1

        assert requests.request(method, address, json=WIDGET if method != "DELETE" else None, timeout=5).ok

        assert redis_client.exists(KEY) == 0
