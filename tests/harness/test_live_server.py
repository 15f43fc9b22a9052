"""A live server that does not start says why, once and in time."""

from collections.abc import Callable

import pytest

import service.testing.live
from tests.harness.conftest import GivenServers, RunBookshop

NEEDS_LIVE_SERVER = "def test_it(live_server): pass"

# In place of an application: it takes connections, notes each, and answers nothing.
CLOSES_AT_ONCE = """
import os, socket, sys

def create_app():
    listener = socket.socket(fileno=int(sys.argv[2]))
    while True:
        listener.accept()[0].close()
        os.write(1, b"?")
"""

TryToServe = Callable[[str], str]


@pytest.fixture
def try_to_serve(run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers) -> TryToServe:
    """Run a test with a live server of the application in this code, which is not to start; return what is said."""

    def try_to_serve(code: str) -> str:
        bookshop.makepyfile(NEEDS_LIVE_SERVER, theirs=code)
        result = run_bookshop("-n0", "-o", "db_app_factory=theirs:create_app", env=given.environment)
        given.drop_kept()
        result.assert_outcomes(errors=1)
        return result.stdout.str()

    return try_to_serve


def test_an_application_that_takes_too_long_to_import_is_named(
    try_to_serve: TryToServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.testing.live, "_START_SECONDS", 2)

    said = try_to_serve("import threading; threading.Event().wait(20)")

    assert "The live server did not start, with theirs:create_app to import: " in said
    assert "timed out after 2 seconds" in said


def test_an_application_that_ends_the_fork_server_is_named(try_to_serve: TryToServe) -> None:
    said = try_to_serve("import os; os._exit(3)")

    assert "The live server did not start, with theirs:create_app to import: The fork server has ended" in said


def test_an_application_that_fails_at_its_start_is_quoted_once(try_to_serve: TryToServe) -> None:
    said = try_to_serve("def create_app(): raise ValueError('no such shop')")

    assert said.count("The live server did not start. The last it said: ") == 1
    assert said.count("ValueError: no such shop") == 1
    assert "During handling" not in said


def test_a_server_that_never_answers_is_asked_now_and_then(
    try_to_serve: TryToServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.testing.live, "_START_SECONDS", 2)
    monkeypatch.setattr(service.testing.live, "_STOP_SECONDS", 0)

    said = try_to_serve(CLOSES_AT_ONCE)

    assert 1 <= said.count("?") <= 100


def test_readiness_is_asked_for_without_the_proxy_of_the_environment(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers
) -> None:
    bookshop.makepyfile(NEEDS_LIVE_SERVER)
    nowhere = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}

    run_bookshop("-n0", env={**given.environment, **nowhere}).assert_outcomes(passed=1)
