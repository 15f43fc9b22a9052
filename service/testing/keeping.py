"""The database of a clone test that failed: kept for whoever looks into it, with a line that opens it."""

import shlex
import subprocess
from functools import partial
from pathlib import Path

import psycopg
import pytest

from service.testing.addresses import without_password
from service.testing.errors import SetupError
from service.testing.worker import Database, Worker

_DUMP_SECONDS = 60
# The test may still hold its locks.
_LOCK_WAIT_MS = 2000
_DISCARD = pytest.StashKey[partial[None]]()


def keep_database(worker: Worker, database: Database, item: pytest.Item) -> str:
    """Keep the database; return how to open it, or why it cannot be kept.

    From an embedded server, which ends with the run, it goes to a file.
    """
    try:
        servers = worker.lease.servers
        if servers.outlive_the_run:
            worker.databases.keep(database.name, item.nodeid)
            return f"kept; open it with: psql {shlex.quote(without_password(database.dsn))}"
        item.stash[_DISCARD] = partial(worker.stock.discard, database.name)
        if servers.bin_directory is None:
            return "the database was not kept: its container ends with the run; on a TEST_DATABASE_URL it would be"
        # pytest keeps the temporary files of the last three runs.
        folder = item.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # noqa: SLF001  # no public way
        dump = folder / f"{database.name}.sql"
        _dump(f"{servers.bin_directory}/pg_dump", database, dump)
    except (SetupError, OSError, psycopg.Error) as error:
        return f"the database was not kept: {' '.join(str(error).split())}"
    return f"kept; open it with: python -m service.testing psql {shlex.quote(str(dump))}"


def discard_dumped(item: pytest.Item) -> None:
    """Drop the database of a test that is over, if it went to a file."""
    if discard := item.stash.get(_DISCARD, None):
        discard()


def _dump(program: str, database: Database, dump: Path) -> None:
    command = [program, f"--dbname={database.dsn}", f"--file={dump}", f"--lock-wait-timeout={_LOCK_WAIT_MS}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DUMP_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"pg_dump had not ended after {_DUMP_SECONDS} s") from error
    if done.returncode:
        raise SetupError(done.stderr)
