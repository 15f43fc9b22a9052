"""The one way to Redis. Every connection knows which server process it reached, and refuses one that cannot serve."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, Protocol, Self, cast

import redis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection as AsyncConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from service.config import Settings, split_hosts

Command = tuple[bytes | str | int, ...]
OLDEST_VERSION = (6, 2)


class Connection(Protocol):
    """What we use of redis-py's connections, which lack these types."""

    def on_connect(self) -> None:
        """Shake hands."""

    def pack_commands(self, commands: Sequence[Command], /) -> list[bytes]:
        """The bytes of all commands."""

    def send_command(self, *command: bytes | str | int) -> None:
        """Send one command."""

    def send_packed_command(self, command: list[bytes], /) -> None:
        """Send what `pack_commands` made."""

    def read_response(self) -> object:
        """The next answer; raises ResponseError for one that is an error."""


class UnfitServerError(redis.ConnectionError):
    """Something answers that is not the primary of a Redis that we know how to use."""


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
                # The client keeps connections in its nodes.
                nodes = [_untyped(ClusterNode)(*node) for node in self._nodes]
                self._found = _untyped(redis.RedisCluster)(
                    startup_nodes=nodes, retry=Retry(NoBackoff(), 0), **self._options
                )
            return self._found

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
        cluster = self.find()
        answer: dict[str, Any] = cluster.get_redis_connection(cluster.get_node_from_key("")).info()
        return answer

    def close(self) -> None:
        """Close every connection."""
        self.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Client = redis.Redis | LazyCluster


def make_redis(settings: Settings) -> Client:
    """A client that gives up after `redis_timeout_seconds` and never tries twice; it connects at its first command.

    redis-py's own defaults (5 s timeouts, eleven tries) hold one GET on a hung server for about a minute.
    """
    url = settings.redis_url.get_secret_value()
    options = {**_connection_options(settings), "redis_connect_func": _meet}
    if (several := split_hosts(url)) is None:
        return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options)
    if several.kind == "cluster":
        return LazyCluster(several.hosts, **several.credentials, **options)
    sentinels = _untyped(Sentinel)(several.hosts, sentinel_kwargs=_connection_options(settings))
    client: redis.Redis = sentinels.master_for(
        several.service, retry=Retry(NoBackoff(), 0), db=several.database, **several.credentials, **options
    )
    return client


def make_async_redis(settings: Settings) -> redis.asyncio.Redis | None:
    """The same for the event loop; None for a Cluster, whose hits are answered in threads."""
    url = settings.redis_url.get_secret_value()
    options = {**_connection_options(settings), "redis_connect_func": _meet_async}
    if (several := split_hosts(url)) is None:
        return redis.asyncio.Redis.from_url(url, retry=AsyncRetry(NoBackoff(), 0), **options)
    if several.kind == "cluster":
        return None
    sentinels = _untyped(AsyncSentinel)(several.hosts, sentinel_kwargs=_connection_options(settings))
    client: redis.asyncio.Redis = sentinels.master_for(
        several.service, retry=AsyncRetry(NoBackoff(), 0), db=several.database, **several.credentials, **options
    )
    return client


def _untyped(constructor: Any) -> Any:  # noqa: ANN401  # redis-py gives these no types
    return constructor


def _connection_options(settings: Settings) -> dict[str, Any]:
    return {
        "socket_timeout": settings.redis_timeout_seconds,
        "socket_connect_timeout": settings.redis_timeout_seconds,
        "health_check_interval": 0,
        "client_name": "item-service",
        # Each step of the handshake may take the whole timeout: no more steps than needed.
        "protocol": 2,
        "driver_info": None,
    }


def group_by_server(client: Client, keys: Iterable[str]) -> list[list[str]]:
    """`keys`, together as far as one round trip reaches."""
    if isinstance(client, redis.Redis):
        return [group] if (group := list(keys)) else []
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(client.find().get_node_from_key(key).name, []).append(key)
    return list(groups.values())


def drop_connections(client: Client) -> None:
    """Connect anew at the next command."""
    if isinstance(client, redis.Redis):
        client.connection_pool.disconnect(inuse_connections=False)
    else:
        client.forget()


@contextmanager
def connection_for(client: Client, key: str) -> Iterator[Connection]:
    """A connection to the server that has `key`; raises RedisError."""
    if isinstance(client, redis.Redis):
        pool = client.connection_pool
    else:
        cluster = client.find()
        pool = cluster.get_redis_connection(cluster.get_node_from_key(key)).connection_pool
    connection = pool.get_connection()
    try:
        yield connection
    finally:
        pool.release(connection)


def ask(connection: Connection, *commands: Command) -> list[Any]:
    """The answers to `commands`, in one round trip; raises the first of their errors, once all were read."""
    connection.send_packed_command(connection.pack_commands(commands))
    answers = [_read_answer(connection) for _ in commands]
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return answers


def _read_answer(connection: Connection) -> object:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def run_id(connection: Connection | AsyncConnection) -> str:
    """Which server process the connection leads to: one that was restarted or replaced has another."""
    return cast("str", vars(connection)["run_id"])


# redis-py reconnects without a word when it takes a connection from the pool. The one hook that it calls every time is
# `redis_connect_func`; a subclass's `on_connect` it does not call.


def _meet(connection: Connection) -> None:
    connection.on_connect()
    connection.send_command("INFO")
    vars(connection)["run_id"] = _identify(connection.read_response())


async def _meet_async(connection: AsyncConnection) -> None:
    await connection.on_connect()
    await connection.send_command("INFO")
    vars(connection)["run_id"] = _identify(await connection.read_response())


def _identify(answer: object) -> str:
    """The run_id that INFO tells; raises UnfitServerError."""
    facts = _read_info(answer)
    version = [int(part) for part in re.findall(r"\d+", facts.get("redis_version", "0"))]
    if facts.get("loading", "0") != "0":
        raise UnfitServerError("Redis is loading its data")
    if facts.get("role") != "master":
        raise UnfitServerError(f"Redis has the role {facts.get('role', '(none)')}; REDIS_URL must name the primary")
    if tuple(version) < OLDEST_VERSION:
        raise UnfitServerError(f"Redis {facts.get('redis_version')} is too old: 6.2 or newer is needed")
    if "run_id" not in facts:
        raise UnfitServerError("Redis does not tell its run_id in INFO")
    return facts["run_id"]


def _read_info(answer: object) -> Mapping[str, str]:
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer)
    lines: Sequence[str] = text.splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
