"""`service serve`: what has to be right before the port opens, its workers, and its log."""

import fcntl
import json
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import requests
import uvicorn
from sqlalchemy import URL

from service.cache_cli import fetch_counts
from service.config import ConfigurationError
from service.embedded import RedisServer
from service.server import claim_address, run_server
from tests.cli.conftest import Terminal, processes, serve, show, workers_of
from tests.waiting import wait_until

pytestmark = pytest.mark.db(isolation="clone")


def test_a_database_behind_head_is_refused_before_the_port_opens(configured: Terminal, empty_database: URL) -> None:
    told = configured.run("serve", "--port", "0", DATABASE_URL=show(empty_database))

    assert told.returncode == 1
    assert "The database is at migration (none)" in told.stderr
    assert "alembic upgrade head" in told.stderr
    assert "server.starting" not in told.stderr


def taken(port: int) -> str:
    return (
        f"Port {port} of 127.0.0.1 cannot be used: Address already in use."
        " Choose another with --port, or stop what listens there."
    )


def test_a_taken_port_is_told(configured: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = configured.run("serve", "--port", str(port))

    assert (told.returncode, told.stderr) == (1, f"{taken(port)}\n")


@pytest.mark.parametrize("workers", [1, 2])
def test_of_two_that_claim_a_port_at_once_the_second_to_listen_is_told(workers: int) -> None:
    config = uvicorn.Config("service.server:make_worker_app", factory=True, workers=workers, log_config=None)
    with claim_address("127.0.0.1", 0) as first, claim_address(*first.getsockname()) as second:
        first.listen()

        with pytest.raises(ConfigurationError, match=f"^{taken(first.getsockname()[1])}$"):
            run_server(config, second)


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1", "a..b"])
def test_a_host_that_is_not_ours_is_told(host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^Host {host} cannot be used: .*[^.]\\. Choose another with --host"):
        claim_address(host, 0)


def test_it_serves_without_redis_and_warns(configured: Terminal) -> None:
    server, url = serve(configured, REDIS_URL="redis://:hunter2@127.0.0.1:1")

    assert requests.get(f"{url}/items/", timeout=5).json() == []
    assert "server.without_redis" in server.output
    assert "hunter2" not in server.output


def test_it_serves_without_a_redis_that_refuses_and_says_why(configured: Terminal) -> None:
    with RedisServer.start(port=0, extra_settings={"requirepass": "right"}) as redis_server:
        server, url = serve(configured, REDIS_URL=f"redis://:wrong@127.0.0.1:{redis_server.port}")

        assert requests.get(f"{url}/items/", timeout=5).headers["Cache-Status"].startswith("service; fwd=bypass")
        assert "it wants another user or password" in server.output  # at the start
        assert "cache.off" in server.output  # at the first read
        assert "wrong" not in server.output


def test_production_logs_one_json_event_for_each_request(configured: Terminal) -> None:
    server, url = serve(configured, ENVIRONMENT="production")
    requests.get(f"{url}/items/?limit=3", headers={"X-Request-ID": "0123456789abcdef0123456789abcdef"}, timeout=5)
    server.stop()

    events = [json.loads(line) for line in server.output.splitlines()]
    (logged,) = [event for event in events if event.get("path") == "/items/?limit=3"]
    assert {name: logged[name] for name in ("event", "method", "status", "request_id")} == {
        "event": "request",
        "method": "GET",
        "status": 200,
        "request_id": "0123456789abcdef0123456789abcdef",
    }


def test_a_hit_is_logged_with_its_request_id(configured: Terminal) -> None:
    server, url = serve(configured, ENVIRONMENT="production")

    def status() -> str:
        return requests.get(f"{url}/items/", headers={"X-Request-ID": "f" * 32}, timeout=5).headers["Cache-Status"]

    wait_until(lambda: status() == "service; hit", seconds=10)
    server.stop()

    events = [json.loads(line) for line in server.output.splitlines()]
    assert {event.get("request_id") for event in events if event.get("path") == "/items/"} == {"f" * 32}


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(configured: Terminal) -> None:
    server, url = serve(configured, "--workers", "2")
    wait_until(lambda: len(workers_of(server)) == 2, seconds=30)
    victim = min(workers_of(server))

    os.kill(victim, signal.SIGKILL)

    wait_until(lambda: len(workers_of(server) - {victim}) == 2, seconds=30)
    wait_until(lambda: server.answers(f"{url}/health/ready"), seconds=30)
    assert server.stop() == 0
    assert "Traceback" not in server.output


def read_anew(url: str, *, times: int) -> None:
    """Read the cached list on so many connections: any worker may answer."""
    for _ in range(times):
        requests.get(f"{url}/items/", timeout=5).raise_for_status()


@pytest.mark.slow
def test_counters_add_up_over_the_workers_of_past_and_present(configured: Terminal) -> None:
    server, url = serve(configured, "--workers", "2")
    wait_until(lambda: len(workers_of(server)) == 2, seconds=30)
    past = workers_of(server)
    read_anew(url, times=10)

    for pid in past:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(workers_of(server) - past) == 2, seconds=30)
    wait_until(lambda: server.answers(f"{url}/health/live"), seconds=30)
    read_anew(url, times=10)

    counts = fetch_counts(f"{url}/metrics")
    assert sum(number for name, number in counts.items() if name.startswith("reads ")) == 20


@pytest.mark.slow
def test_a_worker_that_died_does_without_redis_no_longer(configured: Terminal) -> None:
    server, url = serve(configured, "--workers", "2", REDIS_URL="redis://127.0.0.1:1")
    wait_until(lambda: len(workers_of(server)) == 2, seconds=30)

    def without_redis() -> int:
        return fetch_counts(f"{url}/metrics")["breaker_open"]

    def all_found_out() -> bool:
        read_anew(url, times=1)
        return without_redis() == 2

    wait_until(all_found_out, seconds=30)
    for pid in workers_of(server):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.answers(f"{url}/health/live"), seconds=30)

    # The new ones have not been asked for anything that is cached.
    wait_until(lambda: without_redis() == 0, seconds=10)


