"""Lists, page by page: the client follows `Link` and asks for nothing ahead of time."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from service.client import InvalidRequestError, ItemClient, Page
from tests.client.gateway import Answer, Gateway, Loss

pytestmark = pytest.mark.db(isolation="clone")


@pytest.fixture
def far_items(service_gateway: Gateway, shaky: ItemClient) -> ItemClient:
    """A client whose requests are seen on their way, and seven items: 1 to 7, which cost 0.50 more each."""
    for number in range(1, 8):
        shaky.create(name=f"Widget {number}", price=Decimal(number) / 2)
    service_gateway.received.clear()
    return shaky


def test_pages_are_followed_to_the_last(far_items: ItemClient) -> None:
    assert [[item.id for item in page.items] for page in far_items.pages(limit=3)] == [[1, 2, 3], [4, 5, 6], [7]]


def test_a_page_is_asked_for_when_its_first_item_is_taken(far_items: ItemClient, gateway: Gateway) -> None:
    items = far_items.iterate(limit=3)
    assert gateway.received == []

    assert [next(items).id for _ in range(3)] == [1, 2, 3]

    assert len(gateway.received) == 1
    assert next(items).id == 4
    assert len(gateway.received) == 2


def test_filter_and_sort_hold_on_every_page(far_items: ItemClient) -> None:
    items = far_items.iterate(
        q="widget",
        min_price=Decimal("1.50"),
        max_price=3,
        updated_since=datetime.now(UTC).astimezone() - timedelta(hours=1),
        sort="-price",
        limit=2,
    )

    assert [(item.id, item.price) for item in items] == [
        (6, Decimal("3.0")),
        (5, Decimal("2.5")),
        (4, Decimal("2.0")),
        (3, Decimal("1.5")),
    ]
    assert [item.id for item in far_items.iterate(name="Widget 4")] == [4]


def test_the_total_counts_the_items_of_all_pages(far_items: ItemClient) -> None:
    pages = list(far_items.pages(limit=4, include_total=True, sort="id"))

    assert [page.total for page in pages] == [7, 7]
    assert list(far_items.pages(name="Gadget", include_total=True)) == [Page((), 0)]
    assert next(far_items.pages(limit=4)).total is None


def test_a_page_whose_answer_gets_lost_is_asked_for_again(far_items: ItemClient, gateway: Gateway) -> None:
    items = far_items.iterate(limit=3)
    assert next(items).id == 1
    gateway.script.extend([Loss.OF_THE_ANSWER, Answer(503)])

    assert [item.id for item in items] == [2, 3, 4, 5, 6, 7]

    asked_for = [request.url for request in gateway.received]
    assert asked_for[1] == asked_for[2] == asked_for[3] != asked_for[4]


def test_a_query_that_the_service_does_not_take_is_refused_at_the_first_item(far_items: ItemClient) -> None:
    items = far_items.iterate(sort="colour", limit=5)

    with pytest.raises(InvalidRequestError) as caught:
        next(items)

    assert [fault.pointer for fault in caught.value.problem.errors] == ["sort"]
