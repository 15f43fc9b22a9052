"""Which servers the run uses, and why: those of TEST_DATABASE_URL and TEST_REDIS_URL, of docker compose, or embedded.

Never those of DATABASE_URL and REDIS_URL: they are the application's own data.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from service.embedded import EmbeddedError, PostgresServer
from service.testing import compose
from service.testing.addresses import check_postgres_url, check_redis_url, for_libpq, mask
from service.testing.errors import SetupError
from service.testing.ownership import LOCK_DATABASE, Owner
from service.testing.reaper import Reaper

_MEMORY = Path("/dev/shm")  # noqa: S108  # only its name is shown
# A worker holds two connections for itself; the rest is for the application's pool and a live server's.
_CONNECTIONS_PER_WORKER = 44
_CONNECTIONS_OF_RUN = 20

Server = TypeVar("Server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where the servers are. Without `redis_url` each worker starts a Redis of its own."""

    postgres_url: str
    redis_url: str | None
    # Of an embedded server: psql, pg_dump and the others, and where it has its files.
    bin_directory: str | None
    directory: str | None
    # Whether PostgreSQL does: its databases are to be removed, then.
    outlive_the_run: bool

    @property
    def are_in_memory(self) -> bool:
        """Whether it is known that the files of PostgreSQL are in memory."""
        return self.directory is not None and Path(self.directory).is_relative_to(_MEMORY)

    def describe_files(self) -> list[str]:
        """A line for the report, when the files are ours: tests are slower where they are not in memory."""
        if self.directory is None:
            return []
        place = "" if self.are_in_memory else f", on a disk: {_MEMORY} has no room"
        return [f"postgresql files: {self.directory}{place}"]

    @property
    def admin_url(self) -> str:
        """The database in which databases are made and locks are taken."""
        return for_libpq(self.postgres_url, LOCK_DATABASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the environment and the command line ask for."""

    compose_file: Path | None
    allow_remote: bool
    database_url: str | None
    redis_url: str | None

    @classmethod
    def read(cls, *, compose_file: Path | None, allow_remote: bool, environ: Mapping[str, str]) -> "Choice":
        """Check what was asked for, before anything is started; raises SetupError."""
        database_url, redis_url = environ.get("TEST_DATABASE_URL"), environ.get("TEST_REDIS_URL")
        # The environment may lead away from an embedded server too.
        check_postgres_url("TEST_DATABASE_URL", database_url or "postgresql://localhost", allow_remote=allow_remote)
        if redis_url:
            check_redis_url("TEST_REDIS_URL", redis_url, allow_remote=allow_remote)
        return cls(compose_file=compose_file, allow_remote=allow_remote, database_url=database_url, redis_url=redis_url)

    def describe(self) -> tuple[str, str]:
        """One phrase each on PostgreSQL and Redis: which one, and why."""
        if self.compose_file:
            return "docker compose (--services=compose)", "docker compose (--services=compose)"
        return (
            f"{mask(self.database_url)} (TEST_DATABASE_URL)"
            if self.database_url
            else "embedded, TEST_DATABASE_URL is not set",
            f"{mask(self.redis_url)} (TEST_REDIS_URL)"
            if self.redis_url
            else "embedded, one per worker, TEST_REDIS_URL is not set",
        )


def start(choice: Choice, owner: Owner, *, workers: int, undo: ExitStack, reaper: Reaper) -> Servers:
    """Start what has to be started, to be stopped by `undo` or `reaper`; raises SetupError."""
    postgres_url, redis_url = choice.database_url, choice.redis_url
    if choice.compose_file:
        name = owner.run_prefix.rstrip("_")
        postgres_url, redis_url = compose.up(choice.compose_file, name=name, reaper=reaper)
    bin_directory = directory = None
    if postgres_url is None:
        connections = _CONNECTIONS_OF_RUN + _CONNECTIONS_PER_WORKER * max(workers, 1)
        server = explained(lambda: PostgresServer.start(max_connections=connections))
        undo.callback(server.stop)
        postgres_url, bin_directory = server.url(LOCK_DATABASE), str(server.bin_directory)
        directory = str(server.data_directory.parent)
    return Servers(
        postgres_url=postgres_url,
        redis_url=redis_url,
        bin_directory=bin_directory,
        directory=directory,
        outlive_the_run=bin_directory is None and choice.compose_file is None,
    )


def explained(start_server: Callable[[], Server]) -> Server:
    """What `start_server` returns; SetupError in place of an EmbeddedError."""
    try:
        return start_server()
    except EmbeddedError as error:
        # The embedded servers serve the application also, and speak of its variables.
        advice = str(error).replace("DATABASE_URL", "TEST_DATABASE_URL").replace("REDIS_URL", "TEST_REDIS_URL")
        raise SetupError(advice) from error
