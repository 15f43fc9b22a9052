import re

import pytest

from tests.harness.conftest import GivenServers, RunBookshop, assert_refused


def test_each_level_keeps_its_promises_on_given_servers(run_bookshop: RunBookshop, given: GivenServers) -> None:
    databases, keys = given.databases(), given.keys()

    result = run_bookshop("-n0", "--db-report", tests=["test_levels.py"], env=given.environment)

    result.assert_outcomes(passed=68)
    assert given.databases() == databases
    assert given.keys() == keys


def test_each_level_keeps_its_promises_on_embedded_servers_in_several_processes(run_bookshop: RunBookshop) -> None:
    result = run_bookshop("-n2", "--db-report", tests=["test_levels.py"])

    result.assert_outcomes(passed=68)
    result.stdout.re_match_lines(
        [r"postgresql: embedded, TEST_DATABASE_URL is not set", r"redis: embedded, one per worker, .*"]
    )
    result.stdout.re_match_lines(
        [
            r"template: tpl_\w+ \(built in \d+ ms\), copied by (FILE_COPY|WAL_LOG)",
            r"tests: 32 clone, 3 none, 33 rollback",
            r"clone: acquire: 32 x, p50 .* ms, p95 .* ms.*",
            r"rollback: begin: 33 x, p50 .*",
        ],
        consecutive=False,
    )


HALF_TRUTHS = {
    "test_second_connection": "a second connection was opened",
    "test_thread": "a second connection was opened",
    "test_swallowed_error": "a second connection was opened",
    "test_engine": "a second connection was opened",
    "test_overlapping_sessions": "two transactions overlap",
    "test_notify": "NOTIFY is delivered at COMMIT",
    "test_pg_notify": "NOTIFY is delivered at COMMIT",
    "test_listen": "NOTIFY is delivered at COMMIT",
    "test_set_transaction": "SET TRANSACTION belongs at the beginning of a transaction",
    "test_isolation_level": r"another isolation level \(SERIALIZABLE\) needs a transaction of its own",
    "test_commit_as_statement": "a transaction cannot be begun or ended by a statement",
    "test_commit_behind_a_statement": "a transaction cannot be begun or ended by a statement",
    "test_commit_behind_a_comment": "a transaction cannot be begun or ended by a statement",
    "test_commit_by_the_driver": "the transaction that was to be undone was ended before",
    "test_failed_statement": "a session begins while a statement of another one has failed",
    "test_swallowed_after_the_test": r"test_swallowed_after_the_test runs at .* a second connection was opened",
    "test_outside_of_transactions": "this cannot be done inside of a transaction: CREATE DATABASE",
    "test_frozen_clock": r"now\(\) is frozen",
    "test_two_requests_at_once": "Two requests at once cannot share one connection",
    **{
        test: rf"{re.escape(test)} runs at .* {ending}\(\) of a connection would end the transaction"
        for test, ending in {
            "test_ending_of_a_connection[commit]": "commit",
            "test_ending_of_a_connection[rollback]": "rollback",
            "test_ending_of_a_connection[close]": "rollback",
            "test_ending_of_the_drivers_connection[commit]": "commit",
            "test_ending_of_the_drivers_connection[rollback]": "rollback",
            "test_swallowed_ending": "commit",
        }.items()
    },
}


def test_what_a_level_cannot_show_fails_and_names_the_marker(run_bookshop: RunBookshop, given: GivenServers) -> None:
    in_order = "--randomly-dont-reorganize"
    result = run_bookshop("-n0", "--tb=line", in_order, tests=["test_half_truths.py"], env=given.environment)

    result.assert_outcomes(failed=29, passed=8, errors=3)
    output = result.stdout.str()
    for test, reason in HALF_TRUTHS.items():
        naming = rf'{reason}.*@pytest\.mark\.db\(isolation="clone"\)'
        assert re.search(naming, output), test
    assert output.count('Mark the test with @pytest.mark.db(isolation="rollback")') >= 2
    assert "test_asked_for_while_it_runs asks for a fixture that needs a database while it is running already" in output
    assert "A COMMIT would have failed on a deferred constraint" in output
    assert "3 x SELECT book.title FROM book" in output
    assert "from bookshop.py:" in output
    assert "2 queries were sent, 1 were expected" in output


