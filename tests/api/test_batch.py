"""Batches: what they do, at what cost, and what is read afterwards."""

from typing import Any

import pytest
import redis
from fastapi import FastAPI
from sqlmodel import Session
from starlette.testclient import TestClient

from tests.api.conftest import AssertQueries, ClientWith, both_paths
from tests.factories import ItemFactory

WIDGET = {"name": "Widget", "description": "A useful widget", "price": 10.99}
Operations = list[dict[str, Any]]


def ids_of(items: int) -> list[int]:
    return [item.id for item in ItemFactory.create_batch(items)]


@pytest.mark.usefixtures("session")
def test_every_kind_of_operation_does_what_its_request_does_in_the_order_given(client: TestClient) -> None:
    replaced, updated, untouched, deleted = ids_of(4)
    before = {item_id: client.get(f"/items/{item_id}").json() for item_id in (replaced, updated, untouched)}

    response = client.post(
        "/items/batch",
        json={
            "operations": [
                {"op": "delete", "id": deleted},
                {"op": "create", "item": WIDGET},
                {"op": "update", "id": updated, "item": {"price": 3, "description": None}},
                {"op": "create", "item": {"name": "Gadget", "price": 1}},
                {"op": "replace", "id": replaced, "item": {"name": "New", "price": 2.5}},
                {"op": "update", "id": untouched, "item": {}},
            ]
        },
    )

    results = response.json()["results"]
    items = [result["item"] for result in results]
    assert response.status_code == 200
    assert response.json() == {
        "results": [
            {"op": "delete", "id": deleted, "status": 200, "etag": None, "item": None},
            result_of(client, "create", {**items[1], **WIDGET, "version": 1}),
            result_of(
                client,
                "update",
                {
                    **before[updated],
                    "price": 3,
                    "description": None,
                    "version": 2,
                    "updated_at": items[2]["updated_at"],
                },
            ),
            result_of(client, "create", {**items[3], "name": "Gadget", "description": None, "price": 1, "version": 1}),
            result_of(
                client,
                "replace",
                {
                    **before[replaced],
                    "name": "New",
                    "description": None,
                    "price": 2.5,
                    "version": 2,
                    "updated_at": items[4]["updated_at"],
                },
            ),
            result_of(client, "update", before[untouched]),
        ]
    }
    assert items[1]["id"] < items[3]["id"]
    assert client.get(f"/items/{deleted}").status_code == 404


def result_of(client: TestClient, op: str, item: dict[str, Any]) -> dict[str, Any]:
    """The result of an operation after which the item is `item`, as a request of its own tells."""
    found = client.get(f"/items/{item['id']}")
    assert found.json() == item
    return {"op": op, "id": item["id"], "status": 200, "etag": found.headers["ETag"], "item": item}


@pytest.mark.usefixtures("session")
def test_1000_operations_are_four_statements(client: TestClient, assert_queries: AssertQueries) -> None:
    ids = ids_of(750)
    operations: Operations = [{"op": "create", "item": {"name": f"{number}", "price": 1}} for number in range(125)]
    operations += [{"op": "create", "item": {**WIDGET, "name": f"{number}"}} for number in range(125)]
    operations += [{"op": "replace", "id": item_id, "item": WIDGET} for item_id in ids[:250]]
    operations += [{"op": "update", "id": item_id, "item": {"price": 3}} for item_id in ids[250:500]]
    operations += [{"op": "delete", "id": item_id} for item_id in ids[500:]]
    operations = operations[::2] + operations[1::2]

    with assert_queries(4):
        response = client.post("/items/batch", json={"operations": operations})

    results = response.json()["results"]
    assert response.status_code == 200
    assert [result["op"] for result in results] == [operation["op"] for operation in operations]
    assert [result["id"] for result in results if result["op"] != "create"] == [
        operation["id"] for operation in operations if operation["op"] != "create"
    ]
    created = [result["item"] for result in results if result["op"] == "create"]
    assert [item["name"] for item in created] == [
        operation["item"]["name"] for operation in operations if operation["op"] == "create"
    ]
    assert [item["id"] for item in created] == sorted(item["id"] for item in created)


