"""The engines of clone tests, of which each has one of its own; what a new one asks the server first is asked once."""

from contextlib import suppress
from typing import Any
from weakref import WeakSet

import psycopg
from psycopg import Connection as PsycopgConnection
from psycopg import pq
from psycopg.adapt import AdaptersMap
from sqlalchemy import Engine, NullPool, Pool, QueuePool, event, make_url
from sqlalchemy.engine.base import OptionEngine

from service.testing.errors import IsolationError
from service.testing.listeners import unwatched
from service.testing.rollback import is_silent
from service.testing.worker import Database, EngineFactory

Connection = PsycopgConnection[Any]


class LentEngine(OptionEngine):
    """An engine like `made`, with a pool of its own: what a test adds to it, or leaves in it, ends with the test."""

    # Not the other engine's, as others of this class have it.
    pool: Pool = None  # type: ignore[assignment]

    def __init__(self, made: Engine, database: Database) -> None:
        super().__init__(made, {})
        self.url = make_url(database.url)
        self.pool = made.pool.recreate()

    def end(self) -> None:
        """Close all connections, and make no more."""
        self.dispose()
        self.pool = NullPool(_refuse)


def _refuse() -> Any:  # noqa: ANN401  # of SQLAlchemy's own type, which psycopg's has not
    raise IsolationError("The test that this engine was lent to has ended; what it has started goes on.")


class CloneEngines:
    """Engines, made as the project makes its own, each for one database."""

    def __init__(self, make_engine: EngineFactory) -> None:
        self.make_engine = make_engine
        # Another maker of engines may have connected in another way.
        self._connected: WeakSet[Connection] = WeakSet()
        self._made: Engine | None = None
        self._lent: LentEngine | None = None
        self._name = ""
        self._parameters: dict[str, Any] | None = None
        self._warm: Connection | None = None

    def lend(self, database: Database, warm: Connection | None) -> Engine:
        """An engine whose connections lead to `database`. The first one may be there already: `warm`."""
        self.close()
        if self._made is None or self._parameters is None:
            # One that connects in a way of its own is made anew each time.
            with unwatched():
                self._made = self.make_engine(database.url)
                # Its pool is used by nobody, and may hold a connection that it has been tried with.
                self._made.dispose()
            event.listen(self._made, "do_connect", self._connect)
        self._name = database.name
        if warm is not None and not (warm in self._connected and is_silent(warm)):
            warm.close()
            warm = None
        self._warm = warm
        self._lent = LentEngine(self._made, database)
        return self._lent

    def warm_up(self, name: str) -> Connection | None:
        """A connection to database `name`, as the engine would make it; None while it is not known how it does."""
        if self._parameters is None:
            return None
        connection: Connection = psycopg.connect(**{**self._parameters, "dbname": name})
        self._connected.add(connection)
        return connection

    def take_back(self) -> Connection | None:
        """End the engine. The caller's is the session of a connection that came back to the pool, if there is one."""
        kept = None
        # The pool may find its connection dead, and the test may have seen to it that there is no other; or it has
        # listeners that raise.
        with suppress(Exception):
            pool = self._lent.pool if self._lent is not None else None
            if self._parameters is not None and isinstance(pool, QueuePool) and pool.checkedin():
                lent = pool.connect()
                used = lent.driver_connection
                lent.detach()
                kept = _renew(used, self._parameters)
                self._connected.add(kept)
        self.close()
        return kept

    def close(self) -> None:
        """End the engine that was lent, if it has not ended."""
        if self._lent is not None:
            self._lent.end()
            self._lent = None
        if self._warm is not None:
            self._warm.close()
            self._warm = None

    def _connect(
        self, _dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]
    ) -> Connection | None:
        self._parameters = dict(parameters)
        parameters["dbname"] = self._name
        warm, self._warm = self._warm, None
        return warm


def _renew(used: Any, parameters: dict[str, Any]) -> Connection:  # noqa: ANN401  # SQLAlchemy knows no closer type
    """The session of `used` in an object as psycopg.connect makes it; whoever still has `used` finds it closed."""
    fresh: Connection = psycopg.Connection(used.pgconn)
    used.pgconn = pq.PGconn.connect_start(b"no connection")
    # What psycopg's `connect` does with them.
    if context := parameters.get("context"):
        fresh._adapters = AdaptersMap(context.adapters)  # noqa: SLF001
    fresh.cursor_factory = parameters.get("cursor_factory", fresh.cursor_factory)
    fresh.prepare_threshold = parameters.get("prepare_threshold", fresh.prepare_threshold)
    if parameters.get("autocommit"):
        fresh.autocommit = True
    return fresh
