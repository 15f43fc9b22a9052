"""Imports and exports of a real server whose clients are slow, rude, or gone."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from sqlalchemy import Engine, text

from service.testing.live import LiveServer
from tests.factories import ItemFactory
from tests.waiting import wait_until

pytestmark = pytest.mark.db(isolation="clone")

DEADLINE_SECONDS = 5
MEGABYTE = 1024 * 1024
LINE = b'{"name": "A", "price": 1}\n'
ITEM = {"name": "Ordinary", "price": 1}
NDJSON = {"Content-Type": "application/x-ndjson"}

COPYING = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY%'"
)
TERMINATE_COPYING = text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY%'"
)
STAGED = text("SELECT count(*) FROM pg_class WHERE relname = 'staged_item'")


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
    upload.send(content)
    yield upload
    upload.break_off()


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
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        rows = "SELECT 'Item ' || n, repeat('x', 10000), 9.99 FROM generate_series(1, :count) AS n"
        connection.execute(text(f"INSERT INTO item (name, description, price) {rows}"), {"count": count})


def resident_bytes(pid: int) -> int:
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


def assert_nothing_is_left(engine: Engine, url: str) -> None:
    wait_until(lambda: ask(engine, COPYING) == 0 and ask(engine, STAGED) == 0, seconds=10)
    assert requests.get(f"{url}/items/", timeout=5).json() == []
    # As many as may run at once find their place again.
    with ExitStack() as stack:
        uploads = [stack.enter_context(uploading(url)) for _ in range(2)]
        assert [upload.finish()[0] for upload in uploads] == [200, 200]


def test_a_truncated_upload_imports_nothing(live_server: LiveServer, engine: Engine) -> None:
    for _ in range(3):
        with uploading(live_server.url, LINE * 10_000):
            wait_until(lambda: ask(engine, COPYING) == 1, seconds=10)
        wait_until(lambda: ask(engine, COPYING) == 0, seconds=10)

    assert_nothing_is_left(engine, live_server.url)


def test_an_upload_shorter_than_it_said_imports_nothing(live_server: LiveServer, engine: Engine) -> None:
    address = urlsplit(live_server.url)
    with socket.create_connection((address.hostname, address.port)) as client:
        client.sendall(
            b"POST /items/import HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nContent-Length: 100\r\n\r\n"
            b"name,price\nA,1\n"
        )
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""

    assert_nothing_is_left(engine, live_server.url)


def test_a_client_that_stops_sending_is_answered_408_within_the_deadline(
    live_server: LiveServer, engine: Engine
) -> None:
    with uploading(live_server.url) as upload:
        began = time.monotonic()
        status, body = upload.read_answer()
        elapsed = time.monotonic() - began
        assert upload.is_closed()

    assert (status, body) == (
        408,
        {
            "type": "/problems/request-timeout",
            "title": "Request timeout",
            "status": 408,
            "detail": "Nothing more of the body came for 5 s.",
            "instance": "/items/import",
        },
    )
    assert elapsed < DEADLINE_SECONDS + 2
    assert_nothing_is_left(engine, live_server.url)


def test_a_line_of_a_gigabyte_is_answered_early_and_takes_no_memory(live_server: LiveServer, engine: Engine) -> None:
    with uploading(live_server.url) as warm:
        assert warm.finish()[0] == 200
    before = resident_bytes(live_server.process.pid)
    sent = 0
    with uploading(live_server.url, b'{"name": "') as upload:
        while sent < 1024 * MEGABYTE and not upload.is_answered():
            upload.send(b"x" * MEGABYTE)
            sent += MEGABYTE
        status, body = upload.read_answer()

    assert status == 422
    assert body["rejected"] == 1
    assert sent < 100 * MEGABYTE
    assert resident_bytes(live_server.process.pid) - before < 30 * MEGABYTE
    requests.delete(f"{live_server.url}/items/1", timeout=5)
    assert_nothing_is_left(engine, live_server.url)


def test_a_client_that_sends_on_after_the_answer_can_still_read_it(live_server: LiveServer) -> None:
    content = b"name,colour\n" + b"A,red\n" * 5_000_000

    answer = requests.post(
        f"{live_server.url}/items/import", data=content, headers={"Content-Type": "text/csv"}, timeout=30
    )

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["line"] == 1


def test_ordinary_writes_do_not_wait_for_an_upload(live_server: LiveServer, engine: Engine) -> None:
    item_id = ItemFactory.create(name="Old").id
    with uploading(live_server.url, json.dumps({**ITEM, "id": item_id, "name": "New"}).encode() + b"\n") as upload:
        wait_until(lambda: ask(engine, COPYING) == 1, seconds=10)
        written = requests.put(f"{live_server.url}/items/{item_id}", json=ITEM, timeout=5)
        created = requests.post(f"{live_server.url}/items/", json=ITEM, timeout=5)

        assert (written.status_code, created.status_code) == (200, 200)
        assert upload.finish() == (200, {"created": 0, "updated": 1, "rejected": 0})

    item = requests.get(f"{live_server.url}/items/{item_id}", timeout=5).json()
    assert (item["name"], item["version"]) == ("New", 3)


def test_imports_beyond_those_that_may_run_are_turned_away_and_others_served(
    live_server: LiveServer, engine: Engine
) -> None:
    with ExitStack() as stack:
        uploads = [stack.enter_context(uploading(live_server.url)) for _ in range(2)]
        wait_until(lambda: ask(engine, COPYING) == 2, seconds=10)

        refused = requests.post(f"{live_server.url}/items/import", data=LINE, headers=NDJSON, timeout=5)
        served = requests.post(f"{live_server.url}/items/", json=ITEM, timeout=5)

        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert served.status_code == 200
        assert [upload.finish()[0] for upload in uploads] == [200, 200]


def test_an_import_whose_connection_to_postgresql_is_lost_is_503(live_server: LiveServer, engine: Engine) -> None:
    with uploading(live_server.url, LINE * 10_000) as upload:
        wait_until(lambda: ask(engine, TERMINATE_COPYING) == 1, seconds=10)
        upload.send(LINE * 100_000)
        status, body = upload.finish()

    assert (status, body["type"]) == (503, "/problems/database-unavailable")
    assert_nothing_is_left(engine, live_server.url)


def test_an_upload_may_take_longer_than_a_transaction_may_be_idle(live_server: LiveServer) -> None:
    with uploading(live_server.url) as upload:
        began = time.monotonic()

        def send_for_long() -> bool:
            upload.send(LINE)
            return time.monotonic() - began > DEADLINE_SECONDS + 2

        wait_until(send_for_long, seconds=DEADLINE_SECONDS + 5)
        status, body = upload.finish()

    assert status == 200
    assert isinstance(body["created"], int)
    assert body["created"] > 1


def test_an_export_takes_no_memory(live_server: LiveServer, engine: Engine) -> None:
    fill(engine, 12_000)
    requests.get(f"{live_server.url}/items/1", timeout=5)
    before = resident_bytes(live_server.process.pid)

    with requests.get(f"{live_server.url}/items/export", stream=True, timeout=30) as answer:
        length = sum(len(piece) for piece in answer.iter_content(MEGABYTE))
        after = resident_bytes(live_server.process.pid)

    assert length > 100 * MEGABYTE
    assert after - before < 30 * MEGABYTE


def test_a_client_that_leaves_an_export_ends_its_query(live_server: LiveServer, engine: Engine) -> None:
    fill(engine, 5_000)
    for _ in range(3):
        with exporting(live_server.url, stream_bytes=100_000):
            assert ask(engine, COPYING) == 1
        wait_until(lambda: ask(engine, COPYING) == 0, seconds=4)

    assert requests.get(f"{live_server.url}/items/export", timeout=30).text.count("\n") == 5_000


def test_a_client_that_stops_reading_an_export_is_cut_off(live_server: LiveServer, engine: Engine) -> None:
    fill(engine, 5_000)
    with exporting(live_server.url, stream_bytes=100_000) as client:
        assert ask(engine, COPYING) == 1
        wait_until(lambda: ask(engine, COPYING) == 0, seconds=DEADLINE_SECONDS + 3)

        rest = b"".join(iter(lambda: client.recv(MEGABYTE), b""))

    assert not rest.endswith(b"0\r\n\r\n")


def test_stalled_exports_hold_no_thread(live_server: LiveServer, engine: Engine) -> None:
    fill(engine, 5_000)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(exporting(live_server.url, stream_bytes=100_000))
        refused = requests.get(f"{live_server.url}/items/export", timeout=5)
        served = requests.post(f"{live_server.url}/items/", json=ITEM, timeout=5)

    assert (refused.status_code, served.status_code) == (503, 200)


def test_an_export_that_fails_midway_has_no_end(live_server: LiveServer, engine: Engine) -> None:
    fill(engine, 5_000)
    with requests.get(f"{live_server.url}/items/export", stream=True, timeout=30) as answer:
        pieces = answer.iter_content(64 * 1024)
        next(pieces)
        assert ask(engine, TERMINATE_COPYING) == 1

        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(pieces)

    assert requests.get(f"{live_server.url}/items/export", timeout=30).text.count("\n") == 5_000
