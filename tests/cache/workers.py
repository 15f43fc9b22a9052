"""A worker process of the service, as far as the cache is concerned: its own pools, its own keeper, one shop."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from threading import Event
from typing import Any

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import sessionmaker
from sqlmodel import Session

from service import crud
from service.cache import Cache, Cached
from service.catalogue import Catalogue
from service.config import Settings
from service.database import EpochReader, make_engine, make_session_factory
from service.entries import LIST_KEY, item_key
from service.redis_client import make_redis
from service.schemas import ItemRead, ItemWrite
from tests.waiting import wait_until

WATCHED = 1


@dataclass(frozen=True, slots=True)
class Worker:
    """Reads and writes the item WATCHED by its name."""

    cache: Cache
    redis: Any
    sessions: sessionmaker[Session]

    def write(self, name: str) -> None:
        """Replace the item's name; returns when the service would have answered."""
        with self.sessions() as session:
            Catalogue(session, self.sessions, self.cache).replace_item(WATCHED, ItemWrite(name=name, price=Decimal(1)))

    def write_much(self, name: str) -> None:
        """The same as a bulk load does it, which does not name the items that it changes."""
        with self.sessions() as session:
            catalogue = Catalogue(session, self.sessions, self.cache)
            with catalogue._writing(LIST_KEY, voids_cache=True):  # noqa: SLF001  # below every use case
                session.execute(text("UPDATE item SET name = :name"), {"name": name})

    def read(self) -> str:
        """The item's name, as the service would answer."""
        return self.look().value.name

    def look(self) -> Cached[ItemRead]:
        """The item, and where it came from."""
        with self.sessions() as session:
            return Catalogue(session, self.sessions, self.cache).get_item(WATCHED)

    def warm(self) -> str:
        """Read until the cache answers; returns the name."""
        wait_until(lambda: self.look().source == "hit", seconds=10)
        return self.read()

    def read_slowly(self, loaded: Event, may_go_on: Event) -> Cached[str]:
        """Read, and pause between the SELECT and the filling of the cache."""

        def load() -> bytes:
            with self.sessions() as session:
                item = crud.find_item(session, WATCHED)
            loaded.set()
            may_go_on.wait()
            return ItemRead.model_validate(item).model_dump_json().encode()

        return self.cache.read(item_key(WATCHED), load, name_in)


def name_in(payload: bytes) -> str:
    """The name of the item in a cache entry."""
    name: str = json.loads(payload)["name"]
    return name


StartWorker = Callable[..., Worker]


@contextmanager
def running_worker(database_url: str, redis_url: str, **limits: object) -> Iterator[Worker]:
    """A worker on these servers, ended with the block."""
    settings = Settings.model_validate(
        {"database_url": SecretStr(database_url), "redis_url": SecretStr(redis_url), **limits}
    )
    engine = make_engine(settings)
    client = make_redis(settings)
    cache = Cache(client, EpochReader(settings), ttl_seconds=settings.cache_ttl_seconds)
    cache.start()
    try:
        yield Worker(cache, client, make_session_factory(engine))
    finally:
        cache.stop()
        client.close()
        engine.dispose()
