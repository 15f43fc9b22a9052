"""Databases made ahead of time by a background thread, and renewed or dropped by it when a test has used them."""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import psycopg
from psycopg import Connection as PsycopgConnection

from service.testing.databases import WorkerDatabases
from service.testing.errors import SetupError
from service.testing.renewal import Blueprint, Counters

_AHEAD = 3
# They wait for PostgreSQL most of their time, for different copies at once.
_THREADS = 2
# A database takes some 8 MB. Dropping one forces a checkpoint, so it waits for a quiet moment, but not for ever.
_MOST_USELESS = 16
_TAKE_SECONDS = 60
_CLOSE_SECONDS = 10

Connection = PsycopgConnection[Any]
WarmUp = Callable[[str], Connection | None]


@dataclass(frozen=True, slots=True)
class Clone:
    """A fresh copy, and a connection to it if one was made ahead of time; or a used one, and the one that was left."""

    name: str
    warm: Connection | None
    # Those of a copy that is not new are not empty: see `renewal`.
    counters: Counters = field(default_factory=Counters)


class CloneStock:
    """Copies of the template, a few of them on the shelf.

    Threads copy between tests that need a clone, not while one of them runs: taking puts no work on it unless the
    shelf is empty, giving back does. What is given back goes back on the shelf if it can be renewed: with its
    connection if nobody else has ever connected, else under a new name, so that whoever has cannot find it.
    """

    def __init__(self, databases: WorkerDatabases) -> None:
        self._databases = databases
        self._warm_up: WarmUp = lambda _: None
        self._changed = threading.Condition()
        self._wanted = 0
        self._coming = 0
        self._ready: deque[Clone] = deque()
        self._used: deque[Clone] = deque()
        self._useless: deque[str] = deque()
        self._blueprint: Blueprint | None = None
        self._may_renew = True
        self._error: Exception | None = None
        self._is_closing = False
        self._threads = [threading.Thread(target=self._work, name="clones", daemon=True) for _ in range(_THREADS)]
        for thread in self._threads:
            thread.start()

    def connect_with(self, warm_up: WarmUp) -> None:
        """Connect to each copy ahead of time; `warm_up` returns None when it cannot yet."""
        self._warm_up = warm_up

    def stock_up(self) -> None:
        """Begin to make copies, because one will be taken soon."""
        with self._changed:
            self._wanted = _AHEAD
            self._changed.notify_all()

    def take(self) -> Clone:
        """A fresh copy, in most cases made before; raises SetupError."""
        self._order()
        with self._changed:
            if not self._changed.wait_for(lambda: self._ready or self._error, _TAKE_SECONDS):
                raise SetupError(
                    f"PostgreSQL has made no copy of the template database in {_TAKE_SECONDS} s. Look what it waits for"
                    " (pg_stat_activity tells), then run the tests again."
                )
            if self._ready:
                return self._ready.popleft()
        raise self._error or AssertionError("neither a copy nor an error")

    def _order(self) -> None:
        with self._changed:
            self._error = None
            self._wanted = 0 if self._ready else 1
            self._changed.notify_all()

    def give_back(self, clone: Clone) -> None:
        """Take back what nobody uses any more."""
        with self._changed:
            self._used.append(clone)
            self._wanted = _AHEAD
            self._changed.notify_all()

    def discard(self, name: str) -> None:
        """Drop the database some time, in the background."""
        with self._changed:
            self._useless.append(name)
            self._changed.notify_all()

    def close(self) -> None:
        """Stop the threads."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(_CLOSE_SECONDS)
        for clone in (*self._ready, *self._used):
            if clone.warm is not None:
                clone.warm.close()

    def _work(self) -> None:
        while job := self._next_job():
            job()

    def _next_job(self) -> Callable[[], None] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closing or self._is_short() or self._used or self._useless)
            if self._is_closing:
                return None
            if self._used:
                return self._to_come(partial(self._renew, self._used.popleft()))
            if self._is_short() and len(self._useless) < _MOST_USELESS:
                return self._to_come(self._add_copy)
            return partial(self._databases.drop, self._useless.popleft())

    def _is_short(self) -> bool:
        return len(self._ready) + self._coming < self._wanted

    def _to_come(self, make: Callable[[], Clone | None]) -> Callable[[], None]:
        """A job that makes a clone, counted among those that are coming from now on."""
        self._coming += 1

        def work() -> None:
            clone: Clone | None = None
            error: Exception | None = None
            try:
                clone = make()
            except psycopg.Error as raised:
                problem = " ".join(str(raised).split())
                error = SetupError(f"PostgreSQL has made no copy of the template database: {problem}.")
            except Exception as raised:  # noqa: BLE001  # told below
                error = raised
            with self._changed:
                self._coming -= 1
                if clone is not None:
                    self._ready.append(clone)
                if error is not None:
                    # Told to the next test that takes one; who takes one after that makes us try again.
                    self._error, self._wanted = error, 0
                self._changed.notify_all()

        return work

    def _add_copy(self) -> Clone:
        name = self._databases.copy()
        clone = Clone(name, self._warm_up(name))
        if self._may_renew and self._blueprint is None and clone.warm is not None:
            # Not everybody may read all that migrations have put there.
            with suppress(psycopg.Error):
                self._blueprint = Blueprint.read(clone.warm)
            self._may_renew = self._blueprint is not None
        return clone

    def _renew(self, used: Clone) -> Clone | None:
        is_wanted = self._blueprint is not None and len(self._ready) < _AHEAD
        if used.warm is not None:
            if is_wanted and (counters := self._reset(used, used.warm)):
                return replace(used, counters=counters)
            used.warm.close()
        name = None
        with suppress(psycopg.Error):
            name = self._databases.rename(used.name) if is_wanted else None
        renewed = self._restore(name, used.counters) if name else None
        if renewed is None:
            self.discard(name or used.name)
        return renewed

    def _reset(self, used: Clone, connection: Connection) -> Counters | None:
        # A test may have done anything to the connection.
        with suppress(psycopg.Error):
            if self._blueprint and self._databases.is_only_of(used.name, connection.info.backend_pid):
                return self._blueprint.reset(connection, used.counters)
        return None

    def _restore(self, name: str, counters: Counters) -> Clone | None:
        connection = restored = None
        try:
            connection = self._warm_up(name)
            if connection is not None and self._blueprint is not None:
                restored = self._blueprint.restore(connection, counters)
        except psycopg.Error:
            # A user without the right to do this, most likely: copying takes longer, but nothing else.
            self._blueprint, self._may_renew = None, False
        if restored is not None:
            return Clone(name, connection, restored)
        if connection is not None:
            connection.close()
        return None
