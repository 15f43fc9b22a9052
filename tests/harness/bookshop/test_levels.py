# mypy: ignore-errors
"""What works at each isolation level. Each test is written as any project's would be."""

import logging

import psycopg
import pytest
import redis
import requests
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import select

from bookshop import Author, Book
from shop_factories import AuthorFactory, BookFactory

log = logging.getLogger("made.before.the.migrations")

ANONYMOUS = 1


def titles(session):
    return list(session.exec(select(Book.title).order_by(Book.title)))


@pytest.mark.parametrize("_again", range(2))
class TestNothingRemainsOfATest:
    def test_that_commits(self, _again, session):
        session.add(Book(title="A book", author_id=ANONYMOUS))
        session.commit()

        assert titles(session) == ["A book"]

    def test_that_rolls_back(self, _again, session):
        session.add(Book(title="A book", author_id=ANONYMOUS))
        session.flush()
        session.rollback()

        assert titles(session) == []

    def test_that_writes_through_the_application(self, _again, client, redis_client):
        client.post("/books", json={"title": "A book", "author_id": ANONYMOUS})

        assert client.get("/books").json() == ["A book"]
        assert redis_client.get("books") == b"1"

    def test_that_fails_in_the_database(self, _again, session):
        with pytest.raises(Exception, match="book_title"):
            BookFactory.create_batch(2, title="Twice")

    def test_that_loses_its_connection(self, _again, session):
        with pytest.raises(Exception, match="terminat"):
            session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    def test_that_takes_a_session_lock(self, _again, session):
        taken = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7"
        here = " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        assert session.execute(text(taken + here)).scalar_one() == 0
        session.execute(text("SELECT pg_advisory_lock(7)"))

    def test_that_overrides_a_dependency(self, _again, app, client):
        assert app.dependency_overrides == {}
        assert client.get("/greeting").json() == "Welcome"
        app.dependency_overrides[len] = len
        app.state.greeting = "Go away"

    def test_that_cuts_every_connection_to_its_redis(self, _again, redis_client):
        assert redis_client.keys() == []
        redis_client.set("books", 1)
        for connection in redis_client.client_list():
            if connection["db"] == str(redis_client.client_info()["db"]) and not connection["name"]:
                redis_client.client_kill_filter(_id=connection["id"], skipme=False)

    @pytest.mark.db(isolation="clone")
    def test_that_alters_its_database(self, _again, session):
        assert session.execute(text("SELECT to_regclass('shelf')")).scalar_one() is None
        session.execute(text("CREATE TABLE shelf ()"))
        session.commit()

    @pytest.mark.db(isolation="clone")
    def test_that_changes_rows_of_a_migration(self, _again, session):
        assert session.exec(select(Author.id, Author.name)).all() == [(ANONYMOUS, "Anonymous")]
        session.execute(text("UPDATE author SET name = 'Nobody'"))
        AuthorFactory()
        session.commit()

    @pytest.mark.db(isolation="clone")
    def test_that_counts_on_a_sequence(self, _again, session):
        assert AuthorFactory().id == ANONYMOUS + 1
        session.rollback()

    @pytest.mark.db(isolation="clone")
    def test_that_commits_really(self, _again, session, client, engine):
        BookFactory(title="A book")

        with engine.connect() as other:
            assert other.scalar(select(Book.title)) == "A book"
        assert client.get("/books").json() == ["A book"]

    def test_on_a_live_server(self, _again, live_server, redis_client):
        BookFactory(title="A book")

        answer = requests.post(f"{live_server.url}/books", json={"title": "Two", "author_id": ANONYMOUS}, timeout=5)

        assert answer.status_code == 200
        assert requests.get(f"{live_server.url}/books", timeout=5).json() == ["A book", "Two"]
        assert redis_client.get("books") == b"1"


def test_rows_of_a_data_migration_are_there(session):
    assert session.exec(select(Author.name)).all() == ["Anonymous"]


TOLD = set()


@pytest.mark.db(isolation="clone")
@pytest.mark.parametrize("_again", range(8))
def test_an_address_that_was_told_is_that_of_no_other_test(_again, session, worker_database):
    BookFactory()
    session.commit()
    assert worker_database.name not in TOLD
    TOLD.add(worker_database.name)


LEFT_OPEN = []


