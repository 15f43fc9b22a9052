"""What trouble costs: a herd of readers two queries, a Redis that hangs a moment, a Redis that is gone nothing."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from service.embedded import RedisServer
from tests.cache.faults import paused
from tests.cache.fleet import NewServer, running
from tests.cache.workers import StartWorker
from tests.waiting import wait_until

pytestmark = pytest.mark.db(isolation="clone")

HERD = 200
SCANS = text("SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 'item'")
OTHERS = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")


@pytest.mark.parametrize("path", ["/items/", "/items/1"])
def test_a_herd_on_a_cold_key_costs_at_most_a_query_per_worker(
    new_server: NewServer, database_url: str, own_redis: RedisServer, engine: Engine, path: str
) -> None:
    # A busy machine must not look like a dead Redis: without one, reads that do not overlap do not share a query.
    patient = {"REDIS_TIMEOUT_SECONDS": "1"}
    servers = [new_server(database_url, str(own_redis.tcp_url), settings=patient) for _ in range(2)]
    before = count_scans(engine)
    with running(*servers), ThreadPoolExecutor(HERD) as threads:
        answers = list(threads.map(lambda number: servers[number % 2].ask("GET", path), range(HERD)))
    queries = count_scans(engine) - before

    assert {status for status, _ in answers} == {200}
    assert len({body for _, body in answers}) == 1
    assert 1 <= queries <= 2


@pytest.mark.slow
def test_a_hung_redis_delays_one_read_a_little_and_a_write_a_little_more(
    start_worker: StartWorker, own_redis: RedisServer
) -> None:
    reader, writer = start_worker(), start_worker()
    assert (reader.warm(), writer.warm()) == ("old", "old")
    usual_read, usual_write = seconds(reader.read), seconds(lambda: writer.write("old"))
    assert reader.warm() == "old"
    with paused(own_redis):
        reads = [seconds(reader.read) for _ in range(20)]
        writes = [seconds(lambda: writer.write("new")) for _ in range(3)]

    assert max(reads) - usual_read < 0.3
    assert sorted(reads)[-2] - usual_read < 0.1
    assert max(writes) - usual_write < 0.6


@pytest.mark.slow
def test_without_redis_everything_works_and_nothing_is_stored(start_worker: StartWorker) -> None:
    one, two = start_worker("redis://127.0.0.1:1"), start_worker("redis://127.0.0.1:1")
    for number in range(5):
        one.write(f"{number}")

        assert (one.read(), two.read()) == (f"{number}", f"{number}")
    assert one.look().detail == "redis-down"


def count_scans(engine: Engine) -> int:
    """How often the table was read; a process of PostgreSQL tells when it ends, a moment after its client."""
    engine.dispose()
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        wait_until(lambda: not connection.execute(OTHERS).scalar_one(), seconds=10)
        return int(connection.execute(SCANS).scalar_one())


def seconds(act: Callable[[], object]) -> float:
    """How long `act` takes."""
    started = time.monotonic()
    act()
    return time.monotonic() - started
