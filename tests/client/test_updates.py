"""Updates that overwrite nobody's: every Item that the client has read brings its entity tag along."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from service.client import Changes, InvalidRequestError, Item, ItemClient, PreconditionFailedError
from tests.client.gateway import Gateway, Loss

pytestmark = pytest.mark.db(isolation="clone")


@pytest.fixture
def item(items: ItemClient) -> Item:
    """An item as it was created."""
    return items.create(name="Widget", description="A useful widget", price=1)


def test_an_update_changes_what_it_names(items: ItemClient, item: Item) -> None:
    cheaper = items.update(item, price=Decimal("0.50"))
    bare = items.update(cheaper, description=None)

    assert cheaper == replace(item, price=Decimal("0.5"), version=2, updated_at=cheaper.updated_at)
    assert bare == replace(cheaper, description=None, version=3, updated_at=bare.updated_at)
    assert items.get(item.id) == bare


def test_an_update_of_an_id_changes_whatever_is_there(items: ItemClient, item: Item) -> None:
    items.update(item, name="Gadget")

    updated = items.update(item.id, price=2)

    assert (updated.name, updated.price, updated.version) == ("Gadget", Decimal(2), 3)


@pytest.mark.parametrize(
    "write",
    [
        lambda items, item: items.update(item, price=3),
        lambda items, item: items.replace(item, name="Widget", price=3),
        lambda items, item: items.delete(item),
    ],
    ids=["update", "replace", "delete"],
)
def test_what_somebody_else_has_changed_is_not_overwritten(
    items: ItemClient, item: Item, write: Callable[[ItemClient, Item], object]
) -> None:
    changed = items.update(item.id, price=2)

    with pytest.raises(PreconditionFailedError) as caught:
        write(items, item)

    assert not caught.value.may_have_been_done
    assert items.get(item.id) == changed
    write(items, changed)


def test_an_item_from_a_list_is_updated_if_it_is_unchanged(items: ItemClient, item: Item) -> None:
    (listed,) = items.iterate()

    assert items.update(listed, price=2).version == item.version + 1


def test_edits_of_many_at_once_are_all_counted(items: ItemClient, item: Item) -> None:
    def add_one(item: Item) -> Changes:
        if item.version == 1:
            items.update(item.id, price=item.price + 10)
        return {"price": item.price + 1}

    edited = items.edit(item.id, add_one)

    assert (edited.price, edited.version) == (Decimal(12), 3)


def test_an_update_whose_answer_was_lost_says_that_it_may_have_been_done(
    items: ItemClient, shaky: ItemClient, service_gateway: Gateway, item: Item
) -> None:
    service_gateway.script.append(Loss.OF_THE_ANSWER)

    with pytest.raises(PreconditionFailedError) as caught:
        shaky.update(item, price=2)

    assert caught.value.may_have_been_done
    assert [request.method for request in service_gateway.received] == ["PATCH", "PATCH"]
    assert items.get(item.id).price == 2


def test_a_required_member_cannot_be_taken_away(items: ItemClient, item: Item) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        items.update(item, name=None)  # type: ignore[arg-type]  # what a type checker would have told

    assert [fault.pointer for fault in caught.value.problem.errors] == ["/name"]
