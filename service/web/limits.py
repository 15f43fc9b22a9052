"""Requests that are larger than any that the service has a use for, or that name no host: refused before routing."""

import asyncio
import re
from collections.abc import Container
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ServiceError
from service.web.problems import closing_problem
from service.web.refusals import AddressTooLongError, BodyTooLargeError, HeadersTooLargeError, MalformedRequestError

MAX_ADDRESS_BYTES = 8192  # RFC 9110, section 4.1, asks for 8000
MAX_HEADER_BYTES = 32_768
LINGER_SECONDS = 5
HOST = re.compile(rb"(?:[\w.~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::\d{0,5})?", re.ASCII)


def find_fault(scope: Scope) -> ServiceError | None:
    """What is wrong with the request line or the headers."""
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_ADDRESS_BYTES:
        return AddressTooLongError(f"The path and the query may have at most {MAX_ADDRESS_BYTES:,} bytes together.")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
        return HeadersTooLargeError(f"The headers may have at most {MAX_HEADER_BYTES:,} bytes together.")
    # RFC 9112, section 3.2. Links and redirections are made from it.
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) > 1 or not all(map(HOST.fullmatch, hosts)) or not (hosts or scope["http_version"] == "1.0"):
        return MalformedRequestError("The request must have one header Host, which names a host.")
    return None


class RequestLimits:
    """Answers 400, 413, 414 and 431; the application's state has `max_body_bytes`, which `streamed` paths may exceed.

    A body is counted while the application reads it, so that memory does not grow with what a client sends.
    """

    def __init__(self, app: ASGIApp, *, streamed: Container[str]) -> None:
        self._app = app
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif fault := find_fault(scope):
            await _refuse(fault, scope, receive, send)
        elif scope["path"] in self._streamed:
            await self._app(scope, receive, send)
        else:
            await self._run_with_limit(scope, receive, send)

    async def _run_with_limit(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit: int = scope["app"].state.max_body_bytes
        if _declared_length(scope) > limit:
            await _refuse(BodyTooLargeError(limit), scope, receive, send)
            return
        left = limit

        async def receive_counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _OverflowError(message)
            return message

        try:
            await self._app(scope, receive_counted, send)
        except _OverflowError as error:
            await _refuse(BodyTooLargeError(limit), scope, receive, send, last=error.last)


class _OverflowError(Exception):
    """The body is too large; not an HTTP error, so that nothing between the reader and this module answers it."""

    def __init__(self, last: Message) -> None:
        super().__init__("the body is too large")
        self.last = last


def _declared_length(scope: Scope) -> int:
    declared = Headers(scope=scope).get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else 0


async def _refuse(
    error: ServiceError, scope: Scope, receive: Receive, send: Send, *, last: Message | None = None
) -> None:
    """Answer at once, then read on for a while: a client that is still sending would lose the answer to a reset.

    That is RFC 9112, section 9.6. `last` is what the application has received last.
    """
    answer = closing_problem(HTTPConnection(scope), error)
    await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while last is None or last.get("more_body"):
                last = await receive()
    await send({"type": "http.response.body", "body": b""})
