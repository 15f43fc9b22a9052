"""The orders of events in which other caches go stale, forced one by one on real servers."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from uuid import uuid4

import pytest
import redis
from redis.exceptions import BusyLoadingError
from sqlalchemy import Engine, text

from service.catalogue import item_key
from service.embedded import RedisServer
from service.embedded.account import server_account
from tests.cache.proxy import Proxy
from tests.cache.workers import WATCHED, StartWorker, name_in
from tests.waiting import wait_until

pytestmark = pytest.mark.db(isolation="clone")

ENTRY = item_key(WATCHED)
FENCE = f"{{{ENTRY}}}:fence"
ROOT = Path(__file__).parents[2]


def test_a_fill_that_comes_after_a_write_is_refused(start_worker: StartWorker) -> None:
    reader, writer = start_worker(), start_worker()
    wait_until(lambda: reader.look().source == "hit", seconds=5)
    reader.redis.delete(ENTRY)
    loaded, may_go_on = Event(), Event()
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(reader.read_slowly, loaded, may_go_on)
        assert loaded.wait(5)

        writer.write("new")
        may_go_on.set()

        assert (slow.result().value, slow.result().source) == ("old", "miss")
    assert reader.redis.get(ENTRY) is None
    assert (reader.read(), writer.read()) == ("new", "new")


def test_a_reader_does_not_join_a_query_that_began_before_it_asked(start_worker: StartWorker) -> None:
    worker = start_worker()
    loaded, may_go_on = Event(), Event()
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(worker.read_slowly, loaded, may_go_on)
        assert loaded.wait(5)
        worker.write("new")

        assert worker.read() == "new"

        may_go_on.set()
        assert slow.result().value == "old"


KILLED_WRITER = """
import os, signal, sys
from service.cache import Cache
from tests.cache.workers import running_worker

class KilledBeforeUnfence(Cache):
    def unfence(self, fence):
        os.kill(os.getpid(), signal.SIGKILL)

with running_worker(sys.argv[1], sys.argv[2]) as worker:
    worker.cache.__class__ = KilledBeforeUnfence
    worker.write("new")
