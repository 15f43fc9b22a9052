"""Deadlocks: PostgreSQL undoes one of two transactions, and the service does that one's work anew."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import psycopg
import pytest
from fastapi import FastAPI
from httpx2 import Response
from sqlalchemy import Engine, text
from sqlmodel import Session
from starlette.testclient import TestClient

from service.cache import Cache, Fence
from tests.factories import ItemFactory
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.db(isolation="clone")]

# Whoever writes an item takes two locks, one after the other.
TWO_LOCKS = text(
    """
    CREATE FUNCTION take_two_locks() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock(1);
        PERFORM pg_advisory_xact_lock(2);
        RETURN coalesce(NEW, OLD);
    END
    $$;
    CREATE TRIGGER two_locks BEFORE INSERT OR UPDATE OR DELETE ON item
    FOR EACH ROW EXECUTE FUNCTION take_two_locks()
    """
)
WAITING = (
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'advisory' AND objid = 2 AND NOT granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
CHANGED = {"name": "Changed", "price": 1.0}


@pytest.fixture
def item_id(session: Session) -> int:
    """An item that cannot be written without the two locks."""
    item_id: int = ItemFactory.create(name="As it was").id
    session.execute(TWO_LOCKS)
    session.commit()
    return item_id


def deadlock(engine: Engine, times: int, begun: Event) -> None:
    """Take the locks in the other order from `times` transactions that write an item, until each of them is undone."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    # It looks for a deadlock itself so late that the other one is always the victim.
    with psycopg.connect(url, autocommit=True, options="-c deadlock_timeout=1min") as opponent:
        opponent.execute("SELECT pg_advisory_lock(2)")
        begun.set()
        met: set[object] = set()

        def another_waits() -> bool:
            """Whether it is not the last victim that is still seen to wait."""
            before = len(met)
            met.update(opponent.execute(WAITING))
            return len(met) > before

        for _ in range(times):
            wait_until(another_waits, seconds=10)
            opponent.execute("SELECT pg_advisory_lock(1)")
            opponent.execute("SELECT pg_advisory_unlock(1)")


def answer_under_deadlocks(engine: Engine, times: int, request: Callable[[], Response]) -> Response:
    """What `request` is answered when its first `times` tries end in a deadlock."""
    begun = Event()
    with ThreadPoolExecutor(1) as thread:
        opponent = thread.submit(deadlock, engine, times, begun)
        begun.wait(10)
        answer = request()
        opponent.result()
    return answer


def test_a_write_is_tried_three_times(client: TestClient, engine: Engine, item_id: int) -> None:
    answer = answer_under_deadlocks(engine, 2, lambda: client.put(f"/items/{item_id}", json=CHANGED))

    assert (answer.status_code, answer.json()["name"], answer.json()["version"]) == (200, "Changed", 2)
    assert client.get(f"/items/{item_id}").json() == answer.json()


def test_the_third_deadlock_is_503_and_nothing_is_changed(client: TestClient, engine: Engine, item_id: int) -> None:
    answer = answer_under_deadlocks(engine, 3, lambda: client.delete(f"/items/{item_id}"))

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["type"] == "/problems/database-unavailable"
    assert answer.elapsed.total_seconds() < 5
    assert client.get(f"/items/{item_id}").json()["name"] == "As it was"


@pytest.mark.usefixtures("item_id")
@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "one"}], ids=["without a key", "with a key"])
def test_a_post_is_done_once_for_all_its_tries(client: TestClient, engine: Engine, key: dict[str, str]) -> None:
    answer = answer_under_deadlocks(engine, 1, lambda: client.post("/items/", json=CHANGED, headers=key))

    assert answer.status_code == 200
    assert [item["name"] for item in client.get("/items/").json()] == ["As it was", "Changed"]
    if key:
        assert client.post("/items/", json=CHANGED, headers=key).content == answer.content


class NeverUnfences(Cache):
    """A cache that is lost between the COMMIT and the unfencing."""

    def unfence(self, fence: Fence) -> bool:
        """Say that it was not done."""
        assert fence.stands
        return False


def test_a_conflict_after_the_commit_does_not_repeat_the_work(client: TestClient, app: FastAPI, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE OR REPLACE FUNCTION cache_epoch_bump() RETURNS void LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$"
            )
        )
    app.state.cache.__class__ = NeverUnfences

    answer = client.post("/items/", json=CHANGED)

    assert answer.status_code == 503
    assert answer.json()["detail"] == "PostgreSQL was lost after the change, which has been made."
    assert [item["name"] for item in client.get("/items/?limit=5").json()] == ["Changed"]
