"""The one way to Redis. Every connection knows which server process it reached, and refuses one that cannot serve."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

import redis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection as AsyncConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from service.config import Settings
from service.redis_cluster import LazyCluster
from service.urls import RedisHosts, split_hosts

Command = tuple[bytes | str | int, ...]
Address = tuple[str, int]
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


Client = redis.Redis | LazyCluster


def make_redis(settings: Settings) -> Client:
    """A client that gives up after `redis_timeout_seconds` and never tries twice; it connects at its first command.

    redis-py's own defaults (5 s timeouts, eleven tries) hold one GET on a hung server for about a minute.
    """
    url = settings.redis_url.get_secret_value()
    options = {**_connection_options(settings), "redis_connect_func": _meet}
    if (several := split_hosts(url)) is None:
        return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options)
    options |= several.credentials | _tls_options(several)
    if several.kind == "cluster":
        return LazyCluster(several.hosts, **options)
    sentinels = _untyped(Sentinel)(several.hosts, sentinel_kwargs=_sentinel_options(settings, several))
    client: redis.Redis = sentinels.master_for(
        several.service, retry=Retry(NoBackoff(), 0), db=several.database, **options
    )
    return client


class LoopConnections:
    """Connections for the event loop, one to each server: made when a key that it has is first asked for."""

    def __init__(
        self,
        connect: Callable[[Address], AsyncConnection],
        locate: Callable[[str], Address | None] = lambda _key: ("", 0),
        finders: Iterable[redis.asyncio.Redis] = (),
    ) -> None:
        self._connect = connect
        self._locate = locate
        self._finders = finders
        self._connections: dict[Address, AsyncConnection] = {}

    def find(self, key: str) -> AsyncConnection | None:
        """The connection to the server of `key`; None while nobody has found out which that is."""
        address = self._locate(key)
        if address is None:
            return None
        if address not in self._connections:
            self._connections[address] = self._connect(address)
        return self._connections[address]

    async def close(self) -> None:
        """Close them."""
        for connection in self._connections.values():
            await connection.disconnect()
        for finder in self._finders:
            await finder.aclose()


def make_loop_connections(settings: Settings, client: Client) -> LoopConnections:
    """As `make_redis`, for the event loop; the nodes of a Cluster are where `client` found them."""
    url = settings.redis_url.get_secret_value()
    options = {**_connection_options(settings), "redis_connect_func": _meet_async, "retry": AsyncRetry(NoBackoff(), 0)}
    if (several := split_hosts(url)) is None:
        single = redis.asyncio.Redis.from_url(url, **options)
        return LoopConnections(lambda _address: _connection_of(single))
    options |= several.credentials | _tls_options(several)
    if isinstance(client, LazyCluster):
        return LoopConnections(
            lambda address: _connection_of(redis.asyncio.Redis(host=address[0], port=address[1], **options)),
            client.find_address,
        )
    sentinels = _untyped(AsyncSentinel)(several.hosts, sentinel_kwargs=_sentinel_options(settings, several))
    primary = sentinels.master_for(several.service, db=several.database, **options)
    return LoopConnections(lambda _address: _connection_of(primary), finders=sentinels.sentinels)


def _connection_of(client: redis.asyncio.Redis) -> AsyncConnection:
    pool: Any = client.connection_pool  # untyped
    connection: AsyncConnection = pool.make_connection()
    return connection


def _tls_options(several: RedisHosts) -> dict[str, Any]:
    if not several.options_url.startswith("rediss"):
        return {}
    options: dict[str, Any] = _untyped(redis.connection.parse_url)(several.options_url)
    del options["connection_class"]
    return {"ssl": True, **options}


def _sentinel_options(settings: Settings, several: RedisHosts) -> dict[str, Any]:
    return _connection_options(settings) | _tls_options(several)


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
    groups: dict[redis.ConnectionPool, list[str]] = {}
    for key in keys:
        groups.setdefault(client.get_pool(key), []).append(key)
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
    pool = client.connection_pool if isinstance(client, redis.Redis) else client.get_pool(key)
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
