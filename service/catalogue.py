"""The use cases, where SQL meets the cache. The only place that commits."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from sqlalchemy import ColumnElement
from sqlalchemy.orm import sessionmaker
from sqlmodel import Session

from service import crud
from service.cache import Cache, Cached
from service.config import DEFAULT_LIMIT
from service.database import unhurried
from service.entries import (
    ITEM_KEY_PREFIX,
    LIST_KEY,
    decode_item,
    decode_list,
    encode_item,
    encode_list,
    item_key,
)
from service.errors import DatabaseUnavailableError, ItemNotFoundError
from service.schemas import ItemRead, ItemWrite
from service.transfer import MAX_REPORTED_LINES, Format, ImportCounts, Intake, read_records

# To void everything costs less than to fence more.
MAX_FENCED_ITEMS = 100


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

    def import_items(self, chunks: Iterable[bytes], file_format: Format, *, dry_run: bool = False) -> ImportCounts:
        """Create or replace all items of a file and commit, or raise RejectedLinesError and do nothing.

        A dry run does nothing either way. No item is locked before the whole file was read.
        """
        with unhurried(self.session) as connection:
            try:
                self._stage(connection, chunks, file_format)
                if dry_run:
                    return ImportCounts(*crud.count_staged(self.session))
                ids = crud.list_staged_ids(self.session, limit=MAX_FENCED_ITEMS + 1)
                are_few = len(ids) <= MAX_FENCED_ITEMS
                keys = map(item_key, ids) if are_few else ()
                with self._writing(LIST_KEY, *keys, voids_all=not are_few):
                    return self._write_staged()
            finally:
                self.session.rollback()

    def export_items(
        self, file_format: Format, where: Sequence[ColumnElement[bool]] = ()
    ) -> Generator[bytes, None, None]:
        """The file of the items that `where` lets through, in pieces, oldest first, as they are at one moment.

        It keeps a connection until its end, or until it is closed.
        """
        copy = {Format.NDJSON: crud.copy_ndjson, Format.CSV: crud.copy_csv}[file_format]
        with self.sessions() as session, unhurried(session) as connection:
            yield from copy(connection, where)

    @contextmanager
    def _writing(self, *keys: str, voids_all: bool = False) -> Iterator[None]:
        """The one way to change items: statements inside, then fence, COMMIT, unfence. An error rolls back.

        `voids_all` is for too many items to fence each: it moves the epoch in any case.
        """
        try:
            yield
            fence = self.cache.fence(*keys)
            server_start = crud.bump_cache_epoch(self.session) if voids_all or not fence.stands else None
            self.session.commit()
        except BaseException:
            # A fence of a COMMIT whose outcome is unknown stays until it expires.
            self.session.rollback()
            raise
        if not self.cache.unfence(fence) or voids_all:
            self._outlast_old_epoch(server_start or self._move_epoch())

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
            with self.sessions() as session:
                crud.pass_over_ids(session, highest)
                session.commit()
        created, updated = crud.write_staged_by_id(self.session)
        created += crud.insert_staged(self.session)
        crud.drop_staging(self.session)
        return ImportCounts(created, updated)

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
