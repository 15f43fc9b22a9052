"""Cached reads beside their peers: medians of ratios in one run, each server one process on one core.

What is compared is the requests for each second of processor time that the server used: what it answers on a core of
its own. By the clock, a server that is fast waits for its load generator, its Redis and whatever else the machine does,
and one that is slow does not. Both figures are printed.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest
import requests
from sqlalchemy import Engine, text

from service.embedded import RedisServer
from tests.benchmarks.wrk import first_core, load, require_wrk
from tests.servers import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.db(isolation="clone"), pytest.mark.timeout(1200)]

ROUNDS = 5
SECONDS = 3
REQUESTS = 1_000_000
FLAT_KIB = 4096
APPLICATIONS = {
    "service": "service.main:app",
    "constant": "tests.benchmarks.peers.constant:app",
    "asynchronous": "tests.benchmarks.peers.asynchronous:app",
    "synchronous": "tests.benchmarks.peers.synchronous:app",
}
# At least so many times each peer. The article caches the list alone, so the peers' single items come from PostgreSQL.
LEAST = {"constant": 0.75, "asynchronous": 6, "synchronous": 10}
# What the constant endpoint calls its answers.
CONSTANT_PATHS = {"/items/": "/list", "/items/1": "/item"}
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

    def measure(self, path: str) -> Figures:
        """Ask for `path` as fast as it answers."""
        before = self.processor_seconds()
        found = load(self.url + path, seconds=SECONDS)
        return Figures(found.per_second, found.requests / (self.processor_seconds() - before), found.p99_ms)

    def processor_seconds(self) -> float:
        """The processor time of the process so far, its kernel's included; Linux tells it."""
        user, system = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def environment(engine: Engine) -> Iterator[dict[str, str]]:
    """What a server needs: a hundred items, and a Redis."""
    require_wrk()
    with engine.begin() as connection:
        names = "SELECT 'Item ' || n, 'The description of item ' || n, 9.99 FROM generate_series(1, 100) AS n"
        connection.execute(text(f"INSERT INTO item (name, description, price) {names}"))
    with RedisServer.start() as redis_server:
        url = engine.url.render_as_string(hide_password=False)
        yield {**os.environ, "DATABASE_URL": url, "REDIS_URL": redis_server.url}


@pytest.fixture
def servers(environment: dict[str, str]) -> Iterator[dict[str, Server]]:
    """The service and its peers, on the same database and Redis."""
    with ExitStack() as running:
        yield {name: running.enter_context(serving(name, environment)) for name in APPLICATIONS}


@pytest.mark.parametrize("path", CONSTANT_PATHS)
def test_a_cached_read_beside_its_peers(servers: dict[str, Server], path: str) -> None:
    paths = {name: CONSTANT_PATHS[path] if name == "constant" else path for name in servers}
    rounds = [{name: server.measure(paths[name]) for name, server in servers.items()} for _ in range(ROUNDS)]

    ratios = {
        peer: median(each["service"].per_core_second / each[peer].per_core_second for each in rounds) for peer in LEAST
    }
    latency = median(each["service"].p99_ms / each["constant"].p99_ms for each in rounds)
    report(path, rounds, ratios, latency)
    assert {peer: ratio for peer, ratio in ratios.items() if ratio < LEAST[peer]} == {}
    assert latency <= 2


def test_memory_is_flat_over_a_million_requests(environment: dict[str, str]) -> None:
    with serving("service", environment) as server:
        load(server.url + "/items/", seconds=SECONDS)
        before, done = resident_kib(server.pid), 0
        while done < REQUESTS:
            done += load(server.url + "/items/", seconds=SECONDS).requests
        grown = resident_kib(server.pid) - before

    print(f"\n{done:,} requests: {grown:+,} KiB on {before:,}")  # noqa: T201
    assert grown < FLAT_KIB


def resident_kib(pid: int) -> int:
    """The memory of the process, as `ps` tells it."""
    return int(subprocess.run(["/bin/ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True).stdout)


def report(path: str, rounds: list[dict[str, Figures]], ratios: dict[str, float], latency: float) -> None:
    """Print the figures."""
    for name in APPLICATIONS:
        rate, core, p99 = (median(values) for values in zip(*(each[name] for each in rounds), strict=True))
        clock = median(each["service"].per_second / each[name].per_second for each in rounds)
        ratio = f"{ratios[name]:6.2f} times, by the clock {clock:.2f}" if name in ratios else ""
        print(f"{path:10} {name:14} {core:8,.0f}/core s {rate:8,.0f}/s  p99 {p99:7.1f} ms  {ratio}")  # noqa: T201
    print(f"{path:10} p99 beside constant: {latency:.2f} times")  # noqa: T201


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
