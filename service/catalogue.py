"""The use cases, where SQL meets the cache. They commit through their unit of work."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from sqlmodel import Session

from service import crud
from service.batch import run_batch
from service.cache import Cached
from service.config import DEFAULT_LIMIT
from service.database import unhurried
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
from service.errors import ChangesExpiredError, ItemNotFoundError, PreconditionFailedError, ServiceError
from service.feed import Change, ChangePage, FeedPosition
from service.filters import ItemFilter, ItemPosition, ListQuery
from service.models import Item, ItemChange
from service.operations import ChangeOperation, CreateOperation, OperationResult
from service.preconditions import UNCONDITIONAL, Precondition
from service.retries import retry_transaction
from service.schemas import ItemPatch, ItemRead, ItemWrite
from service.transfer import MAX_REPORTED_LINES, Format, ImportCounts, Intake, read_records
from service.unit_of_work import UnitOfWork, committing, retried
from service.web.conditional import version_tag

# To void everything costs less than to fence more.
MAX_FENCED_ITEMS = 100


@dataclass(frozen=True, slots=True)
class Catalogue(UnitOfWork):
    """The catalogue, as one request sees it."""

    @retried
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

        def read(session: Session) -> Page:
            items = crud.list_page(session, query, sort=query.sort, after=after, limit=query.limit + 1)
            total = crud.count_items(session, query) if query.include_total else None
            return make_page(items, limit=query.limit, sort=query.sort, total=total)

        return self._read(read)

    def list_changes(self, here: FeedPosition | None, *, limit: int) -> ChangePage:
        """What was committed since the client stood `here`, or all that is kept; raises ChangesExpiredError."""
        return self._read(lambda session: _list_changes(session, here, limit=limit))

    def find_feed_end(self) -> FeedPosition:
        """Where a client stands that has all that is committed now."""
        return self._read(lambda session: FeedPosition(*crud.find_feed_end(session)))

    def get_item(self, item_id: int, *, may_use_cache: bool = True) -> Cached[ItemRead]:
        """One item; raises ItemNotFoundError."""
        if not may_use_cache:
            return Cached(decode_item(self._load_item(item_id)), "refused")
        return self.cache.read(item_key(item_id), lambda: self._load_item(item_id), decode_item)

    @retried
    def replace_item(self, item_id: int, values: ItemWrite, condition: Precondition = UNCONDITIONAL) -> ItemRead:
        """Set all that a client may set and commit; raises ItemNotFoundError, PreconditionFailedError."""
        return self._change_item(item_id, values.model_dump(), condition)

    @retried
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

    @retried
    def delete_item(self, item_id: int, condition: Precondition = UNCONDITIONAL) -> None:
        """Remove the item and commit; raises ItemNotFoundError, PreconditionFailedError."""
        with self._writing(LIST_KEY, item_key(item_id)):
            if not crud.delete_item(self.session, item_id, condition):
                raise _explain_refusal(self.session, item_id, condition)

    @retried
    def apply_batch(self, operations: Sequence[CreateOperation | ChangeOperation]) -> list[OperationResult]:
        """Do all operations and commit, or none; raises ItemNotFoundError, PreconditionFailedError with the index."""
        touched = [item_key(operation.id) for operation in operations if not isinstance(operation, CreateOperation)]
        with self._writing(LIST_KEY, *touched):
            return run_batch(self.session, operations)

    def add_items(self, items: Iterable[ItemWrite]) -> None:
        """Append many new items in one transaction and commit."""
        # Of a stream there is no second try.
        self.pass_over_taken_ids()
        with self._writing(LIST_KEY):
            crud.copy_items(self.session, items)

    def import_items(self, chunks: Iterable[bytes], file_format: Format, *, dry_run: bool = False) -> ImportCounts:
        """Create or replace all items of a file and commit, or raise RejectedLinesError and do nothing.

        A dry run does nothing either way. No item is locked before the whole file was read.
        """
        with unhurried(self.session, self._hears_postgresql) as connection:
            try:
                self._stage(connection, chunks, file_format)
                if dry_run:
                    counts = ImportCounts(*crud.count_staged(self.session))
                    crud.drop_staging(self.session)
                    return counts
                ids = crud.list_staged_ids(self.session, limit=MAX_FENCED_ITEMS + 1)
                are_few = len(ids) <= MAX_FENCED_ITEMS
                keys = map(item_key, ids) if are_few else ()
                with self._writing(LIST_KEY, *keys, voids_cache=not are_few):
                    return self._write_staged()
            finally:
                if self.changed is None:
                    self.session.rollback()

    def export_items(self, file_format: Format, chosen: ItemFilter) -> Generator[bytes, None, None]:
        """The file of the `chosen` items, in pieces, oldest first, as they are at one moment.

        It keeps a connection until its end, or until it is closed.
        """
        copy = {Format.NDJSON: crud.copy_ndjson, Format.CSV: crud.copy_csv}[file_format]
        with self.sessions() as session, unhurried(session, self._hears_postgresql) as connection:
            yield from copy(connection, list(crud.matching(chosen)))

    def _change_item(self, item_id: int, values: Mapping[str, Any], condition: Precondition) -> ItemRead:
        with self._writing(LIST_KEY, item_key(item_id)):
            item = crud.update_item(self.session, item_id, values, condition)
            if item is None:
                raise _explain_refusal(self.session, item_id, condition)
            return ItemRead.model_validate(item)

    def _stage(self, connection: Connection[Any], chunks: Iterable[bytes], file_format: Format) -> None:
        """Bring the file into the staging table; raises RejectedLinesError after its last line."""
        crud.create_staging(self.session)
        intake = Intake()
        crud.copy_staged(connection, intake.accept(read_records(chunks, file_format)))
        if repeated := crud.count_repeated_ids(self.session):
            intake.reject_repeated(crud.list_repeated_ids(self.session, limit=MAX_REPORTED_LINES), repeated)
        intake.check()

    def _write_staged(self) -> ImportCounts:
        if highest := crud.find_highest_id(self.session):
            # Before the rows: who takes an id of theirs from the sequence meanwhile would fail.
            with self.sessions() as session, committing(session):
                crud.pass_over_ids(session, highest)
        created, updated = crud.write_staged_by_id(self.session)
        created += retry_transaction(
            self._insert_staged, pass_over_taken_ids=self.pass_over_taken_ids, may_reconnect=False
        )
        crud.drop_staging(self.session)
        return ImportCounts(created, updated)

    def _insert_staged(self) -> int:
        with self.session.begin_nested():
            return crud.insert_staged(self.session)

    def _hears_postgresql(self) -> bool:
        """Whether PostgreSQL has answered of late: the cache asks it for the epoch all the time."""
        return self.cache.epoch.find() is not None

    def find_payload(self, key: str) -> bytes | None:
        """What the entry under `key` has to hold by PostgreSQL; None for an item that does not exist."""
        if key == LIST_KEY:
            return self._load_list()
        try:
            return self._load_item(int(key.removeprefix(ITEM_KEY_PREFIX)))
        except (ItemNotFoundError, ValueError):
            return None

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


def _list_changes(session: Session, here: FeedPosition | None, *, limit: int) -> ChangePage:
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


def _describe_change(change: ItemChange, item: Item | None) -> Change:
    now = None if item is None else ItemRead.model_validate(item)
    return Change(id=change.item_id, version=change.version, deleted=change.deleted, item=now)
