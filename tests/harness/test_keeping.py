"""The database of a clone test that failed is kept, if that is possible; the run goes on in any case."""

import re
from pathlib import Path

import pytest

from service.testing import keeping
from tests.harness.conftest import GivenServers, RunBookshop

FAILS = """
import pytest
from sqlalchemy import text

@pytest.mark.db(isolation="clone")
def test_it(session):
    session.execute(text("{statement}"))
    assert False
"""
GOES_ON = """
@pytest.mark.db(isolation="clone")
def test_after_it(session):
    assert session.scalar(text("SELECT count(*) FROM book")) == 0
"""


def kept_or_not(result: pytest.RunResult, *, passed: int = 1) -> str:
    """What the report of the one failure says of its database."""
    result.assert_outcomes(failed=1, passed=passed)
    (line,) = [line for line in result.outlines if re.match("kept; |the database was ", line)]
    return line


def test_the_database_of_an_embedded_server_is_dumped_into_a_file(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester
) -> None:
    bookshop.makepyfile(FAILS.format(statement="CREATE TABLE evidence AS SELECT 'a row' AS title; COMMIT") + GOES_ON)

    line = kept_or_not(run_bookshop("-n0", "--randomly-dont-reorganize"))

    dump = Path(line.rpartition(" ")[2].strip("'")).read_text()
    assert "CREATE TABLE public.evidence" in dump
    assert "\na row\n" in dump


def test_a_database_that_was_dumped_goes_before_the_run_ends(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester
) -> None:
    bookshop.makepyfile(
        """
        import pytest
        from sqlalchemy import text
        from tests.waiting import wait_until

        @pytest.fixture
        def late(session):
            yield session
            assert session.scalar(text("SELECT count(*) FROM book")) == 0

        @pytest.mark.db(isolation="clone")
        def test_it(late, request):
            request.config.failed = late.scalar(text("SELECT current_database()"))
            assert False

        @pytest.mark.db(isolation="clone")
        def test_after_it(session, request):
            databases = text("SELECT datname FROM pg_database")
            wait_until(lambda: request.config.failed not in session.scalars(databases).all(), seconds=10)
        """
    )

    result = run_bookshop("-n0", "--randomly-dont-reorganize")

    assert "python -m service.testing psql" in kept_or_not(result)


def test_a_lock_that_the_test_still_holds_keeps_the_database_from_being_dumped(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester
) -> None:
    bookshop.makepyfile(FAILS.format(statement="TRUNCATE book") + GOES_ON)

    line = kept_or_not(run_bookshop("-n0", "--randomly-dont-reorganize"))

    assert line.startswith("the database was not kept: pg_dump: error: query failed: ERROR: canceling statement due to")


def test_a_dump_without_an_end_is_given_up(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_DUMP_SECONDS", 1)
    bookshop.makepyfile(FAILS.format(statement="LOCK pg_class") + GOES_ON)

    line = kept_or_not(run_bookshop("-n0", "--randomly-dont-reorganize"))

    assert line == "the database was not kept: pg_dump had not ended after 1 s"


def test_a_test_that_has_ended_the_kits_own_sessions_has_its_database_kept(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers
) -> None:
    bookshop.makepyfile(
        FAILS.format(
            statement="SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'service.testing %'"
        )
    )

    line = kept_or_not(run_bookshop("-n0", env=given.environment), passed=0)

    assert line.startswith("kept; open it with: psql ")
    given.drop_kept()
