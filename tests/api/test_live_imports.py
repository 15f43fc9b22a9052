"""Imports of a real server whose clients are slow, rude, or gone."""

import json
import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
import requests
from fastapi import FastAPI
from sqlalchemy import Engine, text

from service.config import MAX_IMPORTS
from service.main import create_app
from service.testing.live import LiveServer
from service.web import streams
from tests.factories import ItemFactory
from tests.serving import serving
from tests.transfers import (
    COPYING,
    LINE,
    NDJSON,
    STAGED,
    TERMINATE_COPYING,
    ask,
    import_side_by_side,
    resident_bytes,
    uploading,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.db(isolation="clone")

MEGABYTE = 1024 * 1024
ITEM = {"name": "Ordinary", "price": 1}


def assert_nothing_is_left(engine: Engine, url: str) -> None:
    wait_until(lambda: ask(engine, COPYING) == 0 and ask(engine, STAGED) == 0, seconds=10)
    assert requests.get(f"{url}/items/", timeout=5).json() == []
    # As many as may run at once find their place again; it is given back a moment after the transaction ended.
    wait_until(lambda: import_side_by_side(url) == [200] * MAX_IMPORTS, seconds=5)


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


@pytest.mark.slow
def test_a_client_that_stops_sending_is_answered_408_within_the_deadline(app: FastAPI, engine: Engine) -> None:
    # With the default, 5 s, who stops reading an export is cut off in test_live_exports.py.
    settings = app.state.settings.model_copy(update={"request_deadline_seconds": 0.5})
    with serving(create_app(settings), keep_alive_seconds=1) as url:
        with uploading(url) as upload:
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
                "detail": "Nothing more of the body came for 0.5 s.",
                "instance": "/items/import",
            },
        )
        assert 0.5 <= elapsed < 2.5
        assert_nothing_is_left(engine, url)


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


@pytest.mark.slow
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


LONG_COPYING = text(f"{COPYING.text} AND now() - query_start > interval '0.5 s'")


def test_an_upload_may_pause_for_longer_than_a_transaction_may_be_idle(app: FastAPI, engine: Engine) -> None:
    settings = app.state.settings.model_copy(update={"idle_in_transaction_timeout_ms": 100})
    with serving(create_app(settings)) as url, uploading(url, LINE * 10_000) as upload:
        wait_until(lambda: ask(engine, LONG_COPYING) == 1, seconds=10)
        upload.send(LINE)

        assert upload.finish() == (200, {"created": 10_001, "updated": 0, "rejected": 0})


def test_a_client_that_drips_is_answered_408_and_gives_its_place_back(
    app: FastAPI, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PACE_SECONDS", 0.3)
    with serving(create_app(app.state.settings)) as url:
        with uploading(url, b" ") as upload:

            def drip() -> bool:
                upload.send(b" ")
                return upload.is_answered()

            wait_until(drip, seconds=10)
            status, body = upload.read_answer()

        assert (status, body["type"]) == (408, "/problems/request-timeout")
        assert body["detail"] == "Within 0.3 s less than 1,024 bytes per second came."
        assert_nothing_is_left(engine, url)


@pytest.mark.slow
def test_a_client_that_is_slow_but_sends_enough_is_served(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PACE_SECONDS", 0.1)
    with serving(create_app(app.state.settings)) as url, uploading(url) as upload:
        began = time.monotonic()

        def send_a_little() -> bool:
            upload.send(LINE * 4)
            return time.monotonic() - began > 1

        wait_until(send_a_little, seconds=5)

        assert upload.finish()[0] == 200
