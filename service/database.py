"""The engine and its sessions. Nothing here connects before it is asked to."""

import math
import re
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import sessionmaker
from sqlmodel import Session

from service.config import DatabaseSettings

# The migration that this code needs; a test holds it equal to Alembic's head. Ids are dated, so they compare as text.
SCHEMA_REVISION = "20261126_01"
_OURS = re.compile(r"\d{8}_\d{2,}")

EPOCH_TIMEOUT_MS = 250
EPOCH = text(
    "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || '.' || coalesce(sum(n), 0) FROM cache_epoch"
)


# What a server that is alive may take beyond its own statement_timeout to say that it ended the statement.
SILENCE_SECONDS = 0.25
# What one statement of an import may take, and one piece of an export, from a server that answers others.
LONGEST_SILENCE_SECONDS = 900

Result = TypeVar("Result")


class SilentServerError(psycopg.OperationalError):
    """PostgreSQL said nothing for longer than it may take to time a statement out."""


class ImpatientConnection(psycopg.Connection[Any]):
    """Ends when the server is silent for `patience_seconds`: one that hangs does not time its statements out itself.

    With `is_alive`, a server that works is not silent: its statements, and each piece of a COPY, may take longer.
    """

    patience_seconds: float | None = None
    is_alive: Callable[[], bool] | None = None

    def wait(self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None) -> Result:
        """What psycopg does to get an answer; raises OperationalError when there is none in time."""
        watched = gen
        if self.is_alive is not None:
            watched = self._watch(gen, self.is_alive)
        elif timeout is None:
            timeout = self.patience_seconds
        try:
            return super().wait(watched, interval, timeout)
        except KeyboardInterrupt:
            # psycopg has had the statement cancelled, and read the answer; unless the signal hit these lines of ours.
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                with suppress(psycopg.errors.QueryCanceled):
                    super().wait(gen, interval, self.patience_seconds)
            raise
        except psycopg.OperationalError as error:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.pgconn.finish()  # nobody knows what its next bytes would answer
            raise SilentServerError("PostgreSQL fell silent during a statement") from error

    def _watch(self, gen: PQGen[Result], is_alive: Callable[[], bool]) -> PQGen[Result]:
        """What `gen` does; psycopg resumes it at every interval, also when nothing came."""
        began = heard = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                now = time.monotonic()
                if ready or is_alive():
                    heard = now
                if now - heard > (self.patience_seconds or 0) or now - began > LONGEST_SILENCE_SECONDS:
                    raise psycopg.OperationalError("PostgreSQL answers nobody")
                wanted = gen.send(ready)
        except StopIteration as end:
            answer: Result = end.value
            return answer


def make_engine(
    settings: DatabaseSettings,
    *,
    application_name: str = "item-service",
    fenced: bool = True,
    impatient: bool = False,
) -> Engine:
    """An engine whose every wait has an end: for a connection, a lock, a statement, a client that fell silent.

    `fenced` says that whoever changes items through it fences them in the cache; else the database moves the epoch.
    `impatient` is for who answers requests: it gives up on a server that hangs. Others may lift statement_timeout.
    """
    url = make_url(settings.database_url.get_secret_value())
    engine = create_engine(
        url,
        pool_size=settings.pool_size,
        max_overflow=settings.pool_overflow,
        pool_timeout=settings.pool_timeout_seconds,
        pool_pre_ping=True,
        # An error must not repeat a statement's parameters: they are customers' data, and errors are logged.
        hide_parameters=True,
        connect_args={
            **_tcp_limits(settings, url),
            "connect_timeout": settings.connect_timeout_seconds,
            # Of two that set the same, PostgreSQL takes the later.
            "options": " ".join(
                [*url.normalized_query.get("options", ()), _session_options(settings, application_name, fenced=fenced)]
            ),
        },
    )
    engine.dialect.do_ping = _is_open  # type: ignore[method-assign,assignment]
    if impatient:
        _limit_patience(engine, settings.statement_timeout_ms / 1000 + SILENCE_SECONDS)
    return engine


def _session_options(settings: DatabaseSettings, application_name: str, *, fenced: bool) -> str:
    session_settings = {
        "application_name": application_name,
        "statement_timeout": settings.statement_timeout_ms,
        "lock_timeout": settings.lock_timeout_ms,
        "idle_in_transaction_session_timeout": settings.idle_in_transaction_timeout_ms,
        # What a transaction may see is part of the design, so it is not left to the server's defaults.
        "default_transaction_isolation": r"read\ committed",
        "timezone": "UTC",
        "app.fenced": int(fenced),
    }
    return " ".join(f"-c {name}={value}" for name, value in session_settings.items())


