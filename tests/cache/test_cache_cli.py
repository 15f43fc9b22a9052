"""`service cache`."""

import pytest
import redis
from typer.testing import CliRunner

from service.cache_cli import app
from service.config import ConfigurationError
from service.embedded import RedisServer
from service.entries import item_key
from tests.cache.fleet import NewServer, running
from tests.cache.workers import WATCHED, StartWorker

pytestmark = pytest.mark.db(isolation="clone")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, database_url: str, own_redis: RedisServer) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", str(own_redis.tcp_url))


def test_check_finds_true_entries_true(start_worker: StartWorker) -> None:
    start_worker().warm()

    result = CliRunner().invoke(app, ["check"])

    assert (result.exit_code, result.output) == (0, "1 entries compared, all true; 0 more are void.\n")


def test_check_names_an_entry_that_somebody_changed(start_worker: StartWorker, own_redis: RedisServer) -> None:
    start_worker().warm()
    with redis.Redis.from_url(str(own_redis.tcp_url)) as foreigner:
        genuine = foreigner.get(item_key(WATCHED))
        assert isinstance(genuine, bytes)
        foreigner.set(item_key(WATCHED), genuine.replace(b"old", b"lie"))

    result = CliRunner().invoke(app, ["check"])

    assert isinstance(result.exception, ConfigurationError)
    assert result.exception.problems == ["item_cache:1: the entry is not what PostgreSQL holds"]


def test_clear_voids_every_entry(start_worker: StartWorker) -> None:
    worker = start_worker()
    assert worker.warm() == "old"

    assert CliRunner().invoke(app, ["clear"]).exit_code == 0

    assert worker.look().source == "stored"


def test_stats_adds_up_what_servers_counted(new_server: NewServer, database_url: str, own_redis: RedisServer) -> None:
    servers = [new_server(database_url, str(own_redis.tcp_url)) for _ in range(2)]
    with running(*servers):
        for server in servers:
            for _ in range(5):
                server.ask("GET", "/items/1")

        result = CliRunner().invoke(app, ["stats", *(f"http://127.0.0.1:{server.port}/metrics" for server in servers)])

    assert result.exit_code == 0
    assert "of 10 reads" in result.output
    told = [line.rsplit(maxsplit=1)[0] for line in result.output.splitlines()]
    assert told[1:5] == ["breaker_open", "epoch_bumps", "lease_waits", "reads hit"]
    assert "reads stored" in told


def test_servers_that_do_not_answer_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")

    for command in (["check"], ["stats", "http://127.0.0.1:1/metrics"]):
        assert isinstance(CliRunner().invoke(app, command).exception, ConfigurationError)
