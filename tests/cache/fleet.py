"""Server processes of the service on given ports, which a test kills and starts again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.servers import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


@dataclass
class Server:
    """One process of the service, listening on `port`."""

    database_url: str
    redis_url: str
    port: int = field(default_factory=free_port)
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and return when it answers."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "service.main:app", "--port", str(self.port), "--log-level", "error"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url, **self.settings},
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
