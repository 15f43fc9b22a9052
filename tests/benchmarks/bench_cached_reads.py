"""Cached reads beside their peers: medians of ratios in one run, each server one process on one core.

What is compared is the requests for each second of processor time that the server used: what it answers on a core of
its own. By the clock, a server that is fast waits for its load generator, its Redis and whatever else the machine does,
and one that is slow does not. Both figures are printed.
"""

import subprocess
from statistics import median

import pytest

from tests.benchmarks.processes import APPLICATIONS, Figures, Server, serving
from tests.benchmarks.wrk import Request, load

pytestmark = [pytest.mark.db(isolation="clone"), pytest.mark.timeout(1200)]

ROUNDS = 5
REQUESTS = 1_000_000
FLAT_KIB = 4096
# At least so many times each peer. The article caches the list alone, so the peers' single items come from PostgreSQL.
LEAST = {"constant": 0.75, "asynchronous": 6, "synchronous": 10}
# What the constant endpoint calls its answers.
CONSTANT_PATHS = {"/items/": "/list", "/items/1": "/item"}


@pytest.mark.parametrize("path", CONSTANT_PATHS)
def test_a_cached_read_beside_its_peers(servers: dict[str, Server], path: str) -> None:
    paths = {name: CONSTANT_PATHS[path] if name == "constant" else path for name in servers}
    rounds = [{name: server.measure(Request(paths[name])) for name, server in servers.items()} for _ in range(ROUNDS)]

    ratios = {
        peer: median(each["service"].per_core_second / each[peer].per_core_second for each in rounds) for peer in LEAST
    }
    latency = median(each["service"].p99_ms / each["constant"].p99_ms for each in rounds)
    report(path, rounds, ratios, latency)
    assert {peer: ratio for peer, ratio in ratios.items() if ratio < LEAST[peer]} == {}
    assert latency <= 2


def test_memory_is_flat_over_a_million_requests(environment: dict[str, str]) -> None:
    with serving("service", environment) as server:
        load(server.url, Request("/items/"))
        before, done = resident_kib(server.pid), 0
        while done < REQUESTS:
            done += load(server.url, Request("/items/")).requests
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
