"""Who may be cancelled while a request is read, and who may not."""

import asyncio

import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from service.web.limits import RequestLimits


async def run(*, is_whole: bool) -> list[Message]:
    """What is sent when a request's reader, after the first piece of its body, waits for more and is cancelled."""
    app, sent = FastAPI(), list[Message]()
    app.state.max_body_bytes = 100
    pieces = [{"type": "http.request", "body": b"{", "more_body": not is_whole}]

    async def receive() -> Message:
        return pieces.pop() if pieces else await asyncio.get_running_loop().create_future()

    async def send(message: Message) -> None:
        sent.append(message)

    async def read(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        listening = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        listening.cancel()
        await listening

    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/items/", "app": app}
    scope |= {"raw_path": b"/items/", "query_string": b"", "headers": [(b"host", b"h")]}
    await RequestLimits(read, streamed=())(scope, receive, send)
    return sent


def test_half_a_body_is_answered() -> None:
    start, _ = asyncio.run(run(is_whole=False))

    assert start["status"] == 408


def test_who_listens_after_the_body_is_cancelled_as_anybody() -> None:
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run(is_whole=True))
