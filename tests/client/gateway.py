"""A real HTTP server between a client and the service, or in its place, that fails as a test tells it to."""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import cast

import requests


class Loss(Enum):
    """How a connection ends that gets no answer."""

    OF_THE_REQUEST = auto()
    OF_THE_ANSWER = auto()
    """The service has done what it was asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway answers itself; the connection of a `broken` one ends in the middle."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_broken: bool = False


class Gateway(ThreadingHTTPServer):
    """Does the steps of `script`, one for each request, and hands on to `target` what comes after them.

    `received` has all requests, as they were sent or would have been sent to the service.
    """

    daemon_threads = True

    def __init__(self, target: str | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target = target
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.script: deque[Answer | Loss] = deque()
        self.received: list[requests.PreparedRequest] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


@contextmanager
def gateway_to(target: str | None) -> Iterator[Gateway]:
    """A gateway that ends with the block."""
    with Gateway(target) as gateway:
        thread = Thread(target=gateway.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield gateway
        gateway.shutdown()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        gateway = cast("Gateway", self.server)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name not in {"Host", "Content-Length"}}
        address = (gateway.target or gateway.url) + self.path
        request = requests.Request(self.command, address, headers, data=body).prepare()
        gateway.received.append(request)
        step = gateway.script.popleft() if gateway.script else None
        forwarded = forward(request) if gateway.target and step in {None, Loss.OF_THE_ANSWER} else None
        answer = step or forwarded
        self.close_connection = not isinstance(answer, Answer) or answer.is_broken
        if isinstance(answer, Answer):
            self.answer(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815  # http.server's names

    def answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "server", "date", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) // 2] if answer.is_broken else answer.body)

    def log_message(self, *_: object) -> None:
        """Say nothing on the terminal."""


def forward(request: requests.PreparedRequest) -> Answer:
    with requests.Session() as session:
        answer = session.send(request, timeout=10)
    return Answer(answer.status_code, answer.headers, answer.content)
