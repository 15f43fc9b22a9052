"""Who may be cancelled while a request is read, and who may not."""

import asyncio

import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from service.web.half_requests import HalfRequests


async def run(*, is_whole: bool = False, is_answered: bool = False) -> list[Message]:
    """What is sent when a request's reader, after the first piece of its body, waits for more and is cancelled."""
    app, sent = FastAPI(), list[Message]()
    pieces = [{"type": "http.request", "body": b"{", "more_body": not is_whole}]

    async def receive() -> Message:
        return pieces.pop() if pieces else await asyncio.get_running_loop().create_future()

    async def send(message: Message) -> None:
        sent.append(message)

    async def read(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if is_answered:
            await send({"type": "http.response.start", "status": 413})
        listening = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        listening.cancel()
        await listening

    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/items/", "app": app}
    scope |= {"raw_path": b"/items/", "query_string": b"", "headers": [(b"host", b"h")]}
    await HalfRequests(read, streamed=())(scope, receive, send)
    return sent


def test_half_a_body_is_answered() -> None:
    start, _ = asyncio.run(run())

    assert start["status"] == 408


@pytest.mark.parametrize("state", ["is_whole", "is_answered"])
def test_who_only_waits_for_the_client_to_leave_is_cancelled_as_anybody(state: str) -> None:
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run(**{state: True}))
