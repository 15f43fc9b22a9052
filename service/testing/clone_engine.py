"""One engine for all clone tests of a worker: a new one would first ask the server half a dozen questions."""

from contextlib import suppress
from typing import Any

import psycopg
from psycopg import Connection as PsycopgConnection
from sqlalchemy import Engine, QueuePool, event, make_url
from sqlalchemy.exc import SQLAlchemyError

from service.testing.worker import Database, EngineFactory


class CloneEngine:
    """An engine, made as the project makes its own, that can be pointed at one database after the other."""

    def __init__(self, make_engine: EngineFactory, database: Database) -> None:
        self._name = database.name
        self._parameters: dict[str, Any] | None = None
        self._warm: PsycopgConnection[Any] | None = None
        self._engine = make_engine(database.url)
        event.listen(self._engine, "do_connect", self._connect)

    def point_at(self, database: Database, warm: PsycopgConnection[Any] | None) -> Engine:
        """The engine, whose connections lead to `database` from now on. The first one may be there already: `warm`."""
        self.close()
        self._name, self._warm = database.name, warm
        self._engine.url = make_url(database.url)
        return self._engine

    def warm_up(self, name: str) -> PsycopgConnection[Any] | None:
        """A connection to database `name`, as the engine would make it; None while it is not known how it does."""
        if self._parameters is None:
            return None
        return psycopg.connect(**{**self._parameters, "dbname": name})

    def release(self) -> PsycopgConnection[Any] | None:
        """Close all connections but one that came back to the pool, if there is one; that is the caller's."""
        pool, kept = self._engine.pool, None
        # The pool may find its connection dead, and the test may have seen to it that there is no other.
        with suppress(psycopg.Error, SQLAlchemyError):
            if isinstance(pool, QueuePool) and pool.checkedin():
                lent = self._engine.raw_connection()
                kept = lent.driver_connection
                lent.detach()
        self.close()
        return kept

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
        if self._warm is not None:
            self._warm.close()
            self._warm = None

    def _connect(
        self, _dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]
    ) -> PsycopgConnection[Any] | None:
        self._parameters = dict(parameters)
        parameters["dbname"] = self._name
        warm, self._warm = self._warm, None
        return warm
