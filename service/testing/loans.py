"""What one test has on loan: a database at its isolation level, and what works on it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import Engine
from sqlalchemy.orm import SessionTransactionOrigin
from sqlmodel import Session

from service.testing.data import Values, present_all
from service.testing.errors import NotUndoneError
from service.testing.rollback import SharedConnection
from service.testing.watch import Watch
from service.testing.worker import Database, Worker

if TYPE_CHECKING:
    from service.testing.application import Client, RunningApp
    from service.testing.worker_redis import WorkerRedis


class Loan(ABC):
    """A database for one test. Everything on it is made when it is first asked for."""

    # Whether factories commit: needed where the application has connections of its own.
    commits: bool
    # Whether the test was told how others reach the database.
    address_is_known = False

    def __init__(self, worker: Worker, database: Database, data: Values) -> None:
        self.worker = worker
        self.database = database
        self._data = data

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """An engine on the database."""

    @cached_property
    @abstractmethod
    def session(self) -> Session:
        """The test's own session."""

    @cached_property
    def data(self) -> Values:
        """What the sources of this test's data have returned, for its session."""
        return present_all(self._data, self.session)

    @abstractmethod
    def running_app(self) -> AbstractContextManager["RunningApp"]:
        """The application on the database, for as long as the context lasts."""

    @abstractmethod
    def end(self) -> None:
        """Close what was opened; raises IsolationError for what only the end shows."""

    @cached_property
    def redis(self) -> "WorkerRedis":
        """The worker's Redis, emptied for this test."""
        self.worker.redis.flush()
        return self.worker.redis

    def tell_address(self) -> None:
        """Take note that others can reach the database."""
        self.address_is_known = True

    def environment(self) -> dict[str, str]:
        """The environment variables of an application on this database, and on an empty Redis."""
        self._empty_redis()
        return self.worker.environment(self.database)

    def _empty_redis(self) -> None:
        """Once in the test, and only if the application has a Redis."""
        if self.worker.project.uses_redis:
            _ = self.redis

    def client(self, running: "RunningApp") -> "Client":
        """A new client of the application."""
        return running.client(
            before_request=self._before_request, after_request=self._after_request, one_at_a_time=not self.commits
        )

    @abstractmethod
    def _before_request(self) -> None:
        """Let the application not be disturbed by what the test has open."""

    def _after_request(self) -> None:
        """Let the test's session read anew what the application may have changed, but keep what the test has set."""
        if (session := self.__dict__.get("session")) is not None:
            changed = session.dirty
            for row in session.identity_map.values():
                if row not in changed:
                    session.expire(row)


class RollbackLoan(Loan):
    """The worker's database, inside of a transaction that is never committed."""

    commits = False

    def __init__(self, worker: Worker, database: Database, data: Values, shared: SharedConnection) -> None:
        super().__init__(worker, database, data)
        self._transaction = shared.begin()
        self._watch: Watch | None = None
        self._sessions = 0

    def join(self, watch: Watch) -> None:
        """Let `watch` judge what is said on the shared connection."""
        self._watch = watch
        watch.database, watch.shared = self.database.name, self._transaction.driver
        self._transaction.keep_open(watch.fail)

    def tell_address(self) -> None:
        """The same, and how many have come before."""
        super().tell_address()
        self._sessions = self.worker.databases.count_sessions(self.database.name)

    @property
    def was_visited(self) -> bool:
        """Whether somebody has come who may have left something."""
        return self.address_is_known and self._sessions != self.worker.databases.count_sessions(self.database.name)

    @property
    def engine(self) -> Engine:
        """The worker's engine; the watch refuses connections."""
        return self._transaction.connection.engine

    @cached_property
    def session(self) -> Session:
        """A session whose commits release a savepoint."""
        return Session(self._transaction.connection, join_transaction_mode="create_savepoint")

    def _before_request(self) -> None:
        """End the savepoint of a session that has only read.

        Else to roll the session back, after an error for one, would undo what the application is about to commit.
        """
        session, watch = self.__dict__.get("session"), self._watch
        if session is None or watch is None or not watch.has_only_read(session):
            return
        is_ours_to_end = session.get_transaction().origin is SessionTransactionOrigin.AUTOBEGIN
        if not is_ours_to_end or session.in_nested_transaction() or session.new or session.dirty or session.deleted:
            return
        if not self._transaction.has_failed:
            # Not a rollback: a function that it has called may have written.
            session.commit()
            watch.uncount_transaction()

    @contextmanager
    def running_app(self) -> Iterator["RunningApp"]:
        """The worker's one application, its sessions on the shared connection."""
        self._empty_redis()
        running = self.worker.app()
        running.bind(self._transaction.connection)
        with running.restored():
            yield running

    def end(self) -> None:
        """Undo the transaction; the session last, whose savepoint is gone by then, so that closing it sends nothing."""
        was_ended = self._watch is not None and self._watch.has_begun and self._transaction.has_ended
        try:
            self._transaction.undo()
            if was_ended and self._watch is not None:
                raise NotUndoneError(str(self._watch.fail("the transaction that was to be undone was ended before")))
        finally:
            if "session" in self.__dict__:
                self.session.close()


class CloneLoan(Loan):
    """A database of the test's own, with real commits."""

    commits = True

    def __init__(self, worker: Worker, database: Database, data: Values, engine: Engine) -> None:
        super().__init__(worker, database, data)
        self._engine = engine

    @property
    def engine(self) -> Engine:
        """An engine like the application's."""
        return self._engine

    @cached_property
    def session(self) -> Session:
        """An ordinary session."""
        return Session(self._engine)

    @contextmanager
    def running_app(self) -> Iterator["RunningApp"]:
        """An application of the test's own, with its startup and its shutdown."""
        running = self.worker.start_app(self.environment())
        try:
            yield running
        finally:
            running.stop()

    def _before_request(self) -> None:
        """Nothing: the application has connections of its own."""

    def end(self) -> None:
        """Close the session; what the database holds stays."""
        if "session" in self.__dict__:
            self.session.close()
