"""The application as a client sees it, in this process."""

import asyncio
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
    (found,) = find_together_on_the_loop(client, key)
    return found


def find_together_on_the_loop(client: TestClient, *keys: str) -> list[bytes | None]:
    """The same for some keys that are asked for in one round trip."""
    app: Any = client.app

    async def find_all() -> list[bytes | None]:
        return list(await asyncio.gather(*(app.state.find_hit(key) for key in keys)))

    assert client.portal is not None
    return client.portal.call(find_all)
