"""Batches that fail: the first operation that cannot be done is named, and nothing was changed."""

from typing import Any

import pytest
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

from service.models import Item
from tests.factories import ItemFactory

WIDGET = {"name": "Widget", "price": 1}
MISSING = 9223372036854775807
GOOD: list[dict[str, Any]] = [
    {"op": "create", "item": WIDGET},
    {"op": "replace", "id": 0, "item": WIDGET},
    {"op": "update", "id": 1, "item": {"price": 7}},
    {"op": "delete", "id": 2},
]


@pytest.fixture
def items(session: Session) -> list[dict[str, Any]]:
    """Six items, as they are stored."""
    ItemFactory.create_batch(6)
    session.commit()
    return stored(session)


def stored(session: Session) -> list[dict[str, Any]]:
    session.expire_all()
    return [item.model_dump() for item in session.exec(select(Item).order_by(col(Item.id)))]


def on(items: list[dict[str, Any]], operations: list[Any]) -> list[Any]:
    """The operations, on the ids of `items` instead of their numbers."""
    return [
        {**operation, "id": items[operation["id"]]["id"]}
        if isinstance(operation, dict) and type(operation.get("id")) is int and 0 <= operation["id"] < 6
        else operation
        for operation in operations
    ]


@pytest.mark.parametrize(
    ("bad", "pointer"),
    [
        ({"op": "create"}, "/item"),
        ({"op": "create", "item": None}, "/item"),
        ({"op": "create", "item": {}}, "/item/name /item/price"),
        ({"op": "create", "item": {**WIDGET, "name": ""}}, "/item/name"),
        ({"op": "create", "item": {**WIDGET, "colour": "red"}}, "/item/colour"),
        ({"op": "create", "item": WIDGET, "id": 4}, "/id"),
        ({"op": "create", "item": WIDGET, "if_match": "*"}, "/if_match"),
        ({"op": "replace", "id": 4, "item": {"name": "x"}}, "/item/price"),
        ({"op": "replace", "item": WIDGET}, "/id"),
        ({"op": "replace", "id": "4", "item": WIDGET}, "/id"),
        ({"op": "update", "id": 4, "item": {"price": None}}, "/item/price"),
        ({"op": "update", "id": 4, "item": {"name": None}}, "/item/name"),
        ({"op": "update", "id": 4}, "/item"),
        ({"op": "update", "id": 4, "item": {"price": 1}, "if_match": "1-0"}, "/if_match"),
        ({"op": "update", "id": 4, "item": {"price": 1}, "if_match": 1}, "/if_match"),
        ({"op": "update", "id": 4, "price": 1}, "/item /price"),
        ({"op": "delete"}, "/id"),
        ({"op": "delete", "id": -1}, "/id"),
        ({"op": "delete", "id": MISSING + 1}, "/id"),
        ({"op": "delete", "id": 1.5}, "/id"),
        ({"op": "delete", "id": True}, "/id"),
        ({"op": "delete", "id": None}, "/id"),
        ({"op": "delete", "id": 4, "item": WIDGET}, "/item"),
        ({"op": "upsert", "id": 4}, ""),
        ({"op": ["create"], "item": WIDGET}, ""),
        ({"op": None}, ""),
        ({"item": WIDGET}, ""),
        ({}, ""),
        ([], ""),
        (None, ""),
        ("create", ""),
    ],
    ids=str,
)
def test_an_operation_without_the_shape_of_its_kind_is_named_by_a_pointer(
    client: TestClient, session: Session, items: list[dict[str, Any]], bad: object, pointer: str
) -> None:
    response = client.post("/items/batch", json={"operations": on(items, [*GOOD, bad])})

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [
        f"/operations/4{step}" for step in (pointer.split(" "))
    ]
    assert (response.json()["index"], response.json()["pointer"]) == (4, "/operations/4")
    assert stored(session) == items


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/operations"]),
        ({"operations": []}, ["/operations"]),
        ({"operations": None}, ["/operations"]),
        ({"operations": {"op": "create", "item": WIDGET}}, ["/operations"]),
        ({"operations": [{"op": "create", "item": WIDGET}], "atomic": False}, ["/atomic"]),
        ({"operations": [{"op": "create", "item": WIDGET}] * 1001}, ["/operations"]),
        ([{"op": "create", "item": WIDGET}], [""]),
        (
            {"atomic": 1, "operations": [{"op": "create", "item": WIDGET}, {}, {"op": "delete", "id": 0}]},
            ["/operations/1", "/operations/2/id", "/atomic"],
        ),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_batch_is_an_object_with_1_to_1000_operations(
    client: TestClient,
    session: Session,
    items: list[dict[str, Any]],
    body: object,
    pointers: list[str],
) -> None:
    response = client.post("/items/batch", json=body)

    assert response.status_code == 422
    assert response.json().get("index") == (1 if "/operations/1" in pointers else None)
    assert [error["pointer"] for error in response.json()["errors"]] == pointers
    assert stored(session) == items


