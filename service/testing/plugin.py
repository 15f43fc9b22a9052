"""The pytest plugin: `-p service.testing.plugin`. It is loaded before every conftest, so it imports little.

The controller of a run owns the servers, the template and the reaper (`controller`); each test process has a worker of
its own (`hooks`, `fixtures`). Without pytest-xdist one process is both.
"""

import gc
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.testing.auto_workers import count_tests
from service.testing.configuration import Project, add_options, read_project
from service.testing.errors import SetupError
from service.testing.servers import Choice

PROJECT = pytest.StashKey[Project]()
CHOICE = pytest.StashKey[Choice]()
_HANDFUL = 8
# Whatever reads the application's own variables in a test, by mistake, gets an address that leads nowhere.
_NOWHERE = {
    "database_url": "postgresql+psycopg://tests-use-a-database-of-their-own.invalid/none",
    "redis_url": "redis://tests-use-a-redis-of-their-own.invalid",
}
_MARKERS = (
    (
        'db(isolation="rollback"|"clone"|"none"): what of PostgreSQL this test has: a transaction that is undone'
        " (the default for a test that asks for a database), a database of its own, or nothing"
    ),
    "max_queries(n): fail when the test sends more than n queries",
)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare our options."""
    add_options(parser)
    # The package that brings the Redis server brings a plugin too, which nobody has asked for.
    pluginmanager.set_blocked("valkey")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read what the project says, hide the application's own servers, and load what this process needs."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    try:
        project = config.stash[PROJECT] = read_project(config)
        uses_compose = config.getoption("--services") == "compose"
        config.stash[CHOICE] = Choice.read(
            compose_file=config.rootpath / config.getini("db_compose_file") if uses_compose else None,
            allow_remote=config.getoption("--allow-remote-services"),
            environ=os.environ,
        )
    except SetupError as error:
        raise pytest.UsageError(str(error)) from None
    if hasattr(config.option, "randomly_reset_seed"):
        # pytest-randomly would begin each test's random data anew after us, otherwise in each run.
        config.option.randomly_reset_seed = False
    for name, value in project.environment.items():
        if value != (filled := value.format(**_NOWHERE)):
            os.environ[name] = filled
    with _nothing_is_garbage():
        config.pluginmanager.import_plugin(
            "service.testing.controller" if is_controller(config) else "service.testing.hooks"
        )


@contextmanager
def _nothing_is_garbage() -> Iterator[None]:
    """Look for no garbage in what is imported and collected, which stays: that would be two fifths of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def is_controller(config: pytest.Config) -> bool:
    """Whether this process only distributes the tests to others."""
    is_distributing = config.getoption("dist", "no") != "no" and bool(config.getoption("tx", None))
    return is_distributing and not config.getoption("collectonly") and not hasattr(config, "workerinput")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which servers, and why."""
    postgres, redis = config.stash[CHOICE].describe()
    return [f"postgresql: {postgres}", f"redis: {redis}"]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without a break."""
    with _nothing_is_garbage():
        return (yield)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Stay in one process for a handful of tests: they are done before a second one has started."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None
    count = count_tests(config.args, Path.cwd())
    return 0 if count is not None and count <= _HANDFUL else None
