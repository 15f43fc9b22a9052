"""`service up`: everything from nothing, and nothing left of it but the data."""

import re
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
import redis
import requests

from service.database import SCHEMA_REVISION
from service.embedded import PostgresServer
from tests.cli.conftest import Running, Terminal, processes
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

SERVING = "Application startup complete"
INTERRUPTED, INTERRUPTED_TWICE, TERMINATED = [signal.SIGINT], [signal.SIGINT, signal.SIGINT], [signal.SIGTERM]


@dataclass(frozen=True, slots=True)
class Stack:
    """What `up` printed once it served."""

    command: Running
    url: str
    psql: str
    redis_socket: str
    export: str

    @property
    def database_url(self) -> str:
        """What psql is given."""
        return self.psql.partition(" ")[2].strip("'")


def up(terminal: Terminal, *words: str) -> Stack:
    """Start the stack on a free port."""
    command = terminal.start("up", "--port", "0", *words)
    command.await_output(SERVING)
    url, psql, redis_socket, export = (
        re.search(pattern, command.output, re.MULTILINE)[1]  # type: ignore[index]
        for pattern in (
            r"^API +(http://127\.0\.0\.1:\d+)/items/$",
            r"^PostgreSQL +(\S*psql .+)$",
            r"^Redis +redis-cli -s (\S+)$",
            r"^ +(export .+)$",
        )
    )
    return Stack(command, url, psql, redis_socket, export)


def list_items(stack: Stack) -> list[dict[str, object]]:
    items: list[dict[str, object]] = requests.get(f"{stack.url}/items/?limit=1000", timeout=5).json()
    return items


def assert_nothing_runs(command: Running, data: Path) -> None:
    """Neither a reaper of this command, which names its process id, nor a server on this data."""
    traces = (f"reaper.py {command.process.pid}", str(data))
    wait_until(lambda: not any(args.endswith(traces[0]) or traces[1] in args for *_, args in processes()), seconds=5)
    assert not (data / "postgres" / "postmaster.pid").exists()


def test_it_serves_a_thousand_sample_items_and_the_lines_that_it_prints_work_when_pasted(terminal: Terminal) -> None:
    stack = up(terminal)

    assert len(list_items(stack)) == 1000
    assert requests.get(f"{stack.url}/docs", timeout=5).ok
    assert requests.get(f"{stack.url}/health/ready", timeout=5).json() == {
        "status": "ready",
        "database": "up",
        "migrations": "at head",
        "redis": "up",
    }
    counted = terminal.paste(f"{stack.psql} -Atc 'TABLE alembic_version'")
    checked = terminal.paste(f"{stack.export} && {terminal.python} -m service check")
    assert counted.stdout == f"{SCHEMA_REVISION}\n"
    assert checked.stdout.startswith("settings    valid\nPostgreSQL")
    with redis.Redis(unix_socket_path=stack.redis_socket) as client:
        assert client.ping()


def test_data_survives_and_samples_come_once_only(terminal: Terminal) -> None:
    first = up(terminal)
    with psycopg.connect(first.database_url) as connection:
        connection.execute("DELETE FROM item")
    requests.post(f"{first.url}/items/", json={"name": "Kettle", "price": 34.9}, timeout=5).raise_for_status()
    assert first.command.stop() == 0

    second = up(terminal)

    assert [item["name"] for item in list_items(second)] == ["Kettle"]


@pytest.mark.parametrize(
    ("stage", "signals"),
    [
        ("", INTERRUPTED),
        ("PostgreSQL", INTERRUPTED_TWICE),
        ("Redis (Valkey)", TERMINATED),
        ("Schema and items", INTERRUPTED_TWICE),
        ("Application", INTERRUPTED),
        (SERVING, TERMINATED),
    ],
)
def test_a_signal_at_any_stage_stops_everything(terminal: Terminal, stage: str, signals: list[int]) -> None:
    data = terminal.directory / "data"
    start = terminal.start if stage else terminal.start_typed
    command = start("up", "--port", "0", "--data-dir", str(data))
    command.await_output(stage)

    for number in signals:
        command.process.send_signal(number)
    status = command.process.wait(timeout=10)  # 5 s, where no other tests run

    # Before the first stage Python may still import what would handle the signal.
    expected = {"": {-signals[0], 128 + signals[0]}, SERVING: {0}}.get(stage, {0, 128 + signals[0]})
    assert status in expected, command.output
    assert "Traceback" not in command.output
    assert_nothing_runs(command, data)
    sockets = re.findall(r"/\S+/item-service-\w+(?=/run)", command.output)
    assert not any(Path(directory).exists() for directory in sockets)
    assert {path.name for path in terminal.directory.iterdir()} <= {"data", command.output_file.name}


