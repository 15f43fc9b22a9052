"""What a cursor of the list is bound to, and what is refused as one."""

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from service.models import Item
from service.web.cursors import MAX_CURSOR_LENGTH
from tests.api.lists import ids, next_address
from tests.unit.test_cursors import forge


@pytest.mark.parametrize(
    "change",
    [
        {"sort": "-price"},
        {"sort": "name"},
        {"sort": None},
        {"q": "other"},
        {"q": None},
        {"max_price": "100"},
        {"name": "name 1"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("shelf")
def test_a_cursor_belongs_to_its_filter_and_sort(client: TestClient, change: dict[str, str | None]) -> None:
    parameters = {"limit": "2", "sort": "price", "q": "name"}
    cursor = client.get("/items/", params=parameters).links["next"]["url"].rpartition("=")[2]
    changed = {name: value for name, value in {**parameters, **change}.items() if value is not None}

    response = client.get("/items/", params={**changed, "cursor": cursor})

    assert_invalid_cursor(response)


@pytest.mark.usefixtures("shelf")
def test_pages_of_one_walk_may_differ_in_length_and_in_how_a_filter_is_written(client: TestClient) -> None:
    first = client.get("/items/?limit=2&min_price=0.1&updated_since=2026-01-01T00:00:00Z")
    cursor = first.links["next"]["url"].rpartition("=")[2]

    rest = client.get(f"/items/?min_price=0.10&updated_since=2026-01-01T01:00:00%2B01:00&sort=id&cursor={cursor}")

    assert len(set(ids(first) + ids(rest))) == 8


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "x", "AAAA", "null", "MQ", "0", "-1", "ü", "\U0010ffff", "a b", "../..", "=" * 4, "A" * 2000),
        "A" * (MAX_CURSOR_LENGTH + 1),
        *(forge(content, 'items {"sort":"id"}') for content in (b"[0]", b"[-1]", b"[9223372036854775808]", b'["1"]')),
        *(forge(content, 'items {"sort":"id"}') for content in (b"[true]", b"[1.0]", b"[1,1]", b"[]", b"1", b"[null]")),
    ],
    ids=lambda cursor: ascii(cursor)[:20],
)
def test_a_cursor_that_is_none_is_refused(client: TestClient, cursor: str) -> None:
    assert_invalid_cursor(client.get("/items/", params={"cursor": cursor}))


@pytest.mark.parametrize(
    ("sort", "content"),
    [
        ("name", r'["\ud800",1]'),
        ("name", r'["a\u0000b",1]'),
        ("name", f'["{"x" * 201}",1]'),
        ("name", "[1,1]"),
        ("price", '["NaN",1]'),
        ("price", '["1e999",1]'),
        ("price", '["-1",1]'),
        ("price", '["0.001",1]'),
        ("created_at", '["9999-12-31T23:59:59-23:59",1]'),
        ("created_at", '["2026-01-01T00:00:00",1]'),
        ("-updated_at", '["infinity",1]'),
        ("-updated_at", '["2026-01-01T00:00:00Z",0]'),
    ],
)
def test_a_forged_cursor_is_refused_before_it_reaches_the_database(client: TestClient, sort: str, content: str) -> None:
    forged = forge(content.encode(), f'items {{"sort":"{sort}"}}')

    assert_invalid_cursor(client.get("/items/", params={"sort": sort, "cursor": forged}))


def test_a_forged_cursor_can_only_name_a_position(client: TestClient, shelf: list[Item]) -> None:
    forged = forge(f"[{shelf[9].id}]".encode(), 'items {"sort":"id"}')

    assert ids(client.get("/items/", params={"cursor": forged})) == [item.id for item in shelf[10:]]


def test_a_cursor_outlives_the_item_that_it_stands_on(client: TestClient, shelf: list[Item]) -> None:
    first = client.get("/items/?limit=3")
    client.delete(f"/items/{shelf[2].id}")

    assert ids(client.get(next_address(first) or ""))[0] == shelf[3].id


def assert_invalid_cursor(response: Response) -> None:
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json() == {
        "type": "/problems/invalid-cursor",
        "title": "Invalid cursor",
        "status": 400,
        "detail": "The cursor is damaged, or belongs to another filter, sort or release. Start again without a cursor.",
        "instance": "/items/",
    }
