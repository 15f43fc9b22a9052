"""The use cases, where SQL meets the cache. The only place that commits."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.orm import sessionmaker
from sqlmodel import Session

from service import crud
from service.cache import Cache, Cached
from service.config import DEFAULT_LIMIT
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
from service.errors import ChangesExpiredError, DatabaseUnavailableError, ItemNotFoundError
from service.feed import Change, ChangePage, FeedPosition
from service.filters import ItemFilter, ItemPosition, ListQuery
from service.models import Item, ItemChange
from service.schemas import ItemRead, ItemWrite


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
            server_start = None if fence.stands else crud.bump_cache_epoch(self.session)
            self.session.commit()
        except BaseException:
            # A fence of a COMMIT whose outcome is unknown stays until it expires.
            self.session.rollback()
            raise
        if not self.cache.unfence(fence):
            self._outlast_old_epoch(server_start or self._move_epoch())

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

    def _load_list(self) -> bytes:
        with self.sessions() as session:
            return encode_list(crud.list_page(session, ItemFilter(), limit=DEFAULT_LIMIT + 1))

    def _load_item(self, item_id: int) -> bytes:
        with self.sessions() as session:
            item = crud.find_item(session, item_id)
        if item is None:
            raise ItemNotFoundError(item_id)
        return encode_item(item).encode()


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
