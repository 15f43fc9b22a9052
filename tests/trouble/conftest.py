"""Applications on servers that a test may break."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import URL
from starlette.testclient import TestClient

from service.main import create_app

ClientOn = Callable[[URL], TestClient]


@pytest.fixture
def client_on(app: FastAPI) -> Iterator[ClientOn]:
    """Run the application on another database; an error inside is answered, not raised."""
    with ExitStack() as stack:

        def start(url: URL) -> TestClient:
            address = SecretStr(url.render_as_string(hide_password=False))
            changed = create_app(app.state.settings.model_copy(update={"database_url": address}))
            return stack.enter_context(TestClient(changed, raise_server_exceptions=False))

        yield start
