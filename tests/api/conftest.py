"""Applications that differ from the usual one in a setting, and tests that run with and without the fast path."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from service.main import create_app

ClientWith = Callable[..., TestClient]
AssertQueries = Callable[[int], AbstractContextManager[None]]


# Marks tests that are answered from the cache: on the event loop or by the endpoint, and no answer may tell.
both_paths = pytest.mark.parametrize("has_fast_path", [True, False], ids=["fast", "plain"])


@pytest.fixture
def has_fast_path() -> bool:
    """Whether hits are answered on the event loop, as they are unless a setting forbids it."""
    return True


@pytest.fixture
def client(client: TestClient, app: FastAPI, *, has_fast_path: bool) -> TestClient:
    """The client that all tests have."""
    assert app.state.find_hit is not None
    if not has_fast_path:
        app.state.find_hit = None  # as CACHE_FAST_PATH=false has it
    return client


@pytest.fixture
def assert_queries(app: FastAPI, assert_queries: AssertQueries) -> AssertQueries:
    """Counts the queries of requests alone: the cache's keeper, which reads the epoch when it likes, has ended."""
    app.state.cache.stop()
    return assert_queries


@pytest.fixture
def client_with(app: FastAPI, *, has_fast_path: bool) -> Iterator[ClientWith]:
    """Run the application with some settings changed; an error inside is answered, not raised."""
    with ExitStack() as stack:

        def start(**changes: object) -> TestClient:
            update = {"cache_fast_path": has_fast_path, **changes}
            changed = create_app(app.state.settings.model_copy(update=update))
            return stack.enter_context(TestClient(changed, raise_server_exceptions=False))

        yield start
