"""Connections that die, a PostgreSQL that is restarted, full, or has no connection left, all of it for real."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import requests
from fastapi import FastAPI
from httpx2 import Response
from sqlalchemy import Engine, make_url, text
from sqlmodel import Session
from starlette.testclient import TestClient

from service.dependencies import SessionDep
from service.embedded import PostgresServer
from service.embedded.account import server_account
from tests.cache.fleet import NewServer, Server, running
from tests.cache.proxy import Proxy
from tests.databases import migrate
from tests.factories import ItemFactory
from tests.trouble.conftest import ClientOn
from tests.waiting import wait_until

pytestmark = pytest.mark.db(isolation="clone")

KETTLE = {"name": "Kettle", "price": 34.9}
WAITING = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def assert_unavailable(answer: Response) -> None:
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/database-unavailable"
    assert answer.elapsed.total_seconds() < 5


@contextmanager
def reading(client: TestClient, session: Session, path: str) -> Iterator[Future[Response]]:
    """A GET of `path` that cannot end before the block does."""
    with ThreadPoolExecutor(1) as thread:
        session.execute(text("LOCK TABLE item IN ACCESS EXCLUSIVE MODE"))
        yield thread.submit(client.get, path)
        session.rollback()


def end_waiting(engine: Engine) -> None:
    """End the connection that waits for a lock, as soon as there is one, and return when it is gone."""

    def send(statement: str) -> int:
        with engine.connect() as connection:
            return len(connection.execute(text(statement)).all())

    wait_until(lambda: send(f"SELECT pg_terminate_backend(pid, 5000) {WAITING}"), seconds=5)


def await_waiting(engine: Engine) -> None:
    """Return when a connection waits for a lock."""

    def is_waiting() -> bool:
        with engine.connect() as connection:
            return bool(connection.execute(text(f"SELECT count(*) {WAITING}")).scalar_one())

    wait_until(is_waiting, seconds=5)


@pytest.mark.parametrize("path", ["/items/1", "/items/", "/items/?limit=3"])
def test_a_get_whose_connection_dies_is_asked_once_more(
    client: TestClient, session: Session, engine: Engine, path: str
) -> None:
    ItemFactory.create(name="Found")

    with reading(client, session, path) as read:
        end_waiting(engine)
        await_waiting(engine)

    assert read.result().status_code == 200
    assert "Found" in read.result().text


def test_a_get_whose_second_connection_dies_too_is_503(client: TestClient, session: Session, engine: Engine) -> None:
    ItemFactory.create()

    with reading(client, session, "/items/1") as read:
        end_waiting(engine)
        end_waiting(engine)

        assert_unavailable(read.result())

    assert client.get("/items/1").status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "one"}], ids=["plain", "with a key"])
def test_a_write_whose_connection_dies_before_its_commit_is_done_all_the_same(
    client: TestClient, session: Session, engine: Engine, headers: dict[str, str]
) -> None:
    with ThreadPoolExecutor(1) as thread:
        session.execute(text("LOCK TABLE item IN ACCESS EXCLUSIVE MODE"))
        written = thread.submit(client.post, "/items/", json=KETTLE, headers=headers)
        end_waiting(engine)
        await_waiting(engine)
        session.rollback()

    assert written.result().status_code == 200
    assert [item["name"] for item in client.get("/items/").json()] == ["Kettle"]


def test_a_connection_that_the_server_has_closed_is_replaced_unseen(client: TestClient, engine: Engine) -> None:
    assert client.get("/items/1").status_code == 404
    with engine.connect() as other:
        ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'item-service'"
        own = " AND datname = current_database() AND pid <> pg_backend_pid()"
        assert other.execute(text(ended + own)).all()

    assert client.post("/items/", json=KETTLE).status_code == 200


@pytest.mark.slow
def test_a_get_whose_server_falls_silent_is_503_and_not_asked_again(client_on: ClientOn) -> None:
    with PostgresServer.start(port=0) as server, Proxy.to(server.port) as network, ThreadPoolExecutor(1) as thread:
        url = make_url(by_tcp(server)).set(drivername="postgresql+psycopg")
        migrate(url)
        client = client_on(url.set(port=network.port))
        with psycopg.connect(server.url()) as other:
            other.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
            read = thread.submit(client.get, "/items/1")
            waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
            wait_until(lambda: other.execute(waits).fetchone() == (True,), seconds=5)
            network.hang()

            assert_unavailable(read.result())
            assert read.result().elapsed.total_seconds() < 4  # to connect again would have taken until 4.25
        network.heal()


@contextmanager
def fresh_directory() -> Iterator[Path]:
    """An empty directory of the account that servers run as."""
    path = Path(tempfile.gettempdir(), f"cluster-{uuid4().hex}")
    server_account().make_directory(path)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def by_tcp(server: PostgresServer) -> str:
    """The server's URL by TCP."""
    return f"postgresql://{make_url(server.url()).username}@127.0.0.1:{server.port}/postgres"


