# mypy: ignore-errors
"""What a rollback cannot show. Each test fails, with a message that names the marker; the outer test reads them."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from service.testing.lender import LENDER
from sqlalchemy import create_engine, text
from sqlmodel import select

from bookshop import Author, Book


def send(client, statement):
    client.post("/sql", params={"statement": statement})


def test_second_connection(client):
    client.post("/second-connection")


def test_thread(app):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(app.state.count_books).result()


def test_swallowed_error(client):
    assert client.post("/swallowed").status_code == 200


def test_engine(engine):
    engine.connect()


def test_overlapping_sessions(client):
    client.post("/overlap")


def test_notify(client):
    send(client, "NOTIFY books")


def test_pg_notify(client):
    send(client, "SELECT pg_notify('books', '')")


def test_listen(client):
    send(client, "LISTEN books")


def test_set_transaction(client):
    send(client, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")


def test_isolation_level(session):
    session.connection(execution_options={"isolation_level": "SERIALIZABLE"})


def test_commit_as_statement(client):
    send(client, "COMMIT")


def test_commit_behind_a_statement(client):
    send(client, "SELECT ';'; /* done */ COMMIT")


def test_commit_behind_a_comment(client):
    send(client, "-- done\nCOMMIT")


def test_procedure_that_commits_is_made(client):
    send(client, "CREATE PROCEDURE clear() LANGUAGE plpgsql AS $$ BEGIN DELETE FROM book; COMMIT; END $$")
    send(client, "SELECT '; COMMIT' -- ; COMMIT")


class TestCommitByTheDriver:
    """In this order."""

    def test_commit_by_the_driver(self, session, client):
        session.add(Author(name="Left over"))
        session.flush()
        session.connection().connection.driver_connection.execute("COMMIT")

    def test_nothing_is_left(self, session, client):
        assert session.exec(select(Author).where(Author.name == "Left over")).all() == []
        client.get("/books")


class TestEndOfTheConnectionsTransaction:
    """In this order."""

    @pytest.mark.parametrize("ending", ["commit", "rollback", "close"])
    def test_ending_of_a_connection(self, session, ending):
        session.add(Author(name="Left over"))
        session.commit()
        getattr(session.connection(), ending)()

    @pytest.mark.parametrize("ending", ["commit", "rollback"])
    def test_ending_of_the_drivers_connection(self, session, ending):
        session.add(Author(name="Left over"))
        session.commit()
        getattr(session.connection().connection, ending)()

    def test_swallowed_ending(self, session):
        with suppress(Exception):
            session.connection().commit()
        with suppress(Exception):
            session.add(Author(name="Left over"))
            session.commit()

    def test_nothing_is_left(self, session, client):
        assert session.exec(select(Author).where(Author.name == "Left over")).all() == []
        client.get("/books")


def test_failed_statement(session, client):
    session.add(Author(name="Stored"))
    session.flush()
    with pytest.raises(Exception, match="division by zero"):
        session.execute(text("SELECT 1/0"))
    client.get("/books")


def test_savepoint_after_a_failed_statement(session):
    with pytest.raises(Exception, match="division by zero"):
        session.execute(text("SELECT 1/0"))
    with pytest.raises(Exception, match="current transaction is aborted"), session.begin_nested():
        session.execute(text("SELECT 1"))
    session.rollback()


def test_function_that_notifies_is_made(client):
    send(client, "CREATE FUNCTION tell() RETURNS void LANGUAGE sql AS $$ SELECT pg_notify('books', '') $$")


@pytest.fixture
def swallowing(client):
    yield
    client.post("/swallowed")


@pytest.mark.usefixtures("swallowing")
def test_swallowed_after_the_test():
    pass


def test_asked_for_while_it_runs(request):
    request.getfixturevalue("session")


def test_outside_of_transactions(client):
    send(client, "CREATE DATABASE more_books")


def test_frozen_clock(client):
    send(client, "SELECT now()")
    send(client, "SELECT CURRENT_TIMESTAMP")


def test_two_requests_at_once(client):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: send(client, "SELECT pg_sleep(0.2)"), range(2)))


def test_deferred_constraint(session):
    session.add(Book(title="Nobody's", author_id=4711))
    session.commit()


def test_forgotten_commit(client):
    client.post("/forgetful", json={"title": "Forgotten", "author_id": 1})

    assert client.get("/books").json() == ["Forgotten"]


@pytest.mark.db(isolation="none")
def test_query_at_level_none():
    create_engine("sqlite://").connect()


def test_query_without_a_level(request):
    create_engine(request.config.stash[LENDER].worker().base.url).connect()


@pytest.mark.max_queries(n=1)
def test_too_many_queries(client):
    for _ in range(3):
        client.get("/books")


def test_other_number_of_queries(session, assert_queries):
    with assert_queries(1):
        session.exec(select(Book)).all()
        session.exec(select(Book)).all()
