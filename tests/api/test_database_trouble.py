"""Trouble in PostgreSQL is 503 with Retry-After, soon; and over when PostgreSQL is back."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import FastAPI
from httpx2 import Response
from pydantic import SecretStr
from sqlalchemy import Engine, TextClause, make_url, text
from sqlalchemy.exc import OperationalError
from sqlmodel import Session
from starlette.testclient import TestClient

from service.crud.ids import SEQUENCE_LOCK_KEY
from service.embedded import PostgresServer
from tests.api.conftest import ClientWith
from tests.cache.proxy import Proxy
from tests.databases import migrate
from tests.factories import ItemFactory
from tests.waiting import wait_until

pytestmark = [pytest.mark.db(isolation="clone"), pytest.mark.usefixtures("session")]

CHANGED = {"name": "Changed", "price": 1}
TERMINATE = (
    "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
TERMINATE_ALL = text(TERMINATE)
TERMINATE_WAITING = text(f"{TERMINATE} AND wait_event_type = 'Lock'")


def assert_unavailable(response: Response) -> None:
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-ID"]
    assert response.json() == {
        "type": "/problems/database-unavailable",
        "title": "Database unavailable",
        "status": 503,
        "detail": "PostgreSQL could not do the work in time. Try again.",
        "instance": response.request.url.path,
    }


def terminate(engine: Engine, statement: TextClause) -> int:
    """End other sessions of this database as `statement` says; return how many."""
    # A transaction of its own: within one, pg_stat_activity does not change.
    with engine.connect() as connection:
        return len(connection.execute(statement).all())


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid"])
def test_a_database_that_cannot_be_reached_is_503(client_with: ClientWith, host: str) -> None:
    password = "hunter2"  # noqa: S105  # to see that it is not told
    client = client_with(database_url=SecretStr(f"postgresql+psycopg://u:{password}@{host}/items"))

    answers = [
        client.get("/items/"),
        client.get("/items/1"),
        client.post("/items/", json=CHANGED),
        client.put("/items/1", json=CHANGED),
        client.delete("/items/1"),
    ]

    for answer in answers:
        assert_unavailable(answer)
        assert password not in answer.text


def test_a_database_that_does_not_exist_is_503(client_with: ClientWith, app: FastAPI) -> None:
    missing = app.state.settings.database_url.get_secret_value().replace("/t_items", "/no_items")

    assert_unavailable(client_with(database_url=SecretStr(missing)).get("/items/"))


@pytest.mark.parametrize("limit", ["lock_timeout_ms", "statement_timeout_ms"])
def test_a_row_that_another_session_holds_is_503_after_the_limit(
    client_with: ClientWith, session: Session, limit: str
) -> None:
    item_id = ItemFactory.create(name="Held").id
    client = client_with(**{limit: 100})
    session.execute(text("SELECT FROM item WHERE id = :id FOR UPDATE"), {"id": item_id})
    began = time.monotonic()

    assert_unavailable(client.put(f"/items/{item_id}", json=CHANGED))
    assert_unavailable(client.delete(f"/items/{item_id}"))

    assert time.monotonic() - began < 5
    assert client.get(f"/items/{item_id}").json()["name"] == "Held"
    assert client.post("/items/", json=CHANGED).status_code == 200
    session.rollback()
    assert client.put(f"/items/{item_id}", json=CHANGED).status_code == 200


@pytest.mark.slow
def test_a_held_lock_is_503_within_5_s_under_the_default_limits(client: TestClient, session: Session) -> None:
    session.execute(text("LOCK TABLE item IN ACCESS EXCLUSIVE MODE"))
    began = time.monotonic()

    assert_unavailable(client.get("/items/"))

    assert time.monotonic() - began < 5


@pytest.fixture
def proxy(client_with: ClientWith) -> Iterator[tuple[Proxy, TestClient]]:
    """A PostgreSQL of this test alone, behind a proxy, and a client of the application on it."""
    with PostgresServer.start(port=0) as server, Proxy.to(server.port) as proxy:
        user = make_url(server.url()).username
        url = f"postgresql+psycopg://{user}@127.0.0.1:{proxy.port}/postgres"
        migrate(make_url(url))
        yield proxy, client_with(database_url=SecretStr(url))


@pytest.mark.slow
def test_a_server_that_hangs_is_503_within_5_s_and_a_working_one_again_when_it_goes_on(
    proxy: tuple[Proxy, TestClient],
) -> None:
    network, client = proxy
    assert client.post("/items/", json=CHANGED).status_code == 200
    network.hang()

    with ThreadPoolExecutor(3) as threads:
        began = time.monotonic()
        reads = [threads.submit(client.get, "/items/?limit=3") for _ in range(2)]
        write = threads.submit(client.put, "/items/1", json=CHANGED)
        answers = [future.result() for future in (*reads, write)]
        elapsed = time.monotonic() - began
    network.heal()

    for answer in answers:
        assert_unavailable(answer)
    assert elapsed < 5
    assert client.get("/items/?limit=3").status_code == 200
    assert client.put("/items/1", json=CHANGED).status_code == 200


@pytest.mark.slow
def test_a_server_that_hangs_during_a_statement_is_503(
    proxy: tuple[Proxy, TestClient],
) -> None:
    network, client = proxy
    application = client.app
    assert isinstance(application, FastAPI)

    with application.state.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        network.hang()
        began = time.monotonic()
        with pytest.raises(OperationalError, match="fell silent"):
            connection.execute(text("SELECT 1"))

        assert time.monotonic() - began < 4
        assert connection.invalidated


@pytest.mark.slow
def test_a_connection_lost_in_the_middle_of_a_write_is_503_and_nothing_changed(
    client: TestClient, session: Session, engine: Engine
) -> None:
    item_id = ItemFactory.create(name="Held").id
    session.execute(text("SELECT FROM item WHERE id = :id FOR UPDATE"), {"id": item_id})

    with ThreadPoolExecutor(1) as thread:
        write = thread.submit(client.put, f"/items/{item_id}", json=CHANGED)
        wait_until(lambda: terminate(engine, TERMINATE_WAITING), seconds=5)

    assert_unavailable(write.result())
    session.rollback()
    assert client.get(f"/items/{item_id}").json()["name"] == "Held"
    assert client.put(f"/items/{item_id}", json=CHANGED).status_code == 200


def test_connections_lost_between_requests_go_unnoticed(client: TestClient, engine: Engine) -> None:
    client.post("/items/", json=CHANGED)
    assert terminate(engine, TERMINATE_ALL) >= 1

    answers = [client.get("/items/1"), client.put("/items/1", json=CHANGED), client.get("/items/?limit=5")]

    assert [answer.status_code for answer in answers] == [200] * 3


def test_no_free_connection_is_503_until_one_is_given_back(client_with: ClientWith) -> None:
    client = client_with(pool_size=1, pool_overflow=0, pool_timeout_seconds=0.1)
    application = client.app
    assert isinstance(application, FastAPI)

    with application.state.engine.connect():
        assert_unavailable(client.get("/items/"))
        assert_unavailable(client.post("/items/", json=CHANGED))

    assert client.post("/items/", json=CHANGED).status_code == 200
    assert len(client.get("/items/").json()) == 1


def test_a_read_only_server_is_503_for_writes_only(client: TestClient, session: Session) -> None:
    ItemFactory.create()
    database = session.execute(text("SELECT current_database()")).scalar_one()
    session.execute(text(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on'))
    session.commit()

    try:
        read, written = client.get("/items/"), client.post("/items/", json=CHANGED)
    finally:
        session.execute(text("SET TRANSACTION READ WRITE"))
        session.execute(text(f'ALTER DATABASE "{database}" RESET default_transaction_read_only'))
        session.commit()

    assert read.status_code == 200
    assert_unavailable(written)


def test_every_wait_of_a_connection_has_an_end(client: TestClient) -> None:
    application = client.app
    assert isinstance(application, FastAPI)
    with application.state.engine.connect() as connection:
        settings = {
            name: connection.execute(text(f"SHOW {name}")).scalar_one()
            for name in (
                "application_name",
                "statement_timeout",
                "lock_timeout",
                "idle_in_transaction_session_timeout",
                "transaction_isolation",
                "timezone",
            )
        }

    assert settings == {
        "application_name": "item-service",
        "statement_timeout": "2s",
        "lock_timeout": "1500ms",
        "idle_in_transaction_session_timeout": "5s",
        "transaction_isolation": "read committed",
        "timezone": "UTC",
    }


def test_the_options_of_the_url_are_kept_beside_ours(client_with: ClientWith, engine: Engine) -> None:
    url = engine.url.update_query_dict({"options": "-c search_path=elsewhere -c statement_timeout=0"})
    application = client_with(database_url=SecretStr(url.render_as_string(hide_password=False))).app
    assert isinstance(application, FastAPI)

    with application.state.engine.connect() as connection:
        told = [connection.execute(text(f"SHOW {name}")).scalar_one() for name in ("search_path", "statement_timeout")]

    assert told == ["elsewhere", "2s"]


def test_a_host_that_is_gone_is_given_up_by_the_system(
    client_with: ClientWith, proxy: tuple[Proxy, TestClient]
) -> None:
    limits = ("keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
    own = proxy[1].app
    assert isinstance(own, FastAPI)
    url = own.state.engine.url.update_query_dict({"keepalives_idle": "60"})
    other = client_with(database_url=SecretStr(url.render_as_string(hide_password=False))).app
    assert isinstance(other, FastAPI)

    told = []
    for application in (own, other):
        with application.state.engine.connect() as connection:
            parameters = connection.connection.driver_connection.info.get_parameters()
            told.append([parameters[name] for name in limits])

    assert told == [["5", "1", "3", "5000"], ["60", "1", "3", "5000"]]


def test_where_taken_ids_cannot_be_passed_over_the_next_one_is_tried(client_with: ClientWith, engine: Engine) -> None:
    client = client_with(lock_timeout_ms=20)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO item (id, name, price) VALUES (1, 'One', 1), (2, 'Two', 1)"))
    with engine.connect() as holder:
        holder.execute(text(f"SELECT pg_advisory_lock({SEQUENCE_LOCK_KEY})"))

        assert client.post("/items/", json={"name": "Widget", "price": 1}).json()["id"] == 3
