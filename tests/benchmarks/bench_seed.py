"""`service seed` beside a bare COPY of the same rows, in one run."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import psycopg
import pytest
from sqlalchemy import Engine

from service.embedded import RedisServer
from service.seed import generate_items

pytestmark = [pytest.mark.db(isolation="clone"), pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
ITEMS = 100_000
ROUNDS = 3


def test_seed_beside_a_bare_copy(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    rows = [(item.name, item.description, item.price) for item in generate_items(ITEMS, seed=1)]
    with RedisServer.start() as redis_server:
        environment = {**os.environ, "DATABASE_URL": url, "REDIS_URL": redis_server.url}
        rounds = [(seconds_to_seed(environment), seconds_to_copy(url, rows)) for _ in range(ROUNDS)]

    seed, copy = (median(column) for column in zip(*rounds, strict=True))
    ratio = median(seed / copy for seed, copy in rounds)
    print(f"\nseed of {ITEMS:,} items: {seed:.1f} s; a bare COPY: {copy:.1f} s; {ratio:.1f} times")  # noqa: T201
    assert ratio > 0


def seconds_to_seed(environment: dict[str, str]) -> float:
    """The whole command, the start of Python and the making of the items included."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "service", "seed", "--items", str(ITEMS)],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - began


def seconds_to_copy(url: str, rows: Iterable[tuple[object, ...]]) -> float:
    began = time.perf_counter()
    with (
        psycopg.connect(url.replace("+psycopg", "", 1)) as connection,
        connection.cursor() as cursor,
        cursor.copy("COPY item (name, description, price) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)
    return time.perf_counter() - began
