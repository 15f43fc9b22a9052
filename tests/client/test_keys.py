"""A creation is done once, however often it is sent."""

import pytest

from service.client import ItemClient
from tests.client.gateway import Gateway, Loss

pytestmark = pytest.mark.db(isolation="clone")


def test_a_creation_whose_answer_was_lost_creates_one_item(
    items: ItemClient, shaky: ItemClient, service_gateway: Gateway
) -> None:
    service_gateway.script.extend([Loss.OF_THE_ANSWER, Loss.OF_THE_ANSWER])

    item = shaky.create(name="Widget", price=1)

    assert [request.method for request in service_gateway.received] == ["POST", "POST", "POST"]
    assert list(items.iterate()) == [item]
    assert items.get(item.id).etag == item.etag
