"""Random load, random kills, random faults of Redis: no read is older than a write that was answered."""

import os
import random
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Self

import pytest
import redis

from service.embedded import RedisServer
from service.embedded.binaries import Wheel
from tests.cache.faults import kill, snapshots, start_again
from tests.cache.fleet import NewServer, Server, running
from tests.cache.proxy import Proxy
from tests.cache.register import Register

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.slow, pytest.mark.db(isolation="clone"), pytest.mark.timeout(7200)]

# `tox run -e soak` asks for 100,000.
READS = int(os.environ.get("SOAK_READS", "0"))
SECONDS = 4


def test_no_read_is_older_than_an_answered_write(new_server: NewServer, database_url: str, build: Wheel) -> None:
    with snapshots() as directory, Faults(directory, build) as faults, Proxy.to(faults.port) as proxy:
        behind_proxy = new_server(database_url, f"redis://127.0.0.1:{proxy.port}")
        direct = new_server(database_url, f"redis://127.0.0.1:{faults.port}")
        with running(behind_proxy, direct):
            ills: list[Callable[[], None]] = [
                *faults.of_redis,
                partial(cut, proxy),
                partial(hang, proxy),
                partial(restart, direct),
            ]
            register = Register((behind_proxy, direct))
            clients = register.start(readers=8, writers=4)
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline or register.seen["read 200"] < READS:
                random.choice(ills)()
                pause(0.4)
            register.stop(clients)

    print(sorted(register.seen.items()), len(register.stale), "stale")  # noqa: T201  # for pytest -rA
    assert register.stale == []
    assert {name for name in register.seen if name.endswith(("500", "503"))} == set()
    assert register.seen["read 200"] > 100
    assert register.acknowledged > 10


class Faults:
    """A Redis, and what may happen to it."""

    def __init__(self, directory: dict[str, str], build: Wheel) -> None:
        self._settings = directory
        self._build = build
        self._server = RedisServer.start(port=0, extra_settings=directory, wheel=build)
        self.port = self._server.port
        self.of_redis: tuple[Callable[[], None], ...] = (
            self.save,
            self.save,
            self.come_back_old,
            self.stop_for_a_while,
            self.run_out_of_memory,
            self.forget_scripts,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def save(self) -> None:
        """Keep what there is now, for later."""
        self._client().save()

    def come_back_old(self) -> None:
        """Die, and come back with what was saved last."""
        kill(self._server)
        self._server.stop()
        pause(random.random() / 2)
        self._server = start_again(self.port, self._settings, self._build)

    def stop_for_a_while(self) -> None:
        """Hang."""
        os.kill(self._server.pid, signal.SIGSTOP)
        pause(random.random() / 2)
        os.kill(self._server.pid, signal.SIGCONT)

    def run_out_of_memory(self) -> None:
        """Have no room for a while."""
        self._client().config_set("maxmemory", 1)
        pause(0.2)
        self._client().config_set("maxmemory", 0)

    def forget_scripts(self) -> None:
        """Forget every script."""
        self._client().script_flush()

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(str(self._server.tcp_url))


def cut(proxy: Proxy) -> None:
    """Cut one server process off from Redis for a while."""
    proxy.cut()
    pause(random.random())
    proxy.heal()


def hang(proxy: Proxy) -> None:
    """Hold back what one server process and Redis say to each other."""
    proxy.hang()
    pause(random.random())
    proxy.heal()


def restart(server: Server) -> None:
    """Kill one server process, and start it again."""
    server.kill()
    server.start()


def pause(seconds: float) -> None:
    """Let the load run: the one test whose subject is time."""
    time.sleep(seconds)
