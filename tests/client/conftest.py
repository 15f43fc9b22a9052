"""Clients of a server process."""

from collections.abc import Iterator

import pytest

from service.client import ItemClient
from service.testing.live import LiveServer


@pytest.fixture
def items(live_server: LiveServer) -> Iterator[ItemClient]:
    """A client of the service."""
    with ItemClient(live_server.url) as items:
        yield items