def post_until(stop: Event, server: Server, thread: int) -> tuple[set[str], set[int], float]:
    """Create items one after the other: the names of those that were acknowledged, every status, the longest wait."""
    acknowledged, statuses, longest = set(), set(), 0.0
    for n in count():
        if stop.is_set():
            break
        name = f"{thread}-{n}"
        answer = requests.post(f"http://127.0.0.1:{server.port}/items/", json={"name": name, "price": 1}, timeout=10)
        statuses.add(answer.status_code)
        longest = max(longest, answer.elapsed.total_seconds())
        if answer.ok:
            acknowledged.add(name)
    return acknowledged, statuses, longest


@pytest.mark.slow
def test_a_restart_is_over_within_2_s_and_no_acknowledged_write_is_lost_or_doubled(
    new_server: NewServer, app_environment: dict[str, str]
) -> None:
    with fresh_directory() as data, ThreadPoolExecutor(4) as threads, ExitStack() as stack:
        first = stack.enter_context(PostgresServer.start(data_directory=data, port=0))
        migrate(make_url(by_tcp(first)).set(drivername="postgresql+psycopg"))
        server = new_server(by_tcp(first), app_environment["REDIS_URL"])
        stack.enter_context(running(server))
        stop = Event()
        stack.callback(stop.set)
        writers = [threads.submit(post_until, stop, server, n) for n in range(4)]
        wait_until(lambda: server.ask("GET", "/items/1")[0] == 200, seconds=10)
        pid = server.process and server.process.pid

        first.stop()
        wait_until(lambda: server.ask("GET", "/items/?limit=2")[0] == 503, seconds=10)
        again = stack.enter_context(PostgresServer.start(data_directory=data, port=first.port))
        back = time.monotonic()
        wait_until(lambda: server.ask("GET", "/items/?limit=2")[0] == 200, seconds=2)
        wait_until(lambda: server.ask("PUT", "/items/1", '{"name": "After", "price": 1}')[0] == 200, seconds=2)

        assert time.monotonic() - back < 2
        stop.set()
        results = [writer.result() for writer in writers]
        assert server.process is not None
        assert (server.process.poll(), server.process.pid) == (None, pid)
        assert set().union(*(statuses for _, statuses, _ in results)) == {200, 503}
        assert max(longest for *_, longest in results) < 5
        with psycopg.connect(again.url()) as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM item WHERE id > 1")]
    acknowledged = set().union(*(names for names, *_ in results))
    assert len(names) == len(set(names))
    assert len(acknowledged - set(names)) <= 1  # the first item was renamed


def test_a_full_disk_is_503_for_what_needs_space(client_on: ClientOn) -> None:
    with PostgresServer.start(port=0) as server:
        url = make_url(by_tcp(server)).set(drivername="postgresql+psycopg")
        migrate(url)
        with psycopg.connect(server.url(), autocommit=True) as other:
            (place,) = other.execute("SELECT pg_relation_filepath('item')").fetchone() or ("",)
            table = server.data_directory / place
            client = client_on(url)
            # A device without space, to which the table's first page would be written.
            kept = table.rename(table.with_suffix(".kept"))
            table.symlink_to("/dev/full")

            full, read = client.post("/items/", json=KETTLE, headers={"Idempotency-Key": "one"}), client.get("/items/")

            with pytest.raises(psycopg.errors.DiskFull):
                other.execute("INSERT INTO item (name, price) VALUES ('Kettle', 1)")
            assert_unavailable(full)
            assert (read.status_code, read.json()) == (200, [])
            kept.replace(table)
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            assert client.post("/items/", json=KETTLE, headers={"Idempotency-Key": "one"}).status_code == 200


def test_a_server_without_a_free_connection_is_503_until_one_ends(client_on: ClientOn) -> None:
    with PostgresServer.start(port=0, max_connections=10) as server:
        url = make_url(by_tcp(server)).set(drivername="postgresql+psycopg")
        migrate(url)
        client = client_on(url)
        with ExitStack() as connections:
            with suppress(psycopg.OperationalError):  # which ends the loop
                while True:
                    connections.enter_context(psycopg.connect(server.url()))

            assert_unavailable(client.get("/items/"))
            assert_unavailable(client.post("/items/", json=KETTLE))

        wait_until(lambda: client.post("/items/", json=KETTLE).status_code == 200, seconds=2)
        assert [item["name"] for item in client.get("/items/").json()] == ["Kettle"]


def test_trouble_during_a_copy_is_503_too(client: TestClient, app: FastAPI) -> None:
    def copy(session: SessionDep) -> None:
        session.execute(text("SET LOCAL statement_timeout = 10"))
        driver: Any = session.connection().connection.driver_connection
        with driver.cursor() as cursor, cursor.copy("COPY (SELECT pg_sleep(5)) TO STDOUT") as rows:
            rows.read()

    app.add_api_route("/copy", copy)

    assert_unavailable(client.get("/copy"))
