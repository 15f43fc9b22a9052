"""Databases beside the test's own, for tests that need one without tables, or on a server that they may break."""

from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import URL, NullPool, create_engine, make_url

from service.testing.migration_runner import AlembicRunner

ROOT = Path(__file__).parents[1]


@pytest.fixture
def empty_database(alembic_runner: AlembicRunner) -> URL:
    """A database of this test's own that was never migrated."""
    return make_url(alembic_runner.database.url)


def create_database(server: URL, name: str) -> URL:
    """Make an empty database beside the one that `server` names."""
    address = server.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    return server.set(database=name)


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
