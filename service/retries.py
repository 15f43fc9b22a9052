"""Work that is done anew: what PostgreSQL undid, and what was lost with its connection."""

import logging
from collections.abc import Callable
from typing import TypeVar

import psycopg
from sqlalchemy.exc import DBAPIError

from service.database import SilentServerError

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# The victim of a deadlock, and of a conflict under REPEATABLE READ: PostgreSQL has undone all of its transaction.
CONFLICTS = frozenset({"40P01", "40001"})
TRIES = 3


def is_conflict(error: DBAPIError) -> bool:
    """Whether the same work, done anew, may well succeed.

    An id from the sequence is taken if an import, which may name ids, has stored an item with it in the meantime.
    """
    cause = error.orig
    if isinstance(cause, psycopg.errors.UniqueViolation):
        return cause.diag.constraint_name == "item_pkey"
    return getattr(cause, "sqlstate", None) in CONFLICTS


def retry_transaction(work: Callable[[], Result], *, tries: int = TRIES, may_reconnect: bool = True) -> Result:
    """What `work` returns, which begins and ends a transaction; run anew, up to `tries` times, if that was undone.

    `may_reconnect=False` is for work in a savepoint: with the connection, all that was done before it is lost.

    It was after a conflict, and when its connection died under a statement. Not during COMMIT, which is no statement
    here: whether the work was done then, nobody knows.
    """
    for n in range(1, tries):
        try:
            return work()
        except DBAPIError as error:
            may_connect_anew = may_reconnect and error.statement and _is_lost(error)
            if not is_conflict(error) and not may_connect_anew:
                raise
            reason = "database.conflict" if is_conflict(error) else "database.connection_lost"
            log.warning(reason, extra={"tries": n, "error": str(error.orig)})
    return work()


def retry_lost_connection(read: Callable[[], Result]) -> Result:
    """What `read` returns, which changes nothing; run once more if its connection dies."""
    try:
        return read()
    except DBAPIError as error:
        if not _is_lost(error):
            raise
        log.warning("database.connection_lost", extra={"error": str(error.orig)})
    return read()


def _is_lost(error: DBAPIError) -> bool:
    """Whether the connection died. Not if the server fell silent: to wait again would take too long."""
    return error.connection_invalidated and not isinstance(error.orig, SilentServerError)
