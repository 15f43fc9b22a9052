"""What a test may do to PostgreSQL at its isolation level, and what it did. `listeners` tells it.

A level that cannot show something says so, instead of letting the test pass or fail for the wrong reason.
"""

import re
import threading
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any
from weakref import WeakSet

from psycopg import Connection as PsycopgConnection
from sqlalchemy.orm import Session

from service.testing.errors import IsolationError
from service.testing.queries import Query, shorten

_OUR_DATABASES = re.compile(r"(t_[a-z0-9]+_[0-9a-f]+_[a-z0-9]+_[0-9]+|tpl_[0-9a-f]+)")
_SAVEPOINT_NOISE = re.compile(r"\s*(SAVEPOINT|RELEASE SAVEPOINT|ROLLBACK TO SAVEPOINT)\b", re.IGNORECASE)
_READ = re.compile(
    r"\s*(SELECT|SAVEPOINT|RELEASE SAVEPOINT|ROLLBACK TO SAVEPOINT)\b(?!.*\bINTO\b)", re.IGNORECASE | re.DOTALL
)
_FROZEN_CLOCK = re.compile(
    r"\b(now\s*\(|transaction_timestamp\s*\(|(current_timestamp|localtimestamp|localtime|current_date|current_time)\b)",
    re.IGNORECASE,
)
# What may hold the words below without meaning them.
_QUOTED = re.compile(
    r"--[^\n]*|/\*.*?\*/|\b[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$", re.DOTALL
)
_AT_COMMIT = "NOTIFY is delivered at COMMIT"
# Also in a block of code, but not in one that is only made.
_NOTIFIES = re.compile(r"\s*(?!CREATE\b)\w.*\bpg_notify\s*\(", re.IGNORECASE | re.DOTALL)
_NOT_SHOWN = (
    (
        re.compile(r"\s*(UN)?LISTEN\b|\s*NOTIFY\b", re.IGNORECASE),
        _AT_COMMIT,
    ),
    (
        re.compile(r"\s*SET\s+(LOCAL\s+|SESSION\s+)?(TRANSACTION|SESSION\s+CHARACTERISTICS)\b", re.IGNORECASE),
        "SET TRANSACTION belongs at the beginning of a transaction",
    ),
    (
        re.compile(
            r"\s*(BEGIN|START\s+TRANSACTION|END)\b"
            r"|(?:.*;)?\s*(COMMIT|ABORT|PREPARE\s+TRANSACTION|ROLLBACK(?!\s+TO))\b",
            re.IGNORECASE | re.DOTALL,
        ),
        "a transaction cannot be begun or ended by a statement",
    ),
)
_BEGUN = "service.testing: the test, and what was written in it before this session's transaction"

# For which test the present code runs. Requests run in threads that are older than the test, but inherit its context;
# threads of the lifespan do not.
cause: ContextVar["Watch | None"] = ContextVar("cause", default=None)


class Isolation(StrEnum):
    """How a test is kept from others: see the chapter on testing."""

    ROLLBACK = "rollback"
    CLONE = "clone"
    NONE = "none"


