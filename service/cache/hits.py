"""Hits for the event loop. All that ask during one round trip share the next."""

import asyncio
from typing import TYPE_CHECKING, Any, cast

import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from service.cache.fenced import Cache, make_stamp
from service.cache.scripts import entry_keys
from service.redis_client import run_id

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection


class HitReader:
    """Finds entries that `cache` would answer with, on one connection of its own. It never loads and never fills."""

    def __init__(self, client: redis.asyncio.Redis, cache: Cache) -> None:
        self._client = client
        pool: Any = client.connection_pool  # untyped
        self._connection: AbstractConnection = pool.make_connection()
        self._cache = cache
        self._asked: list[tuple[str, asyncio.Future[bytes | None]]] = []
        self._round: asyncio.Task[None] | None = None

    async def find(self, key: str) -> bytes | None:
        """The payload under `key` if it is trusted, as it was after this call began."""
        if self._cache.breaker.is_open:
            return None
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._asked.append((key, answer))
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._answer_all())
        payload = await answer
        if payload is not None:
            self._cache.counts.hits.inc()
        return payload

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.disconnect()
        await self._client.aclose()

    async def _answer_all(self) -> None:
        while self._asked:
            # Who asks from here on may know of a newer write than this round will see: the next round is theirs.
            asked, self._asked = self._asked, []
            found: dict[str, bytes] = {}
            try:
                found = await self._find_all({key for key, _ in asked})
            finally:
                for key, answer in asked:
                    if not answer.done():
                        answer.set_result(found.get(key))

    async def _find_all(self, keys: set[str]) -> dict[str, bytes]:
        names = [name for key in keys for name in entry_keys(key)[:2]]
        try:
            values = await self._ask("MGET", *names)
            server = run_id(self._connection)
        except RedisError:
            # A busy event loop sees time-outs that are none. Whether Redis is in trouble, the reader in a thread finds.
            return {}
        epoch = self._cache.epoch.find()
        if epoch is None:
            return {}
        trusted = make_stamp(epoch, server)
        return {
            key: payload
            for key, payload, stamp in zip(keys, values[::2], values[1::2], strict=True)
            if stamp == trusted and payload is not None
        }

    async def _ask(self, *command: str) -> list[bytes | None]:
        was_connected = self._connection.is_connected
        try:
            return await self._ask_once(*command)
        except RedisConnectionError:
            # A connection that the server closed while nobody asked says nothing of the server.
            if not was_connected:
                raise
            return await self._ask_once(*command)

    async def _ask_once(self, *command: str) -> list[bytes | None]:
        await self._connection.send_command(*command)
        answer: Any = await self._connection.read_response()
        return cast("list[bytes | None]", answer)