"""


def test_a_writer_killed_between_commit_and_unfence_leaves_nothing_stale(
    start_worker: StartWorker, database_url: str, own_redis: RedisServer
) -> None:
    reader = start_worker()
    assert reader.warm() == "old"

    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WRITER, database_url, str(own_redis.tcp_url)],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert killed.returncode == -signal.SIGKILL
    found = reader.look()
    assert (found.value.name, found.source, found.detail) == ("new", "bypass", "fenced")
    assert reader.redis.get(ENTRY) is None
    assert 0 < float(str(reader.redis.pttl(FENCE))) <= 5000


def test_a_write_while_redis_is_dead_voids_what_an_old_snapshot_brings_back(start_worker: StartWorker) -> None:
    with snapshots() as directory, redis_at(None, directory) as before, Proxy.to(before.port) as proxy:
        # The writer does not come back: on its return it would drop what it could not fence.
        reader, writer = start_worker(before.tcp_url), start_worker(f"redis://127.0.0.1:{proxy.port}")
        assert (reader.warm(), writer.warm()) == ("old", "old")
        reader.redis.save()
        kill(before)
        proxy.cut()
        writer.write("new")
        with redis_at(before.port, directory), redis.Redis.from_url(str(before.tcp_url)) as client:
            brought_back = client.get(ENTRY)

            assert isinstance(brought_back, bytes)
            assert name_in(brought_back) == "old"
            assert reader.read() == "new"
            assert reader.warm() == "new"


def test_a_restart_from_a_snapshot_of_before_a_write_brings_nothing_stale(start_worker: StartWorker) -> None:
    with snapshots() as directory, redis_at(None, directory) as before:
        worker = start_worker(before.tcp_url)
        assert worker.warm() == "old"
        worker.redis.save()
        worker.write("new")
        kill(before)
        with redis_at(before.port, directory), redis.Redis.from_url(str(before.tcp_url)) as client:
            brought_back = client.get(ENTRY)

            assert isinstance(brought_back, bytes)
            assert name_in(brought_back) == "old"
            assert worker.read() == "new"


def test_a_replica_that_missed_an_acknowledged_invalidation_serves_nothing_stale(start_worker: StartWorker) -> None:
    at_once = {"repl-diskless-sync-delay": "0"}
    with redis_at(None, at_once) as primary, Proxy.to(primary.port) as link, Proxy.to(primary.port) as address:
        settings = {"replicaof": f"127.0.0.1 {link.port}"}
        with (
            RedisServer.start(port=0, extra_settings=settings) as replica,
            redis.Redis.from_url(str(replica.tcp_url)) as promoted,
        ):
            worker = start_worker(f"redis://127.0.0.1:{address.port}")
            wait_until(lambda: promoted.info("replication")["master_link_status"] == "up", seconds=10)
            assert worker.warm() == "old"
            wait_until(lambda: promoted.get(ENTRY) is not None, seconds=5)

            link.cut()
            worker.write("new")
            kill(primary)
            promoted.replicaof("NO", "ONE")
            address.target_port = replica.port

            brought_back = promoted.get(ENTRY)
            assert isinstance(brought_back, bytes)
            assert name_in(brought_back) == "old"
            assert worker.read() == "new"
            assert worker.warm() == "new"


def test_a_write_while_redis_is_stopped_is_seen_after_it_goes_on(
    start_worker: StartWorker, own_redis: RedisServer
) -> None:
    reader, writer = start_worker(), start_worker()
    assert reader.warm() == "old"
    with paused(own_redis):
        started = time.monotonic()
        writer.write("new")
        took = time.monotonic() - started
        assert reader.read() == "new"

    assert took < 0.6 + 0.3
    assert (reader.read(), writer.read()) == ("new", "new")
    assert (reader.warm(), writer.warm()) == ("new", "new")


def test_a_redis_without_memory_is_passed_by_and_still_invalidated(start_worker: StartWorker) -> None:
    worker = start_worker()
    assert worker.warm() == "old"
    worker.redis.config_set("maxmemory", 1)

    worker.write("new")

    found = worker.look()
    assert (found.value.name, found.source, found.detail) == ("new", "bypass", "redis-full")
    assert worker.redis.get(ENTRY) is None
    assert not worker.cache.breaker.is_open


def test_a_server_demoted_to_a_replica_is_not_believed(start_worker: StartWorker) -> None:
    reader, writer = start_worker(), start_worker()
    assert reader.warm() == "old"
    reader.redis.replicaof("127.0.0.1", "1")

    writer.write("new")

    assert (reader.read(), writer.read()) == ("new", "new")
    wait_until(lambda: reader.cache.breaker.is_open, seconds=1)
    assert reader.look().detail == "redis-down"


def test_a_redis_that_is_loading_is_passed_by_until_it_has_loaded(start_worker: StartWorker) -> None:
    slowly = {"key-load-delay": "500", "loading-process-events-interval-bytes": "1024"}
    with snapshots() as directory, redis_at(None, directory) as before:
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
            ending(threads.submit(RedisServer.start, port=before.port, extra_settings={**directory, **slowly})),
        ):
            with redis.Redis.from_url(str(before.tcp_url)) as client:
                wait_until(lambda: is_loading(client), seconds=5)
                worker.write("new")

                assert worker.read() == "new"
                assert is_loading(client)

            assert worker.warm() == "new"


def test_a_write_is_seen_when_the_writer_alone_is_cut_off_from_redis(
    start_worker: StartWorker, own_redis: RedisServer
) -> None:
    with Proxy.to(own_redis.port) as proxy:
        reader, writer = start_worker(), start_worker(f"redis://127.0.0.1:{proxy.port}")
        assert (reader.warm(), writer.warm()) == ("old", "old")
        proxy.cut()

        writer.write("new")

        assert isinstance(reader.redis.get(ENTRY), bytes), "the old entry is still there"
        assert (reader.read(), writer.read()) == ("new", "new")
        proxy.heal()
        assert (reader.warm(), writer.warm()) == ("new", "new")


def test_a_fence_lost_after_the_commit_moves_the_epoch(start_worker: StartWorker, own_redis: RedisServer) -> None:
    with Proxy.to(own_redis.port) as proxy:
        reader, writer = start_worker(), start_worker(f"redis://127.0.0.1:{proxy.port}")
        assert (reader.warm(), writer.warm()) == ("old", "old")
        fence = writer.cache.fence(ENTRY)
        before = reader.cache.epoch.find()
        # The fence expires before the COMMIT, and a reader fills the entry again.
        reader.redis.delete(FENCE)
        assert reader.warm() == "old"
        proxy.cut()

        assert fence.stands
        assert not writer.cache.unfence(fence)
        writer.write("new")

        assert reader.read() == "new"
        assert reader.cache.epoch.find() != before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE item SET name = 'new'",
        "DELETE FROM item",
        "INSERT INTO item (name, price) VALUES ('another', 1)",
        "TRUNCATE item",
    ],
)
def test_what_somebody_else_writes_in_postgresql_is_seen_within_a_second(
    start_worker: StartWorker, engine: Engine, statement: str
) -> None:
    worker = start_worker()
    assert worker.warm() == "old"
    before = worker.cache.epoch.find()
    with engine.begin() as outside:
        outside.execute(text(statement))

    wait_until(lambda: worker.cache.epoch.find() not in (None, before), seconds=1)


def test_writers_from_outside_do_not_wait_for_each_other_nor_we_for_them(
    start_worker: StartWorker, engine: Engine, own_redis: RedisServer
) -> None:
    worker = start_worker()
    with engine.begin() as setup:
        setup.execute(text("INSERT INTO item (name, price) VALUES ('another', 1), ('third', 1)"))
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as one, engine.connect() as two:
        one.execute(text("SELECT 1 FROM item"))
        two.execute(text("SET lock_timeout = '1ms'"))
        two.execute(text("UPDATE item SET name = 'second' WHERE id = 2"))
        two.commit()
        one.execute(text("SET lock_timeout = '1ms'"))
        one.execute(text("UPDATE item SET name = 'third' WHERE id = 3"))
        two.execute(text("UPDATE item SET name = 'second again' WHERE id = 2"))
        kill(own_redis)

        worker.write("new")

        assert worker.read() == "new"


def kill(server: RedisServer) -> None:
    """End the server's process as a crash would, and return when it is gone."""
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{server.pid}").exists() or is_zombie(server.pid), seconds=5)


def is_zombie(pid: int) -> bool:
    """Whether the process has ended and waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@contextmanager
def paused(server: RedisServer) -> Iterator[None]:
    """SIGSTOP the server during the block."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@contextmanager
def snapshots() -> Iterator[dict[str, str]]:
    """Settings of a Redis that keeps its snapshot in a directory of the block."""
    directory = Path(tempfile.gettempdir(), f"snapshots-{uuid4().hex}")
    server_account().make_directory(directory)
    try:
        yield {"dir": str(directory)}
    finally:
        shutil.rmtree(directory)


@contextmanager
def redis_at(port: int | None, settings: dict[str, str]) -> Iterator[RedisServer]:
    """A Redis on `port`; on any if None."""
    with RedisServer.start(port=port or 0, extra_settings=settings) as server:
        yield server


@contextmanager
def ending(start: Future[RedisServer]) -> Iterator[None]:
    """Stop the server that `start` brings, at the end of the block."""
    try:
        yield
    finally:
        start.result().stop()


def is_loading(client: redis.Redis) -> bool:
    """Whether the server answers, but not yet with data."""
    try:
        client.ping()
    except BusyLoadingError:
        return True
    except redis.ConnectionError:
        return False
    return False
