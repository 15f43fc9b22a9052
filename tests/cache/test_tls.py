"""A Redis that is reached by TLS: single, a Cluster, behind Sentinel; and one whose certificate proves nothing.

No wheel of a server brings TLS, so a proxy in front of the real one takes it off.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from service.check import find_redis_problem
from service.config import Settings
from service.embedded import RedisServer
from service.embedded.binaries import Wheel
from tests.cache.clients import StartClient, find_on_the_loop, warm
from tests.cache.deployments import MASTERS, cluster, sentinel
from tests.cache.tls import Authority, tls_front

pytestmark = [
    pytest.mark.slow,
    pytest.mark.db(isolation="clone"),
    # Python 3.11 forgets the socket when the peer, here a proxy that ends, resets it before the handshake.
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs the servers' certificates."""
    return Authority(tmp_path)


@pytest.fixture
def front(own_redis: RedisServer, authority: Authority) -> Iterator[int]:
    """The port at which the test's Redis is reached by TLS."""
    with tls_front(authority.context(), lambda: own_redis.port or 0) as port:
        yield port


def test_a_single_server_is_reached_by_tls(start_client: StartClient, authority: Authority, front: int) -> None:
    url = f"rediss://127.0.0.1:{front}?ssl_ca_certs={authority.path}"

    assert_that_it_caches(start_client, url)


def test_a_cluster_is_reached_by_tls(start_client: StartClient, authority: Authority, build: Wheel) -> None:
    targets: list[int] = []
    with ExitStack() as fronts:
        ports = [
            fronts.enter_context(tls_front(authority.context(), partial(targets.__getitem__, number)))
            for number in range(MASTERS)
        ]
        nodes = fronts.enter_context(cluster(build, [{"cluster-announce-port": str(port)} for port in ports]))
        targets += [node.port or 0 for node in nodes]

        assert_that_it_caches(start_client, f"rediss+cluster://127.0.0.1:{ports[0]}?ssl_ca_certs={authority.path}")


def test_sentinel_and_its_server_are_reached_by_tls(
    start_client: StartClient, authority: Authority, own_redis: RedisServer, front: int, tmp_path: Path
) -> None:
    with (
        sentinel(own_redis, tmp_path, address=front, replicas=0) as plain,
        tls_front(authority.context(), lambda: plain) as port,
    ):
        url = f"rediss+sentinel://127.0.0.1:{port}/items/0?ssl_ca_certs={authority.path}"

        assert_that_it_caches(start_client, url)


def assert_that_it_caches(start_client: StartClient, url: str) -> None:
    one, two = (start_client(redis_url=url, redis_timeout_seconds=1) for _ in range(2))
    warm(one)
    warm(two)
    assert find_on_the_loop(two, "item_cache:1") is not None

    one.put("/items/1", json={"name": "new", "price": 1})

    assert two.get("/items/1").json()["name"] == "new"


# Whom the server claims to be, what the client is told to trust, and what it says then.
DISTRUST = [
    ("127.0.0.1", "", "certificate verify failed: unable to get local issuer certificate"),
    ("cache.example", "?ssl_ca_certs={path}", "IP address mismatch, certificate is not valid for '127.0.0.1'"),
    ("127.0.0.1", "?ssl_ca_certs=/nowhere.pem", "No such file or directory"),
]


@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster"])
@pytest.mark.parametrize(("host", "query", "reason"), DISTRUST)
def test_a_certificate_that_proves_nothing_is_named_and_the_service_runs_without_the_cache(  # noqa: PLR0913, PLR0917  # fixtures
    start_client: StartClient,
    authority: Authority,
    own_redis: RedisServer,
    caplog: pytest.LogCaptureFixture,
    scheme: str,
    host: str,
    query: str,
    reason: str,
) -> None:
    with tls_front(authority.context(host), lambda: own_redis.port or 0) as port:
        url = f"{scheme}://127.0.0.1:{port}{query.format(path=authority.path)}"

        assert_that_all_works_without_the_cache(start_client, url)

        (off,) = (record for record in caplog.records if record.message == "cache.off")
        assert reason in vars(off)["error"]
        settings = Settings.model_validate({"database_url": "postgresql://unused/unused", "redis_url": url})
        assert reason in str(find_redis_problem(settings))


def test_a_server_without_tls_means_no_cache(start_client: StartClient, own_redis: RedisServer) -> None:
    assert_that_all_works_without_the_cache(start_client, f"rediss://127.0.0.1:{own_redis.port}")


def assert_that_all_works_without_the_cache(start_client: StartClient, url: str) -> None:
    client = start_client(redis_url=url)

    written = client.put("/items/1", json={"name": "new", "price": 1})
    read = client.get("/items/1")

    assert (written.status_code, read.status_code, read.json()) == (200, 200, written.json())
    assert read.headers["cache-status"] == "service; fwd=bypass; detail=redis-down"
