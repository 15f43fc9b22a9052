"""Rows for tests. What a factory makes has passed the same validation as a request."""

from decimal import Decimal

from factory.declarations import LazyAttribute, Sequence

from service.models import Item
from service.schemas import ItemWrite
from service.testing.factories import ModelFactory


class ItemFactory(ModelFactory[Item]):
    """An item. Its id, times and version are the database's to set."""

    class Meta:
        model = Item
        schema = ItemWrite

    name = Sequence(lambda n: f"Item {n}")
    description = LazyAttribute(lambda item: f"The description of {item.name}")
    price = Sequence(lambda n: Decimal(n % 100_000) + Decimal("0.99"))
