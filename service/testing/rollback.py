"""One connection for all rollback tests of a worker: a transaction around each test, undone at its end."""

import select
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

from service.testing.errors import IsolationError
from service.testing.listeners import unwatched

_DEFERRABLE = text(
    "SELECT EXISTS (SELECT FROM pg_constraint WHERE condeferrable)"
    " OR EXISTS (SELECT FROM pg_trigger WHERE tgdeferrable)"
)
# One round trip. Session-level advisory locks and prepared statements survive a ROLLBACK.
_UNDO = b"ROLLBACK; DEALLOCATE ALL; SELECT pg_advisory_unlock_all()"
# What a test may set on the driver's connection.
_ATTRIBUTES = ("row_factory", "cursor_factory", "server_cursor_factory", "prepare_threshold")
# What ends a transaction of the driver's, which SQLAlchemy calls too.
_ENDINGS = ("commit", "rollback")


class SharedConnection:
    """The connection, opened when the first test needs it and again when a test has broken it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._has_deferrable = False
        self._attributes: dict[str, Any] = {}
        # By a session that a test has left to its teardown_method, or an application's thread.
        event.listen(engine, "before_cursor_execute", self._refuse_between_tests)
        self._is_lent = False

    def begin(self) -> "TestTransaction":
        """Begin a test's transaction; PostgreSQL hears of it with the first statement."""
        if self._connection is None or not _is_sound(self._connection):
            with unwatched():
                self._connection = self._open()
        elif self._connection.in_transaction():
            # Somebody began one after the last test, and was refused.
            self._connection.rollback()
        for name, value in self._attributes.items():
            setattr(self._connection.connection.driver_connection, name, value)
        self._is_lent = True
        return TestTransaction(self._connection, has_deferrable=self._has_deferrable, give_back=self._take_back)

    def close(self) -> None:
        """Close the connection, with its pool."""
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()

    def _open(self) -> Connection:
        if self._connection is not None and not self._connection.closed:
            self._connection.invalidate()
        self._connection = None
        connection = self._engine.connect()
        # The application's bound on silence would end a test that a person is stepping through.
        connection.execute(text("SET idle_in_transaction_session_timeout = 0"))
        self._has_deferrable = connection.execute(_DEFERRABLE).scalar_one()
        connection.commit()
        self._attributes = {name: getattr(connection.connection.driver_connection, name) for name in _ATTRIBUTES}
        return connection

    def _take_back(self) -> None:
        self._is_lent = False

    def _refuse_between_tests(self, connection: Connection, *_: object) -> None:
        if self._connection is not None and not self._is_lent and connection is self._connection:
            raise IsolationError(
                "A session of a rollback test, or of the application under test, is used after the test has given its"
                " database back: in a teardown_method, in a fixture that was set up before `session` or `client`, or in"
                " a thread. Let the fixture that does this ask for them, and end the thread before the test."
            )


def _is_sound(connection: Connection) -> bool:
    return not connection.closed and not connection.invalidated and is_silent(connection.connection.driver_connection)


def is_silent(connection: Any) -> bool:  # noqa: ANN401  # a psycopg.Connection, of which SQLAlchemy knows no closer type
    """Whether the server has said nothing that nobody asked for, such as that it has ended the session."""
    if connection.closed:
        return False
    server = select.poll()
    server.register(connection.fileno(), select.POLLIN)
    return not server.poll(0)


class TestTransaction:
    """A transaction on the shared connection, from a test's beginning to its end."""

    __test__ = False

    def __init__(self, connection: Connection, *, has_deferrable: bool, give_back: Callable[[], None]) -> None:
        self.connection = connection
        self._give_back = give_back
        self.driver: Any = connection.connection.dbapi_connection
        self._transaction = connection.begin()
        self._has_deferrable = has_deferrable

    def keep_open(self, refuse: Callable[[str], Exception]) -> None:
        """Raise what `refuse` returns from whatever would end the transaction before `undo`, but for a statement."""

        def end(name: str) -> NoReturn:
            raise refuse(
                f"{name}() of a connection would end the transaction that is to be undone (that of a session would not)"
            )

        for name in _ENDINGS:
            setattr(self.driver, name, partial(end, name))

    @property
    def has_ended(self) -> bool:
        """Whether PostgreSQL, which is still there, is in no transaction, or has not heard of it yet."""
        return bool(self.driver.info.transaction_status == TransactionStatus.IDLE)

    @property
    def has_failed(self) -> bool:
        """Whether PostgreSQL takes no more statements until something is rolled back."""
        return bool(self.driver.info.transaction_status == TransactionStatus.INERROR)

    def undo(self) -> None:
        """Take everything back; raises IsolationError when COMMIT would have failed on a deferred constraint."""
        for name in _ENDINGS:
            vars(self.driver).pop(name, None)
        try:
            if self._is_sound and self._has_deferrable:
                self._check_deferred()
        finally:
            self._give_back()
            self._end()

    @property
    def _is_sound(self) -> bool:
        """Whether PostgreSQL would take a COMMIT, and SQLAlchemy a statement."""
        return self._transaction.is_active and self.driver.info.transaction_status == TransactionStatus.INTRANS

    def _end(self) -> None:
        if not self.driver.closed and not self.has_ended:
            # A thread of the test's may still be in the midst of a query.
            with self.driver.lock:
                self.driver.pgconn.exec_(_UNDO)
            self._forget_prepared()
        if self._transaction.is_active and not self.driver.closed:
            # SQLAlchemy and the driver have only to take note of it.
            self._transaction.rollback()
        elif not self.connection.closed:
            # SQLAlchemy takes the transaction for ended, and perhaps another one for begun.
            self.connection.invalidate()

    def _forget_prepared(self) -> None:
        # psycopg would do so if it had sent the ROLLBACK.
        prepared = self.driver._prepared  # noqa: SLF001
        if prepared.clear():
            prepared._to_flush.clear()  # noqa: SLF001

    def _check_deferred(self) -> None:
        try:
            with unwatched():
                self.connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        except DBAPIError as error:
            problem = " ".join(str(error.orig).split())
            raise IsolationError(f"A COMMIT would have failed on a deferred constraint: {problem}") from error
