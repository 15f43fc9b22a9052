"""Databases to migrate, and `alembic` as an operator runs it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, NullPool, create_engine

from tests.databases import ROOT, migrate

Alembic = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def empty_engine(empty_database: URL) -> Engine:
    """An engine on a database of this test's own, that was never migrated."""
    return create_engine(empty_database, poolclass=NullPool)


@pytest.fixture
def migrated_engine(empty_engine: Engine) -> Engine:
    """The same, migrated to the head."""
    migrate(empty_engine.url)
    return empty_engine


@pytest.fixture
def alembic(tmp_path: Path) -> Iterator[Alembic]:
    """Start `alembic` on a database, in a directory without `.env`; what still runs at the end is ended."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, url: URL | str) -> subprocess.Popen[str]:
        address = url if isinstance(url, str) else url.render_as_string(hide_password=False)
        process = subprocess.Popen(
            [sys.executable, "-m", "alembic", "-c", str(ROOT / "alembic.ini"), *words],
            cwd=tmp_path,
            env={**os.environ, "DATABASE_URL": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
