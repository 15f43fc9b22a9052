"""Requests byte for byte as uvicorn hands them to the application: no client library repairs or refuses them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from starlette.testclient import TestClient
from starlette.types import Message

Headers = tuple[tuple[bytes, bytes], ...]
HOST = (b"host", b"testserver")


@dataclass(frozen=True, slots=True)
class RawRequest:
    """A request. Its body comes in `chunks`; a Content-Length is sent only if it stands in the headers."""

    method: str
    raw_path: bytes
    query: bytes = b""
    headers: Headers = (HOST,)
    chunks: tuple[bytes, ...] = ()
    http_version: str = "1.1"


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer. Names of headers are in lower case."""

    status: HTTPStatus
    headers: dict[str, str]
    body: bytes
    chunks_read: int

    @property
    def json(self) -> Any:  # noqa: ANN401  # whatever was answered
        """The body."""
        return json.loads(self.body)


def send(client: TestClient, request: RawRequest) -> RawAnswer:
    """Let the application of `client` answer."""
    sent: list[Message] = []
    left = list(_messages(request))

    async def receive() -> Message:
        return left.pop(0) if left else {"type": "http.disconnect"}

    async def keep(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        await client.app(_scope(request), receive, keep)

    assert client.portal is not None
    client.portal.call(run)
    start, *bodies = sent
    headers = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    body = b"".join(message.get("body", b"") for message in bodies)
    return RawAnswer(HTTPStatus(start["status"]), headers, body, len(request.chunks) - len(left))


def _messages(request: RawRequest) -> Iterator[Message]:
    for number, chunk in enumerate(request.chunks or (b"",), 1):
        yield {"type": "http.request", "body": chunk, "more_body": number < len(request.chunks)}


def _scope(request: RawRequest) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.http_version,
        "method": request.method,
        "scheme": "http",
        "path": unquote(request.raw_path.decode("ascii")),
        "raw_path": request.raw_path,
        "query_string": request.query,
        "root_path": "",
        "headers": list(request.headers),
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
