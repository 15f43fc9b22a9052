"""PATCH by JSON merge patch (RFC 7396)."""

from typing import Any

import pytest
import redis
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.api.conftest import AssertQueries, both_paths

WIDGET = {"name": "Widget", "description": "A useful widget", "price": 10.99}
KEYS = ("all_items_cache", "item_cache:{id}")


@pytest.fixture
def before(client: TestClient) -> dict[str, Any]:
    """An item as it was created."""
    created: dict[str, Any] = client.post("/items/", json=WIDGET).json()
    return created


@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ({"name": "Gadget"}, {"name": "Gadget"}),
        ({"price": 0}, {"price": 0}),
        ({"description": None}, {"description": None}),
        ({"description": ""}, {"description": ""}),
        (
            {"name": "Gadget", "description": "New", "price": 2.5},
            {"name": "Gadget", "description": "New", "price": 2.5},
        ),
        ({"name": "Widget"}, {}),
    ],
    ids=str,
)
def test_a_patch_sets_what_it_names_and_counts_a_version(
    client: TestClient, before: dict[str, Any], patch: dict[str, Any], changed: dict[str, Any]
) -> None:
    response = client.patch(f"/items/{before['id']}", json=patch)

    after = response.json()
    assert response.status_code == 200
    assert after == {**before, **changed, "version": 2, "updated_at": after["updated_at"]}
    assert after["updated_at"] > before["updated_at"]
    found = client.get(f"/items/{before['id']}")
    assert (found.json(), found.headers["ETag"]) == (after, response.headers["ETag"])


@pytest.mark.parametrize("media_type", ["application/merge-patch+json", "application/json"])
def test_a_patch_may_come_as_either_media_type(client: TestClient, before: dict[str, Any], media_type: str) -> None:
    response = client.patch(f"/items/{before['id']}", content=b'{"price": 3}', headers={"Content-Type": media_type})

    assert (response.status_code, response.json()["price"]) == (200, 3)


def test_an_empty_patch_changes_nothing(client: TestClient, before: dict[str, Any]) -> None:
    address = f"/items/{before['id']}"
    tag = client.get(address).headers["ETag"]

    answers = [client.patch(address, json={}, headers=headers) for headers in ({}, {"If-Match": tag})]

    assert [(answer.status_code, answer.json(), answer.headers["ETag"]) for answer in answers] == [
        (200, before, tag)
    ] * 2
    assert client.patch(address, json={}, headers={"If-Match": '"1-0"'}).status_code == 412
    assert client.patch("/items/9223372036854775807", json={}).status_code == 404
    assert client.get(address).json() == before


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({"name": None}, "/name"),
        ({"price": None}, "/price"),
        ({"name": ""}, "/name"),
        ({"price": "10.99"}, "/price"),
        ({"price": -1}, "/price"),
        ({"description": 1}, "/description"),
        ({"price": 1, "colour": "red"}, "/colour"),
        ({"price": 1, "colour": None}, "/colour"),
        ({"id": 1}, "/id"),
        ({"version": 1}, "/version"),
        ([], ""),
        ([{"op": "replace", "path": "/price", "value": 1}], ""),
        (None, ""),
        ("name", ""),
        (1, ""),
        (1.5, ""),
        (-1e-07, ""),
    ],
    ids=str,
)
def test_a_patch_that_does_not_make_an_item_is_refused(
    client: TestClient, before: dict[str, Any], patch: object, pointer: str
) -> None:
    response = client.patch(f"/items/{before['id']}", json=patch)

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert client.get(f"/items/{before['id']}").json() == before


def test_an_item_that_does_not_exist_cannot_be_patched(client: TestClient) -> None:
    assert client.patch("/items/9223372036854775807", json={"price": 1}).status_code == 404


@both_paths
@pytest.mark.db(isolation="clone")
def test_a_patch_is_what_is_read_next(client: TestClient, redis_client: redis.Redis, before: dict[str, Any]) -> None:
    address = f"/items/{before['id']}"
    keys = [key.format(id=before["id"]) for key in KEYS]
    for _ in range(2):
        assert [client.get(path).status_code for path in (address, "/items/")] == [200, 200]
    assert redis_client.exists(*keys) == 2

    after = client.patch(address, json={"price": 3}).json()

    assert redis_client.exists(*keys) == 0
    assert [client.get(path).json() for path in (address, "/items/", address, "/items/")] == [after, [after]] * 2


@pytest.mark.db(isolation="clone")
def test_an_empty_patch_leaves_the_cache_alone(
    client: TestClient, redis_client: redis.Redis, before: dict[str, Any]
) -> None:
    address = f"/items/{before['id']}"
    assert [client.get(path).status_code for path in (address, "/items/")] == [200, 200]

    client.patch(address, json={})

    assert redis_client.exists(*(key.format(id=before["id"]) for key in KEYS)) == 2


def test_a_patch_is_one_query(client: TestClient, before: dict[str, Any], assert_queries: AssertQueries) -> None:
    for patch in ({"price": 3}, {}):
        with assert_queries(1):
            client.patch(f"/items/{before['id']}", json=patch)


def test_a_patch_is_documented_in_both_media_types(app: FastAPI) -> None:
    document = app.openapi()

    content = document["paths"]["/items/{item_id}"]["patch"]["requestBody"]["content"]
    schema = {"$ref": "#/components/schemas/ItemPatch"}
    assert content == {
        "application/merge-patch+json": {"schema": schema},
        "application/json": {"schema": schema},
    }
    patch = document["components"]["schemas"]["ItemPatch"]
    assert "required" not in patch
    assert ["default" in field for field in patch["properties"].values()] == [False] * 3
