"""`service up`: the whole stack for a person at a terminal, on a PostgreSQL and a Redis of its own."""

import os
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from rich.console import Console
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from service import crud
from service.config import ConfigurationError, Limits, Settings, load_settings
from service.database import find_schema_revision, make_engine
from service.embedded import PostgresServer, RedisServer
from service.seed import generate_items
from service.server import claim_address, exit_on_signals, make_server_config, run_server

ALEMBIC_INI = Path(__file__).parents[1] / "alembic.ini"
DATABASE = "items"
SAMPLE_ITEMS = 1000
# For psql, a seed, the console of a curious person; some of these PostgreSQL keeps for superusers.
SPARE_CONNECTIONS = 30
# Requests of a development server need not be waited for: Ctrl-C ends it all within 5 s.
GRACE_SECONDS = 1
# What is not stopped by then, on a very busy machine, is left to the reaper.
CLEANUP_SECONDS = 3.5


def run_stack(port: int, data_dir: Path, console: Console) -> None:
    """Start everything, tell `console` where it is, serve until a signal comes, stop everything."""
    leave_if_asked = exit_on_signals(within_seconds=CLEANUP_SECONDS)
    limits = load_settings(Limits)
    if not ALEMBIC_INI.exists():
        raise ConfigurationError([f"There is no {ALEMBIC_INI}: `service up` runs from a clone of the repository only."])
    listener = claim_address("127.0.0.1", port)
    with (
        _directory(data_dir),
        _start_postgres(data_dir, limits, console) as postgres,
        _start_redis(data_dir, console) as cache,
    ):
        # The application reads its settings from here, as it does behind `service serve`.
        os.environ |= {"DATABASE_URL": postgres.url(DATABASE), "REDIS_URL": cache.url, "ENVIRONMENT": "development"}
        settings = load_settings(Settings)
        with _step(console, "Schema and items"):
            _fill(postgres, settings, data_dir)
        leave_if_asked()
        with _step(console, "Application"):
            config = make_server_config(settings, grace_seconds=GRACE_SECONDS)
            config.load()
        leave_if_asked()
        for line in _describe_addresses(listener.getsockname()[1], postgres, cache):
            # As they are, without colours and line breaks, for they are there to be copied.
            console.out(line, highlight=False)
        run_server(config, listener, cleanup_seconds=CLEANUP_SECONDS)


@contextmanager
def _step(console: Console, what: str) -> Iterator[None]:
    began = time.perf_counter()
    with console.status(what, spinner="line"):
        yield
    console.print(f"{what:<20} [green]ready[/] in {time.perf_counter() - began:.2f} s", highlight=False)


@contextmanager
def _directory(path: Path) -> Iterator[None]:
    """If nothing could be put into it, leave no directory behind, neither this one nor those made above it."""
    # `lexists` finds nothing where we may not look; removing that fails too.
    new = [place for place in (path, *path.parents) if not os.path.lexists(place)]
    try:
        yield
    finally:
        with suppress(OSError):
            for place in new:
                place.rmdir()


def _start_postgres(data_dir: Path, limits: Limits, console: Console) -> PostgresServer:
    with _step(console, "PostgreSQL"):
        connections = limits.pool_size + limits.pool_overflow + SPARE_CONNECTIONS
        return PostgresServer.start(data_directory=data_dir / "postgres", max_connections=connections)


def _start_redis(data_dir: Path, console: Console) -> RedisServer:
    with _step(console, "Redis (Valkey)"):
        return RedisServer.start(data_directory=data_dir / "redis")


def _fill(postgres: PostgresServer, settings: Settings, data_dir: Path) -> None:
    """Make the database if it is not there, with all that the application needs in it."""
    engine = make_engine(settings, application_name="item-service-command")
    try:
        _create_database(postgres)
        with engine.begin() as connection:
            _prepare_database(connection, data_dir)
    except (psycopg.Error, DBAPIError) as error:  # a full disk, most likely
        reason = " ".join(str(getattr(error, "orig", error)).split()).rstrip(".")
        raise ConfigurationError(
            [f"The database in {data_dir}: {reason}. Free space there or choose another directory with --data-dir."]
        ) from error
    finally:
        engine.dispose()


def _create_database(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if found is None:
            connection.execute(f"CREATE DATABASE {DATABASE}")


def _prepare_database(connection: Connection, data_dir: Path) -> None:
    """Migrate; the first time add sample items, in the same transaction, so that there is no second first time."""
    config = Config(ALEMBIC_INI)
    config.attributes["connection"] = connection
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    is_first = find_schema_revision(connection) is None
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigurationError(
            [f"The data in {data_dir} is not of this release: {error}. Choose another directory with --data-dir."]
        ) from error
    if is_first:
        with Session(connection) as session:
            crud.copy_items(session, generate_items(SAMPLE_ITEMS, seed=1))


def _describe_addresses(port: int, postgres: PostgresServer, cache: RedisServer) -> Iterator[str]:
    psql = "psql" if shutil.which("psql") else str(postgres.bin_directory / "psql")
    urls = [f"{name}={shlex.quote(os.environ[name])}" for name in ("DATABASE_URL", "REDIS_URL")]
    yield ""
    yield f"API          http://127.0.0.1:{port}/items/"
    yield f"Docs         http://127.0.0.1:{port}/docs"
    yield f"PostgreSQL   {shlex.join([psql, postgres.url(DATABASE)])}"
    yield f"Redis        {shlex.join(['redis-cli', '-s', cache.url.removeprefix('unix://')])}"
    yield "For `service seed` and `service check` in another terminal:"
    yield f"  export {' '.join(urls)}"
    yield ""
    yield "Ctrl-C stops all of it; the data stays."
    yield ""
