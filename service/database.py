"""The engine and its sessions. Nothing here connects before it is asked to."""

from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import sessionmaker
from sqlmodel import Session

from service.config import DatabaseSettings

# The migration that this code needs; a test holds it equal to Alembic's head. Ids are dated, so they compare as text.
SCHEMA_REVISION = "20261123_02"

EPOCH_TIMEOUT_MS = 250
EPOCH = text(
    "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || '.' || coalesce(sum(n), 0) FROM cache_epoch"
)


def make_engine(settings: DatabaseSettings, *, application_name: str = "item-service", fenced: bool = True) -> Engine:
    """An engine whose every wait has an end: for a connection, a lock, a statement, a client that fell silent.

    `fenced` says that whoever changes items through it fences them in the cache; else the database moves the epoch.
    """
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
    return create_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.pool_size,
        max_overflow=settings.pool_overflow,
        pool_timeout=settings.pool_timeout_seconds,
        pool_pre_ping=True,
        # An error must not repeat a statement's parameters: they are customers' data, and errors are logged.
        hide_parameters=True,
        connect_args={
            "connect_timeout": settings.connect_timeout_seconds,
            "options": " ".join(f"-c {name}={value}" for name, value in session_settings.items()),
        },
    )


def make_session_factory(engine: Engine) -> sessionmaker[Session]:
    """Sessions that take a connection at their first statement, and whose rows stay readable after the commit."""
    return sessionmaker(engine, class_=Session, expire_on_commit=False)


# libpq tells no code for these. "In recovery mode" is not among them: that server goes on as the same one.
NOBODY_CAN_COMMIT = ("Connection refused", "No such file or directory", "system is shutting down", "is starting up")


class EpochReader:
    """Reads the cache's epoch on a connection of its own: an exhausted pool must not end the trust in the cache."""

    def __init__(self, settings: DatabaseSettings) -> None:
        hurried = {"pool_size": 1, "pool_overflow": 0, "statement_timeout_ms": EPOCH_TIMEOUT_MS}
        self._engine = make_engine(settings.model_copy(update=hurried), application_name="item-service-epoch")
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
    if revision is not None and revision >= SCHEMA_REVISION:
        return None
    return (
        f"The database is at migration {revision or '(none)'}, this release needs {SCHEMA_REVISION}:"
        " run `alembic upgrade head`."
    )
