"""Applications that are not as the kit would like them: each works, or is told what to change."""

from collections.abc import Callable

import pytest

from tests.harness.conftest import GivenServers, RunBookshop

# The bookshop, with a startup and a shutdown before its own.
WRAPPED = """
import os, threading
from contextlib import asynccontextmanager
from functools import lru_cache
import bookshop
from bookshop import Author
from sqlalchemy import create_engine

def wrap(start, stop=lambda app: None):
    app = bookshop.create_app()
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app):
        async with inner(app):
            start(app)
            yield
            stop(app)

    app.router.lifespan_context = lifespan
    return app
"""
NO_COPY_OF_ITS_OWN = "t_bookshop_*, and its database is t_bookshop_*an application*has kept the address of another test"

RunWrapped = Callable[..., pytest.RunResult]


@pytest.fixture
def run_wrapped(run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers) -> RunWrapped:
    """Run tests on the bookshop that `code`, with a function `create_app`, makes."""

    def run_wrapped(code: str, tests: str, *options: str, workers: str = "-n0") -> pytest.RunResult:
        bookshop.makepyfile(tests, wrapped=WRAPPED + code)
        result = run_bookshop(
            *(workers, "--randomly-dont-reorganize", "-o", "db_app_factory=wrapped:create_app", *options),
            env=given.environment,
        )
        given.drop_kept()
        return result

    return run_wrapped


def test_an_application_that_has_kept_an_address_is_found_out(run_wrapped: RunWrapped) -> None:
    result = run_wrapped(
        """
@lru_cache
def read_url():
    return os.environ["SHOP_DATABASE"]

def create_app():
    def start(app):
        app.state.engine.dispose()
        app.state.engine = create_engine(read_url())
        app.state.sessions.configure(bind=app.state.engine)
    return wrap(start)
""",
        """
        import pytest

        def test_rollback(client):
            client.get("/books")

        @pytest.mark.db(isolation="clone")
        def test_clone(client):
            client.post("/books", json={"title": "Elsewhere", "author_id": 1})

        def test_nothing_was_stored(client):
            assert client.get("/books").json() == []
        """,
    )

    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines([f"*::test_clone has connected to {NO_COPY_OF_ITS_OWN}*"])


@pytest.mark.parametrize(
    ("made", "told", "outcome"),
    [
        ("made = bookshop.create_app()\ncreate_app = lambda: made", "an application that is running already*", "clone"),
        ("create_app = bookshop.create_app()", "which is an application. Write a function that makes a new one", "any"),
    ],
)
def test_one_application_for_all_tests_is_refused(run_wrapped: RunWrapped, made: str, told: str, outcome: str) -> None:
    result = run_wrapped(
        made,
        """
        import pytest

        def test_rollback(client):
            assert client.get("/books").json() == []

        @pytest.mark.db(isolation="clone")
        def test_clone(client): pass

        def test_rollback_again(client):
            assert client.get("/books").json() == []
        """,
    )

    result.assert_outcomes(passed=2, errors=1) if outcome == "clone" else result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines([f"`db_app_factory`*{told}*"])
    assert "Traceback" not in result.stdout.str()


def test_the_application_of_rollback_tests_is_on_one_database_whoever_starts_it(run_wrapped: RunWrapped) -> None:
    result = run_wrapped(
        "create_app = bookshop.create_app",
        """
        import pytest
        from bookshop import Author
        from service.testing.data import db_data

        @db_data
        def author(session):
            session.add(Author(name="Of data"))

        def test_starts_it(author, client):
            client.get("/books")

        def test_without_data(client):
            client.post("/second-connection")
        """,
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*::test_without_data runs at isolation level 'rollback', and a second connection*"])


def test_an_application_may_use_its_sessions_when_it_stops(run_wrapped: RunWrapped) -> None:
    result = run_wrapped(
        """
def create_app():
    def stop(app):
        with app.state.sessions() as session:
            session.add(Author(name="Of the shutdown"))
            session.commit()
    return wrap(lambda app: None, stop)
""",
        """
        import pytest

        def test_rollback(client):
            client.get("/books")

        @pytest.mark.db(isolation="clone")
        def test_clone(client):
            client.get("/books")

        def test_rollback_again(client):
            client.get("/books")
        """,
    )

    result.assert_outcomes(passed=3)


def test_an_application_starts_before_its_test_has_locked_anything(run_wrapped: RunWrapped) -> None:
    result = run_wrapped(
        """
def create_app():
    def start(app):
        with app.state.sessions() as session:
            session.add(Author(name="Of the startup"))
            session.commit()
    return wrap(start)
""",
        """
        import pytest
        from sqlalchemy import text

        @pytest.fixture
        def altered(session):
            session.execute(text("ALTER TABLE author ADD COLUMN born int"))

        def test_it(altered, client):
            client.get("/books")
        """,
    )

    result.assert_outcomes(passed=1)


def test_an_application_with_a_loop_of_its_own_does_not_hang_the_run(run_wrapped: RunWrapped) -> None:
    result = run_wrapped(
        """
def create_app():
    has_ended = threading.Event()

    def look():
        while not has_ended.wait(0.002):
            try:
                with app.state.sessions() as session:
                    session.query(Author).all()
                    session.commit()
            except Exception:
                pass

    thread = threading.Thread(target=look)
    app = wrap(lambda app: thread.start(), lambda app: (has_ended.set(), thread.join()))
    return app
""",
        """
        import pytest

        pytestmark = pytest.mark.filterwarnings("ignore")

        @pytest.mark.parametrize("number", range(40))
        def test_it(client, number):
            client.get("/books")
        """,
        "--tb=line",
    )

    # On one connection the loop is in the way of some tests, which are told so.
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] + outcomes.get("failed", 0) == 40
    assert (
        "failed" not in outcomes
        or "runs at isolation level 'rollback', and two transactions overlap" in result.stdout.str()
    )


@pytest.mark.parametrize("workers", ["-n0", "-n1"])
@pytest.mark.parametrize("last", ["assert client", "raise KeyError(client)"])
def test_an_error_of_the_shutdown_is_one_of_the_last_test(run_wrapped: RunWrapped, workers: str, last: str) -> None:
    result = run_wrapped(
        """
def create_app():
    def stop(app):
        raise RuntimeError("no way to stop")
    return wrap(lambda app: None, stop)
""",
        f"""
        def test_it(client): assert not client
        def test_last(client): {last}
        """,
        workers=workers,
    )

    is_good = last.startswith("assert")
    result.assert_outcomes(passed=int(is_good), failed=2 - is_good, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_last*", "E*RuntimeError: no way to stop"])


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        ("", "need an application. Name the function that makes it by `db_app_factory`"),
        ("nowhere:create_app", "`db_app_factory` in the pytest configuration is 'nowhere:create_app', which cannot be"),
    ],
)
def test_an_application_that_is_not_to_be_found_is_told(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers, factory: str, told: str
) -> None:
    bookshop.makepyfile("def test_it(client): pass\n\ndef test_without(session): pass")

    result = run_bookshop("-n0", "-o", f"db_app_factory={factory}", env=given.environment)

    result.assert_outcomes(passed=1, errors=1)
    assert told in result.stdout.str()
