"""Copies are made and renewed in the background; what goes wrong there is told once, to the test that needs one."""

import secrets
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from service.testing.clones import CloneStock
from service.testing.databases import WorkerDatabases
from service.testing.errors import SetupError
from service.testing.ownership import Owner, create_database, seal_database
from tests.harness.conftest import GivenServers
from tests.waiting import wait_until


@pytest.fixture
def template(given: GivenServers) -> Iterator[str]:
    """A template with a table of which only its owner may read anything."""
    owner = Owner("clones", secrets.token_hex(6), "main")
    name = owner.database_name(999)
    create_database(given.admin, name, owner.record(), template="template0", strategy=None)
    with psycopg.connect(given.postgres.url(name)) as connection:
        connection.execute("CREATE TABLE secret AS SELECT 1 AS number")
    seal_database(given.admin, name)
    yield name
    given.admin.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name)))
    given.admin.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


@pytest.fixture
def databases(given: GivenServers, template: str) -> Iterator[WorkerDatabases]:
    owner = Owner("clones", secrets.token_hex(6), "main")
    databases = WorkerDatabases(given.postgres.url(), owner, template=template, strategy=None)
    yield databases
    databases.close()
    rows = given.admin.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [owner.run_prefix])
    for (name,) in rows.fetchall():
        given.admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def stock(databases: WorkerDatabases) -> Iterator[CloneStock]:
    stock = CloneStock(databases)
    yield stock
    stock.close()


def test_copies_are_made_before_they_are_taken(stock: CloneStock, given: GivenServers) -> None:
    before = given.databases()

    stock.stock_up()

    wait_until(lambda: len(given.databases() - before) > 1, seconds=10)
    assert stock.take().name in given.databases() - before


@pytest.mark.parametrize("connection", ["kept", "closed"])
def test_a_copy_that_was_given_back_is_taken_again(stock: CloneStock, given: GivenServers, connection: str) -> None:
    stock.connect_with(lambda name: psycopg.connect(given.postgres.url(name)))

    made, names = set(), set()
    for _ in range(8):
        clone = stock.take()
        made.add(given.admin.execute("SELECT oid FROM pg_database WHERE datname = %s", [clone.name]).fetchone())
        names.add(clone.name)
        if connection == "closed" and clone.warm is not None:
            clone.warm.close()
            clone = replace(clone, warm=None)
        stock.give_back(clone)

    assert len(made) < 8
    assert (len(names) < 8) is (connection == "kept")


def test_a_test_may_end_all_other_sessions(stock: CloneStock, given: GivenServers) -> None:
    first = stock.take()
    given.admin.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    stock.give_back(first)

    assert stock.take().name != first.name


def test_who_may_not_read_all_of_a_copy_gets_new_ones(stock: CloneStock, given: GivenServers) -> None:
    stock.connect_with(lambda name: psycopg.connect(given.postgres.url(name), options="-c role=pg_monitor"))

    names = set()
    for _ in range(3):
        clone = stock.take()
        assert clone.warm is not None
        assert clone.warm.autocommit is False
        names.add(clone.name)
        stock.give_back(clone)

    assert len(names) == 3


def test_a_copy_that_cannot_be_made_fails_one_test(stock: CloneStock, given: GivenServers, template: str) -> None:
    identifier = sql.Identifier(template)
    given.admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(identifier))
    with psycopg.connect(given.postgres.url(template)), pytest.raises(SetupError, match="cannot be copied while"):
        stock.take()
    given.admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(identifier))

    assert stock.take().name
