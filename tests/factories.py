"""Rows for tests. What a factory makes has passed the same validation as a request: table classes have none."""

from contextvars import ContextVar
from decimal import Decimal
from typing import Any

from factory.alchemy import SQLAlchemyModelFactory
from factory.declarations import LazyAttribute, Sequence
from sqlmodel import Session

from service.models import Item
from service.schemas import ItemWrite

# A ContextVar, not a class attribute: the session belongs to one test.
factory_session: ContextVar[Session] = ContextVar("factory_session")


class ItemFactory(SQLAlchemyModelFactory):
    """A stored item. Its id, times and version are the database's to set."""

    class Meta:
        model = Item
        sqlalchemy_session_factory = factory_session.get
        # The application has connections of its own, which see only what was committed.
        sqlalchemy_session_persistence = "commit"

    name = Sequence(lambda n: f"Item {n}")
    description = LazyAttribute(lambda item: f"The description of {item.name}")
    price = Sequence(lambda n: Decimal(n % 100_000) + Decimal("0.99"))

    @classmethod
    def _adjust_kwargs(cls, **values: object) -> dict[str, Any]:
        return ItemWrite.model_validate(values).model_dump()
