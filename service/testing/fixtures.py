"""The fixtures of the kit. They say which level a test is at, and hand out what `lending` has prepared."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from sqlalchemy import Engine, create_engine
from sqlmodel import Session

from service.testing.fork_server import ForkServer
from service.testing.lender import LENDER, WATCH
from service.testing.listeners import recording
from service.testing.live import LiveServer, serving
from service.testing.loans import Loan
from service.testing.queries import describe
from service.testing.seeding import Destination, storing
from service.testing.worker import Database, EngineFactory

if TYPE_CHECKING:
    import redis

    from service.testing.application import Client, RunningApp


@pytest.fixture(scope="session")
def make_engine() -> EngineFactory:
    """How to make an engine for a URL. Override it where the application's engine has settings that its tests need."""
    return create_engine


@pytest.fixture
def _loan(request: pytest.FixtureRequest, make_engine: EngineFactory) -> Iterator[Loan]:
    __tracebackhide__ = True
    lender = request.config.stash[LENDER]
    loan = lender.lend(request.node, make_engine)
    with storing(Destination(lambda: loan.session, commits=loan.commits)):
        yield loan
    lender.take_back(request.node, loan)


@pytest.fixture
def worker_database(_loan: Loan) -> Database:
    """The database of this test: the worker's at level rollback, one of its own at level clone."""
    _loan.tell_address()
    return _loan.database


@pytest.fixture
def engine(_loan: Loan) -> Engine:
    """An engine on this test's database. At level rollback it refuses a connection, and names the marker to add."""
    return _loan.engine


@pytest.fixture
def session(_loan: Loan) -> Session:
    """A session on this test's database, which the factories use too."""
    return _loan.session


@pytest.fixture
def _running_app(_loan: Loan) -> Iterator["RunningApp"]:
    with _loan.running_app() as running:
        yield running


@pytest.fixture
def app(_running_app: "RunningApp") -> Any:  # noqa: ANN401  # the project's own class
    """The application, running on this test's database and Redis."""
    return _running_app.app


@pytest.fixture
def client(_running_app: "RunningApp", _loan: Loan) -> "Client":
    """A client of `app`. What `session` has loaded is read anew after each request."""
    return _loan.client(_running_app)


@pytest.fixture
def redis_client(_loan: Loan) -> Iterator["redis.Redis"]:
    """A client of this test's Redis, which was empty when the test began."""
    with _loan.redis.connect() as client:
        yield client


@pytest.fixture
def app_environment(_loan: Loan) -> dict[str, str]:
    """The environment variables of a process of the application on this test's own database: it runs at level clone."""
    _loan.tell_address()
    return _loan.environment()


@pytest.fixture(scope="session")
def fork_server(request: pytest.FixtureRequest) -> ForkServer:
    """Starts programs of the project as processes, without the time that their imports take."""
    return request.config.stash[LENDER].fork_server


@pytest.fixture
def live_server(_loan: Loan, fork_server: ForkServer, tmp_path: Path) -> Iterator[LiveServer]:
    """The application in a server process of its own, on this test's own database: the test runs at level clone."""
    with serving(_loan.worker.project, _loan.environment(), tmp_path / "live_server.log", fork_server) as server:
        yield server


class AssertQueries(Protocol):
    """What the fixture `assert_queries` is."""

    def __call__(self, expected: int) -> AbstractContextManager[None]:
        """Fail unless the block sends exactly `expected` queries."""


@pytest.fixture
def assert_queries(_loan: Loan) -> AssertQueries:
    """Count queries: a block that sends another number than expected fails, and lists them with their lines."""

    @contextmanager
    def check(expected: int) -> Iterator[None]:
        __tracebackhide__ = True
        with recording() as queries:
            yield
        if len(queries) != expected:
            listing = describe(queries, _loan.worker.project.root)
            pytest.fail(f"{len(queries)} queries were sent, {expected} were expected:\n{listing}")

    return check


@pytest.fixture
def alembic_runner(_loan: Loan, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Alembic on an empty database of its own."""
    # Few tests want Alembic; the others need not wait for its import.
    from service.testing.migration_runner import AlembicRunner  # noqa: PLC0415

    worker = _loan.worker
    database = worker.database(worker.databases.copy("template0"))
    request.node.stash[WATCH].more_databases.add(database.name)
    yield AlembicRunner(worker.project, database)
    worker.stock.discard(database.name)
