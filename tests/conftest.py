"""What the test kit, `service.testing`, has to know of this project beside the pytest configuration."""

import os
import signal

import pytest
from pydantic import SecretStr

from service import database
from service.config import DatabaseSettings, Settings
from service.testing.worker import EngineFactory

pytest_plugins = [
    "tests.databases",
    "tests.api.lists",
    "tests.api.following",
    "tests.cache.fleet",
    "tests.harness.docker",
]


def pytest_configure() -> None:
    """Forget the settings of whoever runs the tests, and that a shell may have started them in the background.

    Such a shell lets its jobs ignore Ctrl-C, and they pass that on to the commands that the tests start and interrupt.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in list(os.environ):
        if name.lower() in Settings.model_fields:
            del os.environ[name]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """One more than there are processors: these tests wait for a third of their time, for processes and time-outs."""
    return None if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS") else (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def make_engine() -> EngineFactory:
    """The service's own engine; but what a test writes counts as written by somebody else, who fences nothing."""
    return lambda url: database.make_engine(DatabaseSettings(database_url=SecretStr(url)), fenced=False)
