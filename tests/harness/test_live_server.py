"""A live server that does not start says why, once and in time."""

from collections.abc import Callable

import pytest

import service.testing.live
from tests.harness.conftest import GivenServers, RunBookshop

NEEDS_LIVE_SERVER = "def test_it(live_server): pass"

TryToServe = Callable[[str], str]


@pytest.fixture
def try_to_serve(run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers) -> TryToServe:
    """Run a test with a live server of the application in this code, which is not to start; return what is said."""

    def try_to_serve(code: str) -> str:
        bookshop.makepyfile(NEEDS_LIVE_SERVER, theirs=code)
        result = run_bookshop("-n0", "-o", "db_app_factory=theirs:create_app", env=given.environment)
        result.assert_outcomes(errors=1)
        given.drop_kept()
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
