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
    """Whether the same work, done anew, may well succeed."""
    return _is_id_taken(error) or getattr(error.orig, "sqlstate", None) in CONFLICTS


def _is_id_taken(error: DBAPIError) -> bool:
    """Whether an item has the id that the sequence gave: imports may name ids, and so does who writes by psql."""
    cause = error.orig
    return isinstance(cause, psycopg.errors.UniqueViolation) and cause.diag.constraint_name == "item_pkey"


def retry_transaction(
    work: Callable[[], Result],
    *,
    pass_over_taken_ids: Callable[[], object],
    tries: int = TRIES,
    may_reconnect: bool = True,
) -> Result:
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
            if _is_id_taken(error):
                _try(pass_over_taken_ids)
    return work()


def _try(pass_over_taken_ids: Callable[[], object]) -> None:
    try:
        pass_over_taken_ids()
    except DBAPIError as error:
        # A user who may only take ids, one by one, for one: the next try takes another.
        log.warning("database.ids_not_passed_over", extra={"error": str(error.orig)})


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
