"""Databases to migrate, and `alembic` as an operator runs it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, NullPool, create_engine

from service.testing.fork_server import ForkedProcess, ForkServer
from tests.databases import ROOT, migrate

Alembic = Callable[..., "Runner"]


@pytest.fixture
def empty_engine(empty_database: URL) -> Engine:
    """An engine on a database of this test's own, that was never migrated."""
    return create_engine(empty_database, poolclass=NullPool)


@pytest.fixture
def migrated_engine(empty_engine: Engine) -> Engine:
    """The same, migrated to the head."""
    migrate(empty_engine.url)
    return empty_engine


@dataclass(frozen=True, slots=True)
class Runner:
    """An `alembic` that runs, or has run."""

    process: ForkedProcess | subprocess.Popen[bytes]
    output: Path
    errors: Path

    def finish(self) -> tuple[int, str, str]:
        """Wait for its end: the exit status, and what it said on both streams."""
        return self.process.wait(timeout=100), self.output.read_text(), self.errors.read_text()


@pytest.fixture
def alembic(tmp_path: Path, fork_server: ForkServer) -> Iterator[Alembic]:
    """Start `alembic` on a database, in a directory without `.env`; what still runs at the end is ended.

    A fork server has done its imports, unless it is `typed`.
    """
    started: list[Runner] = []

    def start(*words: str, url: URL | str, typed: bool = False) -> Runner:
        address = url if isinstance(url, str) else url.render_as_string(hide_password=False)
        arguments = ["-c", str(ROOT / "alembic.ini"), *words]
        environment = {**os.environ, "DATABASE_URL": address}
        output, errors = (tmp_path / f"{stream}-{len(started)}" for stream in ("output", "errors"))
        with output.open("wb") as told, errors.open("wb") as complained:
            process: ForkedProcess | subprocess.Popen[bytes]
            if typed:
                command = [str(Path(sys.executable).with_name("alembic")), *arguments]
                process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=told, stderr=complained)
            else:
                process = fork_server.start(
                    "alembic.config:main",
                    *arguments,
                    environment=environment,
                    directory=tmp_path,
                    stdout=told.fileno(),
                    stderr=complained.fileno(),
                    imports=["service.models", "service.database"],
                )
        started.append(Runner(process, output, errors))
        return started[-1]

    yield start
    for runner in started:
        runner.process.kill()
        runner.process.wait()
