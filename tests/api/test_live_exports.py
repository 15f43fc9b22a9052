"""Exports of a real server whose clients are slow, rude, or gone."""

from contextlib import ExitStack

import pytest
import requests
from sqlalchemy import Engine
from sqlmodel import Session

from service.testing.data import db_data
from service.testing.live import LiveServer
from tests.transfers import COPYING, TERMINATE_COPYING, ask, exporting, fill_within, resident_bytes
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.db(isolation="clone"), pytest.mark.usefixtures("fifty_megabytes")]

DEADLINE_SECONDS = 5
MEGABYTE = 1024 * 1024
ITEM = {"name": "Ordinary", "price": 1}


@db_data()
def fifty_megabytes(session: Session) -> None:
    """More than lies between the server and a client that does not read."""
    fill_within(session.connection(), 5_000)


def test_an_export_takes_no_memory(live_server: LiveServer) -> None:
    requests.get(f"{live_server.url}/items/1", timeout=5)
    before = resident_bytes(live_server.process.pid)

    with requests.get(f"{live_server.url}/items/export", stream=True, timeout=30) as answer:
        length = sum(len(piece) for piece in answer.iter_content(MEGABYTE))
        after = resident_bytes(live_server.process.pid)

    assert length > 48 * MEGABYTE
    assert after - before < 15 * MEGABYTE


def test_a_client_that_leaves_an_export_ends_its_query(live_server: LiveServer, engine: Engine) -> None:
    for _ in range(3):
        with exporting(live_server.url, stream_bytes=100_000):
            assert ask(engine, COPYING) == 1
        wait_until(lambda: ask(engine, COPYING) == 0, seconds=4)

    assert requests.get(f"{live_server.url}/items/export", timeout=30).content.count(b"\n") == 5_000


def test_a_client_that_stops_reading_an_export_is_cut_off(live_server: LiveServer, engine: Engine) -> None:
    with exporting(live_server.url, stream_bytes=100_000) as client:
        assert ask(engine, COPYING) == 1
        wait_until(lambda: ask(engine, COPYING) == 0, seconds=DEADLINE_SECONDS + 3)

        rest = b"".join(iter(lambda: client.recv(MEGABYTE), b""))

    assert not rest.endswith(b"0\r\n\r\n")


def test_stalled_exports_hold_no_thread(live_server: LiveServer) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(exporting(live_server.url, stream_bytes=100_000))
        refused = requests.get(f"{live_server.url}/items/export", timeout=5)
        served = requests.post(f"{live_server.url}/items/", json=ITEM, timeout=5)

    assert (refused.status_code, served.status_code) == (503, 200)


def test_an_export_that_fails_midway_has_no_end(live_server: LiveServer, engine: Engine) -> None:
    with requests.get(f"{live_server.url}/items/export", stream=True, timeout=30) as answer:
        pieces = answer.iter_content(64 * 1024)
        next(pieces)
        assert ask(engine, TERMINATE_COPYING) == 1

        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(pieces)

    assert requests.get(f"{live_server.url}/items/export", timeout=30).content.count(b"\n") == 5_000
