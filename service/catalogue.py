"""The use cases, where SQL meets the cache. The only place that commits."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import sessionmaker
from sqlmodel import Session

from service import crud
from service.batch import run_batch
from service.cache import Cache, Cached
from service.config import DEFAULT_LIMIT
from service.database import TRIES, retry_conflict, retry_lost_connection
from service.entries import (
    ITEM_KEY_PREFIX,
    LIST_KEY,
    Page,
    decode_item,
    decode_list,
    encode_item,
    encode_list,
    item_key,
    make_page,
)
from service.errors import (
    ChangesExpiredError,
    DatabaseUnavailableError,
    IdempotencyKeyInUseError,
    IdempotencyKeyReusedError,
    ItemNotFoundError,
    PreconditionFailedError,
    ServiceError,
)
from service.feed import Change, ChangePage, FeedPosition
from service.filters import ItemFilter, ItemPosition, ListQuery
from service.models import Item, ItemChange
from service.operations import ChangeOperation, CreateOperation, OperationResult
from service.preconditions import UNCONDITIONAL, Precondition
from service.schemas import ItemPatch, ItemRead, ItemWrite
from service.web.conditional import version_tag
from service.web.idempotency import Answer, Claim

# So many rows are removed in one transaction, well within a statement's time.
EXPIRY_BATCH = 1000

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


@dataclass(slots=True)
class Changed:
    """The entries of the cache that a transaction makes untrue: those under `keys`, or every one."""

    keys: set[str] = field(default_factory=set)
    everything: bool = False


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
    request's may look at an older snapshot than the miss that it answers. In a `unit`, which holds
    what was changed so far, writes are parts of one transaction, which `once` commits.
    """

    session: Session
    sessions: sessionmaker[Session]
    cache: Cache
    unit: Changed | None = None

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

    def list_first_page(self, *, may_use_cache: bool = True) -> Cached[Page]:
        """The default page, the one that is cached: the oldest items, oldest first."""
        if not may_use_cache:
            return Cached(decode_list(self._load_list()), "refused")
        return self.cache.read(LIST_KEY, self._load_list, decode_list)

    def list_page(self, query: ListQuery, after: ItemPosition | None) -> Page:
        """One page of what the query chooses: its beginning, or what follows the position `after`."""
        with self.sessions() as session:
            items = crud.list_page(session, query, sort=query.sort, after=after, limit=query.limit + 1)
            total = crud.count_items(session, query) if query.include_total else None
        return make_page(items, limit=query.limit, sort=query.sort, total=total)

    def list_changes(self, here: FeedPosition | None, *, limit: int) -> ChangePage:
        """What was committed since the client stood `here`, or all that is kept; raises ChangesExpiredError."""
        with self.sessions() as session:
            feed, now = crud.find_feed_end(session)
            here = here or FeedPosition(feed, crud.find_feed_start(session))
            until = here.until or now
            found = crud.list_changes(session, seen=here.seen, until=until, after=here.seq, limit=limit + 1)
            # After the changes were read: some may have expired meanwhile.
            if here.feed != feed or not here.seen.includes(crud.find_feed_start(session)):
                raise ChangesExpiredError
        changes = [_describe_change(change, item) for change, item in found[:limit]]
        if len(found) > limit:
            return ChangePage(changes, here._replace(until=until, seq=found[limit - 1][0].seq), more=True)
        return ChangePage(changes, FeedPosition(feed, until), more=False)

    def find_feed_end(self) -> FeedPosition:
        """Where a client stands that has all that is committed now."""
        with self.sessions() as session:
            return FeedPosition(*crud.find_feed_end(session))

    def get_item(self, item_id: int, *, may_use_cache: bool = True) -> Cached[ItemRead]:
        """One item; raises ItemNotFoundError."""
        if not may_use_cache:
            return Cached(decode_item(self._load_item(item_id)), "refused")
        return self.cache.read(item_key(item_id), lambda: self._load_item(item_id), decode_item)

    @_retried
    def replace_item(self, item_id: int, values: ItemWrite, condition: Precondition = UNCONDITIONAL) -> ItemRead:
        """Set all that a client may set and commit; raises ItemNotFoundError, PreconditionFailedError."""
        return self._change_item(item_id, values.model_dump(), condition)

    @_retried
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

    @_retried
    def delete_item(self, item_id: int, condition: Precondition = UNCONDITIONAL) -> None:
        """Remove the item and commit; raises ItemNotFoundError, PreconditionFailedError."""
        with self._writing(LIST_KEY, item_key(item_id)):
            if not crud.delete_item(self.session, item_id, condition):
                raise _explain_refusal(self.session, item_id, condition)

    @_retried
    def apply_batch(self, operations: Sequence[CreateOperation | ChangeOperation]) -> list[OperationResult]:
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
    def _writing(self, *keys: str, voids_cache: bool = False) -> Iterator[Changed]:
        """The one way to change items: statements inside, then fence, COMMIT, unfence. An error rolls back.

        `keys` are the entries that the statements make untrue; those that are known only inside may be added to what
        it yields. Where they are too many to name, `voids_cache` makes every entry untrue instead, which takes as long
        as others may trust it; `keys` are still gone from Redis. In a unit, the unit does the rest.
        """
        if self.unit is not None:
            self.unit.keys.update(keys)
            self.unit.everything |= voids_cache
            yield self.unit
            return
        changed = Changed(set(keys), voids_cache)
        try:
            yield changed
            fence = self.cache.fence(*sorted(changed.keys))
            moves_epoch = changed.everything or not fence.stands
            server_start = crud.bump_cache_epoch(self.session) if moves_epoch else None
            self.session.commit()
        except BaseException:
            # A fence of a COMMIT whose outcome is unknown stays until it expires.
            self.session.rollback()
            raise
        try:
            was_lifted = self.cache.unfence(fence)
            if server_start or not was_lifted:
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
            return self._load_list()
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

    def _load_list(self) -> bytes:
        return encode_list(self._read(lambda session: crud.list_page(session, ItemFilter(), limit=DEFAULT_LIMIT + 1)))

    def _load_item(self, item_id: int) -> bytes:
        item = self._read(lambda session: crud.find_item(session, item_id))
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


def expire_answers(session: Session) -> int:
    """Remove every stored answer that has expired, and commit; how many there were."""
    removed = 0
    while batch := crud.delete_expired_answers(session, limit=EXPIRY_BATCH):
        session.commit()
        removed += batch
    return removed


def expire_changes(session: Session, *, days: int) -> int:
    """Drop the changes that were committed more than `days` ago, and commit; how many they were.

    Age is measured from run to run: what was committed since the last one is as old as this one.
    """
    crud.add_mark(session)
    expired = crud.expire_mark(session, days=days)
    dropped = 0 if expired is None else crud.delete_changes(session, shown_by=expired)
    session.commit()
    return dropped


def _describe_change(change: ItemChange, item: Item | None) -> Change:
    now = None if item is None else ItemRead.model_validate(item)
    return Change(id=change.item_id, version=change.version, deleted=change.deleted, item=now)
