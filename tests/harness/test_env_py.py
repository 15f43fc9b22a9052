"""Whichever way an env.py connects, the migrations run on the tests' own databases, or the run ends before a test."""

import shutil
from pathlib import Path

import alembic
import pytest

from tests.harness.conftest import Everything, GivenServers, RunBookshop, assert_refused

# As `alembic init` writes it.
STOCK = Path(alembic.__file__).parent / "templates" / "generic" / "env.py"
TESTS = """
from bookshop import Author
from sqlmodel import select

def test_that_reads_rows_of_a_migration(session):
    assert session.exec(select(Author.name)).all() == ["Anonymous"]

def test_that_goes_up_and_down(alembic_runner):
    alembic_runner.upgrade()
    assert "author" in alembic_runner.tables()
    alembic_runner.downgrade()
    assert alembic_runner.tables() == set()
"""


@pytest.fixture
def developer(bookshop: pytest.Pytester, given: GivenServers) -> pytest.Pytester:
    """A bookshop whose alembic.ini names the database in which somebody develops."""
    settings = bookshop.path / "alembic.ini"
    url = given.postgres.url("neighbour").replace("postgresql://", "postgresql+psycopg://").replace("%", "%%")
    settings.write_text(settings.read_text().replace("[loggers]", f"sqlalchemy.url = {url}\n\n[loggers]"))
    return bookshop


def test_an_env_py_as_alembic_writes_it_does_not_reach_the_database_of_alembic_ini(
    run_bookshop: RunBookshop, developer: pytest.Pytester, given: GivenServers, neighbour: Everything
) -> None:
    shutil.copy(STOCK, developer.path / "migrations" / "env.py")
    developer.makepyfile(TESTS)

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=2)

    assert given.everything() == neighbour


def test_an_env_py_may_keep_alembics_table_elsewhere(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers
) -> None:
    env = bookshop.path / "migrations" / "env.py"
    env.write_text(
        env.read_text().replace("connection=connection,", 'connection=connection, version_table="versions",')
    )
    bookshop.makepyfile("def test_it(session): pass")

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=1)


@pytest.mark.usefixtures("neighbour")
def test_an_env_py_that_migrates_nothing_here_is_refused(
    run_bookshop: RunBookshop, developer: pytest.Pytester, given: GivenServers
) -> None:
    (developer.path / "migrations" / "env.py").write_text("")
    developer.makepyfile(TESTS)

    assert_refused(run_bookshop("-n0", env=given.environment), "have run, but not on the test database")