def test_of_many_operations_without_a_shape_the_first_is_named(client: TestClient, session: Session) -> None:
    operations = [{"op": "create", "item": WIDGET} for _ in range(12)]
    operations[9], operations[10] = {"op": "delete"}, {"op": "create"}

    body = client.post("/items/batch", json={"operations": operations}).json()

    assert body == {
        "type": "/problems/invalid-request",
        "title": "Invalid request",
        "status": 422,
        "detail": "The request does not have the shape that this address takes; `errors` names each fault.",
        "instance": "/items/batch",
        "errors": [
            {"pointer": "/operations/9/id", "detail": "Field required"},
            {"pointer": "/operations/10/item", "detail": "Field required"},
        ],
        "index": 9,
        "pointer": "/operations/9",
    }
    assert stored(session) == []


def test_an_operation_that_not_all_read_alike_is_named(client: TestClient) -> None:
    operation = b'{"op": "create", "item": {"name": "a", "name": "b", "price": NaN}}'
    content = b'{"operations": [{"op": "delete", "id": 1}, %s]}' % operation

    body = client.post("/items/batch", content=content, headers={"Content-Type": "application/json"}).json()

    assert [error["pointer"] for error in body["errors"]] == ["/operations/1/item/name", "/operations/1/item/price"]
    assert (body["index"], body["pointer"]) == (1, "/operations/1")


@pytest.mark.parametrize("op", ["replace", "update", "delete"])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_missing_item_is_named_by_the_index_of_its_operation(
    client: TestClient, session: Session, items: list[dict[str, Any]], op: str, place: int
) -> None:
    bad = {"op": op, "id": MISSING} | ({} if op == "delete" else {"item": WIDGET})

    response = client.post("/items/batch", json={"operations": on(items, [*GOOD[:place], bad, *GOOD[place:]])})

    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json() == {
        "type": "/problems/item-not-found",
        "title": "Item not found",
        "status": 404,
        "detail": f"There is no item {MISSING}.",
        "instance": "/items/batch",
        "index": place,
        "pointer": f"/operations/{place}",
    }
    assert stored(session) == items


@pytest.mark.parametrize("change", [{"op": "replace", "item": WIDGET}, {"op": "update", "item": {}}, {"op": "delete"}])
@pytest.mark.parametrize("pattern", ['"1-0"', "W/{tag}", '""'])
def test_a_stale_tag_is_named_by_the_index_of_its_operation(
    client: TestClient, session: Session, items: list[dict[str, Any]], change: dict[str, Any], pattern: str
) -> None:
    item_id = items[4]["id"]
    tag = client.get(f"/items/{item_id}").headers["ETag"]
    bad = {**change, "id": 4, "if_match": pattern.format(tag=tag)}

    answers = [
        client.post("/items/batch", json={"operations": on(items, [*GOOD[:place], bad, *GOOD[place:]])})
        for place in range(5)
    ]

    for place, response in enumerate(answers):
        assert response.status_code == 412
        assert response.headers["ETag"] == tag
        assert response.json() == {
            "type": "/problems/precondition-failed",
            "title": "Precondition failed",
            "status": 412,
            "detail": f"Item {item_id} is not as the request requires it to be. Read it anew, then decide.",
            "instance": "/items/batch",
            "index": place,
            "pointer": f"/operations/{place}",
        }
    assert stored(session) == items


def test_of_many_operations_that_cannot_be_done_the_first_is_named(
    client: TestClient, session: Session, items: list[dict[str, Any]]
) -> None:
    bad = [
        {"op": "delete", "id": 5, "if_match": '"1-0"'},
        {"op": "update", "id": MISSING, "item": {"price": 1}},
        {"op": "replace", "id": 4, "if_match": '"1-0"', "item": WIDGET},
        {"op": "delete", "id": MISSING - 1},
    ]

    orders = [bad[number:] + bad[:number] for number in range(4)]
    answers = [client.post("/items/batch", json={"operations": on(items, [*GOOD, *order])}) for order in orders]

    assert [answer.status_code for answer in answers] == [412, 404, 412, 404]
    assert {answer.json()["index"] for answer in answers} == {4}
    assert stored(session) == items


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ({"op": "update", "id": 2, "item": {}}, 404),
        ({"op": "delete", "id": 2, "if_match": "*"}, 404),
        ({"op": "delete", "id": 1, "if_match": "{tag}"}, 412),
        ({"op": "delete", "id": 5, "if_match": '"1-0"'}, 412),
    ],
    ids=str,
)
def test_an_operation_meets_what_earlier_ones_made_of_its_item(
    client: TestClient, session: Session, items: list[dict[str, Any]], operation: dict[str, Any], status: int
) -> None:
    tag = client.get(f"/items/{items[operation['id']]['id']}").headers["ETag"]
    last = {key: tag if value == "{tag}" else value for key, value in operation.items()}

    response = client.post("/items/batch", json={"operations": on(items, [*GOOD, *GOOD[:2], last])})

    assert (response.status_code, response.json()["index"]) == (status, 6)
    # As it is stored, not as the batch would have made it.
    assert response.headers.get("ETag") == (tag if status == 412 else None)
    assert stored(session) == items