def test_a_rollback_of_the_tests_session_leaves_what_the_application_has_committed(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers
) -> None:
    bookshop.makepyfile(
        """
        import pytest
        from sqlalchemy.exc import IntegrityError
        from sqlalchemy import text
        from sqlmodel import Session, select
        from bookshop import Book

        both_levels = pytest.mark.parametrize(
            "level", [pytest.param(level, marks=pytest.mark.db(isolation=level)) for level in ("rollback", "clone")]
        )

        @both_levels
        def test_it(client, session, level):
            session.exec(select(Book)).all()
            client.post("/books", json={"title": "Kept", "author_id": 1})
            session.add(Book(title="Kept", author_id=1))
            with pytest.raises(IntegrityError):
                session.commit()
            session.rollback()
            assert client.get("/books").json() == ["Kept"]

        def test_what_the_test_has_written_is_its_own_to_end(client, session):
            book = Book(title="Not yet", author_id=1)
            session.add(book)
            client.get("/books")
            assert book in session.new
            session.flush()
            assert client.get("/books").json() == ["Not yet"]
            session.rollback()
            assert client.get("/books").json() == []

        def test_what_a_function_has_written_is_not_lost(client, session):
            session.execute(text(
                "CREATE FUNCTION add_book() RETURNS void LANGUAGE sql AS"
                " $$ INSERT INTO book (title, author_id) VALUES ('By a function', 1) $$"
            ))
            session.commit()
            session.execute(text("SELECT add_book()"))
            client.get("/greeting")
            session.commit()
            assert client.get("/books").json() == ["By a function"]

        def test_what_the_test_has_begun_is_its_own_to_end(client, session):
            with session.begin_nested():
                client.get("/books")
            session.rollback()
            with session.begin():
                session.exec(select(Book)).all()
                client.get("/books")

        def test_other_sessions_stay_as_they_are(client, session, app):
            session.exec(select(Book)).all()
            with Session(session.connection(), join_transaction_mode="create_savepoint") as other:
                other.exec(select(Book)).all()
                client.get("/books")
                other.exec(select(Book)).all()

        def test_the_clock_stands_still_for_the_test_as_for_a_transaction(client, session):
            for _ in range(2):
                session.execute(text("SELECT now()"))
                client.get("/greeting")
        """
    )

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=7)


def test_what_only_the_end_of_a_test_shows_is_said_once(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers
) -> None:
    bookshop.makepyfile(
        """
        from bookshop import Book

        def test_it(session):
            session.add(Book(title="By nobody", author_id=0))
            session.commit()
        """
    )

    result = run_bookshop("-n0", env=given.environment)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["A COMMIT would have failed on a deferred constraint*"])
    result.stdout.no_fnmatch_line("*During handling*")


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        ('@pytest.mark.db(isolation="copy")\ndef test_it(session): pass', "The levels are 'rollback', 'clone', 'none'"),
        (
            '@pytest.mark.db(level="clone")\ndef test_it(session): pass',
            "is marked db(level='clone'). Write db(isolation=",
        ),
        ('@pytest.mark.db("clone", "none")\ndef test_it(session): pass', "is marked db('clone', 'none')"),
        ('@pytest.mark.db("none", isolation="clone")\ndef test_it(): pass', "is marked db('none', isolation='clone')"),
        ("@pytest.mark.max_queries\ndef test_it(session): pass", "max_queries without one whole number"),
        ("@pytest.mark.max_queries(m=1)\ndef test_it(session): pass", "max_queries without one whole number"),
        ("@pytest.mark.max_queries(1, n=1)\ndef test_it(session): pass", "max_queries without one whole number"),
        ("@pytest.mark.max_queries('1')\ndef test_it(session): pass", "max_queries without one whole number"),
        ('@pytest.mark.db(isolation="rollback")\ndef test_it(live_server): pass', "sees only what is committed"),
    ],
)
def test_a_marker_that_cannot_be_followed_ends_the_run_with_one_paragraph(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers, marked: str, message: str
) -> None:
    bookshop.makepyfile(f"import pytest\n{marked}")

    assert_refused(run_bookshop("-n0", env=given.environment), message)
