from collections.abc import Iterator

import pytest

from service.testing.errors import SetupError
from service.testing.worker_redis import WorkerRedis
from tests.harness.conftest import GivenServers


@pytest.fixture
def own() -> Iterator[WorkerRedis]:
    own = WorkerRedis(None)
    yield own
    own.close()


def test_a_server_of_our_own_is_emptied_wholly(own: WorkerRedis) -> None:
    with own.connect() as client:
        for number in (0, 3):
            client.select(number)
            client.set("books", 1)

        own.flush()

        assert client.info("keyspace") == {}


def test_of_another_server_one_database_is_emptied(given: GivenServers) -> None:
    given.client.set("books", 4711)
    claimed = WorkerRedis(given.redis.url)
    try:
        with claimed.connect() as client:
            client.set("books", 1)
            assert given.keys() == {"db0": 1, f"db{client.client_info()['db']}": 1}

        claimed.flush()

        assert given.keys() == {"db0": 1}
    finally:
        claimed.close()
        given.client.delete("books")


def test_a_server_that_a_test_has_ended_is_named(own: WorkerRedis) -> None:
    with own.connect() as client:
        client.shutdown(nosave=True)

    with pytest.raises(SetupError, match="should start one for itself"):
        own.flush()