def is_locked(directory: Path) -> bool:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("name", ["short", "too-long-for-the-socket-of-" + "forks" * 10])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_neither_workers_nor_files_outlive_the_server(configured: Terminal, number: int, name: str) -> None:
    with TemporaryDirectory(prefix=name) as temporary:
        server, url = serve(configured, "--workers", "2", TMPDIR=temporary)
        wait_until(lambda: len(workers_of(server)) == 2, seconds=30)
        family = workers_of(server) | {pid for pid, parent, _ in processes() if parent == server.process.pid}
        (shared,) = Path(temporary).glob("item-service-metrics-*")
        assert is_locked(shared)  # what clears old files passes it by

        server.stop(number)

        wait_until(lambda: family.isdisjoint(pid for pid, _, _ in processes()), seconds=10)
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=5)
        assert list(Path(temporary).iterdir()) == []


@pytest.mark.slow
def test_the_process_that_workers_are_forks_of_may_die_too(configured: Terminal) -> None:
    server, url = serve(configured, "--workers", "2")
    wait_until(lambda: len(workers_of(server)) == 2, seconds=30)
    old = workers_of(server)
    (victim,) = (pid for pid, parent, args in processes() if parent == server.process.pid and "forkserver" in args)

    os.kill(victim, signal.SIGKILL)

    wait_until(lambda: len(workers_of(server) - old) == 2, seconds=30)
    wait_until(lambda: old.isdisjoint(pid for pid, _, _ in processes()), seconds=30)
    wait_until(lambda: server.answers(f"{url}/health/ready"), seconds=30)
    assert fetch_counts(f"{url}/metrics")
    assert server.stop() == 0
    assert "Traceback" not in server.output


@pytest.mark.slow
def test_a_server_that_cannot_replace_a_worker_ends_with_1_and_leaves_nothing(configured: Terminal) -> None:
    with TemporaryDirectory() as temporary:
        server, _ = serve(configured, "--workers", "2", TMPDIR=temporary)
        wait_until(lambda: len(workers_of(server)) == 2, seconds=30)
        family = workers_of(server)
        # Whoever cleans up there takes the socket away on which forks are asked for.
        for entry in Path(temporary).iterdir():
            shutil.rmtree(entry)

        os.kill(min(family), signal.SIGKILL)

        assert server.process.wait(30) == 1
        wait_until(lambda: family.isdisjoint(pid for pid, _, _ in processes()), seconds=10)
        assert "server.cannot_start_workers" in server.output


def test_workers_without_a_place_for_their_counters_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    config = uvicorn.Config("nowhere:app", workers=2)

    with claim_address("127.0.0.1", 0) as listener:
        with pytest.raises(ConfigurationError, match="Let TMPDIR name a directory that can be written to"):
            run_server(config, listener)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(listener.getsockname())