def _tcp_limits(settings: DatabaseSettings, url: URL) -> dict[str, int]:
    """When the system gives up on a host that is gone without a word. The URL may say otherwise; sockets ignore it."""
    limits = {
        "keepalives_idle": math.ceil(settings.request_deadline_seconds),
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "tcp_user_timeout": math.ceil(settings.request_deadline_seconds * 1000),
    }
    return {name: value for name, value in limits.items() if name not in url.query}


def _is_open(connection: psycopg.Connection[Any]) -> bool:
    """Whether PostgreSQL has not closed the connection; where it has, the pool replaces it and all that are as old.

    SQLAlchemy would find out by a question, at a sixth of what a write costs. An idle server says nothing until it
    goes; and of one that has gone without a word, the system learns by keepalives.
    """
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


def _limit_patience(engine: Engine, seconds: float) -> None:
    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> psycopg.Connection:
        connection = ImpatientConnection.connect(*arguments, **options)
        connection.patience_seconds = seconds
        return connection


def make_session_factory(engine: Engine) -> sessionmaker[Session]:
    """Sessions that take a connection at their first statement, and whose rows stay readable after the commit."""
    return sessionmaker(engine, class_=Session, expire_on_commit=False)


# A statement that we gave up must not go on, and keep its locks, for as long as it could.
UNHURRIED = text(
    "SELECT set_config('statement_timeout', '0', true), set_config('client_connection_check_interval', '1s', true)"
)


@contextmanager
def unhurried(session: Session, is_alive: Callable[[], bool]) -> Iterator[psycopg.Connection[Any]]:
    """The driver's connection, whose statements may take long until the transaction ends, if the server `is_alive`.

    Errors of the driver become SQLAlchemy's, whoever used it.
    """
    session.execute(UNHURRIED)
    connection = cast("psycopg.Connection[Any]", session.connection().connection.driver_connection)
    impatient = connection if isinstance(connection, ImpatientConnection) else None
    try:
        if impatient is not None:
            impatient.is_alive = is_alive
        yield connection
    except psycopg.Error as error:
        raise DBAPIError.instance(None, None, error, psycopg.Error) from error
    finally:
        if impatient is not None:
            impatient.is_alive = None


# libpq tells no code for these. "In recovery mode" is not among them: that server goes on as the same one.
NOBODY_CAN_COMMIT = ("Connection refused", "No such file or directory", "system is shutting down", "is starting up")


class EpochReader:
    """Reads the cache's epoch on a connection of its own: an exhausted pool must not end the trust in the cache."""

    def __init__(self, settings: DatabaseSettings) -> None:
        hurried = {"pool_size": 1, "pool_overflow": 0, "statement_timeout_ms": EPOCH_TIMEOUT_MS}
        self._engine = make_engine(
            settings.model_copy(update=hurried), application_name="item-service-epoch", impatient=True
        )
        self._connection: Connection | None = None

    def read(self) -> str:
        """The epoch now, with the WAL's timeline: a standby that was promoted may lack the last bumps.

        ConnectionRefusedError when nobody can commit, on the word of PostgreSQL or of the system it ran on; OSError for
        every other failure, and from a standby.
        """
        try:
            if self._connection is not None:
                return self._ask(self._connection)
        except SQLAlchemyError:
            self._forget_connection()
        try:
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            return self._ask(self._connection)
        except SQLAlchemyError as error:
            self._forget_connection()
            kind = ConnectionRefusedError if any(words in str(error) for words in NOBODY_CAN_COMMIT) else OSError
            raise kind(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._forget_connection()
        self._engine.dispose()

    def _ask(self, connection: Connection) -> str:
        epoch: str = connection.execute(EPOCH).scalar_one()
        return epoch

    def _forget_connection(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def find_schema_revision(connection: Connection) -> str | None:
    """The migration that the database is at; None when it was never migrated."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT max(version_num) FROM alembic_version")).scalar_one()
    return revision


def describe_schema_lag(revision: str | None) -> str | None:
    """Why this code cannot run on a database at `revision`; None when it can.

    A newer revision is fine: migrations keep the release before them working, and replicas are replaced one by one.
    """
    if revision is not None and _OURS.fullmatch(revision) and revision >= SCHEMA_REVISION:
        return None
    return (
        f"The database is at migration {revision or '(none)'}, this release needs {SCHEMA_REVISION}:"
        " run `alembic upgrade head`."
    )
