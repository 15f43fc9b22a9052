"""Idempotency-Key among several worker processes, of which any may die at any moment, as may their connections."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import psycopg
import pytest
import requests
from sqlalchemy import URL, Connection, Engine, make_url, text

from service.embedded import PostgresServer
from tests.cache.fleet import NewServer, Server, running
from tests.cache.proxy import Proxy
from tests.databases import migrate
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.db(isolation="clone")]

BODY = b'{"name": "Kettle", "price": 34.9}'
HEADERS = {"Idempotency-Key": "one", "Content-Type": "application/json"}
TERMINATE_SOME = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.3"
)
BLOCKED = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%' || :table || '%'"
)


def post(server: Server, key: str = "one") -> requests.Response:
    headers = HEADERS | {"Idempotency-Key": key}
    return requests.post(f"http://127.0.0.1:{server.port}/items/", data=BODY, headers=headers, timeout=10)


def post_until_done(server: Server, seen: set[int], key: str = "one") -> requests.Response:
    """The first answer of success, after every refusal that says when to come back."""
    deadline = time.monotonic() + 60
    while True:
        answer = post(server, key)
        seen.add(answer.status_code)
        if answer.ok:
            return answer
        assert answer.headers["Retry-After"] == "1"
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert time.monotonic() < deadline


def count_items(engine: Engine) -> int:
    with engine.connect() as connection:
        number: int = connection.execute(text("SELECT count(*) FROM item")).scalar_one()
    return number


@pytest.fixture
def servers(new_server: NewServer, app_environment: dict[str, str]) -> Iterator[tuple[Server, Server]]:
    """Two processes of the service on this test's database."""
    environment = dict(app_environment)
    urls = environment.pop("DATABASE_URL"), environment.pop("REDIS_URL")
    pair = new_server(*urls, settings=environment), new_server(*urls, settings=environment)
    with running(*pair):
        yield pair


@contextmanager
def blocking(engine: Engine, table: str) -> Iterator[Connection]:
    """Nobody can write to `table`; who tries waits."""
    with engine.connect() as connection:
        connection.execute(text(f"LOCK TABLE {table} IN EXCLUSIVE MODE"))
        yield connection


def wait_for_blocked(engine: Engine, table: str) -> None:
    """Return when a request waits for `table`."""

    def is_blocked() -> bool:
        with engine.connect() as connection:
            return bool(connection.execute(text(BLOCKED), {"table": f"INSERT INTO {table} "}).scalar_one())

    wait_until(is_blocked, seconds=10)


def test_thirty_posts_with_one_key_make_one_item_though_their_connections_die(
    servers: tuple[Server, Server], engine: Engine
) -> None:
    done, seen = Event(), set[int]()

    def terminate() -> int:
        terminated = 0
        while not done.wait(0.01):
            with engine.connect() as connection:
                terminated += len(connection.execute(TERMINATE_SOME).all())
        return terminated

    with ThreadPoolExecutor(31) as threads:
        terminator = threads.submit(terminate)
        try:
            # Key after key, for the first request with each is over in a moment.
            for key in map(str, range(10)):
                futures = [threads.submit(post_until_done, servers[n % 2], seen, key) for n in range(30)]
                answers = [future.result() for future in futures]

                assert len({(each.content, each.headers["ETag"], each.headers["Location"]) for each in answers}) == 1
                # None, if the first was lost with its connection.
                assert sum("Idempotency-Replayed" not in each.headers for each in answers) <= 1
        finally:
            done.set()

    assert terminator.result() >= 10
    assert {200, 503} <= seen <= {200, 409, 503}
    assert count_items(engine) == 10


