"""A throw-away Valkey: what it is, and that nothing of it stays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from service.embedded import EmbeddedError, RedisServer
from tests.embedded.owner_process import is_running, scratches, uid_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer.start(extra_settings={"maxmemory": "50mb"}) as running:
        yield running


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as connection:
        yield connection


def test_it_answers_as_soon_as_start_returns(client: redis.Redis) -> None:
    assert client.ping()


def test_it_never_runs_as_root(server: RedisServer) -> None:
    assert uid_of(server.pid) != 0


def test_it_persists_nothing(client: redis.Redis) -> None:
    assert client.config_get("save") == {"save": ""}
    assert client.config_get("appendonly") == {"appendonly": "no"}


def test_settings_of_the_caller_arrive(client: redis.Redis) -> None:
    assert client.config_get("maxmemory") == {"maxmemory": str(50 * 1024**2)}


def test_without_a_port_it_listens_on_its_socket_only(server: RedisServer, client: redis.Redis) -> None:
    assert client.config_get("port") == {"port": "0"}
    assert server.port is None
    assert server.tcp_url is None


def test_with_a_port_it_answers_there_too() -> None:
    with RedisServer.start(port=0) as server:
        assert server.tcp_url == f"redis://127.0.0.1:{server.port}"
        with redis.Redis.from_url(server.tcp_url) as by_tcp, redis.Redis.from_url(server.url) as by_socket:
            assert by_tcp.ping()
            assert by_socket.ping()


def test_a_taken_port_is_refused_naming_it() -> None:
    with RedisServer.start(port=0) as server, pytest.raises(EmbeddedError, match=f"Port {server.port} .* --port"):
        RedisServer.start(port=server.port)


def test_a_password_does_not_keep_it_from_starting() -> None:
    password = "open sesame"  # noqa: S105 - of a server that ends with the test
    with (
        RedisServer.start(extra_settings={"requirepass": password}) as server,
        redis.Redis.from_url(server.url, password=password) as connection,
    ):
        assert connection.ping()


def test_two_servers_share_nothing(client: redis.Redis) -> None:
    client.set("here", "only")

    with RedisServer.start() as other, redis.Redis.from_url(other.url) as connection:
        assert connection.get("here") is None


def test_stop_leaves_no_process_and_no_file() -> None:
    server = RedisServer.start()
    home = Path(server.url.removeprefix("unix://")).parents[1]
    assert home.exists()

    server.stop()
    server.stop()

    assert not is_running(server.pid)
    assert not home.exists()


def test_its_log_stays_in_a_data_directory_and_its_keys_do_not(tmp_path: Path) -> None:
    home = tmp_path / "not" / "yet"
    with RedisServer.start(data_directory=home) as server, redis.Redis.from_url(server.url) as connection:
        connection.set("key", "value")

    with RedisServer.start(data_directory=home) as server, redis.Redis.from_url(server.url) as connection:
        assert connection.get("key") is None
    assert [path.name for path in home.iterdir()] == ["redis.log"]


def test_a_refused_setting_is_quoted_from_the_log() -> None:
    before = scratches(os.getpid())

    with pytest.raises(EmbeddedError, match="no-such-thing"):
        RedisServer.start(extra_settings={"no-such-thing": "1"})

    assert scratches(os.getpid()) == before


def test_a_log_that_is_a_link_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch()
    (tmp_path / "redis.log").symlink_to(target)

    with pytest.raises(EmbeddedError, match=r"redis\.log"):
        RedisServer.start(data_directory=tmp_path)

    assert target.read_bytes() == b""


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(EmbeddedError, match="file"):
        RedisServer.start(data_directory=tmp_path / "file")
