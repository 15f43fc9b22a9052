"""What each call on items answers, and what it leaves in the database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Session, col, select
from starlette.testclient import TestClient

from service.models import Item
from tests.factories import ItemFactory

WIDGET = {"name": "Widget", "description": "A useful widget", "price": 10.99}


def as_stored(session: Session, item_id: int) -> dict[str, Any]:
    return session.exec(select(Item).where(col(Item.id) == item_id)).one().model_dump()


def test_a_created_item_is_answered_whole_with_its_address_and_tag(client: TestClient) -> None:
    response = client.post("/items/", json=WIDGET)

    body = response.json()
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Location"] == f"/items/{body['id']}"
    assert list(body) == ["id", "name", "description", "price", "created_at", "updated_at", "version"]
    assert body == {
        **WIDGET,
        "id": body["id"],
        "created_at": body["updated_at"],
        "updated_at": body["updated_at"],
        "version": 1,
    }
    found = client.get(response.headers["Location"])
    assert found.json() == body
    assert found.headers["ETag"] == response.headers["ETag"]


def test_a_tag_is_strong_and_differs_between_versions_and_items(client: TestClient) -> None:
    created = client.post("/items/", json=WIDGET)
    replaced = client.put(created.headers["Location"], json=WIDGET)
    other = client.post("/items/", json=WIDGET)

    tags = [response.headers["ETag"] for response in (created, replaced, other)]

    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)
    assert len(set(tags)) == 3


def test_a_description_may_be_absent_or_null(client: TestClient) -> None:
    for absent in ({}, {"description": None}):
        assert client.post("/items/", json={"name": "Widget", "price": 1, **absent}).json()["description"] is None


def test_times_are_the_databases_in_rfc_3339_utc(client: TestClient, session: Session) -> None:
    before = session.execute(text("SELECT statement_timestamp()")).scalar_one()
    body = client.post("/items/", json=WIDGET).json()
    session.commit()
    after = session.execute(text("SELECT statement_timestamp()")).scalar_one()

    created_at = datetime.fromisoformat(body["created_at"])

    assert body["created_at"].endswith("Z")
    assert created_at.utcoffset() == timedelta(0)
    assert before <= created_at <= after
    assert as_stored(session, body["id"])["created_at"] == created_at


def test_a_replacement_sets_all_and_counts_a_version(client: TestClient, session: Session) -> None:
    before = client.post("/items/", json=WIDGET).json()

    response = client.put(f"/items/{before['id']}", json={"name": "Gadget", "price": 2.5})

    after = response.json()
    assert response.status_code == 200
    assert after == {
        "id": before["id"],
        "name": "Gadget",
        "description": None,
        "price": 2.5,
        "created_at": before["created_at"],
        "updated_at": after["updated_at"],
        "version": 2,
    }
    assert after["updated_at"] > before["updated_at"]
    assert as_stored(session, before["id"])["description"] is None
    found = client.get(f"/items/{before['id']}")
    assert (found.json(), found.headers["ETag"]) == (after, response.headers["ETag"])


def test_a_change_behind_the_services_back_counts_a_version(client: TestClient, session: Session) -> None:
    created = client.post("/items/", json=WIDGET)
    before = created.json()

    session.execute(text("UPDATE item SET name = 'psql', version = 7, updated_at = 'epoch'"))
    session.commit()

    response = client.get(f"/items/{before['id']}")
    after = response.json()
    assert (after["name"], after["version"], after["created_at"]) == ("psql", 2, before["created_at"])
    assert after["updated_at"] > before["updated_at"]
    assert response.headers["ETag"] != created.headers["ETag"]


def test_a_deleted_item_is_gone(client: TestClient, session: Session) -> None:
    kept, item_id = (item.id for item in ItemFactory.create_batch(2))

    response = client.delete(f"/items/{item_id}")

    assert response.status_code == 200
    assert response.json() == {"message": "Item deleted successfully"}
    session.expire_all()
    assert session.exec(select(Item.id)).all() == [kept]
    for answer in (client.get, client.delete):
        assert answer(f"/items/{item_id}").status_code == 404
    assert client.put(f"/items/{item_id}", json=WIDGET).status_code == 404


@pytest.mark.usefixtures("session")
def test_the_list_is_oldest_first(client: TestClient) -> None:
    items = ItemFactory.create_batch(5)
    client.put(f"/items/{items[0].id}", json=WIDGET)

    listed = client.get("/items/").json()

    assert [item["id"] for item in listed] == [item.id for item in items]
    assert listed[0] == client.get(f"/items/{items[0].id}").json()


def test_the_list_ends_after_100_items_unless_asked_otherwise(client: TestClient, session: Session) -> None:
    session.add_all(ItemFactory.build_batch(101))
    session.commit()
    ids = session.exec(select(Item.id).order_by(col(Item.id))).all()

    listed = {
        query: [item["id"] for item in client.get(f"/items/{query}").json()] for query in ("", "?limit=101", "?limit=1")
    }

    assert listed == {"": ids[:100], "?limit=101": ids, "?limit=1": ids[:1]}


def test_a_list_of_1000_items_is_the_longest(client: TestClient, session: Session) -> None:
    session.add_all(ItemFactory.build_batch(1001))
    session.commit()

    assert len(client.get("/items/?limit=1000").json()) == 1000
    assert client.get("/items/?limit=1001").status_code == 422


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "ten", "", "1.5", "9" * 30])
def test_a_limit_outside_1_to_1000_is_refused(client: TestClient, limit: str) -> None:
    response = client.get("/items/", params={"limit": limit})

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["limit"]


@pytest.mark.usefixtures("session")
def test_equal_lists_have_equal_tags_and_a_change_gives_another(client: TestClient) -> None:
    item = ItemFactory.create()
    first, again = client.get("/items/"), client.get("/items/")
    client.put(f"/items/{item.id}", json=WIDGET)

    changed = client.get("/items/")

    assert first.headers["ETag"] == again.headers["ETag"] != changed.headers["ETag"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("item_id", ["1", str(2**63 - 1)])
def test_an_id_that_no_item_has_is_404(client: TestClient, method: str, item_id: str) -> None:
    response = client.request(method, f"/items/{item_id}", json=WIDGET if method == "PUT" else None)

    assert response.status_code == 404
    assert response.json() == {
        "type": "/problems/item-not-found",
        "title": "Item not found",
        "status": 404,
        "detail": f"There is no item {item_id}.",
        "instance": f"/items/{item_id}",
    }


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "item_id", ["0", "-1", "+1", "1.0", "1.5", "one", " 1", "1_0", "٣", "0x1", "%00", str(2**63), "9" * 5000]
)
def test_an_id_is_digits_from_1_to_the_largest_bigint(
    client: TestClient, session: Session, method: str, item_id: str
) -> None:
    session.add_all(ItemFactory.build_batch(10))
    session.commit()

    response = client.request(method, f"/items/{item_id}", json=WIDGET if method == "PUT" else None)

    assert response.status_code in {404, 422}
    assert response.headers["Content-Type"] == "application/problem+json"
    session.expire_all()
    assert {item.name for item in session.exec(select(Item))}.isdisjoint({"Widget"})
    assert len(session.exec(select(Item)).all()) == 10


def test_an_item_may_have_the_largest_id(client: TestClient, session: Session) -> None:
    session.execute(text("INSERT INTO item (id, name, price) VALUES (9223372036854775807, 'last', 1)"))
    session.commit()

    assert client.get("/items/9223372036854775807").json()["id"] == 2**63 - 1
    assert client.get("/items/").json()[0]["id"] == 2**63 - 1


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Etc/GMT+12"])
def test_the_first_and_the_last_time_that_are_stored_can_be_read(
    client: TestClient, session: Session, zone: str
) -> None:
    session.execute(text("SELECT set_config('TimeZone', :zone, true)"), {"zone": zone})
    stored = "INSERT INTO item (name, price, created_at, updated_at) VALUES ('Old', 1, '0001-01-02Z', '9999-12-30Z')"
    item_id = session.execute(text(f"{stored} RETURNING id")).scalar_one()
    session.commit()

    found, exported = client.get(f"/items/{item_id}"), client.get("/items/export").json()

    assert client.get("/items/").json() == [found.json()] == [exported]
    assert (found.json()["created_at"], found.json()["updated_at"]) == ("0001-01-02T00:00:00Z", "9999-12-30T00:00:00Z")
    unchanged = client.patch(f"/items/{item_id}", json={}, headers={"If-Match": found.headers["ETag"]})
    assert unchanged.status_code == 200


def test_ids_are_never_given_twice(client: TestClient) -> None:
    ids = []
    for _ in range(3):
        ids.append(client.post("/items/", json=WIDGET).json()["id"])
        client.delete(f"/items/{ids[-1]}")

    assert ids == sorted(set(ids))


def test_time_never_runs_backwards_between_changes(client: TestClient) -> None:
    address = client.post("/items/", json=WIDGET).headers["Location"]

    times = [client.put(address, json=WIDGET).json()["updated_at"] for _ in range(5)]

    assert times == sorted(set(times))
    assert datetime.fromisoformat(times[-1]) <= datetime.now(UTC) + timedelta(seconds=1)
