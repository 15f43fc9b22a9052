"""Imports and exports on a PostgreSQL that is stopped, not dead: no answer, and no error either."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest
import requests
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import Engine, NullPool, create_engine, make_url, text

from service import database
from service.config import MAX_IMPORTS
from service.embedded import PostgresServer
from service.main import create_app
from tests.databases import migrate
from tests.serving import serving
from tests.transfers import COPYING, LINE, NDJSON, ask, exporting, fill, import_side_by_side, uploading
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.db(isolation="clone")]

DEADLINE_SECONDS = 5
SLOW_INSERTS = """
    CREATE OR REPLACE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$;
    CREATE OR REPLACE TRIGGER slow BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION be_slow()
"""
SLEEPING = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
PIDS = text("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")


@dataclass(frozen=True, slots=True)
class Place:
    """The service by HTTP, and the PostgreSQL of this test alone that it is on; a statement may take 0.5 s."""

    url: str
    postgres: PostgresServer
    engine: Engine

    def send_import(self) -> requests.Response:
        """Import one item."""
        return requests.post(f"{self.url}/items/import", data=LINE, headers=NDJSON, timeout=20)

    def slow_down(self, seconds: float) -> None:
        """From now on each new row takes so long."""
        with self.engine.begin() as connection:
            connection.execute(text(SLOW_INSERTS.format(seconds=seconds)))

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """SIGSTOP every process of PostgreSQL during the block."""
        with self.engine.connect() as connection:
            pids = [self.postgres.pid, *connection.execute(PIDS).scalars()]
        signal_all(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            signal_all(pids, signal.SIGCONT)


def signal_all(pids: list[int], number: int) -> None:
    """Send a signal to all of these that have not ended meanwhile, as a backend whose client has left does."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@pytest.fixture
def place(app: FastAPI) -> Iterator[Place]:
    """The place of this test."""
    with PostgresServer.start(port=0) as postgres:
        url = make_url(f"postgresql+psycopg://{make_url(postgres.url()).username}@127.0.0.1:{postgres.port}/postgres")
        migrate(url)
        changes = {
            "database_url": SecretStr(url.render_as_string(hide_password=False)),
            "statement_timeout_ms": 500,
            "lock_timeout_ms": 400,
        }
        with serving(create_app(app.state.settings.model_copy(update=changes))) as address:
            yield Place(address, postgres, create_engine(url, poolclass=NullPool))


def test_an_import_whose_server_hangs_while_it_stages_is_503(place: Place) -> None:
    with uploading(place.url) as upload:
        wait_until(lambda: ask(place.engine, COPYING) == 1, seconds=10)
        with place.stopped():
            began = time.monotonic()
            status, body = upload.finish()

    assert (status, body["type"]) == (503, "/problems/database-unavailable")
    assert time.monotonic() - began < DEADLINE_SECONDS
    assert_nothing_is_left(place)


def test_an_import_whose_server_hangs_while_it_writes_is_503(place: Place) -> None:
    place.slow_down(600)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(place.send_import)
        wait_until(lambda: ask(place.engine, SLEEPING) == 1, seconds=10)
        with place.stopped():
            assert answer.result().status_code == 503
            assert answer.result().elapsed.total_seconds() < DEADLINE_SECONDS

    assert_nothing_is_left(place)


def test_an_import_that_takes_long_on_a_server_that_works_is_done(place: Place) -> None:
    place.slow_down(1.5)

    answer = place.send_import()

    assert (answer.status_code, answer.json()["created"]) == (200, 1)
    assert answer.elapsed.total_seconds() > 1.5


def test_a_statement_that_is_silent_for_too_long_ends_even_if_the_server_works(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LONGEST_SILENCE_SECONDS", 0.5)
    place.slow_down(600)

    assert place.send_import().status_code == 503

    assert_nothing_is_left(place)


def test_an_export_whose_server_hangs_ends_without_an_end(place: Place) -> None:
    fill(place.engine, 3_000)
    with exporting(place.url, stream_bytes=10_000) as client, place.stopped():
        began = time.monotonic()
        rest = b"".join(iter(lambda: client.recv(1024 * 1024), b""))

    assert time.monotonic() - began < DEADLINE_SECONDS
    assert not rest.endswith(b"0\r\n\r\n")
    assert requests.get(f"{place.url}/items/export", timeout=20).text.count("\n") == 3_000


def assert_nothing_is_left(place: Place) -> None:
    """Nothing was imported or goes on, and as many as may run at once find their place."""
    wait_until(lambda: ask(place.engine, SLEEPING) == 0, seconds=5)
    place.slow_down(0)
    wait_until(lambda: requests.get(f"{place.url}/items/?limit=2", timeout=5).status_code == 200, seconds=5)
    assert requests.get(f"{place.url}/items/", timeout=5).json() == []
    wait_until(lambda: import_side_by_side(place.url) == [200] * MAX_IMPORTS, seconds=5)
