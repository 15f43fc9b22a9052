"""What goes in and out of the client: items, and what is asked and told about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NotRequired, Self, TypeAlias, TypedDict

Price: TypeAlias = Decimal | int
"""At least 0, at most 9,999,999,999.99, in hundredths."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item as it was when it was read; times are aware, in UTC.

    `etag` is its entity tag, None if it came from an answer with many items. Items with the same values are equal.
    """

    id: int
    name: str
    description: str | None
    price: Decimal
    created_at: datetime
    updated_at: datetime
    version: int
    etag: str | None = field(default=None, compare=False)

    @classmethod
    def read(cls, members: Mapping[str, Any], etag: str | None = None) -> Self:
        """The item that a JSON object describes; members that this release does not know are passed over."""
        return cls(
            id=members["id"],
            name=members["name"],
            description=members["description"],
            price=Decimal(members["price"]),
            created_at=datetime.fromisoformat(members["created_at"]),
            updated_at=datetime.fromisoformat(members["updated_at"]),
            version=members["version"],
            etag=etag,
        )

    def as_record(self) -> "Record":
        """What an import makes this item of."""
        return {"id": self.id, "name": self.name, "description": self.description, "price": self.price}


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list. `total` counts the items of all pages, if `include_total` asked for it."""

    items: tuple[Item, ...]
    total: int | None


class Values(TypedDict):
    """A whole item as a client sends it; a description that is left out is none."""

    name: str
    price: Price
    description: NotRequired[str | None]


class Record(Values):
    """An item in a file: with an id it replaces that item or is created under it, without one it is new."""

    id: NotRequired[int]


class Changes(TypedDict, total=False):
    """Some members of an item; what is left out stays as it is."""

    name: str
    price: Price
    description: str | None


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """How many items an import has created and updated, or, as a dry run, would have."""

    created: int
    updated: int


class Filter(TypedDict, total=False):
    """Which items. `q` searches names and descriptions, `name` is exact; bounds are inclusive; times are aware."""

    q: str
    name: str
    min_price: Price
    max_price: Price
    updated_since: datetime


class Query(Filter, total=False):
    """Which items, in what order, and how many for each page (1 to 1,000). `include_total` counts all of them.

    `sort` is one of id, name, price, created_at, updated_at, with `-` in front for descending.
    """

    sort: str
    limit: int
    include_total: bool
