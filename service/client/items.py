"""What goes in and out of the client: items, and what is asked and told about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, NotRequired, Self, TypeAlias, TypedDict, Unpack

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
class Operation:
    """One operation of a batch, on an item or, whatever it is now, on an id; made by one of the four methods."""

    op: Literal["create", "replace", "update", "delete"]
    target: Item | int | None = None
    values: Values | Changes | None = None

    @classmethod
    def create(cls, **values: Unpack[Values]) -> Self:
        """Create an item."""
        return cls("create", None, values)

    @classmethod
    def replace(cls, target: Item | int, **values: Unpack[Values]) -> Self:
        """Set all of an item."""
        return cls("replace", target, values)

    @classmethod
    def update(cls, target: Item | int, **changes: Unpack[Changes]) -> Self:
        """Set some members of an item."""
        return cls("update", target, changes)

    @classmethod
    def delete(cls, target: Item | int) -> Self:
        """Delete an item."""
        return cls("delete", target)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one item: to `version`; of a deletion, the last there was.

    `item` is as it is now, None if it is gone, by this change or a later one: store it, or drop what has this `id`.
    """

    id: int
    version: int
    deleted: bool
    item: Item | None


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes, for each item in the order of their commits. `cursor` goes on after them."""

    changes: tuple[Change, ...]
    cursor: str


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
