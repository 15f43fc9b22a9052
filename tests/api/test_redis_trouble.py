"""Without Redis everything works, from PostgreSQL."""

import socket
import time
from collections.abc import Iterator

import pytest
import redis
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.testclient import TestClient

from service.embedded import RedisServer
from tests.ancient_redis import ancient_redis
from tests.api.conftest import ClientWith, both_paths

BYPASS = "service; fwd=bypass; detail=redis-down"

pytestmark = [pytest.mark.slow, pytest.mark.db(isolation="clone")]


@pytest.fixture
def hung_redis() -> Iterator[str]:
    """The URL of a server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def assert_all_calls_work(client: TestClient) -> None:
    created = client.post("/items/", json={"name": "Widget", "price": 1})
    address = created.headers["Location"]
    listed, found = client.get("/items/"), client.get(address)
    replaced = client.put(address, json={"name": "Gadget", "price": 2})
    changed = client.get(address)
    deleted = client.delete(address)

    assert [answer.status_code for answer in (created, listed, found, replaced, changed, deleted)] == [200] * 6
    assert (listed.json(), found.json()) == ([created.json()], created.json())
    assert (changed.json(), client.get("/items/").json()) == (replaced.json(), [])
    assert {answer.headers["Cache-Status"] for answer in (listed, found, changed)} == {BYPASS}
    assert client.get(address).status_code == 404


@pytest.mark.parametrize(
    "redis_url", ["redis://127.0.0.1:1/0", "unix:///nowhere/redis.sock", "redis://no-such-host.invalid:6379/0"]
)
def test_everything_works_when_redis_cannot_be_reached(client_with: ClientWith, redis_url: str) -> None:
    assert_all_calls_work(client_with(redis_url=SecretStr(redis_url)))


@both_paths
def test_everything_works_when_redis_hangs(client_with: ClientWith, hung_redis: str) -> None:
    client = client_with(redis_url=SecretStr(hung_redis))
    began = time.monotonic()

    assert_all_calls_work(client)

    # Eight reads and writes at their bounds (0.3 and 0.6 s), and room for a busy machine.
    assert time.monotonic() - began < 8


def test_everything_works_when_redis_refuses_the_password(client_with: ClientWith, app: FastAPI) -> None:
    scheme, _, rest = app.state.settings.redis_url.get_secret_value().partition("://")

    assert_all_calls_work(client_with(redis_url=SecretStr(f"{scheme}://nobody:wrong@{rest}")))


def test_everything_works_when_redis_is_too_old(client_with: ClientWith, caplog: pytest.LogCaptureFixture) -> None:
    with ancient_redis("6.0.16") as url:
        assert_all_calls_work(client_with(redis_url=SecretStr(url)))

    (off,) = (record for record in caplog.records if record.message == "cache.off")
    assert vars(off)["error"] == "Redis 6.0.16 is too old: 6.2 or newer is needed"


@both_paths
def test_a_lost_connection_to_redis_is_made_anew(client_with: ClientWith) -> None:
    # A server of its own: on a given one, other people's connections would be lost too.
    with RedisServer.start() as server, redis.Redis.from_url(server.url) as administrator:
        client = client_with(redis_url=SecretStr(server.url))
        client.get("/items/")
        administrator.client_kill_filter(_type="normal", skipme=True)

        answers = [client.get("/items/") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert "hit" in answers[-1].headers["Cache-Status"]
