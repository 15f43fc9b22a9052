"""The use cases, where SQL meets the cache. The only place that commits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import sessionmaker
from sqlmodel import Session

from service import crud
from service.batch import run_batch
from service.cache import Cache, Cached
from service.config import DEFAULT_LIMIT
from service.entries import (
    ITEM_KEY_PREFIX,
    LIST_KEY,
    decode_item,
    decode_list,
    encode_item,
    encode_list,
    item_key,
)
from service.errors import DatabaseUnavailableError, ItemNotFoundError, PreconditionFailedError, ServiceError
from service.operations import Change, CreateOperation, OperationResult
from service.preconditions import UNCONDITIONAL, Precondition
from service.schemas import ItemPatch, ItemRead, ItemWrite
from service.web.conditional import version_tag


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

    def list_items(self, *, limit: int, may_use_cache: bool = True) -> Cached[bytes]:
        """The oldest `limit` items as one JSON array, oldest first; only the default page is cached."""
        if limit != DEFAULT_LIMIT:
            return Cached(decode_list(self._load_list(limit)), "uncached")
        if not may_use_cache:
            return Cached(decode_list(self._load_list(limit)), "refused")
        return self.cache.read(LIST_KEY, lambda: self._load_list(limit), decode_list)

    def get_item(self, item_id: int, *, may_use_cache: bool = True) -> Cached[ItemRead]:
        """One item; raises ItemNotFoundError."""
        if not may_use_cache:
            return Cached(decode_item(self._load_item(item_id)), "refused")
        return self.cache.read(item_key(item_id), lambda: self._load_item(item_id), decode_item)

    def replace_item(self, item_id: int, values: ItemWrite, condition: Precondition = UNCONDITIONAL) -> ItemRead:
        """Set all that a client may set and commit; raises ItemNotFoundError, PreconditionFailedError."""
        return self._change_item(item_id, values.model_dump(), condition)

    def update_item(self, item_id: int, patch: ItemPatch, condition: Precondition = UNCONDITIONAL) -> ItemRead:
        """Set what the patch names and commit; raises ItemNotFoundError, PreconditionFailedError.

        A patch that names nothing is no change: no new version, and the cache stays.
        """
        if changes := patch.changes():
            return self._change_item(item_id, changes, condition)
        with self.sessions() as session:
            item = crud.find_item(session, item_id, condition)
            if item is None:
                raise _explain_refusal(session, item_id, condition)
            return ItemRead.model_validate(item)

    def delete_item(self, item_id: int, condition: Precondition = UNCONDITIONAL) -> None:
        """Remove the item and commit; raises ItemNotFoundError, PreconditionFailedError."""
        with self._writing(LIST_KEY, item_key(item_id)):
            if not crud.delete_item(self.session, item_id, condition):
                raise _explain_refusal(self.session, item_id, condition)

    def apply_batch(self, operations: Sequence[CreateOperation | Change]) -> list[OperationResult]:
        """Do all operations and commit, or none; raises ItemNotFoundError, PreconditionFailedError with the index."""
        touched = [item_key(operation.id) for operation in operations if not isinstance(operation, CreateOperation)]
        with self._writing(LIST_KEY, *touched):
            return run_batch(self.session, operations)

    def add_items(self, items: Iterable[ItemWrite]) -> None:
        """Append many new items in one transaction and commit."""
        with self._writing(LIST_KEY):
            crud.copy_items(self.session, items)

    def _change_item(self, item_id: int, values: Mapping[str, Any], condition: Precondition) -> ItemRead:
        with self._writing(LIST_KEY, item_key(item_id)):
            item = crud.update_item(self.session, item_id, values, condition)
            if item is None:
                raise _explain_refusal(self.session, item_id, condition)
            return ItemRead.model_validate(item)

    @contextmanager
    def _writing(self, *keys: str, voids_cache: bool = False) -> Iterator[None]:
        """The one way to change items: statements inside, then fence, COMMIT, unfence. An error rolls back.

        `keys` are the entries that the statements make untrue. Where these are too many to name, `voids_cache` makes
        every entry untrue instead, which takes as long as others may trust it; `keys` are still gone from Redis.
        """
        try:
            yield
            fence = self.cache.fence(*keys)
            moves_epoch = voids_cache or not fence.stands
            server_start = crud.bump_cache_epoch(self.session) if moves_epoch else None
            self.session.commit()
        except BaseException:
            # A fence of a COMMIT whose outcome is unknown stays until it expires.
            self.session.rollback()
            raise
        was_lifted = self.cache.unfence(fence)
        if server_start or not was_lifted:
            self._outlast_old_epoch(server_start or self._move_epoch())

    def void_cache(self) -> None:
        """Make every entry a miss for every process."""
        self._outlast_old_epoch(self._move_epoch())

    def find_payload(self, key: str) -> bytes | None:
        """What the entry under `key` has to hold by PostgreSQL; None for an item that does not exist."""
        if key == LIST_KEY:
            return self._load_list(DEFAULT_LIMIT)
        try:
            return self._load_item(int(key.removeprefix(ITEM_KEY_PREFIX)))
        except (ItemNotFoundError, ValueError):
            return None

    def _move_epoch(self) -> str:
        with self.sessions() as session:
            server_start = crud.bump_cache_epoch(session)
            session.commit()
        return server_start

    def _outlast_old_epoch(self, server_start: str) -> None:
        """Return when no process trusts the cache as it was before the bump; raises DatabaseUnavailableError.

        While PostgreSQL is away, the others go on trusting. So the write is acknowledged only if it never was.
        """
        self.cache.settle()
        with self.sessions() as session:
            if crud.find_server_start(session) != server_start:
                raise DatabaseUnavailableError("PostgreSQL was restarted during the request, which may have been done.")

    def _load_list(self, limit: int) -> bytes:
        with self.sessions() as session:
            return encode_list(crud.list_items(session, limit=limit))

    def _load_item(self, item_id: int) -> bytes:
        with self.sessions() as session:
            item = crud.find_item(session, item_id)
        if item is None:
            raise ItemNotFoundError(item_id)
        return encode_item(item).encode()


def _explain_refusal(session: Session, item_id: int, condition: Precondition) -> ServiceError:
    """Why a statement found no item that meets the condition. True at the moment of this second statement.

    The item may have come or gone since the first; tags never come back, so one that did not match then does not now.
    """
    item = None if condition == UNCONDITIONAL else crud.find_item(session, item_id)
    if item is None:
        return ItemNotFoundError(item_id)
    found = ItemRead.model_validate(item)
    return PreconditionFailedError(item_id, version_tag(found.version, found.updated_at))
