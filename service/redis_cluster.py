"""A Redis Cluster: where its keys are, found when they are first asked for."""

from threading import Lock
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import RedisClusterException
from redis.retry import Retry


class LazyCluster:
    """A Redis Cluster. It looks for the nodes at the first use, as the other clients do, and after `forget`."""

    def __init__(self, nodes: list[tuple[str, int]], **options: object) -> None:
        self._nodes = nodes
        self._options = options
        self._found: Any = None
        self._lock = Lock()

    def find(self) -> Any:  # noqa: ANN401  # redis-py leaves most of RedisCluster untyped
        """The cluster as it was found last; raises RedisError."""
        with self._lock:
            if self._found is None:
                self._found = self._discover()
            return self._found

    def find_address(self, key: str) -> tuple[str, int] | None:
        """Where `key` is, as far as that is known without asking anybody."""
        found = self._found
        try:
            node = found and found.get_node_from_key(key)
        except RedisClusterException:
            return None
        return node and (node.host, node.port)

    def get_pool(self, key: str) -> redis.ConnectionPool:
        """Connections to the node that has `key`; raises RedisError."""
        cluster = self.find()
        try:
            node = cluster.get_node_from_key(key)
        except RedisClusterException as error:
            raise redis.ConnectionError(str(error)) from error
        pool: redis.ConnectionPool = cluster.get_redis_connection(node).connection_pool
        return pool

    def forget(self) -> None:
        """Look for the nodes again at the next use."""
        with self._lock:
            found, self._found = self._found, None
        if found is not None:
            found.close()

    def ping(self) -> object:
        """Raise RedisError unless every primary answers."""
        return self.find().ping(target_nodes=redis.RedisCluster.PRIMARIES)

    def info(self) -> dict[str, Any]:
        """What the node of an arbitrary key answers to INFO."""
        return redis.Redis(connection_pool=self.get_pool("")).info()

    def close(self) -> None:
        """Close every connection."""
        self.forget()

    def _discover(self) -> object:
        # The client keeps connections in its nodes, so that these cannot be used twice.
        new_node: Any = ClusterNode  # untyped
        new_cluster: Any = redis.RedisCluster
        try:
            return new_cluster(
                startup_nodes=[new_node(*node) for node in self._nodes], retry=Retry(NoBackoff(), 0), **self._options
            )
        except RedisClusterException as error:
            # It is no RedisError: those who do without the cache when that fails would not know it.
            raise redis.ConnectionError(str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
