"""PostgreSQL as an object: started, reached by URL, stopped."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from service.embedded.account import require_name, server_account
from service.embedded.binaries import POSTGRES, runnable
from service.embedded.cluster import (
    SUPERUSER,
    ClusterMaker,
    check_cluster,
    data_argument,
    is_blank,
)
from service.embedded.errors import EmbeddedError, explained
from service.embedded.lifeline import Lifeline, StopPlan
from service.embedded.places import SCRATCH_PREFIX, cache_directory, scratch_base
from service.embedded.startup import await_ready, claim_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DEFAULT_PORT = 5432
# A fresh cluster takes 40 MB; this leaves room for a test database per worker and their WAL.
_MEMORY_BYTES = 512 * 1024**2
_SOCKET_BYTES = 1024**2
_NAMING_SECONDS = 1.0
_POLL_SECONDS = 0.003
_SETTINGS = {
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Neither leaves anything in /dev/shm or in the kernel when processes are killed.
    "shared_memory_type": "mmap",
    "dynamic_shared_memory_type": "mmap",
}
_THROWAWAY_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_locks_per_transaction": "256",
}
# Immediate shutdown: nobody will read these files again.
_DISCARD: StopPlan = ((signal.SIGQUIT, 1.0),)
# Fast shutdown writes a checkpoint. An immediate one after it loses nothing, but the next start
# has to replay the log.
_KEEP: StopPlan = ((signal.SIGINT, 2.0), (signal.SIGQUIT, 0.5))


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A running PostgreSQL that ends with the process that started it.

    `port` names the socket file, and is the TCP port if one was asked for; `bin_directory` has
    `psql`, `pg_dump` and the others; `version` is what `SHOW server_version` answers.
    """

    pid: int
    data_directory: Path
    socket_directory: Path
    port: int
    bin_directory: Path
    version: str
    _lifeline: Lifeline = field(repr=False)

    @classmethod
    def start(
        cls,
        *,
        data_directory: Path | None = None,
        port: int | None = None,
        max_connections: int = 100,
        extra_settings: Mapping[str, str] | None = None,
    ) -> Self:
        """Start a server and return when it accepts connections; EmbeddedError if it cannot.

        Without `data_directory`: a throw-away server for tests, in memory if there is room, as
        fast and as unsafe as PostgreSQL can be. With it: a durable one, made at the first start.
        `port` listens on 127.0.0.1 also (0: any free port), where every local user is let in as
        superuser: for development only. `extra_settings` go over ours.
        """
        with explained("PostgreSQL"), ExitStack() as undo:
            number = _DEFAULT_PORT if port is None else claim_port(port)
            settings = {
                **_SETTINGS,
                **({} if data_directory else _THROWAWAY_SETTINGS),
                "listen_addresses": "" if port is None else "127.0.0.1",
                "port": str(number),
                "max_connections": str(max_connections),
                **(extra_settings or {}),
            }
            lifeline = undo.enter_context(Lifeline())
            maker = _prepare(lifeline, _SOCKET_BYTES if data_directory else _MEMORY_BYTES)
            version = _version(maker.program.path)
            data = _cluster(maker, data_directory, version)
            server = cls(
                pid=_launch(maker, data, settings, lasting=data_directory is not None),
                data_directory=data,
                socket_directory=maker.home / "run",
                port=number,
                bin_directory=maker.program.path.parent,
                version=version,
                _lifeline=lifeline,
            )
            undo.pop_all()
            return server

    def url(self, database: str = "postgres") -> str:
        """Return the URL of `database` for libpq and SQLAlchemy, through the private socket."""
        port = "" if self.port == _DEFAULT_PORT else f"&port={self.port}"
        name = quote(database, safe="")
        return f"postgresql://{SUPERUSER}@/{name}?host={self.socket_directory}{port}"

    def stop(self) -> None:
        """Stop the server and remove its short-lived files. Idempotent; no-op in a fork."""
        self._lifeline.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _prepare(lifeline: Lifeline, memory_bytes: int) -> ClusterMaker:
    account = server_account()
    require_name(account)
    base = scratch_base(account, memory_bytes=memory_bytes)
    home = lifeline.make_scratch(base, SCRATCH_PREFIX)
    cache = cache_directory(account, otherwise=home)
    program = runnable(POSTGRES, account, cache, lifeline)
    return ClusterMaker(program, account, lifeline, cache, home)


def _version(program: Path) -> str:
    """Return the server's version, such as 18.4; OSError if the binary cannot run here."""
    answer = subprocess.run([program, "-V"], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise OSError(f"{program} does not run on this machine: {answer.stderr.strip()}")
    return answer.stdout.split()[2]


def _cluster(maker: ClusterMaker, wanted: Path | None, version: str) -> Path:
    """Return the data directory: a new one in memory, or the wanted one, made if need be."""
    if wanted is None:
        data = maker.account.make_directory(maker.home / "data")
        maker.make(data)
        return data
    data = wanted.absolute()
    if is_blank(data):
        maker.make_lasting(data)
    check_cluster(data, maker.account, major=version.partition(".")[0])
    return data


def _launch(maker: ClusterMaker, data: Path, settings: Mapping[str, str], *, lasting: bool) -> int:
    """Start the server process and return its pid when it accepts connections."""
    sockets = maker.account.make_directory(maker.home / "run")
    options = {"unix_socket_directories": str(sockets), **settings}
    log = (data if lasting else maker.home) / "server.log"
    process = maker.lifeline.spawn(
        [
            maker.program.path,
            *("-D", data_argument(maker.account, data)),
            *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
        ],
        account=maker.account,
        cwd=data,
        log=log,
        plan=_KEEP if lasting else _DISCARD,
    )
    try:
        await_ready("PostgreSQL", process, ready=lambda: _accepts_connections(data, process.pid))
    except EmbeddedError as error:
        raise _in_use(data, process.pid) or error from error
    return process.pid


def _postmaster_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _accepts_connections(data: Path, pid: int) -> bool:
    # What pg_ctl waits for. The socket file alone exists well before connections are accepted.
    match _postmaster_file(data):
        case [holder, _, _, _, _, _, _, status, *_]:
            return holder == str(pid) and status.strip() == "ready"
    return False


def _in_use(data: Path, pid: int) -> EmbeddedError | None:
    """Return the error to raise if another server holds the cluster, else None."""
    deadline = time.monotonic() + _NAMING_SECONDS
    while not (holder := _postmaster_file(data)) and (data / "postmaster.pid").exists() and time.monotonic() < deadline:
        # It stands there before its server has written anything in it.
        time.sleep(_POLL_SECONDS)
    other = next(iter(holder), str(pid))
    if other == str(pid):
        return None
    return EmbeddedError(
        f"The data directory {data} is in use by the PostgreSQL server with process id {other}, "
        "perhaps of another `service up`. Stop that one first, or choose another data directory."
    )
