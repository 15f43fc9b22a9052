"""A throw-away PostgreSQL: what it is, and that nothing of it stays."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy

from service.embedded import EmbeddedError, PostgresServer
from tests.embedded.owner_process import (
    GRACE_SECONDS,
    alive,
    descendants,
    eventually,
    is_running,
    parent_of,
    scratches,
    state_of,
    uid_of,
)

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.embedded.owner_process import Owner


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer.start(max_connections=37, extra_settings={"work_mem": "5MB"}) as running:
        yield running


def ask(server: PostgresServer, query: str) -> object:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def test_it_answers_as_soon_as_start_returns(server: PostgresServer) -> None:
    assert ask(server, "SELECT 6 * 7") == 42


def test_its_url_works_with_sqlalchemy_too(server: PostgresServer) -> None:
    url = server.url().replace("postgresql:", "postgresql+psycopg:")
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)

    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.text("SELECT current_database()")) == "postgres"


def test_a_database_of_any_name_is_reached_by_url(server: PostgresServer) -> None:
    ask(server, 'CREATE DATABASE "a/b ?&ü"')

    with psycopg.connect(server.url("a/b ?&ü")) as connection:
        assert connection.info.dbname == "a/b ?&ü"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fsync", "off"),
        ("synchronous_commit", "off"),
        ("full_page_writes", "off"),
        ("autovacuum", "off"),
        ("wal_level", "minimal"),
        ("max_locks_per_transaction", "256"),
        ("listen_addresses", ""),
        ("max_connections", "37"),
        ("work_mem", "5MB"),
        ("TimeZone", "UTC"),
        ("server_encoding", "UTF8"),
    ],
)
def test_its_settings_suit_tests(server: PostgresServer, setting: str, value: str) -> None:
    assert ask(server, f"SHOW {setting}") == value


def test_its_reported_version_is_the_servers(server: PostgresServer) -> None:
    assert ask(server, "SHOW server_version") == server.version


def test_it_knows_letters_beyond_ascii(server: PostgresServer) -> None:
    assert ask(server, "SELECT upper('éñж')") == "ÉÑЖ"


def test_its_client_programs_are_at_hand(server: PostgresServer) -> None:
    assert os.access(server.bin_directory / "pg_dump", os.X_OK)


def test_it_never_runs_as_root(server: PostgresServer) -> None:
    assert uid_of(server.pid) != 0


def test_only_its_account_may_enter_its_socket_directory(server: PostgresServer) -> None:
    found = server.socket_directory.stat()

    assert stat.S_IMODE(found.st_mode) == 0o700
    assert found.st_uid == uid_of(server.pid)


def test_the_terminals_ctrl_c_does_not_reach_it(server: PostgresServer) -> None:
    assert os.getsid(server.pid) != os.getsid(0)


def test_stop_leaves_no_process_and_no_file() -> None:
    server = PostgresServer.start()
    family = {**descendants(server.pid), **descendants(parent_of(server.pid))}
    home = server.data_directory.parent
    ask(server, "CREATE TABLE filler AS SELECT generate_series(1, 1000)")

    begin = time.monotonic()
    server.stop()

    assert time.monotonic() - begin < GRACE_SECONDS
    assert family
    assert not alive(family)
    assert not home.exists()


def test_stop_twice_is_harmless() -> None:
    server = PostgresServer.start()

    server.stop()
    server.stop()

    assert not is_running(server.pid)


def test_it_stops_when_its_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), PostgresServer.start() as server:
        _ = server.port / 0

    assert not is_running(server.pid)


def test_a_stopped_backend_does_not_hold_it_up() -> None:
    with PostgresServer.start() as server, psycopg.connect(server.url()) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        eventually(lambda: state_of(backend) == "T")

        server.stop()

        eventually(lambda: not is_running(backend))
        connection.close()


def test_a_killed_postmaster_leaves_no_shared_memory() -> None:
    server = PostgresServer.start()
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: not is_running(server.pid))

    server.stop()

    creators = [line.split()[4] for line in Path("/proc/sysvipc/shm").read_text().splitlines()]
    assert str(server.pid) not in creators


def test_two_servers_share_nothing() -> None:
    with PostgresServer.start() as one, PostgresServer.start() as other:
        ask(one, "CREATE DATABASE only_here")

        assert ask(other, "SELECT count(*) FROM pg_database WHERE datname = 'only_here'") == 0


def test_a_port_is_listened_on_only_when_asked_for() -> None:
    with (
        PostgresServer.start(port=0) as server,
        psycopg.connect(host="127.0.0.1", port=server.port, user="postgres") as by_tcp,
    ):
        assert by_tcp.info.port == server.port
        assert ask(server, "SELECT 1") == 1
        assert ask(server, "SHOW listen_addresses") == "127.0.0.1"


def test_a_second_listener_is_refused_naming_the_port() -> None:
    with (
        PostgresServer.start(port=0) as server,
        pytest.raises(EmbeddedError, match=f"Port {server.port} .* --port"),
    ):
        PostgresServer.start(port=server.port)


@pytest.mark.parametrize("port", [-1, 65536])
def test_an_impossible_port_is_refused(port: int) -> None:
    with pytest.raises(EmbeddedError, match="between 0 and 65535"):
        PostgresServer.start(port=port)


def test_a_refused_setting_is_quoted_from_the_log() -> None:
    before = scratches(os.getpid())

    with pytest.raises(EmbeddedError, match='unrecognized configuration parameter "no_such_thing"'):
        PostgresServer.start(extra_settings={"no_such_thing": "1"})

    assert scratches(os.getpid()) == before


def test_a_user_whom_the_machine_does_not_know_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {entry.pw_uid for entry in pwd.getpwall()}
    unknown = next(uid for uid in range(40_000, 60_000) if uid not in known)
    monkeypatch.setattr(os, "geteuid", lambda: unknown)

    with pytest.raises(EmbeddedError, match=f"user id {unknown} has no name on this machine.* --user nobody"):
        PostgresServer.start()


def test_the_users_client_settings_do_not_reach_it(owner: Callable[..., Owner]) -> None:
    configured = owner(
        "server = PostgresServer.start()\nsay(server.url())\nwait_for_the_end()",
        PGPORT="1",
        PGDATA="/nowhere",
        PGOPTIONS="--bad",
        PGCLIENTENCODING="LATIN1",
    )

    with psycopg.connect(configured.hear()) as connection:
        assert connection.execute("SHOW client_encoding").fetchone() == ("UTF8",)


def test_its_own_file_too_keeps_shared_memory_where_it_is_removed(server: PostgresServer) -> None:
    setting = "SELECT setting FROM pg_file_settings WHERE name = 'dynamic_shared_memory_type'"

    assert ask(server, setting) == "mmap"
