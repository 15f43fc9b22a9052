"""A Redis Cluster, and a sentinel, of real processes."""

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from service.embedded import RedisServer
from service.embedded.binaries import Wheel
from tests.cache.faults import redis_at, snapshots
from tests.servers import free_port
from tests.waiting import wait_until

SLOTS = 16_384
MASTERS = 3


def run(client: redis.Redis, *command: object) -> Any:  # noqa: ANN401  # each command answers in its own way
    """The answer to a command that redis-py has no method for."""
    execute: Any = client.execute_command  # untyped
    return execute(*command)


@contextmanager
def cluster(build: Wheel, announced: Sequence[dict[str, str]] = ({},) * MASTERS) -> Iterator[list[RedisServer]]:
    """Three masters that share all slots; `announced` are the settings by which each tells clients another address."""
    with ExitStack() as running:
        nodes = [running.enter_context(cluster_node(build, settings)) for settings in announced]
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
def cluster_node(build: Wheel, settings: dict[str, str]) -> Iterator[RedisServer]:
    """A Redis that may join a cluster."""
    with (
        snapshots() as directory,
        redis_at(free_cluster_port(), {**directory, "cluster-enabled": "yes", **settings}, build) as server,
    ):
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
def sentinel(primary: RedisServer, directory: Path, *, address: int | None = None, replicas: int = 1) -> Iterator[int]:
    """The port of one sentinel that watches over `primary`, as "items", at the port `address` if it has another."""
    port = free_port()
    configuration = directory / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor items 127.0.0.1 {address or primary.port} 1\n"
        "sentinel down-after-milliseconds items 500\nsentinel failover-timeout items 2000\n"
    )
    process = subprocess.Popen(
        [Path(f"/proc/{primary.pid}/exe").readlink(), configuration, "--sentinel"], stdout=subprocess.DEVNULL
    )
    try:
        with redis.Redis(port=port) as client:
            wait_until(lambda: count_replicas(client) == replicas, seconds=20)
        yield port
    finally:
        process.kill()
        process.wait()


def count_replicas(client: redis.Redis) -> int | None:
    """How many replicas the sentinel has found that it could promote; None before it answers."""
    try:
        return len(run(client, "SENTINEL", "REPLICAS", "items"))
    except redis.ConnectionError:
        return None
