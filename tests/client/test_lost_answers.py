"""What the service has done when its answer, or the network, was lost."""

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from service.client import ItemClient, NotFoundError, Retries, TransportError
from tests.cache.proxy import Proxy
from tests.client.gateway import Gateway, Loss

pytestmark = pytest.mark.db(isolation="clone")


def test_a_replacement_whose_answer_was_lost_is_sent_again(
    items: ItemClient, shaky: ItemClient, service_gateway: Gateway
) -> None:
    item_id = items.create(name="Widget", price=1).id
    service_gateway.script.append(Loss.OF_THE_ANSWER)

    new = shaky.replace(item_id, name="Gadget", price=2)

    assert (new.name, new.version) == ("Gadget", 3)
    assert [request.method for request in service_gateway.received] == ["PUT", "PUT"]


def test_a_deletion_whose_answer_was_lost_has_succeeded(
    items: ItemClient, shaky: ItemClient, service_gateway: Gateway
) -> None:
    item_id = items.create(name="Widget", price=1).id
    service_gateway.script.append(Loss.OF_THE_ANSWER)

    shaky.delete(item_id)

    assert [request.method for request in service_gateway.received] == ["DELETE", "DELETE"]
    with pytest.raises(NotFoundError):
        items.get(item_id)


@pytest.fixture
def proxy(service_url: str) -> Iterator[Proxy]:
    """The network between a client and the service."""
    with Proxy.to(urlsplit(service_url).port) as proxy:
        yield proxy


def test_a_client_outlives_a_network_that_was_cut(proxy: Proxy) -> None:
    retries = Retries(attempts=2, first_wait_seconds=0)
    with ItemClient(f"http://127.0.0.1:{proxy.port}", retries=retries) as items:
        item = items.create(name="Widget", price=1)
        proxy.cut()
        with pytest.raises(TransportError):
            items.get(item.id)
        proxy.heal()

        assert items.get(item.id) == item


def test_a_service_that_hangs_is_waited_for_no_longer_than_the_timeout(proxy: Proxy) -> None:
    retries = Retries(attempts=2, first_wait_seconds=0)
    with ItemClient(f"http://127.0.0.1:{proxy.port}", timeout_seconds=0.2, retries=retries) as items:
        proxy.hang()
        began = time.monotonic()

        with pytest.raises(TransportError) as caught:
            items.create(name="Widget", price=1)

    assert 0.4 < time.monotonic() - began < 5
    assert caught.value.may_have_been_done
