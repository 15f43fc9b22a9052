"""Cached reads, answered on the event loop in front of the application. It knows keys and headers, nothing of items.

What it cannot answer falls through to the application, whose answer is the same but for the wording of Cache-Status:
switching this layer off changes speed and nothing else.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.web.conditional import forbids_cache, is_unchanged


@dataclass(frozen=True, slots=True)
class Representation:
    """The body of an answer, and its strong entity tag."""

    body: bytes
    tag: str


@dataclass(frozen=True, slots=True)
class CachedRoute:
    """Where the answer to an address is cached, and how it is read; `represent` raises ValueError for foreign bytes."""

    key: str
    represent: Callable[[bytes], Representation]


FindHit = Callable[[str], Awaitable[bytes | None]]


class CachedReads:
    """Answers GET and HEAD of the addresses for which `route` finds a key, if the application's cache has them.

    The lifespan puts the cache's `find_hit` into the application's state, or None to switch this layer off.
    """

    def __init__(self, app: ASGIApp, *, route: Callable[[str], CachedRoute | None]) -> None:
        self._app = app
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        found = await self._find(scope)
        if found is None:
            await self._app(scope, receive, send)
        else:
            await _answer(found, scope, send)

    async def _find(self, scope: Scope) -> Representation | None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or scope["query_string"]:
            return None
        route = self._route(scope["path"])
        find_hit: FindHit | None = scope["app"].state.find_hit
        if route is None or find_hit is None or forbids_cache(Headers(scope=scope)):
            return None
        payload = await find_hit(route.key)
        try:
            return None if payload is None else route.represent(payload)
        except ValueError:
            return None


async def _answer(found: Representation, scope: Scope, send: Send) -> None:
    headers = [(b"etag", found.tag.encode()), (b"cache-status", b"service; hit")]
    if is_unchanged(found.tag, Headers(scope=scope)):
        await send({"type": "http.response.start", "status": 304, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    headers += [(b"content-length", str(len(found.body)).encode()), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else found.body})
