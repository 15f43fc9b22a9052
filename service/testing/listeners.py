"""What engines and sessions do, told to the watch of the present test."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Connection as PsycopgConnection
from sqlalchemy import Engine, Pool, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.orm import Session, SessionTransaction

from service.testing.queries import Query, find_call_site, shorten
from service.testing.watch import Isolation, Watch, cause, is_noise

_NO_SUCH_SAVEPOINT = "3B001"
_IN_A_FAILED_TRANSACTION = "25P02"
_IN_A_TRANSACTION = "25001"


class _State:
    watch: Watch | None = None
    installed = False


_state = _State()


def judge_by(watch: Watch | None) -> Watch | None:
    """Judge by `watch` from now on, or by nothing; return what was judged by before (a test may run pytest itself)."""
    if not _state.installed:
        _install()
    before, _state.watch = _state.watch, watch
    cause.set(watch)
    return before


@contextmanager
def unwatched() -> Iterator[None]:
    """The kit's own work, which no level forbids."""
    watch, _state.watch = _state.watch, None
    token = cause.set(None)
    before = set(threading.enumerate())
    try:
        yield
    finally:
        cause.reset(token)
        if watch is not None:
            watch.adopt(set(threading.enumerate()) - before)
        _state.watch = watch


def _install() -> None:
    event.listen(Pool, "checkout", _on_checkout)
    event.listen(Engine, "before_cursor_execute", _on_execute)
    event.listen(Engine, "handle_error", _on_error)
    event.listen(Engine, "set_connection_execution_options", _on_options)
    event.listen(Session, "after_transaction_create", _on_transaction)
    event.listen(Session, "after_begin", _on_begin)
    event.listen(Session, "after_transaction_end", _on_end)
    _state.installed = True


def _on_checkout(dbapi_connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401  # of any driver
    watch = _state.watch
    if watch is None or watch.is_background():
        return
    is_postgres = isinstance(dbapi_connection, PsycopgConnection)
    watch.check_checkout(dbapi_connection.info.dbname if is_postgres else "")


def _on_execute(conn: Any, _cursor: object, statement: str, *_: object) -> None:  # noqa: ANN401  # Connection, faster
    watch = _state.watch
    if watch is None:
        return
    if watch.shared is not None and conn.connection.dbapi_connection is watch.shared:
        watch.check_statement(statement)
    if watch.recorded is not None and not is_noise(statement) and not watch.is_background():
        watch.recorded.append(Query(statement, find_call_site()))


def _on_error(context: ExceptionContext) -> None:
    watch, code = _state.watch, getattr(context.original_exception, "sqlstate", None)
    if watch is None or watch.level is not Isolation.ROLLBACK:
        return
    if code == _NO_SUCH_SAVEPOINT:
        raise watch.fail(
            "two transactions overlap, which one connection cannot do (close a session before another ends)"
        )
    if code == _IN_A_FAILED_TRANSACTION and watch.is_session_beginning and is_noise(str(context.statement)):
        raise watch.fail(
            "a session begins while a statement of another one has failed, which one connection cannot do (call"
            " rollback() on that one first)"
        )
    if code == _IN_A_TRANSACTION:
        raise watch.fail(f"this cannot be done inside of a transaction: {shorten(str(context.statement))}")


def _on_transaction(_session: Session, transaction: SessionTransaction) -> None:
    watch = _state.watch
    if watch is None:
        return
    # Not a savepoint of the test's own, in which now() may stand still.
    watch.is_session_beginning = transaction.parent is None
    if watch.is_session_beginning:
        watch.count_transaction()


def _on_begin(session: Session, transaction: SessionTransaction, connection: Any) -> None:  # noqa: ANN401  # as above
    watch = _state.watch
    if watch is None or watch.shared is None or transaction.parent is not None:
        return
    if connection.connection.dbapi_connection is watch.shared:
        watch.note_begin(session)


def _on_end(session: Session, transaction: SessionTransaction) -> None:
    if _state.watch is not None and transaction.parent is None:
        _state.watch.note_end(session)


def _on_options(conn: Any, options: dict[str, Any]) -> None:  # noqa: ANN401  # as above
    watch = _state.watch
    if watch is None or watch.shared is None or "isolation_level" not in options:
        return
    if conn.connection.dbapi_connection is watch.shared:
        raise watch.fail(f"another isolation level ({options['isolation_level']}) needs a transaction of its own")


@contextmanager
def recording() -> Iterator[list[Query]]:
    """The queries that the test sends inside of the context, in their order, on any engine."""
    watch = _state.watch
    if watch is None:
        raise RuntimeError("queries are recorded during a test only")
    before, watch.recorded = watch.recorded, []
    try:
        yield watch.recorded
    finally:
        inner, watch.recorded = watch.recorded, before
        if before is not None:
            before.extend(inner)
