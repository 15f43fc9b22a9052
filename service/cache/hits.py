"""Hits for the event loop. All that ask a server during one round trip share the next."""

import asyncio
from typing import Any

from redis.asyncio.connection import AbstractConnection as Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from service.cache.fenced import Cache, make_stamp
from service.cache.scripts import entry_keys
from service.redis_client import LoopConnections, run_id


class HitReader:
    """Finds entries that `cache` would answer with, on connections of its own. It never loads and never fills."""

    def __init__(self, connections: LoopConnections, cache: Cache) -> None:
        self._connections = connections
        self._cache = cache
        self._rounds: dict[Connection, _Rounds] = {}

    async def find(self, key: str) -> bytes | None:
        """The payload under `key` if it is trusted, as it was after this call began."""
        if self._cache.breaker.is_open or (connection := self._connections.find(key)) is None:
            return None
        rounds = self._rounds.get(connection)
        if rounds is None:
            rounds = self._rounds[connection] = _Rounds(connection, self._cache)
        payload = await rounds.find(key)
        if payload is not None:
            self._cache.counts.hits.inc()
        return payload

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()


class _Rounds:
    """The round trips of one connection, one after the other."""

    def __init__(self, connection: Connection, cache: Cache) -> None:
        self._connection = connection
        self._cache = cache
        self._asked: list[tuple[str, asyncio.Future[bytes | None]]] = []
        self._running: asyncio.Task[None] | None = None

    def find(self, key: str) -> asyncio.Future[bytes | None]:
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._asked.append((key, answer))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._answer_all())
        return answer

    async def _answer_all(self) -> None:
        while self._asked:
            # Who asks from here on may know of a newer write than this round will see: the next round is theirs.
            asked, self._asked = self._asked, []
            found: dict[str, bytes] = {}
            try:
                found = await self._find_all(list({key for key, _ in asked}))
            finally:
                for key, answer in asked:
                    if not answer.done():
                        answer.set_result(found.get(key))

    async def _find_all(self, keys: list[str]) -> dict[str, bytes]:
        try:
            entries = await self._ask(keys)
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
            for key, (payload, stamp) in zip(keys, entries, strict=True)
            if stamp == trusted and payload is not None
        }

    async def _ask(self, keys: list[str]) -> list[tuple[bytes | None, bytes | None]]:
        was_connected = self._connection.is_connected
        try:
            return await self._ask_once(keys)
        except RedisConnectionError:
            # A connection that the server closed while nobody asked says nothing of the server.
            if not was_connected:
                raise
            return await self._ask_once(keys)

    async def _ask_once(self, keys: list[str]) -> list[tuple[bytes | None, bytes | None]]:
        if not self._connection.is_connected:
            # Sending would connect as well, but to localhost where Sentinel has not been asked yet.
            connect: Any = self._connection.connect  # untyped
            await connect()
        # One MGET for each: on a Cluster, the entries of a node are in many slots.
        commands: Any = self._connection.pack_commands([("MGET", *entry_keys(key)[:2]) for key in keys])
        await self._connection.send_packed_command(commands)
        return [await self._read_entry() for _ in keys]

    async def _read_entry(self) -> tuple[bytes | None, bytes | None]:
        try:
            entry: Any = await self._connection.read_response()
        except ResponseError:
            # The others' answers are still to be read. Why this one is an error, the reader in a thread finds.
            return None, None
        payload, stamp = entry
        return payload, stamp
