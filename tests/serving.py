"""A server in a thread of the test: its settings and constants are the test's to change."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import uvicorn
from fastapi import FastAPI

from service.web.bounded_protocol import BoundedProtocol
from tests.waiting import wait_until


@contextmanager
def serving(app: FastAPI, *, keep_alive_seconds: int = 5) -> Iterator[str]:
    """Serve `app` by HTTP; yields the URL, without a slash at its end."""
    config = uvicorn.Config(
        app, log_config=None, http=BoundedProtocol, ws="none", timeout_keep_alive=keep_alive_seconds
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive(), seconds=10)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
