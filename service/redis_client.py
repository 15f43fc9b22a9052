"""The one way to Redis. Every connection knows which server process it reached, and refuses one that cannot serve."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

import redis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection as AsyncConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from service.config import Settings

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


def make_redis(settings: Settings) -> redis.Redis:
    """A client that gives up after `redis_timeout_seconds` and never tries twice; it connects at its first command.

    redis-py's own defaults (5 s timeouts, eleven tries) hold one GET on a hung server for about a minute.
    """
    return redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        retry=Retry(NoBackoff(), 0),
        redis_connect_func=_meet,
        **_connection_options(settings),
    )


def make_async_redis(settings: Settings) -> redis.asyncio.Redis:
    """The same for the event loop."""
    return redis.asyncio.Redis.from_url(
        settings.redis_url.get_secret_value(),
        retry=AsyncRetry(NoBackoff(), 0),
        redis_connect_func=_meet_async,
        **_connection_options(settings),
    )


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


@contextmanager
def connection_for(client: redis.Redis, _key: str) -> Iterator[Connection]:
    """A connection to the server that has `_key`; raises RedisError."""
    pool = client.connection_pool
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
    return facts["run_id"]


def _read_info(answer: object) -> Mapping[str, str]:
    text = answer.decode() if isinstance(answer, bytes) else str(answer)
    lines: Sequence[str] = text.splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
