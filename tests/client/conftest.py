"""Clients of the service, directly and through a gateway that fails when it is told to."""

from collections.abc import Iterator

import pytest

from service.client import ItemClient, Retries
from service.config import Settings
from service.main import create_app
from tests.client.gateway import Gateway, gateway_to
from tests.serving import serving

AT_ONCE = Retries(attempts=3, first_wait_seconds=0)


@pytest.fixture
def service_url(app_environment: dict[str, str]) -> Iterator[str]:
    """The service, in a thread of the test: without a slash at its end."""
    settings = Settings.model_validate({name.lower(): value for name, value in app_environment.items()})
    with serving(create_app(settings)) as url:
        yield url


@pytest.fixture
def items(service_url: str) -> Iterator[ItemClient]:
    """A client of the service."""
    with ItemClient(service_url) as items:
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
def service_gateway(gateway: Gateway, service_url: str) -> Gateway:
    """The gateway, with the service behind it."""
    gateway.target = service_url
    return gateway
