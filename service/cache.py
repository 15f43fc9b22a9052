"""A read-through cache in Redis. It knows keys and bytes, neither SQL nor HTTP.

Redis may fail at any time: then a read is a miss, and a write goes on without it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, cast

import redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

Value = TypeVar("Value")
Held_co = TypeVar("Held_co", covariant=True)
Source = Literal["hit", "miss", "bypass", "uncached"]


@dataclass(frozen=True, slots=True)
class Cached(Generic[Held_co]):
    """A value and where it came from."""

    value: Held_co
    source: Source


@dataclass(frozen=True, slots=True)
class Fence:
    """What stands between a writer's COMMIT and the readers of `keys`."""

    keys: tuple[str, ...]


class Cache:
    """Entries of at most `ttl_seconds` under keys that the callers choose."""

    def __init__(self, client: redis.Redis, *, ttl_seconds: int) -> None:
        self._redis = client
        self._ttl_seconds = ttl_seconds

    def read(self, key: str, load: Callable[[], bytes], decode: Callable[[bytes], Value]) -> Cached[Value]:
        """The entry under `key`, else what `load` returns, which is then stored.

        `decode` raises ValueError for bytes that `load` cannot have made; they count as a miss.
        """
        try:
            payload = cast("bytes | None", self._redis.get(key))  # the client does not decode
        except RedisError as error:
            log.warning("cache.unavailable", extra={"key": key, "error": str(error)})
            return Cached(decode(load()), "bypass")
        if payload is not None:
            try:
                return Cached(decode(payload), "hit")
            except ValueError:
                log.warning("cache.foreign_bytes", extra={"key": key})
        payload = load()
        self._try(lambda: self._redis.set(key, payload, ex=self._ttl_seconds))
        return Cached(decode(payload), "miss")

    def fence(self, *keys: str) -> Fence:
        """Drop `keys`, as the last act before a COMMIT that changes what they hold."""
        self._try(lambda: self._redis.delete(*keys))
        return Fence(keys)

    def unfence(self, fence: Fence) -> None:
        """Drop the keys again after the COMMIT: a reader may have stored what it read before it."""
        self._try(lambda: self._redis.delete(*fence.keys))

    def _try(self, command: Callable[[], object]) -> None:
        try:
            command()
        except RedisError as error:
            log.warning("cache.unavailable", extra={"error": str(error)})
