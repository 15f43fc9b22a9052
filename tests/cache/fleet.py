"""Server processes of the service on given ports, which a test kills and starts again."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from service.testing.fork_server import ForkedProcess, ForkServer
from tests.servers import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


@dataclass
class Server:
    """One process of the service, listening on `port`."""

    fork_server: ForkServer
    database_url: str
    redis_url: str
    port: int = field(default_factory=free_port)
    settings: dict[str, str] = field(default_factory=dict)
    process: ForkedProcess | None = None

    def start(self) -> None:
        """Start the process and return when it answers."""
        self.process = self.fork_server.start(
            "uvicorn.main:main",
            *("service.main:app", "--port", str(self.port), "--log-level", "error"),
            directory=ROOT,
            environment={**os.environ, "DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url, **self.settings},
            stdout=1,
            stderr=2,
            imports=["service.main"],
        )
        wait_until(self.answers, seconds=30)

    def kill(self) -> None:
        """End the process at whatever instruction it is."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def answers(self) -> bool:
        """Whether the process takes requests."""
        try:
            return self.ask("GET", "/health/live")[0] == 200
        except (OSError, HTTPException):
            return False

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        """Status and body of the answer, on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            return ask(connection, method, path, body)
        finally:
            connection.close()


def ask(connection: HTTPConnection, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    """Status and body of the answer to one request on `connection`."""
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    return answer.status, answer.read()


NewServer = Callable[..., Server]


@pytest.fixture
def new_server(fork_server: ForkServer) -> NewServer:
    """Makes servers: `new_server(database_url, redis_url, settings={...})`."""
    return partial(Server, fork_server)


@contextmanager
def running(*servers: Server) -> Iterator[None]:
    """Run the servers during the block."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            if server.process is not None:
                server.process.kill()
                server.process.wait()