def test_a_second_ctrl_c_does_not_disturb_the_stopping(terminal: Terminal) -> None:
    command = up(terminal).command
    command.process.send_signal(signal.SIGINT)
    command.await_output("Shutting down")

    assert command.stop(signal.SIGINT) == 0
    assert "Traceback" not in command.output
    assert_nothing_runs(command, terminal.directory / ".service-data")


def test_a_killed_stack_leaves_no_process(terminal: Terminal) -> None:
    stack = up(terminal)

    stack.command.process.kill()
    stack.command.process.wait()

    assert_nothing_runs(stack.command, terminal.directory / ".service-data")
    wait_until(lambda: not Path(stack.redis_socket).parent.exists(), seconds=3)


def test_a_second_stack_on_the_same_data_is_refused(terminal: Terminal) -> None:
    stack = up(terminal)

    told = terminal.run("up", "--port", "0")

    assert told.returncode == 1
    assert f"The data directory {terminal.directory}/.service-data/postgres is in use" in told.stderr
    assert "Traceback" not in told.stderr
    assert len(list_items(stack)) == 1000


def test_a_taken_port_is_told_before_anything_is_made(terminal: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = terminal.run("up", "--port", str(port))

    assert told.returncode == 1
    assert told.stdout == ""
    assert told.stderr.startswith(f"Port {port} of 127.0.0.1 cannot be used: Address already in use.")
    assert list(terminal.directory.iterdir()) == []


def test_wrong_settings_are_told_before_anything_is_made(terminal: Terminal) -> None:
    told = terminal.run("up", "--port", "0", THREADS="0", POOL_SIZE="many")

    assert told.returncode == 1
    assert "THREADS='0'" in told.stderr
    assert "POOL_SIZE='many'" in told.stderr
    assert list(terminal.directory.iterdir()) == []


def test_a_directory_of_something_else_is_refused_and_left_alone(terminal: Terminal) -> None:
    foreign = terminal.directory / "data" / "postgres" / "thesis.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")

    told = terminal.run("up", "--port", "0", "--data-dir", "data")

    assert told.returncode == 1
    assert "it holds other files" in told.stderr
    assert foreign.read_text() == "mine"


@pytest.mark.parametrize("made", [[], ["CREATE DATABASE items"]], ids=["creating", "preparing"])
def test_a_database_that_cannot_be_written_is_told(terminal: Terminal, made: list[LiteralString]) -> None:
    with (
        PostgresServer.start(data_directory=terminal.directory / "data" / "postgres") as server,
        psycopg.connect(server.url(), autocommit=True) as connection,
    ):
        # Like a disk that is full, but without the need of one.
        for statement in (*made, "ALTER SYSTEM SET default_transaction_read_only = on"):
            connection.execute(statement)

    told = terminal.run("up", "--port", "0", "--data-dir", "data")

    assert told.returncode == 1
    assert re.fullmatch(
        r"The database in data: cannot execute CREATE \w+ in a read-only transaction\."
        r" Free space there or choose another directory with --data-dir\.\n",
        told.stderr,
    )


def test_a_first_start_that_fails_leaves_no_directory(terminal: Terminal) -> None:
    (terminal.directory / "kept").mkdir()

    # Without `cp` no cluster can be made.
    told = terminal.run("up", "--port", "0", "--data-dir", "kept/a/b", PATH="/nowhere")

    assert told.returncode == 1, told.stderr
    assert list((terminal.directory / "kept").iterdir()) == []


def test_a_file_is_no_data_directory(terminal: Terminal) -> None:
    (terminal.directory / "file").touch()

    told = terminal.run("up", "--port", "0", "--data-dir", "file")

    assert told.returncode == 2
    assert "is a file" in told.stderr


def test_data_of_a_later_release_is_refused_and_left_alone(terminal: Terminal) -> None:
    stack = up(terminal)
    with psycopg.connect(stack.database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '29991231_01'")
    stack.command.stop()

    told = terminal.run("up", "--port", "0")

    assert told.returncode == 1
    assert "29991231_01" in told.stderr
    assert "--data-dir" in told.stderr
    assert "Traceback" not in told.stderr
