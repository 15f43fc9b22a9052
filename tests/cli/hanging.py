"""A server whose application never ends: `python -m tests.cli.hanging WORKERS`."""

import sys
from threading import Event

import uvicorn
from starlette.types import Receive, Scope, Send

from service.server import claim_address, run_server


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Start, and block when asked to stop."""
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    Event().wait()


if __name__ == "__main__":
    config = uvicorn.Config("tests.cli.hanging:app", workers=int(sys.argv[1]), timeout_graceful_shutdown=1)
    with claim_address("127.0.0.1", 0) as listener:
        run_server(config, listener)
