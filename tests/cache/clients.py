"""The application as a client sees it, in this process."""

from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

from tests.waiting import wait_until

StartClient = Callable[..., TestClient]
HIT = "service; hit"


def warm(client: TestClient) -> None:
    """Read until both addresses are answered from the cache."""
    for path in ("/items/", "/items/1"):
        wait_until(lambda path=path: client.get(path).headers.get("cache-status") == HIT, seconds=10)  # type: ignore[misc]


def find_on_the_loop(client: TestClient, key: str) -> bytes | None:
    """The entry as the fast path finds it; None if it hands the request on."""
    app: Any = client.app
    assert client.portal is not None
    found: bytes | None = client.portal.call(app.state.find_hit, key)
    return found
