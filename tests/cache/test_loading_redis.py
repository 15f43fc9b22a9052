"""A Redis that loads its data answers, but not with data. Redis 6.2 cannot be slowed down for it; the others can."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from service.embedded.binaries import Wheel
from tests.cache.faults import ending, is_loading, kill, redis_at, snapshots, start_again
from tests.cache.workers import StartWorker
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.db(isolation="clone")]


def test_a_redis_that_is_loading_is_passed_by_until_it_has_loaded(start_worker: StartWorker, build: Wheel) -> None:
    slowly = {"key-load-delay": "500", "loading-process-events-interval-bytes": "1024"}
    with snapshots() as directory, redis_at(None, directory, build) as before:
        worker = start_worker(before.tcp_url)
        with worker.redis.pipeline() as filling:
            for number in range(4000):
                filling.set(f"other:{number}", "x" * 100)
            filling.execute()
        assert worker.warm() == "old"
        worker.redis.save()
        kill(before)
        with (
            ThreadPoolExecutor() as threads,
            ending(threads.submit(start_again, before.port, {**directory, **slowly}, build)),
        ):
            with redis.Redis.from_url(str(before.tcp_url)) as client:
                wait_until(lambda: is_loading(client), seconds=5)
                worker.write("new")

                assert worker.read() == "new"
                assert is_loading(client)

            assert worker.warm() == "new"
