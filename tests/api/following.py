"""A client that follows the feed of changes, and transactions that stay open beside it."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from starlette.testclient import TestClient

SCOPE = "/items/changes"
CONFLICT = "INSERT INTO item (id, name, price) VALUES (1, 'x', 1) ON CONFLICT (id) DO"
WIDGET = {"name": "Widget", "price": 1}


class Follower:
    """A client that keeps a copy of the catalogue, as the documentation tells it to."""

    def __init__(self, client: TestClient, limit: int = 100) -> None:
        self._client = client
        self._limit = limit
        self.cursor: str | None = None
        self.copy: dict[int, dict[str, Any]] = {}
        self.changes: list[tuple[int, int, bool]] = []

    def follow(self) -> list[tuple[int, int, bool]]:
        """Read all there is now; returns the changes, as id, version and whether it was a deletion."""
        told, address = len(self.changes), f"{SCOPE}?limit={self._limit}"
        address += f"&since={self.cursor}" if self.cursor else ""
        while address:
            response = self._client.get(address)
            assert response.status_code == 200, response.text
            for change in response.json():
                self._apply(change)
            self.cursor = response.headers["X-Next-Cursor"]
            address = response.links.get("next", {}).get("url", "")
        return self.changes[told:]

    def _apply(self, change: dict[str, Any]) -> None:
        self.changes.append((change["id"], change["version"], change["deleted"]))
        if change["item"] is None:
            self.copy.pop(change["id"], None)
        else:
            self.copy[change["id"]] = change["item"]


@pytest.fixture
def follower(client: TestClient) -> Follower:
    return Follower(client)


@pytest.fixture
def connections(engine: Engine) -> Iterator[list[Connection]]:
    """Three connections, each for a transaction that stays open."""
    with ExitStack() as open_connections:
        yield [open_connections.enter_context(engine.connect()) for _ in range(3)]


def run(connection: Connection, statement: str) -> None:
    connection.execute(text(statement))


def insert(connection: Connection, item_id: int) -> None:
    connection.execute(text("INSERT INTO item (id, name, price) VALUES (:id, 'Item', 1)"), {"id": item_id})