@pytest.mark.db(isolation="clone")
@pytest.mark.parametrize("_again", range(2))
class TestNothingRemainsOfATestWhoseCopyIsUsedAgain:
    @pytest.fixture(autouse=True)
    def _fresh(self, session):
        assert titles(session) == []
        assert session.execute(text("SHOW TIME ZONE")).scalar_one() != "Asia/Tokyo"
        BookFactory(title="A book")
        session.commit()

    def test_that_changes_its_session(self, _again, session):
        session.execute(text("SET TIME ZONE 'Asia/Tokyo'"))
        session.commit()

    def test_that_loses_its_connection(self, _again, session):
        with pytest.raises(Exception, match="terminat"):
            session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    def test_that_lets_nobody_in_any_more(self, _again, session, worker_database):
        session.close()
        name = worker_database.name
        with psycopg.connect(worker_database.dsn.replace(name, "postgres"), autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    def test_that_leaves_a_transaction_open(self, _again, engine):
        LEFT_OPEN.append(engine.connect())
        LEFT_OPEN[-1].execute(text("UPDATE author SET name = 'Nobody'"))

    def test_that_takes_a_connection_from_the_pool(self, _again, engine):
        LEFT_OPEN.append(engine.connect())
        LEFT_OPEN[-1].detach()

    def test_that_writes_through_another_connection(self, _again, engine):
        with engine.connect() as first, engine.begin() as second:
            first.execute(text("SET TIME ZONE 'Asia/Tokyo'"))
            second.execute(text("DELETE FROM book"))


@pytest.mark.db(isolation="clone")
def test_rows_of_a_data_migration_are_there_in_a_clone(session):
    assert session.exec(select(Author.name)).all() == ["Anonymous"]


@pytest.mark.parametrize("_again", range(2))
def test_who_comes_from_outside_leaves_nothing(_again, session, worker_database):
    assert titles(session) == []
    with psycopg.connect(worker_database.dsn) as other:
        other.execute("INSERT INTO book (title, author_id) VALUES ('From outside', %s)", [ANONYMOUS])


def test_the_clock_may_stand_still_in_a_savepoint(session):
    read = text("SELECT now()")
    before = session.execute(read).all()
    with session.begin_nested():
        assert session.execute(read).all() == before


def test_a_clock_in_quotes_is_none(session):
    for _ in range(2):
        session.execute(text("SELECT 'now() or never'"))
        session.commit()


def test_other_processes_are_told_where_the_servers_of_this_test_are(app_environment, worker_database, redis_client):
    redis_client.set("here", "yes")

    with redis.Redis.from_url(app_environment["SHOP_REDIS"]) as client:
        assert client.get("here") == b"yes"
    assert app_environment["SHOP_DATABASE"] == worker_database.url
    assert app_environment["SHOP_GREETING"] == "Welcome"


def test_threads_that_the_application_began_at_its_start_have_connections_of_their_own(app):
    assert app.state.housekeeping.submit(app.state.count_books).result() == 0


def test_the_session_sees_what_a_request_has_changed(session, client):
    book = BookFactory(title="Old")

    client.patch(f"/books/{book.id}", params={"title": "New"})

    assert book.title == "New"


def test_a_request_leaves_alone_what_the_test_has_set_and_not_flushed(session, client):
    book = BookFactory(title="Old")
    book.title = "Mine"

    client.get("/greeting")

    assert book.title == "Mine"


def test_what_the_application_does_not_handle_is_raised_or_answered(client):
    with pytest.raises(DBAPIError, match="division by zero"):
        client.post("/sql", params={"statement": "SELECT 1/0"})

    client.raise_server_exceptions = False

    assert client.post("/sql", params={"statement": "SELECT 1/0"}).status_code == 500


def test_rows_of_a_background_task_stay_for_the_next_request(client):
    client.post("/later", json={"title": "Later", "author_id": ANONYMOUS})

    assert client.get("/books").json() == ["Later"]


def test_a_statement_may_read_the_clock_in_one_transaction(client):
    client.post("/sql", params={"statement": "SELECT now(), now()"})
    client.post("/sql", params={"statement": "SELECT statement_timestamp()"})


def test_the_migrations_have_left_logging_alone(session, caplog):
    log.warning("heard")

    assert caplog.messages == ["heard"]


def test_queries_are_counted_without_savepoints(session, client, assert_queries):
    with assert_queries(2):
        session.exec(select(Book)).all()
        session.commit()
        client.get("/books")


def test_queries_of_the_applications_own_threads_are_not_counted(app, assert_queries):
    with assert_queries(0):
        app.state.housekeeping.submit(app.state.count_books).result()


@pytest.mark.max_queries(1)
def test_queries_may_be_bounded_by_a_marker(client):
    client.get("/books")


def test_migrations_go_up_and_down_and_up(alembic_runner):
    assert alembic_runner.heads() == ["0001"]

    alembic_runner.upgrade()
    alembic_runner.downgrade()

    assert alembic_runner.tables() == set()
    alembic_runner.upgrade()
    assert alembic_runner.find_drift() is None
    assert alembic_runner.tables() == {"author", "book"}


def test_factories_build_without_a_database():
    book = BookFactory.build()

    assert (book.id, book.title, book.author.id) == (None, "Volume 0", None)


def test_factories_create_batches_with_what_they_refer_to(session):
    books = BookFactory.create_batch(2)

    assert [book.title for book in books] == ["Volume 0", "Volume 1"]
    assert [book.author_id for book in books] == [book.author.id for book in books]


def test_factories_refuse_values_that_a_constructor_would_take():
    with pytest.raises(ValidationError, match="title"):
        BookFactory.build(title="x" * 41)
    with pytest.raises(ValidationError, match="name"):
        AuthorFactory.build(name="")


def test_factories_say_what_to_ask_for_without_a_database():
    with pytest.raises(LookupError, match="ask for the fixture `session`"):
        AuthorFactory()
