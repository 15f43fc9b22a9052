"""The article's five scenarios: through the API, and behind its back in the database and in Redis."""

import json

import pytest
import redis
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

from service.models import Item
from tests.api.conftest import both_paths
from tests.factories import ItemFactory

KEY = "all_items_cache"

# The cache must see the commits.
pytestmark = pytest.mark.db(isolation="clone")


def test_create_item(client: TestClient, session: Session) -> None:
    response = client.post("/items/", json={"name": "Widget", "description": "A useful widget", "price": 10.99})

    assert response.status_code == 200
    body = response.json()
    assert {name: body[name] for name in ("name", "description", "price")} == {
        "name": "Widget",
        "description": "A useful widget",
        "price": 10.99,
    }
    stored = session.exec(select(Item).where(col(Item.id) == body["id"])).one()
    assert (stored.name, stored.description, str(stored.price)) == ("Widget", "A useful widget", "10.99")


def test_read_items(client: TestClient, session: Session) -> None:
    session.add_all(ItemFactory.build_batch(2))
    session.commit()

    response = client.get("/items/")

    assert response.status_code == 200
    stored = session.exec(select(Item).order_by(col(Item.id))).all()
    assert [(item["id"], item["name"]) for item in response.json()] == [(item.id, item.name) for item in stored]


def test_update_item(client: TestClient, session: Session) -> None:
    item_id = ItemFactory.create(name="Old").id

    response = client.put(f"/items/{item_id}", json={"name": "New", "description": "Changed", "price": 20})

    assert response.status_code == 200
    assert response.json()["name"] == "New"
    session.expire_all()
    stored = session.get_one(Item, item_id)
    assert (stored.name, stored.description, str(stored.price)) == ("New", "Changed", "20.00")


def test_delete_item(client: TestClient, session: Session) -> None:
    item_id = ItemFactory.create().id

    response = client.delete(f"/items/{item_id}")

    assert response.status_code == 200
    assert response.json() == {"message": "Item deleted successfully"}
    session.expire_all()
    assert session.get(Item, item_id) is None
    assert client.delete(f"/items/{item_id}").status_code == 404
    assert client.get(f"/items/{item_id}").status_code == 404


@both_paths
def test_the_list_is_cached_until_the_next_write(client: TestClient, redis_client: redis.Redis) -> None:
    item_id = client.post("/items/", json={"name": "Cached", "price": 1}).json()["id"]
    assert redis_client.exists(KEY) == 0

    client.get("/items/")

    raw = redis_client.get(KEY)
    assert isinstance(raw, bytes)
    assert json.loads(json.loads(raw)[0])["name"] == "Cached"

    another = {"name": "Another", "price": 2}
    for method, path, body in (
        ("POST", "/items/", another),
        ("PUT", f"/items/{item_id}", another),
        ("DELETE", f"/items/{item_id}", None),
    ):
        assert client.get("/items/").status_code == 200
        assert redis_client.exists(KEY) == 1

        assert client.request(method, path, json=body).status_code == 200

        assert redis_client.exists(KEY) == 0


def test_an_empty_list_is_cached_as_an_empty_array(client: TestClient, redis_client: redis.Redis) -> None:
    assert client.get("/items/").json() == []

    assert redis_client.get(KEY) == b"[]"
