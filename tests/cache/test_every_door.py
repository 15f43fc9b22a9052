"""The cache's guarantees hold through every door by which items change: each is a line in DOORS or FOREIGN_DOORS.

Two workers have both cached reads warm, one with the fast path and one without. Then somebody writes, in another
process; and what either answers from now on is what PostgreSQL holds: bodies, versions, entity tags, and the feed.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
import requests
from sqlalchemy import Connection, Engine, text
from starlette.testclient import TestClient

from service.catalogue import MAX_FENCED_ITEMS
from service.client import ItemClient, Operation
from service.config import DEFAULT_LIMIT, Settings
from service.entries import LIST_KEY, item_key
from service.main import create_app
from service.testing.fork_server import ForkServer
from service.testing.live import LiveServer
from tests.api.following import Follower
from tests.cache.clients import warm
from tests.transfers import CSV, NDJSON, lines
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.db(isolation="clone")]

NEW = {"name": "new", "price": 2}
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
KEY = {"Idempotency-Key": "one"}
FEW = lines({**NEW, "id": 1}, NEW)
MANY = lines(*({**NEW, "id": item_id} for item_id in range(1, MAX_FENCED_ITEMS + 2)))


@dataclass(frozen=True, slots=True)
class House:
    """What has doors: a server process that takes writes, PostgreSQL, and commands in a directory of their own."""

    url: str
    client: ItemClient
    engine: Engine
    directory: Path
    environment: dict[str, str]
    fork_server: ForkServer

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> requests.Response:
        """Send a request, which succeeds."""
        answer = requests.request(method, self.url + path, json=body, data=content, headers=headers, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer

    def batch(self, op: str, **members: object) -> requests.Response:
        """Send a batch of one operation."""
        return self.ask("POST", "/items/batch", {"operations": [{"op": op, **members}]})

    def load(self, content: bytes, headers: dict[str, str] = NDJSON) -> requests.Response:
        """Import a file over HTTP."""
        return self.ask("POST", "/items/import", content=content, headers=headers)

    def run(self, *words: str, **files: bytes) -> None:
        """Run the `service` command where the `files` are, by their names; it succeeds."""
        for name, content in files.items():
            (self.directory / name).write_bytes(content)
        environment = {**os.environ, **self.environment}
        done = self.fork_server.run(
            "service.cli:main", *words, environment=environment, directory=self.directory, timeout=60
        )
        assert done.returncode == 0, done.stderr

    def execute(self, statement: str) -> None:
        """Write as somebody who knows nothing of caches."""
        with self.engine.begin() as connection:
            connection.execute(text(statement))


Walk = Callable[[House], object]
# An item's id, its version from then on, and whether it was deleted; as the feed tells it.
Change = tuple[int, int, bool]
CREATED: list[Change] = [(2, 1, False)]
CHANGED: list[Change] = [(1, 2, False)]
DELETED: list[Change] = [(1, 1, True)]
FEW_CHANGED = CHANGED + CREATED
MANY_CHANGED = CHANGED + [(item_id, 1, False) for item_id in range(2, MAX_FENCED_ITEMS + 2)]

# A door, how somebody goes through it, and what is changed afterwards; there was item 1, in version 1.
Door = tuple[str, Walk, list[Change]]
DOORS: list[Door] = [
    ("POST", lambda house: house.ask("POST", "/items/", NEW), CREATED),
    ("POST with a key", lambda house: house.ask("POST", "/items/", NEW, headers=KEY), CREATED),
    ("PUT", lambda house: house.ask("PUT", "/items/1", NEW), CHANGED),
    ("PATCH", lambda house: house.ask("PATCH", "/items/1", {"name": "new"}, headers=MERGE_PATCH), CHANGED),
    ("DELETE", lambda house: house.ask("DELETE", "/items/1"), DELETED),
    ("batch create", lambda house: house.batch("create", item=NEW), CREATED),
    ("batch replace", lambda house: house.batch("replace", id=1, item=NEW), CHANGED),
    ("batch update", lambda house: house.batch("update", id=1, item={"name": "new"}), CHANGED),
    ("batch delete", lambda house: house.batch("delete", id=1), DELETED),
    ("import", lambda house: house.load(FEW), FEW_CHANGED),
    ("import of CSV", lambda house: house.load(b"id,name,price\n1,new,2\n", CSV), CHANGED),
    ("import with a key", lambda house: house.load(FEW, NDJSON | KEY), FEW_CHANGED),
    ("service import", lambda house: house.run("import", "items", items=FEW), FEW_CHANGED),
    ("service seed", lambda house: house.run("seed", "--items", "2"), [*CREATED, (3, 1, False)]),
    ("client.create", lambda house: house.client.create(name="new", price=2), CREATED),
    ("client.replace", lambda house: house.client.replace(1, name="new", price=2), CHANGED),
    ("client.update", lambda house: house.client.update(1, name="new"), CHANGED),
    ("client.edit", lambda house: house.client.edit(1, lambda item: {"name": f"{item.name}er"}), CHANGED),
    ("client.delete", lambda house: house.client.delete(1), DELETED),
    (
        "client.batch",
        lambda house: house.client.batch([Operation.update(1, name="new"), Operation.create(name="new", price=2)]),
        FEW_CHANGED,
    ),
    ("client.import_items", lambda house: house.client.import_items([{"id": 1, "name": "new", "price": 2}]), CHANGED),
    ("import of many ids", lambda house: house.load(MANY), MANY_CHANGED),
    ("service import of many ids", lambda house: house.run("import", "items", items=MANY), MANY_CHANGED),
]
# Others commit behind our back: seen within a second.
FOREIGN_DOORS: list[Door] = [
    ("UPDATE", lambda house: house.execute("UPDATE item SET name = 'new'"), CHANGED),
    ("INSERT", lambda house: house.execute("INSERT INTO item (name, price) VALUES ('new', 2)"), CREATED),
    ("DELETE in SQL", lambda house: house.execute("DELETE FROM item"), DELETED),
    ("TRUNCATE", lambda house: house.execute("TRUNCATE item"), DELETED),
]
# Doors that lead nowhere the second time.
REPEATED: list[tuple[str, Walk]] = [
    ("POST", lambda house: house.ask("POST", "/items/", NEW, headers=KEY)),
    (
        "batch",
        lambda house: house.ask("POST", "/items/batch", {"operations": [{"op": "create", "item": NEW}]}, headers=KEY),
    ),
    ("import", lambda house: house.load(FEW, NDJSON | KEY)),
]


@pytest.fixture
def house(
    live_server: LiveServer, engine: Engine, app_environment: dict[str, str], fork_server: ForkServer, tmp_path: Path
) -> Iterator[House]:
    """The house of this test, with item 1 in it."""
    with ItemClient(live_server.url) as client:
        house = House(live_server.url, client, engine, tmp_path, app_environment, fork_server)
        house.execute("INSERT INTO item (name, price) VALUES ('old', 1)")
        yield house


@pytest.fixture
def readers(house: House) -> Iterator[list[TestClient]]:
    """Two workers with warm caches, with the fast path and without."""
    settings = Settings.model_validate({name.lower(): value for name, value in house.environment.items()})
    with ExitStack() as running:
        found = [
            running.enter_context(TestClient(create_app(settings.model_copy(update={"cache_fast_path": fast}))))
            for fast in (True, False)
        ]
        for reader in found:
            warm(reader)
        yield found


def through(doors: Sequence[Door]) -> pytest.MarkDecorator:
    """A test for each of the doors."""
    return pytest.mark.parametrize(("write", "changes"), [door[1:] for door in doors], ids=[door[0] for door in doors])


@through(DOORS)
def test_once_a_write_is_answered_nobody_reads_what_was_before(
    house: House, readers: list[TestClient], redis_client: redis.Redis, write: Walk, changes: list[Change]
) -> None:
    seen = [Seen(reader) for reader in readers]

    write(house)

    # With more ids every entry is void, but those of single items stay in Redis until they expire.
    fenced = changes if len(changes) <= MAX_FENCED_ITEMS else []
    assert redis_client.exists(LIST_KEY, *(item_key(item_id) for item_id, *_ in fenced)) == 0
    for each in seen:
        each.assert_that_reads_are_true(house.engine, changes)
    assert len({tags_of(reader) for reader in readers}) == 1


@through(FOREIGN_DOORS)
def test_a_second_after_a_foreign_write_nobody_reads_what_was_before(
    house: House, readers: list[TestClient], write: Walk, changes: list[Change]
) -> None:
    seen = [Seen(reader) for reader in readers]

    write(house)
    for each in seen:
        wait_until(lambda each=each: each.has_seen(changes), seconds=1)  # type: ignore[misc]

    for each in seen:
        each.assert_that_reads_are_true(house.engine, changes)
    assert len({tags_of(reader) for reader in readers}) == 1


@pytest.mark.parametrize("write", [walk for _, walk in REPEATED], ids=[name for name, _ in REPEATED])
def test_a_repeat_under_an_idempotency_key_changes_nothing(
    house: House, readers: list[TestClient], redis_client: redis.Redis, write: Walk
) -> None:
    write(house)
    for reader in readers:
        warm(reader)
    seen = [Seen(reader) for reader in readers]

    write(house)

    assert redis_client.exists(LIST_KEY, item_key(1)) == 2
    for each in seen:
        assert each.follower.follow() == []
        assert each.tags == tags_of(each.reader)


def tags_of(reader: TestClient) -> tuple[str, str]:
    """The tags of the list, and of item 1, or of the problem in its place."""
    return reader.get("/items/").headers["etag"], reader.get("/items/1").headers.get("etag", "")


class Seen:
    """What a reader knows before a write: the tags of the list and of item 1, and all changes so far."""

    def __init__(self, reader: TestClient) -> None:
        self.reader = reader
        self.tags = tags_of(reader)
        self.follower = Follower(reader, limit=1000)
        self.follower.follow()

    def has_seen(self, changes: list[Change]) -> bool:
        """Whether the tags are others than before: the list's, and that of item 1 if that was changed."""
        listed, first = (old != new for old, new in zip(self.tags, tags_of(self.reader), strict=True))
        return listed and first == any(item_id == 1 for item_id, *_ in changes)

    def assert_that_reads_are_true(self, engine: Engine, changes: list[Change]) -> None:
        """The feed told the changes; the list and its items are what PostgreSQL holds, with other tags than before."""
        assert sorted(self.follower.follow()) == changes
        versions = {1: 1} | {item_id: version for item_id, version, _ in changes}
        kept = sorted(versions.keys() - {item_id for item_id, _, is_deleted in changes if is_deleted})

        listed = self.reader.get("/items/", headers={"If-None-Match": self.tags[0]})
        assert listed.status_code == 200
        assert {item["id"]: item["version"] for item in listed.json()} == {
            item_id: versions[item_id] for item_id in kept[:DEFAULT_LIMIT]
        }
        with engine.connect() as connection:
            assert [(item["id"], item["name"], item["version"]) for item in listed.json()] == rows(connection)
        assert [self.reader.get(f"/items/{item['id']}").json() for item in listed.json()] == listed.json()

        first = self.reader.get("/items/1", headers={"If-None-Match": self.tags[1]})
        assert first.status_code == (404 if 1 not in kept else 304 if versions[1] == 1 else 200)


def rows(connection: Connection) -> list[tuple[int, str, int]]:
    """The items of the first page, the oldest first."""
    found = text("SELECT id, name, version FROM item ORDER BY id LIMIT :limit")
    return [tuple(row) for row in connection.execute(found, {"limit": DEFAULT_LIMIT})]
