"""The database of a clone test that failed: kept for whoever looks into it, with a line that opens it."""

import shlex
import subprocess

import pytest

from service.testing.addresses import without_password
from service.testing.worker import Database, Worker

_DUMP_SECONDS = 60


def keep_database(worker: Worker, database: Database, item: pytest.Item) -> str:
    """Keep the database; return how to open it. From an embedded server, which ends with the run, it goes to a file."""
    if (programs := worker.lease.servers.bin_directory) is None:
        worker.databases.keep(database.name, item.nodeid)
        return f"kept; open it with: psql {shlex.quote(without_password(database.dsn))}"
    # pytest keeps the temporary files of the last three runs.
    folder = item.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # noqa: SLF001  # no public way
    dump = folder / f"{database.name}.sql"
    command = [f"{programs}/pg_dump", "--dbname", database.dsn, "--file", str(dump)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_DUMP_SECONDS, check=False)
    if done.returncode:
        return f"not kept: {' '.join(done.stderr.split())}"
    return f"kept; open it with: python -m service.testing psql {shlex.quote(str(dump))}"
