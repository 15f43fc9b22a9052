"""The cache's entries: under which key, and what they hold. And pages of items that are none."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from service.config import DEFAULT_LIMIT
from service.filters import ItemPosition, Sort, position_of
from service.models import Item
from service.schemas import ItemRead

LIST_KEY = "all_items_cache"
ITEM_KEY_PREFIX = "item_cache:"

# What ends the entry of a page that others follow.
MORE = "\n"

PAGE = TypeAdapter(list[ItemRead])


@dataclass(frozen=True, slots=True)
class Page:
    """Items as one JSON array; where the next page begins, if there is one; how many match in all, if it was asked."""

    body: bytes
    end: ItemPosition | None
    total: int | None = None


def item_key(item_id: int) -> str:
    """The Redis key of one item."""
    return f"{ITEM_KEY_PREFIX}{item_id}"


def encode_item(item: Item) -> str:
    """One item as a JSON object."""
    return ItemRead.model_validate(item).model_dump_json()


def encode_list(items: Sequence[Mapping[str, Any]]) -> bytes:
    """A JSON array whose elements are JSON strings, each one item: the default page of `items`, oldest first.

    White space ends it, which means nothing to a reader of JSON, when there are more `items` than the page holds.
    """
    shown = PAGE.validate_python(items[:DEFAULT_LIMIT])
    page = json.dumps([item.model_dump_json() for item in shown], ensure_ascii=False)
    return f"{page}{MORE if len(items) > DEFAULT_LIMIT else ''}".encode()


def make_page(items: Sequence[Mapping[str, Any]], *, limit: int, sort: Sort, total: int | None = None) -> Page:
    """The page of at most `limit` of `items`, which should hold one more if there is one."""
    shown = PAGE.validate_python(items[:limit])
    more = len(items) > limit
    return Page(PAGE.dump_json(shown), position_of(shown[-1], sort) if more else None, total)


def decode_item(payload: bytes) -> ItemRead:
    """The item of a cache entry; raises ValueError."""
    return ItemRead.model_validate_json(payload)


# Every hit decodes, mostly the same bytes as the hit before it.
@lru_cache(maxsize=2)
def decode_list(payload: bytes) -> Page:
    """The default page of a cache entry; raises ValueError."""
    items = json.loads(payload)
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError("not a list of items")
    body = f"[{','.join(items)}]".encode()
    shown = PAGE.validate_json(body)
    if not payload.endswith(MORE.encode()):
        return Page(body, None)
    if not shown:
        raise ValueError("more items, but none to go on from")
    return Page(body, position_of(shown[-1], "id"))
