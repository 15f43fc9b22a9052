"""What PostgreSQL has to do, beside the peers: medians of ratios in one run, each server one process on one core."""

from statistics import median
from typing import NamedTuple

import pytest

from tests.benchmarks.processes import Server
from tests.benchmarks.wrk import Request

pytestmark = [pytest.mark.db(isolation="clone"), pytest.mark.timeout(1200)]

ROUNDS = 5
PEERS = ("asynchronous", "synchronous")
WIDGET = '{"name": "Widget", "description": "A useful widget", "price": 10.99}'


class Work(NamedTuple):
    """What is asked of the service and of its peers, and at least so many times the peers' rate."""

    ours: Request
    theirs: Request
    least: float


WORKS = {
    "list of 100": Work(Request("/items/?limit=100"), Request("/items/uncached"), 1.5),
    "create": Work(Request("/items/", "POST", WIDGET), Request("/items/", "POST", WIDGET), 1.2),
    # Each of a hundred in turn: one alone would measure the wait for its lock.
    "replace": Work(Request("/items/%d", "PUT", WIDGET), Request("/items/%d", "PUT", WIDGET), 1.2),
}


@pytest.mark.parametrize("name", WORKS)
def test_uncached_work_beside_its_peers(servers: dict[str, Server], name: str) -> None:
    work = WORKS[name]
    asked = {"service": work.ours, **dict.fromkeys(PEERS, work.theirs)}
    rounds = [{each: servers[each].measure(request) for each, request in asked.items()} for _ in range(ROUNDS)]

    ratios = {peer: median(each["service"].per_second / each[peer].per_second for each in rounds) for peer in PEERS}
    for each in asked:
        rate, core, _ = (median(values) for values in zip(*(one[each] for one in rounds), strict=True))
        print(f"{name:12} {each:14} {rate:8,.0f}/s {core:8,.0f}/core s  {ratios.get(each, 1):6.2f} times")  # noqa: T201
    assert {peer: ratio for peer, ratio in ratios.items() if ratio < work.least} == {}
