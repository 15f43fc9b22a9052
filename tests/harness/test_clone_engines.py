"""What a test does to its engine, and to the driver's connection, ends with the test; the session goes on."""

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader
from sqlalchemy import Engine, NullPool, create_engine, event, text

from service.testing.clone_engines import CloneEngines
from service.testing.errors import IsolationError
from service.testing.listeners import unwatched
from service.testing.worker import Database
from tests.harness.conftest import GivenServers

Driver = psycopg.Connection[Any]


@pytest.fixture(autouse=True)
def _as_the_kit_itself() -> Iterator[None]:
    with unwatched():
        yield


@pytest.fixture
def databases(given: GivenServers) -> Iterator[list[Database]]:
    """Two databases, empty."""
    names = [f"engines_{secrets.token_hex(6)}" for _ in range(2)]
    urls = [given.postgres.url(name) for name in names]
    for name in names:
        given.admin.execute(sql.SQL("CREATE DATABASE {} STRATEGY FILE_COPY").format(sql.Identifier(name)))
    yield [
        Database(name, url.replace("postgresql://", "postgresql+psycopg://", 1), url)
        for name, url in zip(names, urls, strict=True)
    ]
    for name in names:
        given.admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def engines() -> Iterator[CloneEngines]:
    engines = CloneEngines(create_engine)
    yield engines
    engines.close()


def driver_of(engine: Engine) -> Driver:
    """The driver's connection, which is in the pool."""
    raw = engine.raw_connection()
    driver = raw.driver_connection
    raw.close()
    assert isinstance(driver, psycopg.Connection)
    return driver


def listen_and_hear(driver: Driver) -> None:
    driver.autocommit = True
    driver.execute("LISTEN here; NOTIFY here")


def prepare(driver: Driver) -> None:
    for _ in range(10):
        driver.execute("SELECT 1")
    driver.rollback()


DEEDS: dict[str, Callable[[Driver], object]] = {
    "autocommit": lambda driver: driver.set_autocommit(True),
    "read only": lambda driver: driver.set_read_only(True),
    "isolation level": lambda driver: driver.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE),
    "adapters": lambda driver: driver.adapters.register_loader("int4", TextLoader),
    "row factory": lambda driver: setattr(driver, "row_factory", dict_row),
    "notices": lambda driver: driver.add_notice_handler(lambda _: pytest.fail("a notice of another test was heard")),
    "notifications": listen_and_hear,
    "prepared statements": prepare,
}


@pytest.mark.parametrize("deed", DEEDS)
def test_the_session_goes_on_in_a_connection_of_its_own(
    engines: CloneEngines, databases: list[Database], deed: str
) -> None:
    used = driver_of(engines.lend(databases[0], None))
    session = used.info.backend_pid
    DEEDS[deed](used)

    kept = engines.take_back()

    assert used.closed
    assert kept is not None
    kept.autocommit = True
    kept.execute("DISCARD ALL")
    list(kept.notifies(timeout=0))
    kept.autocommit = False
    engine = engines.lend(databases[0], kept)
    driver = driver_of(engine)
    assert driver is not used
    assert driver.info.backend_pid == session
    assert (driver.autocommit, driver.read_only, driver.isolation_level) == (False, None, None)
    for _ in range(10):
        assert driver.execute("SELECT 1").fetchall() == [(1,)]
    driver.execute("DO $$ BEGIN RAISE NOTICE 'heard'; END $$")
    driver.rollback()
    assert list(driver.notifies(timeout=0)) == []


def test_the_connection_is_as_the_project_makes_its_own(databases: list[Database]) -> None:
    arguments = {"cursor_factory": psycopg.ClientCursor, "prepare_threshold": None, "autocommit": True}
    engines = CloneEngines(lambda url: create_engine(url, connect_args=arguments, isolation_level="AUTOCOMMIT"))
    driver_of(engines.lend(databases[0], None))

    kept = engines.take_back()

    assert kept is not None
    assert (kept.cursor_factory, kept.prepare_threshold, kept.autocommit) == (psycopg.ClientCursor, None, True)
    kept.close()


def test_an_engine_whose_test_has_ended_leads_nowhere(engines: CloneEngines, databases: list[Database]) -> None:
    late = engines.lend(databases[0], None)
    driver_of(late)
    engines.lend(databases[1], engines.take_back())

    with pytest.raises(IsolationError, match="The test that this engine was lent to has ended"):
        late.connect()


def test_what_an_engine_was_told_ends_with_it(engines: CloneEngines, databases: list[Database]) -> None:
    heard: list[object] = []
    engine = engines.lend(databases[0], None)
    for name in ("before_cursor_execute", "checkout", "connect"):
        event.listen(engine, name, lambda *given: heard.append(given))
    engine.update_execution_options(isolation_level="AUTOCOMMIT")
    driver_of(engine)
    assert heard
    kept = engines.take_back()
    heard.clear()

    engine = engines.lend(databases[0], kept)

    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        assert connection.get_isolation_level() == "READ COMMITTED"
    assert heard == []
    engine.dispose()
    driver_of(engine)
    assert heard == []


def test_what_the_project_has_told_its_engine_stays(databases: list[Database]) -> None:
    heard: list[object] = []

    def make_engine(url: str) -> Engine:
        engine = create_engine(url)
        for name in ("before_cursor_execute", "checkout", "connect"):
            event.listen(engine, name, lambda *_, name=name: heard.append(name))
        return engine

    engines = CloneEngines(make_engine)
    kept = None
    for _ in range(2):
        heard.clear()
        with engines.lend(databases[0], kept).connect() as connection:
            connection.execute(text("SELECT 1"))
        assert set(heard) == {"before_cursor_execute", "checkout", "connect"}
        kept = engines.take_back()
    assert kept is not None
    kept.close()


def test_an_engine_that_connects_in_its_own_way_leads_to_each_database(databases: list[Database]) -> None:
    engines = CloneEngines(lambda url: create_engine(url, creator=lambda: psycopg.connect(url.replace("+psycopg", ""))))
    for database in databases:
        assert driver_of(engines.lend(database, None)).info.dbname == database.name
        assert engines.take_back() is None


def test_a_pool_that_keeps_nothing_has_nothing_to_give_back(databases: list[Database]) -> None:
    engines = CloneEngines(lambda url: create_engine(url, poolclass=NullPool))
    driver_of(engines.lend(databases[0], None))

    assert engines.take_back() is None


def test_a_listener_that_raises_keeps_the_connection_from_being_used_again(
    engines: CloneEngines, databases: list[Database]
) -> None:
    engine = engines.lend(databases[0], None)
    driver_of(engine)

    @event.listens_for(engine, "checkout")
    def refuse(*_: object) -> None:
        raise RuntimeError

    assert engines.take_back() is None


def test_a_connection_that_the_server_has_ended_meanwhile_is_not_lent(
    engines: CloneEngines, databases: list[Database], given: GivenServers
) -> None:
    driver_of(engines.lend(databases[0], None))
    kept = engines.take_back()
    assert kept is not None
    given.admin.execute("SELECT pg_terminate_backend(%s, 5000)", [kept.info.backend_pid])

    driver = driver_of(engines.lend(databases[0], kept))

    assert driver.execute("SELECT 1").fetchall() == [(1,)]
    assert kept.closed


def test_a_connection_that_cannot_be_replaced_is_not_kept(databases: list[Database], given: GivenServers) -> None:
    engines = CloneEngines(lambda url: create_engine(url, pool_pre_ping=True))
    driver_of(engines.lend(databases[0], None))
    name = databases[0].name
    given.admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
    given.admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name])

    assert engines.take_back() is None
