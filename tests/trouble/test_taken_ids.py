"""An id that was taken from the sequence, and is stored by an import before the item that it was taken for."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from httpx2 import Response
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from tests.transfers import NDJSON, ask, counts, import_ndjson, lines
from tests.waiting import wait_until

pytestmark = pytest.mark.db(isolation="clone")

# Whoever stores the item that is called "Late" has its id already, and waits for the lock.
LATE = {"name": "Late", "price": 1}
WAIT_WITH_AN_ID = text(
    """
    CREATE FUNCTION wait_for_lock() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$;
    CREATE TRIGGER late BEFORE INSERT ON item FOR EACH ROW WHEN (NEW.name = 'Late') EXECUTE FUNCTION wait_for_lock()
    """
)
WAITING = text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
KEY = {"Idempotency-Key": "one"}
Create = Callable[[TestClient], Response]
WAYS: dict[str, Create] = {
    "POST": lambda client: client.post("/items/", json=LATE),
    "POST with a key": lambda client: client.post("/items/", json=LATE, headers=KEY),
    "batch": lambda client: client.post("/items/batch", json={"operations": [{"op": "create", "item": LATE}]}),
    "import": lambda client: client.post("/items/import", content=lines(LATE), headers=NDJSON),
    "import with a key": lambda client: client.post("/items/import", content=lines(LATE), headers=NDJSON | KEY),
}


@pytest.mark.parametrize("create", WAYS.values(), ids=WAYS)
def test_whose_id_an_import_has_taken_gets_another(client: TestClient, engine: Engine, create: Create) -> None:
    with engine.begin() as connection:
        connection.execute(WAIT_WITH_AN_ID)
    with ThreadPoolExecutor(1) as thread, engine.connect() as holder:
        holder.execute(text("SELECT pg_advisory_lock(1)"))
        late = thread.submit(create, client)
        wait_until(lambda: ask(engine, WAITING) == 1, seconds=5)

        told = import_ndjson(client, lines({"id": 1, "name": "Named", "price": 1}))
        holder.execute(text("SELECT pg_advisory_unlock(1)"))

        assert (told, late.result().status_code) == (counts(1), 200)
    stored = [(item["id"], item["name"], item["version"]) for item in client.get("/items/").json()]
    assert stored == [(1, "Named", 1), (2, "Late", 1)]


@pytest.mark.parametrize("create", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("count", [5, 2000])
def test_ids_that_others_gave_out_are_passed_over(
    client: TestClient, engine: Engine, create: Create, count: int
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO item (id, name, price) SELECT n, 'Named', 1 FROM generate_series(1, :count) AS n"),
            {"count": count},
        )

    answers = [create(client).status_code, client.post("/items/", json=LATE).status_code]

    assert answers == [200, 200]
    next_ids = text("SELECT count(*) FROM item WHERE name = 'Late' AND id - :count IN (1, 2)")
    assert ask(engine, next_ids.bindparams(count=count)) == 2


def test_an_id_that_is_far_above_lifts_no_id_to_come(client: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO item (id, name, price) VALUES (1, 'One', 1), (1000000000000000, 'Far', 1)")
        )

    assert client.post("/items/", json=LATE).json()["id"] == 2
