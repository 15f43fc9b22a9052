"""What only bytes on a socket can show: heads without end, broken framing, and that the connection is left in order."""

import json
import socket
import subprocess
from contextlib import nullcontext, suppress
from http.client import HTTPResponse
from urllib.parse import urlsplit

import pytest
import requests

from tests.cli.conftest import Running, Terminal, serve

ITEM = b'{"name": "Widget", "price": 1}'
POST = b"POST /items/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
MEBIBYTE = 2**20

pytestmark = pytest.mark.db(isolation="clone")
MALFORMED = [
    b"\r\n\r\nnonsense\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    POST + b"Content-Length: -1\r\n\r\n",
    POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    POST + b"Content-Length: ten\r\n\r\n",
    POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]
ENDLESS = [
    (b"GET /items/ HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n" * 1000, 431, "headers-too-large"),
    (b"GET /items/ HTTP/1.1\r\nHost: x\r\na: ", b"b" * 65_536, 431, "headers-too-large"),
    (b"GET /items/?", b"b" * 65_536, 414, "address-too-long"),
    (POST + b"Content-Length: 1099511627776\r\n\r\n", b" " * MEBIBYTE, 413, "body-too-large"),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 2**16 + b"\r\n", 413, "body-too-large"),
]


@pytest.fixture
def served(configured: Terminal) -> tuple[Running, str]:
    """A production server, and its URL."""
    return serve(configured)


def resident_bytes(server: Running) -> int:
    """The memory of the server's process."""
    words = ["ps", "-o", "rss=", "-p", str(server.process.pid)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout) * 1024


def ask(url: str, parts: list[bytes], *, may_be_cut_off: bool = True) -> tuple[int, dict[str, str], bytes]:
    """Send bytes until the server closes or they end; the status, the headers and the body of the first answer."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        # Refused in the middle: what was answered can be read all the same.
        with suppress(OSError) if may_be_cut_off else nullcontext():
            for part in parts:
                connection.sendall(part)
        answer = HTTPResponse(connection)
        answer.begin()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_no_bytes_are_a_fault_of_ours(served: tuple[Running, str]) -> None:
    _, url = served

    for sent in MALFORMED:
        status, headers, body = ask(url, [sent])

        assert (sent, status) == (sent, 400)
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(body)["type"] == "/problems/malformed-request"
    assert requests.get(f"{url}/items/", timeout=5).json() == []
    assert requests.post(f"{url}/items/", data=ITEM, headers={"Content-Type": "application/json"}, timeout=5).ok


def test_what_does_not_end_is_refused_in_constant_memory(served: tuple[Running, str]) -> None:
    server, url = served
    before = resident_bytes(server)

    for start, endless, status, slug in ENDLESS:
        answer = ask(url, [start, *[endless] * 64])

        assert (start, answer[0]) == (start, status)
        assert answer[1]["content-type"] == "application/problem+json"
        assert answer[1]["connection"] == "close"
        assert json.loads(answer[2])["type"] == f"/problems/{slug}"
    assert resident_bytes(server) - before < 32 * MEBIBYTE
    assert requests.get(f"{url}/items/", timeout=5).json() == []


@pytest.mark.parametrize("length", [8_193, 65_535, 65_536, 80_000])
def test_an_address_that_is_too_long_is_told_so_however_long_it_is(served: tuple[Running, str], length: int) -> None:
    _, url = served

    status, _, body = ask(url, [b"GET /" + b"a" * length + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"])

    assert (status, json.loads(body)["type"]) == (414, "/problems/address-too-long")


def test_a_client_that_sends_a_body_that_is_too_large_is_not_cut_off(served: tuple[Running, str]) -> None:
    _, url = served
    body = b" " * 50 * MEBIBYTE

    status, headers, _ = ask(url, [POST + b"Content-Length: %d\r\n\r\n" % len(body), body], may_be_cut_off=False)

    assert (status, headers["connection"]) == (413, "close")
