"""Imports and exports, record by record."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from service.client import Fault, ImportCounts, InvalidRequestError, Item, ItemClient, Record

pytestmark = pytest.mark.db(isolation="clone")


def values(*items: Item) -> list[Record]:
    return [item.as_record() for item in items]


def test_records_are_imported_and_exported_with_exact_prices(items: ItemClient) -> None:
    old = items.create(name="Old", price=1)

    counts = items.import_items(
        [
            {"id": old.id, "name": "Größe 👍🏽", "price": Decimal("9999999999.99")},
            {"name": "New", "description": "Two\nlines", "price": Decimal("0.10")},
        ]
    )

    assert counts == ImportCounts(created=1, updated=1)
    assert values(*items.export_items()) == [
        {"id": 1, "name": "Größe 👍🏽", "description": None, "price": Decimal("9999999999.99")},
        {"id": 2, "name": "New", "description": "Two\nlines", "price": Decimal("0.1")},
    ]


def test_an_export_can_be_imported_while_it_is_read(items: ItemClient) -> None:
    items.import_items({"name": f"Widget {number}", "price": number} for number in range(3000))

    counts = items.import_items(items.export_items())

    assert counts == ImportCounts(created=0, updated=3000)
    assert {item.version for item in items.export_items()} == {2}


def test_a_dry_run_imports_nothing(items: ItemClient) -> None:
    assert items.import_items([{"name": "Widget", "price": 1}], dry_run=True) == ImportCounts(created=1, updated=0)

    assert list(items.export_items()) == []


def test_rejected_records_are_named_by_line_and_nothing_is_imported(items: ItemClient) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        items.import_items([{"name": "Widget", "price": 1}, {"name": "Gadget", "price": -1}])

    (fault,) = caught.value.problem.errors
    assert fault == Fault("/2/price", fault.detail, line=2, content='{"name":"Gadget","price":-1}')
    assert caught.value.problem.extensions == {"rejected": 1}
    assert list(items.export_items()) == []


def test_records_that_end_in_an_error_are_not_imported(items: ItemClient) -> None:
    def records() -> Iterator[Record]:
        for _ in range(5000):
            yield {"name": "Widget", "price": 1}
        raise LookupError("the source is gone")

    with pytest.raises(LookupError, match=r"^the source is gone$"):
        items.import_items(records())

    assert list(items.export_items()) == []


def test_an_export_takes_the_filters_of_a_list(items: ItemClient) -> None:
    items.import_items({"name": f"Widget {number}", "price": number} for number in range(5))

    exported = list(items.export_items(min_price=1, max_price=Decimal("3.5")))

    assert [item.price for item in exported] == [1, 2, 3]
