"""Servers under load, and what they need."""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine, text

from service.embedded import RedisServer
from tests.benchmarks.processes import APPLICATIONS, Server, serving
from tests.benchmarks.wrk import require_wrk


@pytest.fixture
def environment(engine: Engine) -> Iterator[dict[str, str]]:
    """What a server needs: a hundred items, and a Redis."""
    require_wrk()
    with engine.begin() as connection:
        names = "SELECT 'Item ' || n, 'The description of item ' || n, 9.99 FROM generate_series(1, 100) AS n"
        connection.execute(text(f"INSERT INTO item (name, description, price) {names}"))
    with RedisServer.start() as redis_server:
        url = engine.url.render_as_string(hide_password=False)
        yield {**os.environ, "DATABASE_URL": url, "REDIS_URL": redis_server.url}


@pytest.fixture
def servers(environment: dict[str, str]) -> Iterator[dict[str, Server]]:
    """The service and its peers, on the same database and Redis."""
    with ExitStack() as running:
        yield {name: running.enter_context(serving(name, environment)) for name in APPLICATIONS}
