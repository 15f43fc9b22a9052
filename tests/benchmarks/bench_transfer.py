"""Import and export over HTTP beside a bare COPY of the same rows, in one run; and the memory of the worker."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import psycopg
import pytest
import requests
from sqlalchemy import Engine

from service.embedded import RedisServer
from service.seed import generate_items
from tests.servers import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.db(isolation="clone"), pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
ITEMS = int(os.environ.get("TRANSFER_ITEMS", "1000000"))
MOST_IMPORT = 4.0
MOST_EXPORT = 6.0
MOST_GROWTH_MIB = 60.0
CHUNK_BYTES = 64 * 1024


class Worker(NamedTuple):
    """A server with one process."""

    url: str
    pid: int


@contextmanager
def serving(database_url: str) -> Iterator[Worker]:
    port = free_port()
    with RedisServer.start() as redis_server:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_server.url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: answers(url), seconds=60)
            yield Worker(url, process.pid)
        finally:
            process.terminate()
            process.wait()


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/items/", timeout=5).ok
    except requests.RequestException:
        return False


@contextmanager
def watching_memory(pid: int, told: list[float]) -> Iterator[None]:
    """Append by how many MiB the resident memory grew, at most."""
    before = resident_mib(pid)
    most, done = [before], Event()

    def watch() -> None:
        while not done.wait(0.1):
            most.append(resident_mib(pid))

    watcher = Thread(target=watch)
    watcher.start()
    yield
    done.set()
    watcher.join()
    told.append(max(most) - before)


def resident_mib(pid: int) -> float:
    (line,) = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def read_file(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def test_import_and_export_beside_copy(engine: Engine, tmp_path: Path) -> None:
    url = engine.url.render_as_string(hide_password=False)
    file = tmp_path / "items.ndjson"
    with file.open("w", encoding="utf-8") as target:
        for item in generate_items(ITEMS, seed=1):
            target.write(item.model_dump_json() + "\n")
    growth: list[float] = []

    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection, serving(url) as worker:
        requests.get(f"{worker.url}/items/1", timeout=5)
        before = seconds_to_copy_in(connection)
        empty(connection)
        with watching_memory(worker.pid, growth):
            imported = seconds_to_import(worker.url, file)
        # Other work on the machine changes meanwhile.
        copied = (before + seconds_to_copy_in(connection)) / 2
        connection.execute("VACUUM ANALYZE item")
        copied_out = seconds_to_copy_out(connection)
        with watching_memory(worker.pid, growth):
            exported = seconds_to_export(worker.url, "ndjson")
            exported_csv = seconds_to_export(worker.url, "csv")

    print(  # noqa: T201
        f"\n{ITEMS:,} items: bare COPY {copied:.1f} s, import {imported:.1f} s: {imported / copied:.2f} times;"
        f" COPY TO {copied_out:.1f} s, export {exported:.1f} s: {exported / copied_out:.2f} times,"
        f" as CSV {exported_csv / copied_out:.2f} times; memory grew by {growth[0]:.0f} and {growth[1]:.0f} MiB"
    )
    assert imported / copied <= MOST_IMPORT
    assert exported / copied_out <= MOST_EXPORT
    assert max(growth) < MOST_GROWTH_MIB


def empty(connection: psycopg.Connection) -> None:
    connection.execute("TRUNCATE item RESTART IDENTITY")
    connection.execute("CHECKPOINT")


def seconds_to_copy_in(connection: psycopg.Connection) -> float:
    rows = [(item.name, item.description, item.price) for item in generate_items(ITEMS, seed=1)]
    empty(connection)
    began = time.perf_counter()
    with connection.cursor() as cursor, cursor.copy("COPY item (name, description, price) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    return time.perf_counter() - began


def seconds_to_copy_out(connection: psycopg.Connection) -> float:
    began = time.perf_counter()
    with connection.cursor() as cursor, cursor.copy("COPY item TO STDOUT") as copy:
        for _ in copy:
            pass
    return time.perf_counter() - began


def seconds_to_import(url: str, file: Path) -> float:
    began = time.perf_counter()
    answer = requests.post(
        f"{url}/items/import",
        data=read_file(file),
        headers={"Content-Type": "application/x-ndjson"},
        timeout=3600,
    )
    elapsed = time.perf_counter() - began
    assert json.loads(answer.content) == {"created": ITEMS, "updated": 0, "rejected": 0}
    return elapsed


def seconds_to_export(url: str, file_format: str) -> float:
    began = time.perf_counter()
    ends = 0
    with requests.get(f"{url}/items/export", params={"format": file_format}, stream=True, timeout=3600) as answer:
        for piece in answer.iter_content(CHUNK_BYTES):
            ends += piece.count(b"\n")
    elapsed = time.perf_counter() - began
    assert ends >= ITEMS
    return elapsed
