"""Reads per second of one process beside a constant endpoint of the same framework, and the speed of `service seed`.

Machines differ and are shared: only the ratios of one run mean something. `tox run -e bench` prints them; the load
comes from wrk (in Debian and Homebrew the package `wrk`).
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from service.embedded import PostgresServer, RedisServer

ROOT = Path(__file__).parents[2]
ROUNDS = 5
ROUND_SECONDS = 3
CONNECTIONS = 16
START_DEADLINE_SECONDS = 15

SERVICE_PORT, PEER_PORT = 18_201, 18_202
SERVICE = [sys.executable, "-m", "service", "serve", "--port", str(SERVICE_PORT), "--workers", "1"]
PEER = [sys.executable, "-m", "uvicorn", "tests.benchmarks.peers.constant:app", "--port", str(PEER_PORT)]

PAIRS = {
    "cached list of 100": ("/items/", "/list"),
    "cached item": ("/items/1", "/item"),
    "uncached list of 99": ("/items/?limit=99", "/list"),
}


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """The variables of a service on embedded servers, migrated and empty."""
    if shutil.which("wrk") is None:
        pytest.fail("the load generator wrk is not installed: apt-get install wrk, or brew install wrk")
    with PostgresServer.start() as postgres, RedisServer.start() as redis:
        variables = {**os.environ, "DATABASE_URL": postgres.url(), "REDIS_URL": redis.url, "ENVIRONMENT": "production"}
        subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], env=variables, cwd=ROOT, check=True)
        yield variables


@pytest.fixture(scope="module")
def seed_seconds(environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "service", "seed", "--items", "100000"], env=environment, cwd=ROOT, check=True
    )
    return time.perf_counter() - started


def test_seed_and_reads(environment: dict[str, str], seed_seconds: float) -> None:
    ratios: dict[str, list[float]] = {name: [] for name in PAIRS}
    with ExitStack() as stack:
        stack.enter_context(running(SERVICE, environment, f"http://127.0.0.1:{SERVICE_PORT}/health/ready"))
        stack.enter_context(running(PEER, environment, f"http://127.0.0.1:{PEER_PORT}/item"))
        for _ in range(ROUNDS):
            for name, (path, constant_path) in PAIRS.items():
                constant = requests_per_second(PEER_PORT, constant_path)
                ratios[name].append(requests_per_second(SERVICE_PORT, path) / constant)

    print(f"\nseed of 100,000 items: {seed_seconds:.1f} s")  # noqa: T201
    for name, values in ratios.items():
        print(f"{name}: {statistics.median(values):.3f} of a constant endpoint")  # noqa: T201
    assert all(ratio > 0 for values in ratios.values() for ratio in values)


@contextmanager
def running(command: list[str], environment: dict[str, str], url: str) -> Iterator[None]:
    """`command` as a process that answers at `url`, until the block ends."""
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_DEADLINE_SECONDS
        while not answers(url):
            assert process.poll() is None, f"{command} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{url} does not answer"
        yield
    finally:
        process.terminate()
        process.wait(timeout=START_DEADLINE_SECONDS)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=1).ok
    except requests.ConnectionError:
        return False


def requests_per_second(port: int, path: str) -> float:
    load = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{ROUND_SECONDS}s", f"http://127.0.0.1:{port}{path}"]
    report = subprocess.run(load, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in report, report
    found = re.search(r"Requests/sec:\s+([\d.]+)", report)
    assert found, report
    return float(found[1])
