"""The cache's guarantees hold through every door by which items change: each is a line in DOORS.

Two workers have both cached reads warm, one with the fast path and one without. Then somebody writes; and what either
answers from now on is what PostgreSQL holds: bodies, versions, entity tags.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text
from starlette.testclient import TestClient

from service.embedded import RedisServer
from tests.cache.clients import StartClient, warm
from tests.waiting import wait_until

pytestmark = pytest.mark.db(isolation="clone")

ROOT = Path(__file__).parents[2]
NEW = {"name": "new", "price": 2}


@dataclass(frozen=True, slots=True)
class House:
    """What has doors: a worker that takes writes, PostgreSQL, and the environment of commands."""

    client: TestClient
    engine: Engine
    environment: dict[str, str]

    def ask(self, method: str, path: str, body: object = None) -> None:
        """Send a request, which succeeds."""
        assert self.client.request(method, path, json=body).status_code == 200

    def run(self, *words: str) -> None:
        """Run the `service` command, which succeeds."""
        subprocess.run([sys.executable, "-m", "service", *words], check=True, cwd=ROOT, env=self.environment)

    def execute(self, statement: str) -> None:
        """Write as somebody who knows nothing of caches."""
        with self.engine.begin() as connection:
            connection.execute(text(statement))


# A door, how somebody goes through it, and the versions of all items afterwards; there was item 1, in version 1.
Door = tuple[str, Callable[[House], None], dict[int, int]]
DOORS: list[Door] = [
    ("POST", lambda house: house.ask("POST", "/items/", NEW), {1: 1, 2: 1}),
    ("PUT", lambda house: house.ask("PUT", "/items/1", NEW), {1: 2}),
    ("DELETE", lambda house: house.ask("DELETE", "/items/1"), {}),
    ("service seed", lambda house: house.run("seed", "--items", "2"), {1: 1, 2: 1, 3: 1}),
]
# Others commit behind our back: seen within a second.
FOREIGN_DOORS: list[Door] = [
    ("UPDATE", lambda house: house.execute("UPDATE item SET name = 'new'"), {1: 2}),
    ("INSERT", lambda house: house.execute("INSERT INTO item (name, price) VALUES ('new', 2)"), {1: 1, 2: 1}),
    ("DELETE in SQL", lambda house: house.execute("DELETE FROM item"), {}),
    ("TRUNCATE", lambda house: house.execute("TRUNCATE item"), {}),
]


@pytest.fixture
def house(start_client: StartClient, engine: Engine, database_url: str, own_redis: RedisServer) -> House:
    """The house of this test."""
    urls = {"DATABASE_URL": database_url, "REDIS_URL": str(own_redis.tcp_url)}
    return House(start_client(), engine, {**os.environ, **urls})


@pytest.fixture
def readers(start_client: StartClient, house: House) -> list[TestClient]:
    """Two workers with warm caches, with the fast path and without; `house` is there to put item 1 first."""
    found = [start_client(), start_client(cache_fast_path=False)]
    warm(house.client)
    for reader in found:
        warm(reader)
    return found


@pytest.mark.parametrize(("write", "versions"), [door[1:] for door in DOORS], ids=[door[0] for door in DOORS])
def test_once_a_write_is_answered_nobody_reads_what_was_before(
    house: House, readers: list[TestClient], write: Callable[[House], None], versions: dict[int, int]
) -> None:
    tags = [tags_of(reader) for reader in readers]

    write(house)

    for reader, old in zip(readers, tags, strict=True):
        assert_that_reads_are_true(reader, house.engine, versions, old)


@pytest.mark.parametrize(
    ("write", "versions"), [door[1:] for door in FOREIGN_DOORS], ids=[door[0] for door in FOREIGN_DOORS]
)
def test_a_second_after_a_foreign_write_nobody_reads_what_was_before(
    house: House, readers: list[TestClient], write: Callable[[House], None], versions: dict[int, int]
) -> None:
    tags = [tags_of(reader) for reader in readers]

    write(house)
    for reader, (page, _) in zip(readers, tags, strict=True):
        wait_until(lambda page=page, reader=reader: reader.get("/items/").headers["etag"] != page, seconds=1)  # type: ignore[misc]

    for reader, old in zip(readers, tags, strict=True):
        assert_that_reads_are_true(reader, house.engine, versions, old)


def tags_of(reader: TestClient) -> tuple[str, str]:
    """The tags of the list, and of item 1."""
    return reader.get("/items/").headers["etag"], reader.get("/items/1").headers["etag"]


def assert_that_reads_are_true(
    reader: TestClient, engine: Engine, versions: dict[int, int], old: tuple[str, str]
) -> None:
    """The list and every item are what PostgreSQL holds; a client that has the old ones is given the new."""
    listed = reader.get("/items/", headers={"If-None-Match": old[0]})
    assert listed.status_code == 200
    assert {item["id"]: item["version"] for item in listed.json()} == versions
    with engine.connect() as connection:
        assert [(item["id"], item["name"], item["version"]) for item in listed.json()] == rows(connection)
    assert [reader.get(f"/items/{item['id']}").json() for item in listed.json()] == listed.json()

    first = reader.get("/items/1", headers={"If-None-Match": old[1]})
    assert first.status_code == {None: 404, 1: 304}.get(versions.get(1), 200)


def rows(connection: Connection) -> list[tuple[int, str, int]]:
    """All items, the oldest first."""
    return [tuple(row) for row in connection.execute(text("SELECT id, name, version FROM item ORDER BY id"))]
