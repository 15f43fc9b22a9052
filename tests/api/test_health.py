"""What load balancers and orchestrators are told."""

import pytest
from httpx2 import Response
from pydantic import SecretStr
from sqlalchemy import URL, NullPool, create_engine, text
from starlette.testclient import TestClient

from service.database import SCHEMA_REVISION
from tests.api.conftest import ClientWith

DEAD_DATABASE = SecretStr("postgresql+psycopg://u@127.0.0.1:1/items")
DEAD_REDIS = SecretStr("redis://127.0.0.1:1/0")

pytestmark = pytest.mark.db(isolation="clone")


def assert_not_ready(response: Response, **parts: str) -> None:
    assert response.status_code == 503
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"] == "1"
    assert response.json() == {
        "type": "/problems/not-ready",
        "title": "Not ready",
        "status": 503,
        "detail": f"PostgreSQL is {parts['database']}, its migrations are {parts['migrations']}.",
        "instance": "/health/ready",
        **parts,
    }


def as_secret(url: URL) -> SecretStr:
    return SecretStr(url.render_as_string(hide_password=False))


def test_a_running_process_is_alive_whatever_else_is_down(client_with: ClientWith) -> None:
    response = client_with(database_url=DEAD_DATABASE, redis_url=DEAD_REDIS).get("/health/live")

    assert (response.status_code, response.json()) == (200, {"status": "alive"})


def test_it_is_ready_when_all_parts_are(client: TestClient) -> None:
    response = client.get("/health/ready")

    assert response.status_code == 200
    assert response.json() == {"status": "ready", "database": "up", "migrations": "at head", "redis": "up"}


def test_it_is_ready_without_redis(client_with: ClientWith) -> None:
    response = client_with(redis_url=DEAD_REDIS).get("/health/ready")

    assert response.status_code == 200
    assert response.json() == {"status": "ready", "database": "up", "migrations": "at head", "redis": "down"}


def test_it_is_not_ready_without_postgresql(client_with: ClientWith) -> None:
    response = client_with(database_url=DEAD_DATABASE).get("/health/ready")

    assert_not_ready(response, database="down", migrations="unknown", redis="up")


def test_it_is_not_ready_on_a_database_that_was_never_migrated(client_with: ClientWith, empty_database: URL) -> None:
    response = client_with(database_url=as_secret(empty_database)).get("/health/ready")

    assert_not_ready(response, database="up", migrations="behind", redis="up")


@pytest.mark.parametrize(
    ("revision", "status", "migrations"),
    [
        ("20200101_01", 503, "behind"),
        (SCHEMA_REVISION, 200, "at head"),
        ("29990101_01", 200, "ahead"),
        ("deadbeef", 503, "behind"),
    ],
)
def test_a_database_may_be_ahead_of_this_release_but_not_behind(
    client_with: ClientWith, empty_database: URL, revision: str, status: int, migrations: str
) -> None:
    other = create_engine(empty_database, poolclass=NullPool)
    with other.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num text)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})

    response = client_with(database_url=as_secret(empty_database)).get("/health/ready")

    assert (response.status_code, response.json()["migrations"]) == (status, migrations)


def test_it_becomes_ready_by_itself_when_the_database_is_migrated(client_with: ClientWith, empty_database: URL) -> None:
    client = client_with(database_url=as_secret(empty_database))
    before = client.get("/health/ready").status_code
    other = create_engine(empty_database, poolclass=NullPool)
    with other.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num text)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": SCHEMA_REVISION})

    assert (before, client.get("/health/ready").status_code) == (503, 200)
