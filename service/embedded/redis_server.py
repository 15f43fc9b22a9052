"""Valkey, the free Redis, as an object: started, reached by URL, stopped."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from service.embedded.account import server_account
from service.embedded.binaries import VALKEY, Wheel, runnable
from service.embedded.errors import explained
from service.embedded.lifeline import Lifeline
from service.embedded.places import SCRATCH_PREFIX, cache_directory, scratch_base
from service.embedded.startup import await_ready, claim_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SOCKET_BYTES = 1024**2
_PING_SECONDS = 1.0
# Never persistent, wherever the files are. It holds a cache in front of PostgreSQL, and a cache
# that comes back from a snapshot has missed every invalidation since: it would serve old items.
_SETTINGS = {
    "save": "",
    "appendonly": "no",
    "daemonize": "no",
    "unixsocketperm": "700",
    "bind": "127.0.0.1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisServer:
    """A running Valkey that ends with the process that started it.

    `url` goes through the private socket; `tcp_url` and `port` are None unless TCP was asked for.
    """

    pid: int
    url: str
    port: int | None
    tcp_url: str | None
    _lifeline: Lifeline = field(repr=False)

    @classmethod
    def start(
        cls,
        *,
        data_directory: Path | None = None,
        port: int | None = None,
        extra_settings: Mapping[str, str] | None = None,
        wheel: Wheel = VALKEY,
    ) -> Self:
        """Start a server and return when it answers; EmbeddedError if it cannot.

        Keys never survive it; `data_directory` is where its log, `redis.log`, is kept. `port`
        listens on 127.0.0.1 also, without a password (0: any free port): for development only.
        `extra_settings` go over ours. `wheel` may supply Redis instead.
        """
        with explained(wheel.server), ExitStack() as undo:
            number = None if port is None else claim_port(port)
            settings = {**_SETTINGS, "port": str(number or 0), **(extra_settings or {})}
            lifeline = undo.enter_context(Lifeline())
            pid, address = _launch(lifeline, settings, data_directory, wheel)
            undo.pop_all()
            return cls(
                pid=pid,
                url=f"unix://{address}",
                port=number,
                tcp_url=None if number is None else f"redis://127.0.0.1:{number}",
                _lifeline=lifeline,
            )

    def stop(self) -> None:
        """Stop the server and remove its short-lived files. Idempotent; no-op in a fork."""
        self._lifeline.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _launch(
    lifeline: Lifeline, settings: Mapping[str, str], data_directory: Path | None, wheel: Wheel
) -> tuple[int, Path]:
    """Start the server process; return its pid and its socket when it answers."""
    account = server_account()
    base = scratch_base(account, memory_bytes=_SOCKET_BYTES)
    home = lifeline.make_scratch(base, SCRATCH_PREFIX)
    program = runnable(wheel, account, cache_directory(account, otherwise=home), lifeline)
    address = account.make_directory(home / "run") / "redis.sock"
    options = {"unixsocket": str(address), **settings}
    if data_directory is not None:
        data_directory.mkdir(parents=True, exist_ok=True)
    log = (data_directory or home).absolute() / "redis.log"
    process = lifeline.spawn(
        [program.path, *(word for name, value in options.items() for word in (f"--{name}", value))],
        account=account,
        cwd=address.parent,
        log=log,
    )
    await_ready(wheel.server, process, ready=lambda: _answers(address))
    return process.pid, address


def _answers(address: Path) -> bool:
    # Any answer but "still loading" will do: with a password set, a refusal is a sign of life.
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PING_SECONDS)
        try:
            connection.connect(str(address))
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
        except OSError:
            return False
    return bool(answer) and not answer.startswith(b"-LOADING")
