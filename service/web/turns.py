"""Turns: requests that would only wait for each other wait here, without a thread or a connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service.errors import DatabaseUnavailableError, ServiceError

AT_ONCE = 4
# With the longest wait for a lock after it, this is still within a request's deadline.
PATIENCE_SECONDS = 2.5


@asynccontextmanager
async def taking(turns: asyncio.Semaphore, otherwise: ServiceError) -> AsyncIterator[None]:
    """One of the turns during the block; raises `otherwise` when none is free in time. Who waits holds no thread."""
    try:
        await asyncio.wait_for(turns.acquire(), PATIENCE_SECONDS)
    except TimeoutError as error:
        raise otherwise from error
    try:
        yield
    finally:
        turns.release()


@dataclass(slots=True)
class _Queue:
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    users: int = 0


class Turns:
    """Of the requests for one resource, AT_ONCE have their turn; the others wait for PATIENCE_SECONDS at most.

    Without this, a row that somebody holds would take all threads of the process, one by one, from every other request.
    """

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}

    @asynccontextmanager
    async def take(self, resource: str) -> AsyncIterator[None]:
        """A turn during the block; raises DatabaseUnavailableError when none comes in time."""
        queue = self._queues.setdefault(resource, _Queue())
        queue.users += 1
        try:
            async with taking(
                queue.turns, DatabaseUnavailableError("Too many requests wait to change this. Try again.")
            ):
                yield
        finally:
            queue.users -= 1
            if not queue.users:
                del self._queues[resource]
