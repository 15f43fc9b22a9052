"""Clients of a server process, directly and through a gateway that fails when it is told to."""

from collections.abc import Iterator

import pytest

from service.client import ItemClient, Retries
from service.testing.live import LiveServer
from tests.client.gateway import Gateway, gateway_to

AT_ONCE = Retries(attempts=3, first_wait_seconds=0)


@pytest.fixture
def items(live_server: LiveServer) -> Iterator[ItemClient]:
    """A client of the service."""
    with ItemClient(live_server.url) as items:
        yield items


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A gateway without a service behind it: all its answers are scripted."""
    with gateway_to(None) as gateway:
        yield gateway


@pytest.fixture
def shaky(gateway: Gateway) -> Iterator[ItemClient]:
    """A client of the gateway, which tries three times without waiting."""
    with ItemClient(gateway.url, retries=AT_ONCE) as items:
        yield items


@pytest.fixture
def service_gateway(gateway: Gateway, live_server: LiveServer) -> Gateway:
    """The gateway, with the service behind it."""
    gateway.target = live_server.url
    return gateway
