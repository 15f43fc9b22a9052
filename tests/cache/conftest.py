"""Servers that a test may break, and workers of the service on them."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from service.config import Settings
from service.embedded import RedisServer
from service.embedded.binaries import Wheel
from service.main import create_app
from tests.cache.builds import USUAL_BUILD
from tests.cache.clients import StartClient
from tests.cache.workers import StartWorker, Worker, running_worker


@pytest.fixture
def database_url(engine: Engine) -> str:
    """This test's database, with the one item that workers read and write, called "old"."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO item (name, price) OVERRIDING SYSTEM VALUE VALUES ('old', 1)"))
    return engine.url.render_as_string(hide_password=False)


@pytest.fixture
def build(request: pytest.FixtureRequest) -> Wheel:
    """The server program of the test; `on_every_build` gives one after the other."""
    wheel: Wheel = getattr(request, "param", USUAL_BUILD)
    return wheel


@pytest.fixture
def own_redis(build: Wheel) -> Iterator[RedisServer]:
    """A Redis of this test alone, reached by TCP."""
    with RedisServer.start(port=0, wheel=build) as server:
        yield server


@pytest.fixture
def start_worker(database_url: str, own_redis: RedisServer) -> Iterator[StartWorker]:
    """Starts workers; on `own_redis`, unless another is named."""
    with ExitStack() as running:

        def start(redis_url: str | None = None, **limits: object) -> Worker:
            return running.enter_context(running_worker(database_url, redis_url or str(own_redis.tcp_url), **limits))

        yield start


@pytest.fixture
def start_client(database_url: str, own_redis: RedisServer) -> Iterator[StartClient]:
    """Starts applications on this test's database and Redis, as one worker each."""
    with ExitStack() as running:

        def start(**settings: object) -> TestClient:
            urls = {"database_url": database_url, "redis_url": own_redis.tcp_url}
            app = create_app(Settings.model_validate({**urls, **settings}))
            return running.enter_context(TestClient(app, raise_server_exceptions=False))

        yield start
