"""The service and its peers, each one process on one core."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import requests

from tests.benchmarks.wrk import Request, first_core, load
from tests.servers import free_port
from tests.waiting import wait_until

APPLICATIONS = {
    "service": "service.main:app",
    "constant": "tests.benchmarks.peers.constant:app",
    "asynchronous": "tests.benchmarks.peers.asynchronous:app",
    "synchronous": "tests.benchmarks.peers.synchronous:app",
}
ROOT = Path(__file__).parents[2]


class Figures(NamedTuple):
    """What a server did under load: by the clock, for each second of its processor time, and the latency of 99 %."""

    per_second: float
    per_core_second: float
    p99_ms: float


class Server(NamedTuple):
    """A process on one core."""

    url: str
    pid: int

    def measure(self, request: Request) -> Figures:
        """Ask as fast as it answers."""
        before = self.processor_seconds()
        found = load(self.url, request)
        return Figures(found.per_second, found.requests / (self.processor_seconds() - before), found.p99_ms)

    def processor_seconds(self) -> float:
        """The processor time of the process so far, its kernel's included; Linux tells it."""
        user, system = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(name: str, environment: dict[str, str]) -> Iterator[Server]:
    """A server process on one core."""
    port = free_port()
    options = ["--port", str(port), "--log-level", "warning", "--no-access-log"]
    process = subprocess.Popen(
        [*first_core(), sys.executable, "-m", "uvicorn", APPLICATIONS[name], *options], cwd=ROOT, env=environment
    )
    try:
        wait_until(lambda: answers(port), seconds=120)
        yield Server(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait(timeout=15)


def answers(port: int) -> bool:
    """Whether something listens there."""
    try:
        requests.get(f"http://127.0.0.1:{port}/", timeout=1)
    except (requests.ConnectionError, requests.Timeout):
        return False
    return True