@dataclass(slots=True)
class Watch:
    """One test, as its engines see it."""

    test: str
    level: Isolation
    is_declared: bool
    database: str | None = None
    # Others that the test was given.
    more_databases: set[str] = field(default_factory=set)
    shared: PsycopgConnection[Any] | None = None
    recorded: list[Query] | None = None
    # Whether anybody has used the shared connection.
    has_begun: bool = False
    violations: list[IsolationError] = field(default_factory=list)
    _transactions: int = 0
    _writes: int = 0
    # In a transaction on the shared connection.
    open_sessions: WeakSet[Session] = field(default_factory=WeakSet)
    # Whether the last transaction of a session that was made is one of its own, and no savepoint inside of it.
    is_session_beginning: bool = False
    _clock_read_in: int | None = None
    _older_threads: WeakSet[threading.Thread] = field(default_factory=lambda: WeakSet(threading.enumerate()))

    def fail(self, deed: str) -> IsolationError:
        """Remember, and return to be raised, that the test did what its level cannot show."""
        wanted = Isolation.CLONE if self.level is Isolation.ROLLBACK else Isolation.ROLLBACK
        error = IsolationError(
            f"{self.test} runs at isolation level {self.level.value!r}, and {deed}."
            f' Mark the test with @pytest.mark.db(isolation="{wanted.value}").'
        )
        # The application may swallow it; the end of the test does not.
        self.violations.append(error)
        return error

    def count_transaction(self) -> None:
        """Take note that the test, or the application for it, begins a transaction."""
        self._transactions += 1

    def note_begin(self, session: Session) -> None:
        """Take note that a session begins a transaction on the shared connection, which is a savepoint there."""
        self.open_sessions.add(session)
        session.info[_BEGUN] = self, self._writes

    def note_end(self, session: Session) -> None:
        """Take note that it has ended."""
        self.open_sessions.discard(session)

    def has_only_read(self, session: Session) -> bool:
        """Whether `session` alone is open on the shared connection, and nothing was written there since it began."""
        return set(self.open_sessions) == {session} and session.info.get(_BEGUN) == (self, self._writes)

    def uncount_transaction(self) -> None:
        """Forget a transaction that the test will not know to be two."""
        self._transactions -= 1

    def is_background(self) -> bool:
        """Whether the present thread was there before the test: the application's own housekeeping."""
        thread = threading.current_thread()
        return thread is not threading.main_thread() and thread in self._older_threads and cause.get() is not self

    def adopt(self, threads: set[threading.Thread]) -> None:
        """Count threads as the application's own housekeeping that its startup has begun, in the midst of a test."""
        self._older_threads.update(threads)

    def check_checkout(self, database: str) -> None:
        """Raise IsolationError when this test must not take a connection to `database`."""
        if database in self.more_databases:
            return
        is_ours = _OUR_DATABASES.fullmatch(database) is not None
        if self.level is Isolation.NONE and (self.is_declared or is_ours):
            raise self.fail("it has sent a query to a database")
        if self.level is Isolation.ROLLBACK and is_ours:
            raise self.fail("a second connection was opened, which does not see what the first has not committed")
        if self.level is Isolation.CLONE and is_ours and database != self.database:
            error = IsolationError(
                f"{self.test} has connected to {database}, and its database is {self.database}. So does an application"
                " that has kept the address of another test: in a value that is read at import or cached, or because it"
                " is one object for all tests. Let what `db_app_factory` names make all of it anew."
            )
            self.violations.append(error)
            raise error

    def check_statement(self, statement: str) -> None:
        """Raise IsolationError when the shared connection would answer `statement` with a half-truth."""
        facts = _classify(statement)
        self.has_begun = True
        self._writes += not facts.is_read
        if facts.not_shown:
            raise self.fail(f"{facts.not_shown}, which does not happen here: {shorten(statement)}")
        if facts.reads_clock:
            if self._clock_read_in not in {None, self._transactions}:
                raise self.fail(
                    "now() is frozen at the test's first statement, though a second transaction reads it"
                    f" (statement_timestamp() is not): {shorten(statement)}"
                )
            self._clock_read_in = self._transactions


@dataclass(frozen=True, slots=True)
class _Facts:
    not_shown: str | None
    reads_clock: bool
    is_read: bool


@lru_cache(maxsize=2048)
def _classify(statement: str) -> _Facts:
    plain = _QUOTED.sub(" ", statement)
    deeds = (reason for pattern, reason in _NOT_SHOWN if pattern.match(plain))
    return _Facts(
        not_shown=_AT_COMMIT if _NOTIFIES.match(statement) else next(deeds, None),
        reads_clock=_FROZEN_CLOCK.search(plain) is not None,
        is_read=is_noise(statement) or _READ.match(plain) is not None,
    )


@lru_cache(maxsize=2048)
def is_noise(statement: str) -> bool:
    """Whether `statement` only marks where a transaction would begin or end."""
    return _SAVEPOINT_NOISE.match(statement) is not None
