"""Cached reads, answered on the event loop in front of the application. It knows keys and headers, nothing of items.

What it cannot answer falls through to the application, whose answer is the same but for the wording of Cache-Status:
switching this layer off changes speed and nothing else.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from uuid import uuid4

from asgi_correlation_id import correlation_id
from asgi_correlation_id.middleware import is_valid_uuid4
from starlette.types import ASGIApp, Receive, Scope, Send

from service.web.conditional import forbids_cache, is_unchanged
from service.web.limits import find_fault


@dataclass(frozen=True, slots=True)
class Representation:
    """The body of an answer, its strong entity tag, and what other headers belong to it."""

    body: bytes
    tag: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CachedRoute:
    """Where the answer to an address is cached, and how it is read; `represent` raises ValueError for foreign bytes."""

    key: str
    represent: Callable[[bytes], Representation]


REQUEST_ID = "x-request-id"
FindHit = Callable[[str], Awaitable[bytes | None]]


class CachedReads:
    """Answers GET and HEAD of the addresses for which `route` finds a key, if the application's cache has them.

    The lifespan puts the cache's `find_hit` into the application's state, or None to switch this layer off. It stands
    outside of CorrelationIdMiddleware, whose work it does for the answers that it gives.
    """

    def __init__(self, app: ASGIApp, *, route: Callable[[str], CachedRoute | None]) -> None:
        self._app = app
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        route = self._find_route(scope)
        headers = {} if route is None else _read_headers(scope)
        found = await _find(route, headers, scope["app"].state.find_hit) if route else None
        if found is None:
            await self._app(scope, receive, send)
        else:
            await _answer(found, scope["method"], headers, send)

    def _find_route(self, scope: Scope) -> CachedRoute | None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or scope["query_string"]:
            return None
        if find_fault(scope) is not None:  # to be refused further in
            return None
        if len({name for name, _ in scope["headers"]}) < len(scope["headers"]):  # to be put together there
            return None
        return self._route(scope["path"])


def _read_headers(scope: Scope) -> dict[str, str]:
    # Not Starlette's Headers, which cost more than all else here.
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


async def _find(route: CachedRoute, headers: dict[str, str], find_hit: FindHit | None) -> Representation | None:
    # A body is not looked at, but it may be too large.
    has_body = "content-length" in headers or "transfer-encoding" in headers
    if find_hit is None or has_body or forbids_cache(headers) or not _is_id(headers.get(REQUEST_ID)):
        return None
    payload = await find_hit(route.key)
    try:
        return None if payload is None else route.represent(payload)
    except ValueError:
        return None


def _is_id(given: str | None) -> bool:
    """Whether there is nothing that the middleware would have to warn of."""
    return not given or is_valid_uuid4(given)


async def _answer(found: Representation, method: str, given: dict[str, str], send: Send) -> None:
    request_id = given.get(REQUEST_ID) or uuid4().hex
    correlation_id.set(request_id)  # for the access log
    status, body = (HTTPStatus.NOT_MODIFIED, b"") if is_unchanged(found.tag, given) else (HTTPStatus.OK, found.body)
    headers = [(b"etag", found.tag.encode()), (b"cache-status", b"service; hit")]
    headers += [(name.encode(), value.encode("latin-1")) for name, value in found.headers]
    if status == HTTPStatus.OK:
        headers += [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    headers.append((REQUEST_ID.encode(), request_id.encode("latin-1")))
    # A plain number, which the log writes as one.
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
