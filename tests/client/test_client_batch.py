"""Many operations in one request."""

import pytest

from service.client import Item, ItemClient, NotFoundError, Operation, PreconditionFailedError
from tests.client.gateway import Gateway, Loss

pytestmark = pytest.mark.db(isolation="clone")


@pytest.fixture
def four(items: ItemClient) -> list[Item]:
    """Four items."""
    return [items.create(name=f"Widget {number}", description="Old", price=number) for number in range(4)]


def test_a_batch_does_each_operation_and_tells_what_it_made(items: ItemClient, four: list[Item]) -> None:
    replaced, updated, _, deleted = four
    listed = list(items.iterate())[2]

    results = items.batch(
        [
            Operation.create(name="New", price=5),
            Operation.replace(replaced, name="Replaced", price=6),
            Operation.update(updated.id, price=7),
            Operation.update(listed, description=None),
            Operation.delete(deleted),
        ]
    )

    assert results == [*(items.get(item_id) for item_id in (5, 1, 2, 3)), None]
    assert [(item.name, item.description, int(item.price)) for item in results if item] == [
        ("New", None, 5),
        ("Replaced", None, 6),
        ("Widget 1", "Old", 7),
        ("Widget 2", None, 2),
    ]
    assert [item.etag for item in results if item] == [items.get(item.id).etag for item in results if item]
    with pytest.raises(NotFoundError):
        items.get(deleted.id)


def test_nothing_of_a_batch_is_done_if_one_operation_cannot_be(items: ItemClient, four: list[Item]) -> None:
    changed = items.update(four[1].id, price=9)

    with pytest.raises(PreconditionFailedError) as caught:
        items.batch([Operation.delete(four[0]), Operation.update(four[1], price=7)])

    assert caught.value.problem.extensions["index"] == 1
    assert list(items.iterate()) == [four[0], changed, *four[2:]]


def test_a_batch_whose_answer_was_lost_is_done_once(
    items: ItemClient, shaky: ItemClient, service_gateway: Gateway
) -> None:
    service_gateway.script.append(Loss.OF_THE_ANSWER)

    (item,) = shaky.batch([Operation.create(name="Widget", price=1)])

    assert [request.method for request in service_gateway.received] == ["POST", "POST"]
    assert list(items.iterate()) == [item]
