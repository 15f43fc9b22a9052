"""What a test does to a Redis server."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import redis
from redis.exceptions import BusyLoadingError

from service.embedded import EmbeddedError, RedisServer
from service.embedded.account import server_account
from service.embedded.binaries import Wheel
from tests.waiting import wait_until


def kill(server: RedisServer) -> None:
    """End the server's process as a crash would, and return when it is gone."""
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{server.pid}").exists() or is_zombie(server.pid), seconds=5)


def is_zombie(pid: int) -> bool:
    """Whether the process has ended and waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@contextmanager
def paused(server: RedisServer) -> Iterator[None]:
    """SIGSTOP the server during the block."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@contextmanager
def snapshots() -> Iterator[dict[str, str]]:
    """Settings of a Redis that keeps its snapshot in a directory of the block."""
    directory = Path(tempfile.gettempdir(), f"snapshots-{uuid4().hex}")
    server_account().make_directory(directory)
    try:
        yield {"dir": str(directory)}
    finally:
        shutil.rmtree(directory)


@contextmanager
def redis_at(port: int | None, settings: dict[str, str], build: Wheel) -> Iterator[RedisServer]:
    """A Redis on `port`; on any if None."""
    with start_again(port or 0, settings, build) as server:
        yield server


def start_again(port: int | None, settings: dict[str, str], build: Wheel) -> RedisServer:
    """A Redis on a port that may not be free yet: clients hold on to connections of a server that was killed."""
    started: list[RedisServer] = []

    def start() -> bool:
        with suppress(EmbeddedError):
            started.append(RedisServer.start(port=port, extra_settings=settings, wheel=build))
        return bool(started)

    wait_until(start, seconds=10)
    return started[0]


@contextmanager
def ending(start: Future[RedisServer]) -> Iterator[None]:
    """Stop the server that `start` brings, at the end of the block."""
    try:
        yield
    finally:
        start.result().stop()


def is_loading(client: redis.Redis) -> bool:
    """Whether the server answers, but not yet with data."""
    try:
        client.ping()
    except BusyLoadingError:
        return True
    except redis.ConnectionError:
        return False
    return False
