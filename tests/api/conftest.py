"""Applications that differ from the usual one in a setting."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from service.main import create_app

ClientWith = Callable[..., TestClient]


@pytest.fixture
def client_with(app: FastAPI) -> Iterator[ClientWith]:
    """Run the application with some settings changed; an error inside is answered, not raised."""
    with ExitStack() as stack:

        def start(**changes: object) -> TestClient:
            changed = create_app(app.state.settings.model_copy(update=changes))
            return stack.enter_context(TestClient(changed, raise_server_exceptions=False))

        yield start
