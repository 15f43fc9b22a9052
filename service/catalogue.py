"""The use cases, where SQL meets the cache. The only place that commits."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import sessionmaker
from sqlmodel import Session

from service import crud
from service.cache import Cache, Cached
from service.config import DEFAULT_LIMIT
from service.database import TRIES, retry_conflict, retry_lost_connection
from service.entries import (
    ITEM_KEY_PREFIX,
    LIST_KEY,
    decode_item,
    decode_list,
    encode_item,
    encode_list,
    item_key,
)
from service.errors import (
    DatabaseUnavailableError,
    IdempotencyKeyInUseError,
    IdempotencyKeyReusedError,
    ItemNotFoundError,
)
from service.schemas import ItemRead, ItemWrite
from service.web.idempotency import Answer, Claim

# So many rows are removed in one transaction, well within a statement's time.
EXPIRY_BATCH = 1000

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


def _retried(
    use_case: Callable[Concatenate["Catalogue", Arguments], Value],
) -> Callable[Concatenate["Catalogue", Arguments], Value]:
    """Run the use case anew, transaction and all, when it conflicted with another; in a unit, that is the unit's."""

    @wraps(use_case)
    def run(catalogue: "Catalogue", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Value:
        tries = TRIES if catalogue.unit is None else 1
        return retry_conflict(lambda: use_case(catalogue, *args, **kwargs), tries=tries)

    return run


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The catalogue, as one request sees it.

    Writes use the request's session. Reads that may fill the cache use one of their own from `sessions`, because the
    request's may look at an older snapshot than the miss that it answers. In a `unit`, which holds the cache's keys of
    what was changed so far, writes are parts of one transaction, which `once` commits.
    """

    session: Session
    sessions: sessionmaker[Session]
    cache: Cache
    unit: set[str] | None = None

    def once(self, claim: Claim, work: Callable[["Catalogue"], Answer], *, tries: int = TRIES) -> Answer:
        """What `work` answers, stored under the claim's key with all that it changed; for a repeat, what is stored.

        `work` is given a catalogue whose writes are one transaction. If it raises, nothing is changed or stored. It
        runs anew after a deadlock: say `tries=1` if it cannot. Raises IdempotencyKeyInUseError and
        IdempotencyKeyReusedError.
        """
        return retry_conflict(lambda: self._answer_once(claim, work), tries=tries)

    @_retried
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

    @_retried
    def replace_item(self, item_id: int, values: ItemWrite) -> ItemRead:
        """Set all that a client may set and commit; raises ItemNotFoundError."""
        with self._writing(LIST_KEY, item_key(item_id)):
            item = crud.replace_item(self.session, item_id, values)
            if item is None:
                raise ItemNotFoundError(item_id)
            return ItemRead.model_validate(item)

    @_retried
    def delete_item(self, item_id: int) -> None:
        """Remove the item and commit; raises ItemNotFoundError."""
        with self._writing(LIST_KEY, item_key(item_id)):
            if not crud.delete_item(self.session, item_id):
                raise ItemNotFoundError(item_id)

    def add_items(self, items: Iterable[ItemWrite]) -> None:
        """Append many new items in one transaction and commit."""
        with self._writing(LIST_KEY):
            crud.copy_items(self.session, items)

    def _answer_once(self, claim: Claim, work: Callable[["Catalogue"], Answer]) -> Answer:
        try:
            if answer := self._find_answer(claim):
                return answer
            with self._writing() as changed:
                answer = work(replace(self, unit=changed))
                crud.store_answer(
                    self.session,
                    key=claim.key,
                    fingerprint=claim.fingerprint(),
                    status=answer.status,
                    headers=answer.headers,
                    body=answer.body,
                )
            return answer
        finally:
            # Gives the key's lock back where nothing was done; after COMMIT it does nothing.
            self.session.rollback()

    def _find_answer(self, claim: Claim) -> Answer | None:
        """The stored answer to the same request; None when the key is ours to answer, until the transaction ends."""
        is_ours = crud.try_lock_key(self.session, claim.key)
        # In this order, and in two statements: whoever held the lock until now has committed what this one looks for.
        stored = crud.find_answer(self.session, claim.key)
        if stored is None and not is_ours:
            raise IdempotencyKeyInUseError
        if stored is None:
            return None
        if stored.fingerprint != claim.fingerprint():
            raise IdempotencyKeyReusedError
        return Answer(stored.status, [(name, value) for name, value in stored.headers], stored.body, is_repeat=True)

    @contextmanager
    def _writing(self, *keys: str) -> Iterator[set[str]]:
        """The one way to change items: statements inside, then fence, COMMIT, unfence. An error rolls back.

        Keys of the cache that are known only inside may be added to what it yields. In a unit, the unit does the rest.
        """
        if self.unit is not None:
            self.unit.update(keys)
            yield self.unit
            return
        changed = set(keys)
        try:
            yield changed
            fence = self.cache.fence(*sorted(changed))
            server_start = None if fence.stands else crud.bump_cache_epoch(self.session)
            self.session.commit()
        except BaseException:
            # A fence of a COMMIT whose outcome is unknown stays until it expires.
            self.session.rollback()
            raise
        try:
            if not self.cache.unfence(fence):
                self._outlast_old_epoch(server_start or self._move_epoch())
        except DBAPIError as error:
            # It must not pass for a conflict, after which all would be run anew: the change is made.
            raise DatabaseUnavailableError("PostgreSQL was lost after the change, which has been made.") from error

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

    def _read(self, query: Callable[[Session], Value]) -> Value:
        """What `query` finds in a session of its own; a connection that dies under it is replaced once."""

        def read() -> Value:
            with self.sessions() as session:
                return query(session)

        return retry_lost_connection(read)

    def _load_list(self, limit: int) -> bytes:
        return encode_list(self._read(lambda session: crud.list_items(session, limit=limit)))

    def _load_item(self, item_id: int) -> bytes:
        item = self._read(lambda session: crud.find_item(session, item_id))
        if item is None:
            raise ItemNotFoundError(item_id)
        return encode_item(item).encode()


def expire_answers(session: Session) -> int:
    """Remove every stored answer that has expired, and commit; how many there were."""
    removed = 0
    while batch := crud.delete_expired_answers(session, limit=EXPIRY_BATCH):
        session.commit()
        removed += batch
    return removed
