"""Batches beside other writers of the same items."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from sqlalchemy import Engine, text
from sqlmodel import Session
from starlette.testclient import TestClient

from service.models import Item
from tests.api.conftest import ClientWith
from tests.factories import ItemFactory
from tests.waiting import wait_until

pytestmark = pytest.mark.db(isolation="clone")


def test_batches_on_the_same_items_in_another_order_do_not_deadlock(client: TestClient, session: Session) -> None:
    ids = [item.id for item in ItemFactory.create_batch(20)]
    session.commit()

    def update(number: int) -> int:
        order = ids if number % 2 else ids[::-1]
        operations = [{"op": "update", "id": item_id, "item": {"price": number}} for item_id in order]
        return client.post("/items/batch", json={"operations": operations}).status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(update, range(24)))

    assert statuses == [200] * 24
    listed = client.get("/items/").json()
    assert {item["version"] for item in listed} == {25}
    assert len({item["price"] for item in listed}) == 1


def test_rows_are_locked_in_the_order_of_their_ids_whatever_the_plan(
    client_with: ClientWith, session: Session, engine: Engine
) -> None:
    first, second = (item.id for item in ItemFactory.create_batch(2))
    # A plan that finds them in the order in which they lie, and the second lies first.
    for setting in ("enable_indexscan", "enable_bitmapscan"):
        session.execute(text(f'ALTER DATABASE "{engine.url.database}" SET {setting} = off'))
    session.execute(text("UPDATE item SET price = 5 WHERE id = :id"), {"id": first})
    session.commit()
    client = client_with()
    session.execute(text("SELECT FROM item WHERE id = :id FOR UPDATE"), {"id": first})
    operations = [{"op": "delete", "id": item_id} for item_id in (second, first)]

    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(client.post, "/items/batch", json={"operations": operations})
        wait_until(lambda: is_waiting(engine), seconds=5)
        free = session.execute(text("SELECT id FROM item ORDER BY id FOR UPDATE SKIP LOCKED")).scalars().all()
        session.rollback()

    assert free == [first, second]
    assert answer.result().status_code == 200


def test_a_batch_waits_for_a_row_and_then_decides_on_what_it_has_become(
    client: TestClient, session: Session, engine: Engine
) -> None:
    item_id = ItemFactory.create().id
    tag = client.get(f"/items/{item_id}").headers["ETag"]
    session.execute(text("UPDATE item SET price = 5"))
    operations = [{"op": "update", "id": item_id, "if_match": tag, "item": {"name": "Late"}}]

    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(client.post, "/items/batch", json={"operations": operations})
        wait_until(lambda: is_waiting(engine), seconds=5)
        session.commit()

    assert answer.result().status_code == 412
    session.expire_all()
    found = session.get_one(Item, item_id)
    assert (found.name != "Late", found.price, found.version) == (True, Decimal(5), 2)


def test_a_patch_in_a_batch_keeps_what_somebody_else_wrote_meanwhile(
    client: TestClient, session: Session, engine: Engine
) -> None:
    item_id = ItemFactory.create().id
    session.execute(text("UPDATE item SET price = 5"))
    operations = [{"op": "update", "id": item_id, "item": {"name": "Late"}}]

    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(client.post, "/items/batch", json={"operations": operations})
        wait_until(lambda: is_waiting(engine), seconds=5)
        session.commit()

    (result,) = answer.result().json()["results"]
    assert (result["item"]["name"], result["item"]["price"], result["item"]["version"]) == ("Late", 5, 3)


def is_waiting(engine: Engine) -> bool:
    with engine.connect() as connection:
        query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return connection.execute(text(query)).first() is not None
