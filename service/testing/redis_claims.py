"""One Redis database, by number, for each worker on a Redis server that somebody else has started.

A claim is made on an empty database only. It is shown by the name of a connection that the worker holds, which ends
with the worker, and recorded with the worker's PostgreSQL database, so that what a dead worker has left in it is
provably ours. Nothing is written to Redis for this.
"""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis
from redis.exceptions import RedisError

from service.testing.errors import SetupError

_PREFIX = "service.testing:"
_TIMEOUT_SECONDS = 5
_DEFAULT_DATABASES = 16


@dataclass(frozen=True, slots=True)
class RedisClaim:
    """A Redis database that is ours while `holder` is open."""

    url: str
    server_id: str
    number: int
    holder: redis.Redis = field(repr=False)

    @property
    def record(self) -> dict[str, str]:
        """What to write down, so that somebody else can clean up."""
        return {"url": self.url, "server": self.server_id, "name": _claim_name(self.number)}

    def release(self) -> None:
        """Empty the database and let it go."""
        with suppress(RedisError), connect(self.url) as client:
            client.flushdb()
        self.holder.close()


def connect(url: str) -> redis.Redis:
    """A client that holds one connection and does not wait for ever."""
    return redis.Redis.from_url(
        url,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        single_connection_client=True,
    )


def with_number(url: str, number: int) -> str:
    """The URL of database `number` of the same server: from_url would prefer a number in the URL to one beside it."""
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "db"]
    if parts.scheme == "unix":
        return f"unix://{parts.netloc}{parts.path}?{urlencode([*query, ('db', str(number))])}"
    return urlunsplit(parts._replace(path=f"/{number}", query=urlencode(query)))


def claim_database(url: str) -> RedisClaim | None:
    """Claim an empty database of the server, None when there is none left; raises SetupError."""
    try:
        with connect(with_number(url, 0)) as client:
            server_id = _server_id(client)
            count = _count_databases(client)
        # Number 0 is what everybody uses by default: never ours.
        claims = (_try_claim(url, server_id, number) for number in range(1, count))
        return next((claim for claim in claims if claim), None)
    except RedisError as error:
        raise SetupError(
            f"The Redis server of TEST_REDIS_URL cannot be used: {' '.join(str(error).split())}. Start it, or correct"
            " TEST_REDIS_URL, or unset that to use embedded servers."
        ) from error


def _server_id(client: redis.Redis) -> str:
    return str(client.info("server")["run_id"])


def _count_databases(client: redis.Redis) -> int:
    try:
        answer = cast("dict[str, str]", client.config_get("databases"))
    except RedisError:
        return _DEFAULT_DATABASES
    return int(answer.get("databases", _DEFAULT_DATABASES))


def _try_claim(url: str, server_id: str, number: int) -> RedisClaim | None:
    holder = connect(with_number(url, number))
    holder.client_setname(_claim_name(number))
    # Of several that name themselves at once, the one that connected first has it.
    rivals = _find_claims(holder, number)
    if min(rivals) == holder.client_id() and holder.dbsize() == 0:
        return RedisClaim(with_number(url, number), server_id, number, holder)
    holder.close()
    return None


def _find_claims(client: redis.Redis, number: int) -> list[int]:
    clients = client.client_list()
    return [int(entry["id"]) for entry in clients if entry.get("name") == _claim_name(number)]


def _claim_name(number: int) -> str:
    return f"{_PREFIX}{number}"


def forget_claim(record: dict[str, str]) -> None:
    """Empty the database of a dead worker, if the server is still the same and nobody has claimed it since."""
    number = int(record["name"].removeprefix(_PREFIX))
    with suppress(RedisError), connect(record["url"]) as client:
        deadline = time.monotonic() + 1
        # The server needs a moment to notice that the dead worker's connection has ended.
        while _find_claims(client, number) and time.monotonic() < deadline:
            time.sleep(0.02)
        if _server_id(client) == record["server"] and not _find_claims(client, number):
            client.flushdb()
