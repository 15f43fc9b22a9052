import socket
from collections.abc import Iterator

import pytest

from service.testing.errors import SetupError
from service.testing.worker_redis import WorkerRedis
from tests.harness.conftest import GivenServers, RunBookshop, assert_refused

NEEDS_REDIS = """
import pytest

@pytest.mark.parametrize("number", range(6))
def test_it(redis_client, number): pass
"""


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
        client.function_load("#!lua name=books\nredis.register_function('count', function() return 1 end)")

        own.flush()

        assert client.info("keyspace") == {}
        assert client.function_list() == []


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


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The URL of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"


def test_without_a_redis_the_run_ends_with_the_first_test_that_needs_one(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers
) -> None:
    bookshop.makepyfile(NEEDS_REDIS)

    result = run_bookshop("-n0", env=given.environment | {"TEST_REDIS_URL": "redis://127.0.0.1:1"})

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*Exit: The Redis server of TEST_REDIS_URL cannot be used: *"])
    assert result.stdout.str().count("cannot be used") == 1
    assert "errors" not in result.parseoutcomes()


def test_a_redis_that_says_nothing_ends_the_run_of_several_processes_once(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers, silent_server: str
) -> None:
    bookshop.makepyfile(NEEDS_REDIS)

    result = run_bookshop("-n2", env=given.environment | {"TEST_REDIS_URL": silent_server})

    assert_refused(result, "The Redis server of TEST_REDIS_URL cannot be used: Timeout")
