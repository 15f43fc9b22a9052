"""Whatever happens to the process that started a server, nothing of the server stays."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.embedded import RedisServer
from service.embedded.account import server_account
from tests.embedded.owner_process import eventually, is_running, parent_of, scratches

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.embedded.owner_process import Owner

BOTH = "servers = PostgresServer.start(), RedisServer.start(); say('up'); wait_for_the_end()"
# From before the reaper runs until after both servers are up.
MOMENTS = [0.0, 0.01, 0.03, 0.06, 0.09, 0.13, 0.18, 0.3]


def let_run(owner: Owner, seconds: float) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        owner.process.wait(seconds)


def shared_memory_files() -> set[Path]:
    uid = server_account().uid
    return {path for path in Path("/dev/shm").glob("PostgreSQL.*") if path.stat().st_uid == uid}  # noqa: S108


@pytest.mark.parametrize("seconds", MOMENTS)
def test_an_owner_killed_during_its_start_leaves_nothing(owner: Callable[..., Owner], seconds: float) -> None:
    starting = owner(BOTH)
    let_run(starting, seconds)

    starting.kill()


@pytest.mark.parametrize("seconds", [0.15, 0.4, 0.8])
def test_an_owner_killed_while_caches_are_made_leaves_no_half_of_one(
    owner: Callable[..., Owner], open_directory: Path, seconds: float
) -> None:
    before = shared_memory_files()
    starting = owner(BOTH, XDG_CACHE_HOME=str(open_directory))
    let_run(starting, seconds)

    starting.kill()

    assert not list(open_directory.glob("item-service/.*"))
    assert shared_memory_files() <= before


def test_an_owner_killed_while_its_servers_run_leaves_nothing(owner: Callable[..., Owner]) -> None:
    running = owner(BOTH)
    assert running.hear() == "up"
    assert len(scratches(running.process.pid)) == 2

    running.kill()


def test_an_owner_killed_under_load_leaves_nothing(owner: Callable[..., Owner]) -> None:
    busy = owner("""
import psycopg
server = PostgresServer.start()
connections = [psycopg.connect(server.url()) for _ in range(3)]
for connection in connections:
    connection.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 10000000000)")
say("busy")
wait_for_the_end()
""")
    busy.hear()

    busy.kill()


def test_an_owner_that_just_exits_leaves_nothing(owner: Callable[..., Owner]) -> None:
    careless = owner("keep = PostgresServer.start()\nos._exit(0)")
    careless.end()

    eventually(lambda: not (careless.marked() or scratches(careless.process.pid)))


def test_a_fork_that_outlives_the_owner_keeps_nothing_alive(owner: Callable[..., Owner]) -> None:
    forking = owner("""
server = PostgresServer.start()
if os.fork() == 0:
    os.close(1)
    wait_for_the_end()
say(server.pid)
wait_for_the_end()
""")
    pid = int(forking.hear())

    forking.process.kill()
    forking.process.wait()

    eventually(lambda: not (is_running(pid) or scratches(forking.process.pid)))


def test_a_fork_that_stops_the_server_stops_nothing(owner: Callable[..., Owner]) -> None:
    forking = owner("""
server = RedisServer.start()
if (child := os.fork()) == 0:
    server.stop()
    os._exit(0)
os.waitpid(child, 0)
os.kill(server.pid, 0)
server.stop()
say("stopped once, by the owner")
""")

    assert forking.end() == ("stopped once, by the owner\n", 0)


def test_a_killed_reaper_takes_the_servers_along(owner: Callable[..., Owner]) -> None:
    victim = owner("server = PostgresServer.start()\nsay(server.pid)\nwait_for_the_end()")
    pid = int(victim.hear())

    os.kill(parent_of(pid), signal.SIGKILL)

    eventually(lambda: not is_running(pid))


def test_the_next_start_removes_what_a_killed_reaper_left(owner: Callable[..., Owner]) -> None:
    victim = owner("server = PostgresServer.start()\nsay(server.pid)\nwait_for_the_end()")
    pid = int(victim.hear())
    os.kill(parent_of(pid), signal.SIGKILL)
    eventually(lambda: not is_running(pid))

    with RedisServer.start():
        assert not scratches(victim.process.pid)


def test_a_terminated_reaper_clears_up(owner: Callable[..., Owner]) -> None:
    victim = owner("server = PostgresServer.start()\nsay(server.pid)\nwait_for_the_end()")
    pid = int(victim.hear())

    os.kill(parent_of(pid), signal.SIGTERM)

    eventually(lambda: not (is_running(pid) or scratches(victim.process.pid)))


def test_a_start_removes_no_directory_that_is_not_a_dead_servers() -> None:
    with RedisServer.start() as living:
        base = Path(living.url.removeprefix("unix://")).parents[2]
        # Under its name from the first moment with its file: other tests start servers, which remove empty ones.
        unnamed = Path(tempfile.mkdtemp(dir=base))
        (unnamed / "precious").touch()
        foreign = unnamed.rename(base / f"item-service-{os.urandom(6).hex()}")

        with RedisServer.start():
            survivors = [path.exists() for path in (base, foreign / "precious", Path(living.url[7:]))]

        (foreign / "precious").unlink()
        foreign.rmdir()
    assert survivors == [True, True, True]
