"""`service serve` at its end: what it still answers, and that nothing keeps it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection

import psycopg
import pytest
import requests
from sqlalchemy import Connection, Engine, make_url, text
from sqlmodel import Session

from service.embedded import PostgresServer
from tests.cli.conftest import Running, Terminal, processes, serve, show, workers_of
from tests.databases import create_database, migrate
from tests.factories import ItemFactory
from tests.waiting import wait_until

pytestmark = pytest.mark.db(isolation="clone")


def autocommit(engine: Engine) -> Connection:
    """A connection whose every statement sees the present."""
    return engine.execution_options(isolation_level="AUTOCOMMIT").connect()


WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")


@contextmanager
def locked_item(engine: Engine) -> Iterator[int]:
    """The id of an item that no request can change meanwhile."""
    with Session(engine) as session:
        item = ItemFactory.create()
        session.execute(text("SELECT FROM item WHERE id = :id FOR UPDATE"), {"id": item.id})
        yield item.id


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "kill"),
    [
        pytest.param("1", os.kill, id="one process"),
        pytest.param("2", os.kill, id="two workers"),
        pytest.param("2", os.killpg, id="all of its processes at once"),
    ],
)
@pytest.mark.usefixtures("session")
def test_sigterm_lets_a_running_request_end(
    configured: Terminal, engine: Engine, workers: str, kill: Callable[[int, int], None]
) -> None:
    server, url = serve(configured, "--workers", workers, LOCK_TIMEOUT_MS="1900")
    with ThreadPoolExecutor() as threads, autocommit(engine) as observer:
        with locked_item(engine) as item_id:
            body = {"name": "changed", "price": 1}
            answer = threads.submit(requests.put, f"{url}/items/{item_id}", json=body, timeout=20)
            wait_until(lambda: observer.scalar(WAITING), seconds=30)
            family = workers_of(server)
            kill(server.process.pid, signal.SIGTERM)
            server.await_output("Shutting down")

        assert answer.result().json()["name"] == "changed"
    assert server.process.wait(timeout=15) == 0
    assert family.isdisjoint(pid for pid, _, _ in processes())
    assert "Traceback" not in server.output


@pytest.mark.usefixtures("session")
def test_sigterm_lets_requests_end_that_have_no_thread_yet(configured: Terminal, engine: Engine) -> None:
    server, url = serve(configured, LOCK_TIMEOUT_MS="1900", THREADS="2")
    with ExitStack() as stack:
        *clients, other = [stack.enter_context(closing(HTTPConnection(url.removeprefix("http://")))) for _ in range(11)]
        with locked_item(engine) as item_id:
            for n, client in enumerate(clients):
                headers = {"Content-Type": "application/json"}
                client.request("PUT", f"/items/{item_id + n // 5}", '{"name": "changed", "price": 1}', headers)
            for _ in range(2):  # what was sent before has been read when these are answered
                other.request("GET", "/health/live")
                assert other.getresponse().read() == b'{"status":"alive"}'
            server.process.terminate()
            server.await_output("Shutting down")

        assert [client.getresponse().status for client in clients] == [200] * 5 + [404] * 5
    assert server.process.wait(timeout=15) == 0


@contextmanager
def sending_half(url: str, path: str, kind: str) -> Iterator[HTTPConnection]:
    """A client that has sent the beginning of a body."""
    with closing(HTTPConnection(url.removeprefix("http://"))) as client:
        client.putrequest("POST", path)
        client.putheader("Content-Type", kind)
        client.putheader("Content-Length", "1000")
        client.endheaders(b'{"name": "Half", "price": 1}\n{')
        yield client


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(("path", "kind"), [("/items/", "application/json"), ("/items/import", "application/x-ndjson")])
def test_who_has_sent_half_a_request_when_the_server_stops_is_told(
    configured: Terminal, engine: Engine, path: str, kind: str, workers: str
) -> None:
    server, url = serve(configured, "--workers", workers, SHUTDOWN_TIMEOUT_SECONDS="1")
    with sending_half(url, path, kind) as client:
        wait_until(lambda: server.answers(f"{url}/health/live"), seconds=5)
        server.process.terminate()
        answer = client.getresponse()

        assert (answer.status, answer.headers["Content-Type"]) == (408, "application/problem+json")
        assert json.load(answer)["detail"] == "The server stopped before the whole request had come."
    assert server.process.wait(timeout=15) == 0
    assert "Traceback" not in server.output
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM item")).scalar_one() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_server_ends_with_0(configured: Terminal, number: int) -> None:
    server, _ = serve(configured)

    assert server.stop(number) == 0
    assert "Traceback" not in server.output


COPYING = "SELECT 1 FROM pg_stat_progress_copy"


@contextmanager
def serving_on_its_own(terminal: Terminal, workers: str) -> Iterator[tuple[PostgresServer, Running, str]]:
    """A PostgreSQL that nobody else needs, a server on it that gives requests a second to end, and its URL."""
    with PostgresServer.start() as postgres:
        database = create_database(make_url(postgres.url()).set(drivername="postgresql+psycopg"), "items")
        migrate(database)
        environment = {"DATABASE_URL": show(database), "SHUTDOWN_TIMEOUT_SECONDS": "1"}
        server, url = serve(terminal, "--workers", workers, **environment)
        yield postgres, server, url


@contextmanager
def halted(server: PostgresServer) -> Iterator[None]:
    """The service's connections to `server` answer nothing any more, as if the machine hung."""
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'item-service'"
    with psycopg.connect(server.url()) as connection:
        pids = [pid for (pid,) in connection.execute(query)]
    for pid in pids:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_ends_a_server_that_waits_for_a_hung_database(configured: Terminal, workers: str) -> None:
    with (
        serving_on_its_own(configured, workers) as (postgres, server, url),
        halted(postgres),
        closing(HTTPConnection(url.removeprefix("http://"))) as waiting,
    ):
        # Sent, and therefore read, before the one that is answered.
        waiting.request("GET", "/items/?limit=2")
        wait_until(lambda: server.answers(f"{url}/health/live"), seconds=30)

        assert server.stop(seconds=10) == 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_ends_a_server_whose_import_cannot_be_rolled_back(configured: Terminal, workers: str) -> None:
    with serving_on_its_own(configured, workers) as (postgres, server, url):
        family = workers_of(server) | {server.process.pid}
        with sending_half(url, "/items/import", "application/x-ndjson"):
            with psycopg.connect(postgres.url(), autocommit=True) as connection:
                wait_until(lambda: connection.execute(COPYING).fetchone(), seconds=10)
            with halted(postgres):
                server.stop()

                assert family.isdisjoint(pid for pid, _, _ in processes())


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "code"), [("1", -signal.SIGALRM), ("2", 0)])
def test_a_server_that_hangs_while_it_stops_is_ended(workers: str, code: int) -> None:
    command = [sys.executable, "-m", "tests.cli.hanging", workers]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as server:
        try:
            assert server.stderr is not None
            for _ in range(int(workers)):
                assert any("startup complete" in line for line in server.stderr)

            server.terminate()

            assert server.wait(timeout=15) == code
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
