"""The cache on a Redis Cluster, and behind Sentinel."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from service.embedded import RedisServer
from service.embedded.binaries import Wheel
from service.entries import item_key
from tests.cache.builds import on_every_build
from tests.cache.faults import kill, redis_at, snapshots
from tests.cache.workers import WATCHED, StartWorker
from tests.servers import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.db(isolation="clone"), on_every_build]

ENTRY = item_key(WATCHED)
SLOTS = 16_384
MASTERS = 3


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

            wait_until(lambda: promoted.info("replication")["role"] == "master", seconds=60)

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


def run(client: redis.Redis, *command: object) -> Any:  # noqa: ANN401  # each command answers in its own way
    """The answer to a command that redis-py has no method for."""
    execute: Any = client.execute_command  # untyped
    return execute(*command)


@contextmanager
def cluster(build: Wheel) -> Iterator[list[RedisServer]]:
    """Three masters that share all slots."""
    with ExitStack() as running:
        nodes = [running.enter_context(cluster_node(build)) for _ in range(MASTERS)]
        clients = [running.enter_context(redis.Redis.from_url(str(node.tcp_url))) for node in nodes]
        for number, client in enumerate(clients):
            first, last = (-(-SLOTS * edge // MASTERS) for edge in (number, number + 1))
            run(client, "CLUSTER", "ADDSLOTS", *range(first, last))
            run(client, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in nodes:
            run(clients[0], "CLUSTER", "MEET", "127.0.0.1", node.port)
        wait_until(lambda: all(knows_all(client) for client in clients), seconds=20)
        yield nodes


@contextmanager
def cluster_node(build: Wheel) -> Iterator[RedisServer]:
    """A Redis that may join a cluster."""
    with snapshots() as directory:
        settings = {**directory, "cluster-enabled": "yes"}
        with redis_at(free_cluster_port(), settings, build) as server:
            yield server


def free_cluster_port() -> int:
    """A port with room above it: nodes talk to each other 10,000 higher, and Redis 6.2 cannot be told otherwise."""
    for port in iter(free_port, None):
        with suppress(OSError, OverflowError), socket.create_server(("127.0.0.1", port + 10_000)):
            return port
    raise AssertionError


def knows_all(client: redis.Redis) -> bool:
    """Whether the node sees a whole cluster."""
    info = run(client, "CLUSTER", "INFO")
    facts = info if isinstance(info, dict) else dict(line.split(":") for line in info.decode().split())
    return bool(facts["cluster_state"] == "ok" and facts["cluster_known_nodes"] == str(MASTERS))


@contextmanager
def sentinel(primary: RedisServer, directory: Path) -> Iterator[int]:
    """The port of one sentinel that watches over `primary`, as "items"."""
    port = free_port()
    configuration = directory / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor items 127.0.0.1 {primary.port} 1\n"
        "sentinel down-after-milliseconds items 500\nsentinel failover-timeout items 2000\n"
    )
    process = subprocess.Popen(
        [Path(f"/proc/{primary.pid}/exe").readlink(), configuration, "--sentinel"], stdout=subprocess.DEVNULL
    )
    try:
        with redis.Redis(port=port) as client:
            wait_until(lambda: sees_replica(client), seconds=20)
        yield port
    finally:
        process.kill()
        process.wait()


def sees_replica(client: redis.Redis) -> bool:
    """Whether the sentinel has found a replica that it could promote."""
    try:
        return len(run(client, "SENTINEL", "REPLICAS", "items")) == 1
    except redis.ConnectionError:
        return False