def test_operations_on_one_item_are_done_one_after_the_other(
    client: TestClient, session: Session, assert_queries: AssertQueries
) -> None:
    first, second = ids_of(2)
    session.commit()
    start = client.get(f"/items/{first}").json()

    with assert_queries(7):
        response = client.post(
            "/items/batch",
            json={
                "operations": [
                    {"op": "update", "id": first, "item": {"name": "New"}},
                    {"op": "update", "id": second, "item": {"price": 2}},
                    {"op": "update", "id": first, "item": {"price": 3}},
                    {"op": "create", "item": WIDGET},
                    {"op": "delete", "id": second},
                    {"op": "replace", "id": first, "item": WIDGET},
                    {"op": "update", "id": first, "item": {}},
                    {"op": "delete", "id": first},
                ]
            },
        )

    results = response.json()["results"]
    items = [result["item"] for result in results]
    of_first = [items[0], items[2], items[5], items[6]]
    times = [{"updated_at": item["updated_at"]} for item in of_first]
    assert of_first == [
        {**start, "name": "New", "version": 2} | times[0],
        {**start, "name": "New", "price": 3, "version": 3} | times[1],
        {**start, **WIDGET, "version": 4} | times[2],
        {**start, **WIDGET, "version": 4} | times[2],
    ]
    tags = [results[number]["etag"] for number in (0, 2, 5, 6, 7)]
    assert tags == [*sorted(set(tags[:3])), tags[2], None]
    assert client.get("/items/").json() == [items[3]]


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize(
    ("operation", "queries"),
    [
        ({"op": "create", "item": WIDGET}, 1),
        ({"op": "replace", "item": WIDGET}, 2),
        ({"op": "update", "item": {"price": 1}}, 2),
        ({"op": "update", "item": {}}, 1),
        ({"op": "delete"}, 2),
    ],
    ids=str,
)
def test_a_kind_that_is_absent_costs_nothing(
    client: TestClient, assert_queries: AssertQueries, operation: dict[str, Any], queries: int
) -> None:
    targets = [{}] * 3 if operation["op"] == "create" else [{"id": item_id} for item_id in ids_of(3)]

    with assert_queries(queries):
        response = client.post("/items/batch", json={"operations": [operation | target for target in targets]})

    assert response.status_code == 200


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("op", ["replace", "update", "delete"])
@pytest.mark.parametrize("pattern", ["{tag}", "*", '"x", {tag}', None])
def test_an_operation_happens_when_its_condition_is_met(client: TestClient, op: str, pattern: str | None) -> None:
    (item_id,) = ids_of(1)
    tag = client.get(f"/items/{item_id}").headers["ETag"]
    operation = {"op": op, "id": item_id, "if_match": pattern and pattern.format(tag=tag)}

    response = client.post(
        "/items/batch", json={"operations": [operation | ({} if op == "delete" else {"item": WIDGET})]}
    )

    assert response.status_code == 200


@pytest.mark.usefixtures("session")
def test_the_tags_of_a_batch_are_the_conditions_of_the_next(client: TestClient) -> None:
    created = client.post("/items/batch", json={"operations": [{"op": "create", "item": WIDGET}] * 3}).json()["results"]

    again = client.post(
        "/items/batch",
        json={
            "operations": [
                {"op": "update", "id": result["id"], "if_match": result["etag"], "item": {"price": 1}}
                for result in created
            ]
        },
    )

    assert [result["item"]["version"] for result in again.json()["results"]] == [2] * 3


@both_paths
@pytest.mark.db(isolation="clone")
@pytest.mark.usefixtures("session")
def test_what_a_batch_wrote_is_what_is_read_next(client: TestClient, redis_client: redis.Redis) -> None:
    changed, deleted, other = ids_of(3)
    keys = ["all_items_cache", *(f"item_cache:{item_id}" for item_id in (changed, deleted, other))]
    paths = ["/items/", *(f"/items/{item_id}" for item_id in (changed, deleted, other))]
    assert [client.get(path).status_code for path in paths * 2] == [200] * 8
    assert redis_client.exists(*keys) == 4

    results = client.post(
        "/items/batch",
        json={
            "operations": [
                {"op": "update", "id": changed, "item": {"price": 77}},
                {"op": "delete", "id": deleted},
                {"op": "create", "item": WIDGET},
            ]
        },
    ).json()["results"]

    assert [redis_client.exists(key) for key in keys] == [0, 0, 0, 1]
    for _ in range(2):
        assert client.get(f"/items/{changed}").json() == results[0]["item"]
        assert client.get(f"/items/{deleted}").status_code == 404
        assert client.get("/items/").json() == [
            results[0]["item"],
            client.get(f"/items/{other}").json(),
            results[2]["item"],
        ]


@pytest.mark.db(isolation="clone")
def test_a_service_may_require_if_match_of_every_change(client_with: ClientWith, session: Session) -> None:
    first, second = ids_of(2)
    session.commit()
    client = client_with(require_if_match=True)
    create = {"op": "create", "item": WIDGET}

    for change in ({"op": "delete"}, {"op": "update", "item": {}}, {"op": "replace", "item": WIDGET}):
        operations = [create, {"op": "delete", "id": first, "if_match": "*"}, {"id": second, **change}]
        answer = client.post("/items/batch", json={"operations": operations})
        assert answer.status_code == 428
        assert answer.json() == {
            "type": "/problems/precondition-required",
            "title": "Precondition required",
            "status": 428,
            "detail": "Send the item's ETag as if_match, or * to change it whatever it is now.",
            "instance": "/items/batch",
            "index": 2,
            "pointer": "/operations/2",
        }
    assert len(client.get("/items/").json()) == 2
    assert client.post("/items/batch", json={"operations": [create]}).status_code == 200


def test_a_batch_is_documented_by_the_kinds_of_its_operations(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]

    items = schemas["Batch"]["properties"]["operations"]["items"]
    assert items["discriminator"]["mapping"] == {
        kind.lower(): f"#/components/schemas/{kind}Operation" for kind in ("Create", "Replace", "Update", "Delete")
    }
    assert (schemas["Batch"]["properties"]["operations"]["minItems"], len(items["oneOf"])) == (1, 4)
