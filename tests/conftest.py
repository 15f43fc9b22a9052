"""The plumbing: one PostgreSQL for a run, one database and one Redis for each worker, both clean before each test.

TEST_DATABASE_URL and TEST_REDIS_URL name servers to use; without them, embedded ones are started. DATABASE_URL,
REDIS_URL and `.env` are the application's own: no test sees them.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import redis
import requests
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlmodel import Session, SQLModel
from starlette.testclient import TestClient
from xdist.workermanage import WorkerController

from service.config import Settings
from service.embedded import PostgresServer, RedisServer
from service.main import create_app
from tests.databases import create_database, drop_databases, migrate
from tests.factories import factory_session
from tests.servers import claimed_redis, free_port
from tests.waiting import wait_until

CONNECTIONS_PER_WORKER = 60


@dataclass(frozen=True, slots=True)
class Run:
    """What the workers of one run share: a server to make databases on, and how the names of these begin."""

    postgres_url: str
    prefix: str


RUN = pytest.StashKey[Run]()


def pytest_configure(config: pytest.Config) -> None:
    """Forget the settings of whoever runs the tests."""
    for name in list(os.environ):
        if name.lower() in Settings.model_fields:
            del os.environ[name]
    config.addinivalue_line("markers", "db(isolation): 'clone' for a test that needs commits, threads or processes")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Let the workers of pytest-xdist share the controller's server."""
    node.workerinput["run"] = asdict(find_run(node.config))


def find_run(config: pytest.Config) -> Run:
    """This run's server: the controller's, or started now."""
    if given := getattr(config, "workerinput", {}).get("run"):
        return Run(**given)
    if RUN not in config.stash:
        config.stash[RUN] = start_run(config)
    return config.stash[RUN]


def start_run(config: pytest.Config) -> Run:
    """Find or start PostgreSQL, and clean up at the end of the run."""
    prefix = f"t_items_{os.getpid()}_{uuid4().hex[:8]}"
    if given := os.environ.get("TEST_DATABASE_URL"):
        config.add_cleanup(lambda: drop_databases(make_url(given), prefix))
        return Run(given, prefix)
    workers = config.getoption("numprocesses", default=None) or 1
    server = PostgresServer.start(max_connections=CONNECTIONS_PER_WORKER * (workers + 1))
    config.add_cleanup(server.stop)
    return Run(server.url(), prefix)


@pytest.fixture(scope="session")
def worker_database(request: pytest.FixtureRequest) -> URL:
    """A database of this worker alone, at the head of the migrations."""
    run = find_run(request.config)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    server = make_url(run.postgres_url).set(drivername="postgresql+psycopg")
    url = create_database(server, f"{run.prefix}_{worker}")
    migrate(url)
    return url


@pytest.fixture(scope="session")
def worker_redis() -> Iterator[str]:
    """The URL of a Redis of this worker alone."""
    if given := os.environ.get("TEST_REDIS_URL"):
        with claimed_redis(given) as url:
            yield url
    else:
        with RedisServer.start() as server:
            yield server.url


@pytest.fixture
def engine(worker_database: URL) -> Iterator[Engine]:
    """The tests' own way into this test's database, which is empty."""
    engine = create_engine(worker_database)
    tables = ", ".join(table.name for table in SQLModel.metadata.sorted_tables)
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A session on this test's database; factories use it and commit."""
    with Session(engine) as session:
        token = factory_session.set(session)
        yield session
        factory_session.reset(token)


@pytest.fixture
def redis_client(worker_redis: str) -> Iterator[redis.Redis]:
    """A client of this test's Redis, which is empty."""
    with redis.Redis.from_url(worker_redis) as client:
        client.flushdb()
        yield client


@pytest.fixture
def app(engine: Engine, redis_client: redis.Redis, worker_redis: str) -> FastAPI:
    """The application on this test's database and Redis; its lifespan has not begun."""
    assert redis_client.dbsize() == 0
    database_url = SecretStr(engine.url.render_as_string(hide_password=False))
    return create_app(Settings(database_url=database_url, redis_url=SecretStr(worker_redis)))


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client of the running application."""
    with TestClient(app) as client:
        yield client


@dataclass(frozen=True, slots=True)
class LiveServer:
    """A server process; `url` has no slash at its end."""

    url: str


@pytest.fixture
def live_server(app: FastAPI, tmp_path: Path) -> Iterator[LiveServer]:
    """`service serve` with two workers, on this test's database and Redis."""
    settings: Settings = app.state.settings
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "serve", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"],
        # Away from the clone, where a developer's .env may lie.
        cwd=tmp_path,
        env={
            **os.environ,
            # The server imports what the tests import, installed or not.
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "REDIS_URL": settings.redis_url.get_secret_value(),
        },
    )
    server = LiveServer(f"http://127.0.0.1:{port}")
    try:
        wait_until(lambda: process.poll() is not None or answers(server), seconds=30)
        assert process.poll() is None, "the server ended; its last words are in the captured output"
        yield server
    finally:
        process.terminate()
        process.wait(timeout=15)


def answers(server: LiveServer) -> bool:
    """Whether the server answers requests by now."""
    try:
        return requests.get(f"{server.url}/health/live", timeout=1).ok
    except requests.RequestException:
        return False
