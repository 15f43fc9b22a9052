"""The cache on a Redis Cluster, and behind Sentinel."""

from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from service.embedded import RedisServer
from service.embedded.binaries import Wheel
from service.entries import item_key
from tests.cache.builds import on_every_build
from tests.cache.clients import StartClient, find_on_the_loop, warm
from tests.cache.deployments import MASTERS, SLOTS, cluster, run, sentinel
from tests.cache.faults import kill, redis_at
from tests.cache.workers import WATCHED, StartWorker
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.db(isolation="clone"), on_every_build]

ENTRY = item_key(WATCHED)


def test_a_cluster_serves_hits_and_is_invalidated(start_worker: StartWorker, build: Wheel) -> None:
    with cluster(build) as nodes:
        url = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        reader, writer = start_worker(url), start_worker(url)
        assert (reader.warm(), writer.warm()) == ("old", "old")

        writer.write("new")

        assert (reader.read(), writer.read()) == ("new", "new")
        assert (reader.warm(), writer.warm()) == ("new", "new")


def test_a_slot_that_moves_takes_nothing_stale_with_it(start_worker: StartWorker, build: Wheel) -> None:
    with cluster(build) as nodes:
        url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
        reader, writer = start_worker(url), start_worker(url)
        assert (reader.warm(), writer.warm()) == ("old", "old")
        move_slot(nodes)

        writer.write("new")

        assert (reader.read(), writer.read()) == ("new", "new")
        assert (reader.warm(), writer.warm()) == ("new", "new")


def test_hits_on_a_cluster_are_answered_on_the_event_loop(start_client: StartClient, build: Wheel) -> None:
    with cluster(build) as nodes:
        one, two = (start_client(redis_url=f"redis+cluster://127.0.0.1:{node.port}") for node in nodes[:2])
        warm(one)
        for key, path in (("all_items_cache", "/items/"), (ENTRY, "/items/1")):
            warm(two)
            assert find_on_the_loop(two, key) is not None

            one.put("/items/1", json={"name": f"new at {path}", "price": 1})

            assert find_on_the_loop(two, key) is None
            assert f"new at {path}" in two.get(path).text


def test_a_slot_that_moves_is_followed_on_the_event_loop(start_client: StartClient, build: Wheel) -> None:
    with cluster(build) as nodes:
        client = start_client(redis_url=f"redis+cluster://127.0.0.1:{nodes[0].port}")
        warm(client)
        move_slot(nodes)
        assert find_on_the_loop(client, ENTRY) is None

        client.put("/items/1", json={"name": "new", "price": 1})
        warm(client)

        assert client.get("/items/1").json()["name"] == "new"
        assert find_on_the_loop(client, ENTRY) is not None


def test_everything_works_without_the_cluster(start_client: StartClient) -> None:
    client = start_client(redis_url="redis+cluster://127.0.0.1:1,127.0.0.1:2")

    written = client.put("/items/1", json={"name": "new", "price": 1})
    read = client.get("/items/1")

    assert (written.status_code, read.status_code, read.json()) == (200, 200, written.json())
    assert read.headers["cache-status"] == "service; fwd=bypass; detail=redis-down"


def test_hits_behind_sentinel_are_answered_on_the_event_loop(
    start_client: StartClient, own_redis: RedisServer, tmp_path: Path
) -> None:
    with sentinel(own_redis, tmp_path, replicas=0) as port:
        client = start_client(redis_url=f"redis+sentinel://127.0.0.1:{port}/items/0", redis_timeout_seconds=0.5)
        warm(client)

        assert find_on_the_loop(client, ENTRY) is not None


def has_been_promoted(replica: redis.Redis) -> bool:
    """Whether it is the primary now; a promotion ends the connections that it has."""
    try:
        return bool(replica.info("replication")["role"] == "master")
    except redis.ConnectionError:
        return False


def test_a_failover_by_sentinel_is_followed(start_worker: StartWorker, build: Wheel, tmp_path: Path) -> None:
    with (
        redis_at(None, {"repl-diskless-sync-delay": "0"}, build) as primary,
        redis_at(None, {}, build) as replica,
        redis.Redis.from_url(str(replica.tcp_url)) as promoted,
    ):
        promoted.replicaof("127.0.0.1", str(primary.port))
        wait_until(lambda: promoted.info("replication")["master_link_status"] == "up", seconds=10)
        with sentinel(primary, tmp_path) as port:
            worker = start_worker(f"redis+sentinel://127.0.0.1:{port}/items/0", redis_timeout_seconds=0.5)
            assert worker.warm() == "old"
            kill(primary)
            worker.write("new")
            assert worker.read() == "new"

            wait_until(lambda: has_been_promoted(promoted), seconds=60)

            assert worker.warm() == "new"


def move_slot(nodes: list[RedisServer]) -> None:
    """Move the slot of the entry, and what is in it, to the next node."""
    with ExitStack() as using:
        clients = [using.enter_context(redis.Redis.from_url(str(node.tcp_url))) for node in nodes]
        slot = run(clients[0], "CLUSTER", "KEYSLOT", ENTRY)
        names = [run(client, "CLUSTER", "MYID") for client in clients]
        old = slot * MASTERS // SLOTS
        new = (old + 1) % MASTERS
        run(clients[new], "CLUSTER", "SETSLOT", slot, "IMPORTING", names[old])
        run(clients[old], "CLUSTER", "SETSLOT", slot, "MIGRATING", names[new])
        entry = ENTRY, f"{{{ENTRY}}}:stamp"
        run(clients[old], "MIGRATE", "127.0.0.1", nodes[new].port, "", 0, 1000, "KEYS", *entry)
        for number in (new, old, 3 - new - old):
            run(clients[number], "CLUSTER", "SETSLOT", slot, "NODE", names[new])
        assert clients[new].exists(ENTRY)
