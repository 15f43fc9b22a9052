"""One connection for all rollback tests of a worker: a transaction around each test, undone at its end."""

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from service.testing.errors import IsolationError
from service.testing.watch import unwatched

_DEFERRABLE = text(
    "SELECT EXISTS (SELECT FROM pg_constraint WHERE condeferrable)"
    " OR EXISTS (SELECT FROM pg_trigger WHERE tgdeferrable)"
)
# One round trip. Session-level advisory locks survive a ROLLBACK.
_UNDO = b"ROLLBACK; SELECT pg_advisory_unlock_all()"
# What ends a transaction of the driver's, which SQLAlchemy calls too.
_ENDINGS = ("commit", "rollback")


class SharedConnection:
    """The connection, opened when the first test needs it and again when a test has broken it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._has_deferrable = False

    def begin(self) -> "TestTransaction":
        """Begin a test's transaction; PostgreSQL hears of it with the first statement."""
        if self._connection is None or self._connection.closed or self._connection.invalidated:
            with unwatched():
                self._connection = self._open()
        return TestTransaction(self._connection, has_deferrable=self._has_deferrable)

    def close(self) -> None:
        """Close the connection, with its pool."""
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()

    def _open(self) -> Connection:
        connection = self._engine.connect()
        # The application's bound on silence would end a test that a person is stepping through.
        connection.execute(text("SET idle_in_transaction_session_timeout = 0"))
        self._has_deferrable = connection.execute(_DEFERRABLE).scalar_one()
        connection.commit()
        return connection


class TestTransaction:
    """A transaction on the shared connection, from a test's beginning to its end."""

    __test__ = False

    def __init__(self, connection: Connection, *, has_deferrable: bool) -> None:
        self.connection = connection
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

    def undo(self) -> None:
        """Take everything back; raises IsolationError when COMMIT would have failed on a deferred constraint."""
        for name in _ENDINGS:
            vars(self.driver).pop(name, None)
        if self.driver.closed:
            self._transaction.close()
            self._give_up()
            return
        try:
            is_sound = self._transaction.is_active and self.driver.info.transaction_status == TransactionStatus.INTRANS
            if is_sound and self._has_deferrable:
                self._check_deferred()
        finally:
            if not self.has_ended:
                self.driver.pgconn.exec_(_UNDO)
            # SQLAlchemy and the driver have only to take note of it.
            if self._transaction.is_active:
                self._transaction.rollback()
            else:
                # It takes the transaction for ended, and perhaps another one for begun.
                self._give_up()

    def _give_up(self) -> None:
        if not self.connection.closed:
            self.connection.invalidate()

    def _check_deferred(self) -> None:
        try:
            with unwatched():
                self.connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        except DBAPIError as error:
            problem = " ".join(str(error.orig).split())
            raise IsolationError(f"A COMMIT would have failed on a deferred constraint: {problem}") from error
