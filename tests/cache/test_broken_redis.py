"""What Redis may do, and nothing goes stale: die, come back with old data, hang, fill up, change its role."""

import time

import pytest
import redis

from service.embedded import RedisServer
from service.embedded.binaries import Wheel
from service.entries import item_key
from tests.cache.builds import on_every_build
from tests.cache.faults import kill, paused, redis_at, snapshots
from tests.cache.proxy import Proxy
from tests.cache.workers import WATCHED, StartWorker, name_in
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.db(isolation="clone"), on_every_build]

ENTRY = item_key(WATCHED)


def save(server: RedisServer) -> None:
    """Write the snapshot; the service's own clients wait less long than that may take."""
    with redis.Redis.from_url(str(server.tcp_url)) as client:
        client.save()


def test_a_write_while_redis_is_dead_voids_what_an_old_snapshot_brings_back(
    start_worker: StartWorker, build: Wheel
) -> None:
    with snapshots() as directory, redis_at(None, directory, build) as before, Proxy.to(before.port) as proxy:
        # The writer does not come back: on its return it would drop what it could not fence.
        reader, writer = start_worker(before.tcp_url), start_worker(f"redis://127.0.0.1:{proxy.port}")
        assert (reader.warm(), writer.warm()) == ("old", "old")
        save(before)
        kill(before)
        proxy.cut()
        writer.write("new")
        with redis_at(before.port, directory, build), redis.Redis.from_url(str(before.tcp_url)) as client:
            brought_back = client.get(ENTRY)

            assert isinstance(brought_back, bytes)
            assert name_in(brought_back) == "old"
            assert reader.read() == "new"
            assert reader.warm() == "new"


def test_a_restart_from_a_snapshot_of_before_a_write_brings_nothing_stale(
    start_worker: StartWorker, build: Wheel
) -> None:
    with snapshots() as directory, redis_at(None, directory, build) as before:
        worker = start_worker(before.tcp_url)
        assert worker.warm() == "old"
        save(before)
        worker.write("new")
        kill(before)
        with redis_at(before.port, directory, build), redis.Redis.from_url(str(before.tcp_url)) as client:
            brought_back = client.get(ENTRY)

            assert isinstance(brought_back, bytes)
            assert name_in(brought_back) == "old"
            assert worker.read() == "new"


def test_a_replica_that_missed_an_acknowledged_invalidation_serves_nothing_stale(
    start_worker: StartWorker, build: Wheel
) -> None:
    at_once = {"repl-diskless-sync-delay": "0"}
    with (
        redis_at(None, at_once, build) as primary,
        Proxy.to(primary.port) as link,
        Proxy.to(primary.port) as address,
        redis_at(None, {}, build) as replica,
        redis.Redis.from_url(str(replica.tcp_url)) as promoted,
    ):
        promoted.replicaof("127.0.0.1", str(link.port))
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


def test_a_server_demoted_to_a_replica_is_refused_by_who_connects_to_it_now(
    start_worker: StartWorker, build: Wheel, own_redis: RedisServer
) -> None:
    assert start_worker().warm() == "old"
    with redis.Redis.from_url(str(own_redis.tcp_url)) as demoted, redis_at(None, {}, build) as successor:
        demoted.replicaof("127.0.0.1", "1")
        start_worker(successor.tcp_url).write("new")
        left_behind = start_worker()
        wait_until(lambda: left_behind.cache.epoch.find() is not None, seconds=5)

        assert isinstance(demoted.get(ENTRY), bytes), "the old entry is still there"
        assert left_behind.read() == "new"


@pytest.mark.parametrize("command", ["info", "evalsha", "mget", "set", "zadd", "time"])
def test_a_user_without_the_right_to_a_command_means_no_cache_and_one_line_in_the_log(
    start_worker: StartWorker, own_redis: RedisServer, caplog: pytest.LogCaptureFixture, command: str
) -> None:
    with redis.Redis.from_url(str(own_redis.tcp_url)) as administrator:
        rights = ["+@all", f"-{command}", *(["-eval"] if command == "evalsha" else [])]
        administrator.acl_setuser("limited", enabled=True, passwords=["+secret"], keys=["*"], commands=rights)
    worker = start_worker(f"redis://limited:secret@127.0.0.1:{own_redis.port}")
    caplog.set_level("DEBUG")

    worker.write("new")
    assert worker.read() == "new"

    wait_until(lambda: sum(record.message == "cache.still_off" for record in caplog.records) > 1, seconds=5)
    off = [record for record in caplog.records if record.message == "cache.off"]
    assert len(off) == 1
    # Of a command in a script, Redis 6.2 does not tell the name.
    told = vars(off[0])["error"].lower()
    assert command in told or "acl" in told or "can't run this command" in told
    assert worker.look().detail == "redis-down"
