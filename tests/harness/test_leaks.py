"""What a test does on its way out, or to its connection, changes nothing for those that come after it."""

import pytest

from tests.harness.conftest import GivenServers, RunBookshop

IN_ORDER = "--randomly-dont-reorganize"


def test_who_uses_the_database_after_the_test_is_refused(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers
) -> None:
    bookshop.makepyfile(
        """
        import pytest
        from threading import Event, Thread
        from bookshop import Author

        ended, told = Event(), []

        class TestSession:
            def test_it(self, session): self.session = session
            def teardown_method(self):
                self.session.add(Author(name="Late"))
                self.session.commit()

        class TestClient:
            def test_it(self, client): self.client = client
            def teardown_method(self): self.client.post("/books", json={"title": "Late", "author_id": 1})

        def test_thread(app):
            def store():
                ended.wait()
                try:
                    with app.state.sessions() as session:
                        session.add(Author(name="Late"))
                        session.commit()
                except Exception as error:
                    told.append(str(error))
            test_thread.late = Thread(target=store)
            test_thread.late.start()

        def test_without_a_database():
            ended.set()
            test_thread.late.join()
            assert "is used after the test has given its database back" in told[0]

        def test_nothing_was_stored(session, client):
            assert [author.name for author in session.query(Author)] == ["Anonymous"]
            assert client.get("/books").json() == []
        """
    )

    result = run_bookshop("-n0", IN_ORDER, "-W", "ignore::DeprecationWarning", env=given.environment)

    result.assert_outcomes(passed=5, errors=2)
    assert result.stdout.str().count("E   service.testing.errors.IsolationError") == 0
    result.stdout.fnmatch_lines(["*is used after the test has given its database back: in a teardown_method*"] * 2)


def test_what_a_test_leaves_on_the_connection_is_gone(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers
) -> None:
    bookshop.makepyfile(
        """
        import pytest
        from psycopg.rows import dict_row
        from sqlalchemy import text

        BOOKS = text("SELECT * FROM book")

        def test_table_is_altered(session):
            session.execute(text("ALTER TABLE book ADD COLUMN shelf int"))
            for _ in range(8):  # psycopg prepares it meanwhile
                session.execute(BOOKS).all()

        def test_table_is_as_before(session):
            assert "shelf" not in session.execute(BOOKS).keys()

        @pytest.mark.parametrize("number", range(2))
        def test_statement_is_prepared(session, number):
            session.execute(text("PREPARE books AS SELECT 1"))

        def test_rows_are_dicts(session):
            session.connection().connection.driver_connection.row_factory = dict_row

        def test_rows_are_rows(session):
            assert session.execute(text("SELECT 1 AS one")).scalar_one() == 1

        @pytest.mark.parametrize("ending", ["raw close", "end of the session"])
        def test_connection_is_lost(session, ending):
            driver = session.connection().connection.driver_connection
            if ending == "raw close":
                driver.close()
            else:
                with pytest.raises(Exception, match="terminating connection"):
                    session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        def test_connection_is_there(session):
            session.execute(BOOKS)

        @pytest.mark.db(isolation="clone")
        def test_all_other_sessions_are_ended(session):
            session.execute(text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"  # and wait until they have ended
                " WHERE datname LIKE 't_bookshop_%' AND datname <> current_database()"
            ))

        def test_connection_is_there_again(session):
            session.execute(BOOKS)
        """
    )

    run_bookshop("-n0", IN_ORDER, env=given.environment).assert_outcomes(passed=11)


def test_an_engine_for_each_test_takes_one_connection_at_a_time(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers
) -> None:
    bookshop.makepyfile(
        """
        import pytest
        from sqlalchemy import create_engine, text

        @pytest.fixture
        def make_engine():
            def make(url):
                engine = create_engine(url)
                with engine.connect():
                    "For what it finds out at its first connection."
                return engine
            return make

        @pytest.mark.parametrize("number", range(20))
        def test_rollback(session, number):
            mine = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            assert session.execute(mine).scalar_one() == 1

        @pytest.mark.db(isolation="clone")
        @pytest.mark.parametrize("number", range(2))
        def test_clone(session, number):
            session.execute(text("SELECT 1"))
        """
    )

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=22)


@pytest.mark.parametrize("order", [["test_one.py", "test_two.py"], ["test_two.py", "test_one.py"]])
def test_engines_are_made_as_the_module_says(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers, order: list[str]
) -> None:
    test = """
        import pytest
        from sqlalchemy import text

        def test_rollback(session):
            assert session.execute(text("SHOW timezone")).scalar_one() == ZONE

        @pytest.mark.parametrize("number", range(2))
        @pytest.mark.db(isolation="clone")
        def test_clone(session, number):
            assert session.execute(text("SHOW timezone")).scalar_one() == ZONE

        """
    other = """
        from sqlalchemy import create_engine

        @pytest.fixture(scope="session")
        def make_engine():
            return lambda url: create_engine(url, connect_args={"options": "-c timezone=Asia/Tokyo"})

        ZONE = "Asia/Tokyo"
        """
    bookshop.makepyfile(test_one=f'{test}\n        ZONE = "UTC"', test_two=f"{test}{other}")

    run_bookshop("-n0", IN_ORDER, *order, env=given.environment).assert_outcomes(passed=6)
