"""Files of items, and clients that send or read them slowly."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import Connection, Engine, text
from starlette.testclient import TestClient

from service.config import MAX_IMPORTS

NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv"}
LINE = b'{"name": "A", "price": 1}\n'

COPYING = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY%'"
)
TERMINATE_COPYING = text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY%'"
)
STAGED = text("SELECT count(*) FROM pg_class WHERE relname = 'staged_item'")


def lines(*items: object) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def counts(created: int, updated: int = 0) -> dict[str, int]:
    return {"created": created, "updated": updated, "rejected": 0}


def import_ndjson(client: TestClient, content: bytes | str, **parameters: str) -> dict[str, object]:
    answer = client.post("/items/import", content=content, headers=NDJSON, params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, object] = answer.json()
    return body


class Upload:
    """An import that is sent piece by piece."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port), timeout=20)
        self._socket.sendall(
            b"POST /items/import HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )

    def send(self, content: bytes) -> None:
        self._socket.sendall(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    def finish(self) -> tuple[int, dict[str, object]]:
        self._socket.sendall(b"0\r\n\r\n")
        return self.read_answer()

    def read_answer(self) -> tuple[int, dict[str, object]]:
        with self._socket.makefile("rb") as answer:
            status = int(answer.readline().split()[1])
            length = 0
            while (header := answer.readline().strip().lower()) != b"":
                if header.startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            return status, json.loads(answer.read(length))

    def is_answered(self) -> bool:
        self._socket.settimeout(0)
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False
        finally:
            self._socket.settimeout(20)

    def is_closed(self) -> bool:
        return self._socket.recv(1) == b""

    def break_off(self) -> None:
        self._socket.close()


@contextmanager
def uploading(url: str, content: bytes = LINE) -> Iterator[Upload]:
    upload = Upload(url)
    try:
        upload.send(content)
        yield upload
    finally:
        upload.break_off()


def import_side_by_side(url: str) -> list[int]:
    """The statuses of as many imports as may run at once."""
    with ExitStack() as stack:
        uploads = [stack.enter_context(uploading(url)) for _ in range(MAX_IMPORTS)]
        return [upload.finish()[0] for upload in uploads]


@contextmanager
def exporting(url: str, *, stream_bytes: int) -> Iterator[socket.socket]:
    """An export of which `stream_bytes` are read."""
    address = urlsplit(url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.settimeout(20)
        client.connect((address.hostname, address.port))
        client.sendall(b"GET /items/export HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while stream_bytes > 0:
            stream_bytes -= len(client.recv(4096))
        yield client


def ask(engine: Engine, question: object) -> int:
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        answer: int = connection.execute(question).scalar_one()  # type: ignore[call-overload]
    return answer


def fill(engine: Engine, count: int) -> None:
    """Items of ten kilobytes each, which PostgreSQL keeps small."""
    with engine.begin() as connection:
        fill_within(connection, count)


def fill_within(connection: Connection, count: int) -> None:
    """The same in a transaction that is open."""
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    rows = "SELECT 'Item ' || n, repeat('x', 10000), 9.99 FROM generate_series(1, :count) AS n"
    connection.execute(text(f"INSERT INTO item (name, description, price) {rows}"), {"count": count})


def resident_bytes(pid: int) -> int:
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS")]
    return int(line.split()[1]) * 1024
