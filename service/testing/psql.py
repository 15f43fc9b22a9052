"""Opening the database of a failed test with psql."""

import shutil
import subprocess
from pathlib import Path

from service.embedded import PostgresServer
from service.testing.addresses import for_libpq, without_password
from service.testing.errors import SetupError
from service.testing.ownership import LOCK_DATABASE, connect_admin, list_owned

_DATABASE = "kept"


def open_dump(dump: Path) -> int:
    """Load the dump into an embedded server that lives as long as psql; return psql's exit status."""
    with PostgresServer.start() as server:
        psql = str(server.bin_directory / "psql")
        _load(psql, server.url(LOCK_DATABASE), "--command", f"CREATE DATABASE {_DATABASE} TEMPLATE template0")
        _load(psql, server.url(_DATABASE), "--file", str(dump))
        return subprocess.run([psql, server.url(_DATABASE)], check=False).returncode


def _load(psql: str, url: str, *arguments: str) -> None:
    command = [psql, url, "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(
            f"The dump cannot be loaded: {' '.join(done.stderr.split())}. Run the test again to have another."
        )


def open_kept(url: str, name: str | None) -> int:
    """Open the kept database `name`, or the newest; return psql's exit status."""
    with connect_admin(for_libpq(url, LOCK_DATABASE)) as admin:
        kept = [database.name for database in list_owned(admin) if "kept" in database.record]
    if not kept or name not in {None, *kept}:
        raise SetupError(
            f"No failed test has kept {name or 'a database'} on this server; it has {', '.join(kept) or 'none'}."
        )
    address = for_libpq(url, name or kept[-1])
    if (psql := shutil.which("psql")) is None:
        raise SetupError(
            f"There is no psql on the PATH. Install PostgreSQL's client; the URL is {without_password(address)}."
        )
    return subprocess.run([psql, address], check=False).returncode