def test_a_repeat_of_a_request_that_still_runs_is_409(servers: tuple[Server, Server], engine: Engine) -> None:
    with ThreadPoolExecutor(1) as thread:
        with blocking(engine, "item"):
            first = thread.submit(post, servers[0])
            wait_for_blocked(engine, "item")
            early = [post(server) for server in servers]
        answer = first.result()

    for refused in early:
        assert refused.status_code == 409
        assert refused.headers["Retry-After"] == "1"
        assert refused.json() == {
            "type": "/problems/idempotency-key-in-use",
            "title": "Idempotency key in use",
            "status": 409,
            "detail": "A request with this Idempotency-Key is still running. Send it again later.",
            "instance": "/items/",
        }
    repeat = post(servers[1])
    assert (answer.status_code, repeat.content) == (200, answer.content)
    assert repeat.headers["Idempotency-Replayed"] == "true"
    assert count_items(engine) == 1


def test_a_worker_killed_between_insert_and_commit_leaves_the_work_to_the_repeat(
    servers: tuple[Server, Server], engine: Engine
) -> None:
    with ThreadPoolExecutor(1) as thread, blocking(engine, "stored_answer"):
        first = thread.submit(post, servers[0])
        wait_for_blocked(engine, "stored_answer")
        servers[0].kill()
        with pytest.raises(requests.ConnectionError):
            first.result()
    assert count_items(engine) == 0

    answer = post_until_done(servers[1], set())

    assert "Idempotency-Replayed" not in answer.headers
    assert post(servers[1]).content == answer.content
    assert count_items(engine) == 1


def test_a_client_that_hung_up_gets_the_answer_with_its_repeat(servers: tuple[Server, Server], engine: Engine) -> None:
    with blocking(engine, "stored_answer"), socket.create_connection(("127.0.0.1", servers[0].port)) as client:
        lines = ["POST /items/ HTTP/1.1", "Host: shop", f"Content-Length: {len(BODY)}"]
        lines += [f"{name}: {value}" for name, value in HEADERS.items()]
        client.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + BODY)
        wait_for_blocked(engine, "stored_answer")
    wait_until(lambda: count_items(engine) == 1, seconds=10)

    repeat = post(servers[1])

    assert (repeat.status_code, repeat.headers["Idempotency-Replayed"]) == (200, "true")
    assert repeat.json()["name"] == "Kettle"
    assert count_items(engine) == 1


# A COMMIT that waits for a lock.
SLOW_COMMIT = """
    CREATE FUNCTION wait_for_lock() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock(1);
        RETURN NULL;
    END
    $$;
    CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON item DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION wait_for_lock()
"""


def test_a_commit_whose_answer_is_lost_is_503_and_the_repeat_gets_the_answer(
    new_server: NewServer, app_environment: dict[str, str]
) -> None:
    with PostgresServer.start(port=0) as postgres, Proxy.to(postgres.port) as network:
        url = make_url(postgres.url()).set(drivername="postgresql+psycopg")
        migrate(url)
        server = new_server(by_tcp(url, network), app_environment["REDIS_URL"])
        with (
            running(server),
            psycopg.connect(postgres.url(), autocommit=True) as opponent,
            ThreadPoolExecutor(1) as thread,
        ):
            opponent.execute(SLOW_COMMIT)
            opponent.execute("SELECT pg_advisory_lock(1)")
            first = thread.submit(post, server)
            waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted)"
            wait_until(lambda: opponent.execute(waits).fetchone() == (True,), seconds=10)
            network.hang()
            opponent.execute("SELECT pg_advisory_unlock(1)")
            items = "SELECT count(*) FROM item"
            wait_until(lambda: opponent.execute(items).fetchone() == (1,), seconds=10)
            lost = first.result()
            network.heal()

            repeat = post_until_done(server, set())

            assert (lost.status_code, lost.headers["Retry-After"]) == (503, "1")
            assert repeat.headers["Idempotency-Replayed"] == "true"
            assert opponent.execute(items).fetchone() == (1,)


def by_tcp(url: URL, network: Proxy) -> str:
    """The address of the server behind `network`."""
    return f"postgresql://{url.username}@127.0.0.1:{network.port}/{url.database}"
