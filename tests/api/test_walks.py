"""Walks through changing data, by hypothesis: pages of the list, and the feed beside interleaved transactions."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text
from sqlmodel import Session
from starlette.testclient import TestClient

from tests.api.following import Follower
from tests.api.lists import SORTS

pytestmark = pytest.mark.db(isolation="clone")

EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    # The database is emptied at the start of each example.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# Few names and prices, so that most rows tie with others.
NAMES = st.sampled_from(["", "a", "b", "ä", "𠮷"])
PRICES = st.integers(0, 3)
QUERIES = st.tuples(st.sampled_from(SORTS), st.integers(1, 4))
ROWS = st.lists(st.tuples(NAMES, PRICES), min_size=1, max_size=12)
INSERT = text("INSERT INTO item (name, price) VALUES ('n' || :name, :price)")
# What happens between two pages: to which row, by its place among those that are there.
MEDDLING = st.tuples(st.sampled_from(["insert", "delete", "change"]), st.integers(0, 99), NAMES, PRICES)


@pytest.mark.slow
@EXAMPLES
@given(rows=ROWS, query=QUERIES, meddling=st.lists(st.lists(MEDDLING, max_size=4)))
def test_a_walk_meets_each_untouched_row_exactly_once(
    client: TestClient,
    session: Session,
    rows: list[tuple[str, int]],
    query: tuple[str, int],
    meddling: list[list[tuple[str, int, str, int]]],
) -> None:
    session.execute(text("TRUNCATE item"))
    # Some in one statement, so that their times tie.
    session.execute(INSERT, [{"name": name, "price": price} for name, price in rows])
    session.execute(text("INSERT INTO item (name, price) SELECT name, price FROM item WHERE price < 2"))
    untouched = set(session.execute(text("SELECT id FROM item")).scalars())
    session.commit()
    met: list[int] = []

    address = "/items/?sort={}&limit={}".format(*query)
    for meddlings in [*meddling, *([[]] * 100)]:
        page = client.get(address)
        met += [item["id"] for item in page.json()]
        for step in meddlings:
            untouched.discard(meddle(session, *step))
        session.commit()
        if "next" not in page.links:
            break
        address = page.links["next"]["url"]

    assert "next" not in page.links
    assert sorted(item_id for item_id in met if item_id in untouched) == sorted(untouched)


def meddle(session: Session, act: str, place: int, name: str, price: int) -> int:
    """Do it; returns the id of the row that was touched."""
    ids = list(session.execute(text("SELECT id FROM item ORDER BY id")).scalars())
    values = {"id": ids[place % len(ids)] if ids else 0, "name": name, "price": price}
    statements = {
        "insert": "INSERT INTO item (name, price) VALUES ('n' || :name, :price)",
        "delete": "DELETE FROM item WHERE id = :id",
        "change": "UPDATE item SET name = 'n' || :name, price = :price WHERE id = :id",
    }
    session.execute(text(statements[act]), {key: values[key] for key in values if f":{key}" in statements[act]})
    return int(values["id"])


# What each of three writers may do next, or the reader.
WRITERS = 3
ACTS = st.tuples(
    st.sampled_from(
        ["insert", "change", "change", "delete", "savepoint", "undo", "commit", "commit", "rollback", "read"]
    ),
    st.integers(0, WRITERS - 1),
    st.integers(1, 5),
)


class Writer:
    """A connection whose transaction stays open, and the items that it holds locked."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.holds: set[int] = set()
        self.has_savepoint = False

    def run(self, statement: str, item_id: int) -> None:
        self.connection.execute(text(statement), {"id": item_id})
        self.holds.add(item_id)

    def act(self, act: str, item_id: int) -> None:
        """Do it."""
        match act:
            case "insert":
                self.run("INSERT INTO item (id, name, price) VALUES (:id, 'x', 1) ON CONFLICT DO NOTHING", item_id)
            case "change":
                self.run("UPDATE item SET price = price + 1 WHERE id = :id", item_id)
            case "delete":
                self.run("DELETE FROM item WHERE id = :id", item_id)
            case "savepoint":
                self.connection.execute(text("SAVEPOINT here"))
                self.has_savepoint = True
            case "undo" if self.has_savepoint:
                self.connection.execute(text("ROLLBACK TO SAVEPOINT here"))
            case "commit":
                self.end(self.connection.commit)
            case "rollback":
                self.end(self.connection.rollback)

    def end(self, how: Callable[[], None]) -> None:
        """End the transaction."""
        how()
        self.holds.clear()
        self.has_savepoint = False


@contextmanager
def writing(engine: Engine) -> Iterator[list[Writer]]:
    with ExitStack() as stack:
        yield [Writer(stack.enter_context(engine.connect())) for _ in range(WRITERS)]


@EXAMPLES
@given(acts=st.lists(ACTS, max_size=60), limit=st.integers(1, 5))
def test_who_follows_the_feed_has_what_the_table_has(
    client: TestClient, engine: Engine, acts: list[tuple[str, int, int]], limit: int
) -> None:
    with writing(engine) as writers:
        writers[0].connection.execute(text("TRUNCATE item, item_change"))
        writers[0].connection.commit()
        follower = Follower(client, limit)
        for act, number, item_id in acts:
            if act == "read":
                follower.follow()
                assert follower.copy == table(client)
            # Two writers on one item: the second would wait for the first.
            elif not any(item_id in other.holds for other in writers if other is not writers[number]):
                writers[number].act(act, item_id)
        for writer in writers:
            writer.end(writer.connection.commit)

        follower.follow()

    assert follower.copy == table(client)
    assert_in_order(follower.changes)


def table(client: TestClient) -> dict[int, dict[str, Any]]:
    """What the table holds."""
    return {item["id"]: item for item in client.get("/items/?limit=1000").json()}


def assert_in_order(changes: list[tuple[int, int, bool]]) -> None:
    """Each item is created, changed version by version and deleted, again and again; nothing comes twice."""
    last: dict[int, tuple[int, bool]] = {}
    for item_id, version, deleted in changes:
        before, was_deleted = last.get(item_id, (0, True))
        expected = before if deleted else 1 if was_deleted else before + 1
        assert (version, was_deleted and deleted) == (expected, False), changes
        last[item_id] = (version, deleted)
