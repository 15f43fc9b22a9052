"""The cache's entries: under which key, and what they hold."""

import json
from collections.abc import Iterable
from functools import lru_cache

from pydantic import TypeAdapter

from service.models import Item
from service.schemas import ItemRead

LIST_KEY = "all_items_cache"
ITEM_KEY_PREFIX = "item_cache:"

PAGE = TypeAdapter(list[ItemRead])


def item_key(item_id: int) -> str:
    """The Redis key of one item."""
    return f"{ITEM_KEY_PREFIX}{item_id}"


def encode_item(item: Item) -> str:
    """One item as a JSON object."""
    return ItemRead.model_validate(item).model_dump_json()


def encode_list(items: Iterable[Item]) -> bytes:
    """A JSON array whose elements are JSON strings, each one item."""
    return json.dumps([encode_item(item) for item in items], ensure_ascii=False).encode()


def decode_item(payload: bytes) -> ItemRead:
    """The item of a cache entry; raises ValueError."""
    return ItemRead.model_validate_json(payload)


# Every hit decodes, mostly the same bytes as the hit before it.
@lru_cache(maxsize=2)
def decode_list(payload: bytes) -> bytes:
    """The JSON array of the items of a cache entry; raises ValueError."""
    items = json.loads(payload)
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError("not a list of items")
    page = f"[{','.join(items)}]".encode()
    PAGE.validate_json(page)
    return page
