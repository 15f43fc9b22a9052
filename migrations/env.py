"""How Alembic runs our migrations: one runner at a time, and no wait without an end.

`config.attributes["connection"]` may hold an open connection (tests, `service up`); otherwise DATABASE_URL names the
database. Logging is the caller's.
"""

import sys
import time
from collections.abc import Callable

from alembic import context
from alembic.runtime.migration import MigrationInfo
from alembic.script import Script
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel

import service.models  # noqa: F401  # fills the metadata
from service.config import ConfigurationError, DatabaseSettings, load_settings
from service.database import make_engine
from service.urls import mask_url

# The key of the lock is any number that nobody else uses in this database.
ADVISORY_LOCK_KEY = 7_274_502_311
LOCK_WAIT_SECONDS = 120
LOCK_POLL_SECONDS = 0.1
# A migration that waits longer for a table holds up every query that queues behind it: better fail and try again.
TIMEOUTS = ("SET lock_timeout = '4s'", "SET statement_timeout = '10min'")


def lock_out_other_runners(connection: Connection) -> None:
    """Wait until no other runner migrates this database; polled, for a blocked wait would hold a snapshot open."""
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while not connection.execute(text(f"SELECT pg_try_advisory_lock({ADVISORY_LOCK_KEY})")).scalar_one():
        connection.rollback()
        if time.monotonic() > deadline:
            sys.exit(f"Another process has been migrating this database for {LOCK_WAIT_SECONDS} s. Try again later.")
        time.sleep(LOCK_POLL_SECONDS)


def say_step(*, step: MigrationInfo, **_: object) -> None:
    """Tell the person at the terminal what was done, since nothing is logged."""
    revision = step.revision_map.get_revision(step.up_revision_id)
    if isinstance(revision, Script):
        direction = "Applied" if step.is_upgrade else "Undid"
        context.config.print_stdout(f"{direction} {revision.revision}: {revision.doc}")


def run_on(connection: Connection, on_version_apply: Callable[..., None] | None = None) -> None:
    """Migrate through `connection`."""
    context.configure(connection=connection, target_metadata=SQLModel.metadata, on_version_apply=on_version_apply)
    with context.begin_transaction():
        context.run_migrations()


def run_by_url() -> None:
    """Migrate the database that DATABASE_URL names."""
    try:
        settings = load_settings(DatabaseSettings)
    except ConfigurationError as error:
        sys.exit(str(error))
    engine = make_engine(settings, application_name="item-service-migrations", fenced=False)
    try:
        connection = engine.connect()
    except OperationalError as error:
        url = mask_url(settings.database_url.get_secret_value())
        sys.exit(f"Cannot connect to DATABASE_URL={url}: {error.orig}")
    with connection:
        for statement in TIMEOUTS:
            connection.execute(text(statement))
        connection.execute(text("SET idle_in_transaction_session_timeout = 0"))
        connection.commit()
        lock_out_other_runners(connection)
        connection.commit()
        run_on(connection, say_step)
        # Closing the connection, in `dispose`, releases the advisory lock.
    engine.dispose()


given_connection: Connection | None = context.config.attributes.get("connection")
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=SQLModel.metadata, literal_binds=True)
    with context.begin_transaction():
        for statement in TIMEOUTS:
            context.execute(statement)
        context.run_migrations()
elif given_connection is not None:
    run_on(given_connection)
else:
    run_by_url()
