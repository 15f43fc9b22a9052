"""The use cases, where SQL meets the cache. The only place that commits."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic_core import from_json
from sqlalchemy.orm import sessionmaker
from sqlmodel import Session

from service import crud
from service.cache import Cache, Cached
from service.config import DEFAULT_LIMIT
from service.errors import ItemNotFoundError
from service.models import Item
from service.schemas import ItemRead, ItemWrite

LIST_KEY = "all_items_cache"


def item_key(item_id: int) -> str:
    """The Redis key of one item."""
    return f"item_cache:{item_id}"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The catalogue, as one request sees it.

    Writes use the request's session. Reads that may fill the cache use one of their own from `sessions`, because the
    request's may look at an older snapshot than the miss that it answers.
    """

    session: Session
    sessions: sessionmaker[Session]
    cache: Cache

    def create_item(self, values: ItemWrite) -> ItemRead:
        """Store a new item and commit."""
        with self._writing(LIST_KEY):
            return ItemRead.model_validate(crud.insert_item(self.session, values))

    def list_items(self, *, limit: int) -> Cached[bytes]:
        """The oldest `limit` items as one JSON array, oldest first; only the default page is cached."""
        if limit == DEFAULT_LIMIT:
            return self.cache.read(LIST_KEY, self._load_list, _decode_list)
        with self.sessions() as session:
            return Cached(_decode_list(_encode_list(crud.list_items(session, limit=limit))), "uncached")

    def get_item(self, item_id: int) -> Cached[ItemRead]:
        """One item; raises ItemNotFoundError."""
        return self.cache.read(item_key(item_id), lambda: self._load_item(item_id), ItemRead.model_validate_json)

    def replace_item(self, item_id: int, values: ItemWrite) -> ItemRead:
        """Set all that a client may set and commit; raises ItemNotFoundError."""
        with self._writing(LIST_KEY, item_key(item_id)):
            item = crud.replace_item(self.session, item_id, values)
            if item is None:
                raise ItemNotFoundError(item_id)
            return ItemRead.model_validate(item)

    def delete_item(self, item_id: int) -> None:
        """Remove the item and commit; raises ItemNotFoundError."""
        with self._writing(LIST_KEY, item_key(item_id)):
            if not crud.delete_item(self.session, item_id):
                raise ItemNotFoundError(item_id)

    def add_items(self, items: Iterable[ItemWrite]) -> None:
        """Append many new items in one transaction and commit."""
        with self._writing(LIST_KEY):
            crud.copy_items(self.session, items)

    @contextmanager
    def _writing(self, *keys: str) -> Iterator[None]:
        """The one way to change items: statements inside, then fence, COMMIT, unfence. An error rolls back."""
        try:
            yield
            fence = self.cache.fence(*keys)
            self.session.commit()
        except BaseException:
            self.session.rollback()
            raise
        self.cache.unfence(fence)

    def _load_list(self) -> bytes:
        with self.sessions() as session:
            return _encode_list(crud.list_items(session, limit=DEFAULT_LIMIT))

    def _load_item(self, item_id: int) -> bytes:
        with self.sessions() as session:
            item = crud.find_item(session, item_id)
        if item is None:
            raise ItemNotFoundError(item_id)
        return _encode_item(item).encode()


def _encode_item(item: Item) -> str:
    return ItemRead.model_validate(item).model_dump_json()


def _encode_list(items: Iterable[Item]) -> bytes:
    """A JSON array whose elements are JSON strings, each one item."""
    return json.dumps([_encode_item(item) for item in items], ensure_ascii=False).encode()


def _decode_list(payload: bytes) -> bytes:
    """The JSON array of the items themselves; raises ValueError."""
    items = json.loads(payload)
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ValueError("not a list of items")
    body = f"[{','.join(items)}]".encode()
    # Parsing, at a tenth of what validating costs, finds what was cut short or never was ours.
    if not all(isinstance(item, dict) for item in from_json(body)):
        raise ValueError("not a list of items")
    return body
