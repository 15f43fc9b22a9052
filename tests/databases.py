"""Databases beside the worker's own, for tests that need one without tables, or may break it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import URL, NullPool, create_engine

ROOT = Path(__file__).parents[1]


def dsn(url: URL) -> str:
    """`url` as libpq and psycopg read it."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def create_database(server: URL, name: str) -> URL:
    """Make an empty database beside the one that `server` names."""
    with psycopg.connect(dsn(server), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    return server.set(database=name)


def drop_databases(server: URL, prefix: str) -> None:
    """Drop every database whose name begins with `prefix`, whoever is connected to it."""
    with psycopg.connect(dsn(server), autocommit=True) as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix])
        for (name,) in found.fetchall():
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def empty_database(beside: URL) -> Iterator[URL]:
    """A database that was never migrated; it is dropped at the end."""
    name = f"{beside.database}_{uuid4().hex[:8]}"
    yield create_database(beside, name)
    drop_databases(beside, name)


def alembic_config() -> Config:
    """The configuration that `alembic` on the command line would read."""
    return Config(ROOT / "alembic.ini")


def migrate(url: URL, revision: str = "head") -> None:
    """Upgrade the database that `url` names."""
    engine = create_engine(url, poolclass=NullPool)
    config = alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
