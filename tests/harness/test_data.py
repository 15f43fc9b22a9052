from collections import Counter
from pathlib import Path

import pytest

from tests.harness.conftest import GivenServers, RunBookshop


def rows(notes: Path) -> list[str]:
    return sorted(line for line in notes.read_text().splitlines() if line.startswith("row"))


def test_data_is_built_once_and_the_same_at_any_number_of_workers_in_any_order(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers
) -> None:
    notes = bookshop.path / "notes"
    seen: list[list[str]] = []
    for arguments in (["-n0"], ["-n2"]):
        result = run_bookshop(*arguments, tests=["test_data.py"], env=given.environment)
        result.assert_outcomes(passed=21)
        if not seen:
            built = Counter(line for line in notes.read_text().splitlines() if line.startswith("built"))
            assert built == {"built poets": 1, "built shelf": 1}
        seen.append(rows(notes))
        notes.unlink()

    assert seen[0] == seen[1]
    numbers, names = zip(*(row.split(", ")[2:] for row in seen[0] if not row.startswith("row [")), strict=True)
    assert len(set(numbers)) == len(set(names)) == 8
    assert len(set(seen[0])) == 11


def test_data_of_the_run_is_built_once_for_all_modules_and_their_data(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    test = """
        from service.testing.data import db_data
        from test_bookshop_data import poets
        from shop_factories import BookFactory

        @db_data()
        def book(poets):
            return BookFactory(author=poets[1])

        def test_it(book, poets):
            assert book.author is poets[1]

        def test_less(poets, client):
            assert client.get("/books").json() == []
        """
    bookshop.makepyfile(test_one=test, test_two=test)

    result = run_bookshop("-n0", "test_one.py", "test_two.py", tests=["test_data.py"], env=given.environment)

    result.assert_outcomes(passed=4)
    assert (bookshop.path / "notes").read_text().splitlines() == ["built poets"]


def test_of_data_no_database_is_left_but_what_another_module_may_ask_for(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makepyfile(
        lasting="""
        import pytest
        from sqlalchemy import text
        from sqlalchemy.exc import DBAPIError
        from service.testing.data import db_data
        from shop_factories import AuthorFactory
        from tests.waiting import wait_until

        @db_data(scope="session")
        def author(session):
            # What a test at this level would be told of, and this is none.
            with pytest.raises(DBAPIError, match="inside a transaction"):
                session.execute(text("VACUUM"))
            session.rollback()
            return AuthorFactory()

        OPEN_AND_SEALED = text(
            "SELECT count(*) FILTER (WHERE datallowconn), count(*) FILTER (WHERE NOT datallowconn)"
            " FROM pg_database WHERE starts_with(datname, substring(current_database() FROM '.*_'))"
        )

        def await_databases(session, *expected):
            wait_until(lambda: session.execute(OPEN_AND_SEALED).one() == expected, seconds=10)
        """,
        test_one="""
        from lasting import await_databases

        def test_begin(session):
            await_databases(session, 1, 0)
        """,
        test_two="""
        import psycopg
        import pytest
        from lasting import author, await_databases
        from service.testing.data import db_data
        from shop_factories import BookFactory

        @db_data()
        def book(author):
            return BookFactory(author=author)

        @db_data()
        def broken(book):
            raise RuntimeError("this is never built")

        def test_that_writes_past_the_session(book, worker_database):
            with psycopg.connect(worker_database.dsn) as connection:
                connection.execute("INSERT INTO book (title, author_id) VALUES ('Left', 1)")

        @pytest.mark.parametrize("again", range(2))
        def test_book(book, client, session, again):
            assert client.get("/books").json() == [book.title]
            await_databases(session, 2, 2)

        def test_broken(broken):
            pass

        def test_after_that(author, session):
            await_databases(session, 3, 2)
        """,
        test_zoo="""
        from lasting import author, await_databases

        def test_end(author, session):
            await_databases(session, 2, 1)
        """,
    )

    result = run_bookshop("-n0", "-pno:randomly", env=given.environment)

    result.assert_outcomes(passed=6, errors=1)


@pytest.mark.stress
@pytest.mark.parametrize("workers", [8, 32])
def test_data_is_the_same_at_many_workers(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers, workers: int
) -> None:
    notes = bookshop.path / "notes"
    run_bookshop("-n0", tests=["test_data.py"], env=given.environment).assert_outcomes(passed=21)
    alone = rows(notes)
    notes.unlink()

    run_bookshop(f"-n{workers}").assert_outcomes(passed=21)

    assert rows(notes) == alone


def test_data_of_the_run_stands_below_that_of_modules_whoever_leads_to_it(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makeconftest(
        """
        import os
        from pathlib import Path
        from service.testing.data import db_data

        def note(line):
            with Path(os.environ["SHOP_NOTES"]).open("a") as notes:
                notes.write(line + "\\n")

        @db_data(scope="session")
        def shelf():
            note("built shelf")

        @db_data
        def alpha():
            note("built alpha")
        """
    )
    folder = bookshop.mkdir("below")
    override = "from service.testing.data import db_data\n@db_data\ndef shelf(shelf): return 'below'"
    (folder / "conftest.py").write_text(override)
    for name in ("one", "two"):
        (folder / f"test_{name}.py").write_text("def test_it(alpha, shelf): assert shelf == 'below'")

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=2)

    assert (bookshop.path / "notes").read_text().splitlines() == ["built shelf", "built alpha", "built alpha"]


def test_data_in_columns_that_can_be_changed_is_each_tests_own(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makepyfile(
        """
        import json
        import pytest
        from service.testing.data import db_data
        from sqlalchemy import Text
        from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
        from sqlalchemy.orm.attributes import flag_modified
        from sqlalchemy.types import TypeDecorator

        class Json(TypeDecorator):
            impl = Text
            cache_ok = True

            def process_bind_param(self, value, dialect):
                return json.dumps(value)

            def process_result_value(self, value, dialect):
                return json.loads(value)

        class Base(DeclarativeBase):
            pass

        class Person(Base):
            __tablename__ = "author"
            id: Mapped[int] = mapped_column(primary_key=True)
            name: Mapped[dict] = mapped_column(Json)

        @db_data
        def person(session):
            person = Person(name={})
            session.add(person)
            session.flush()
            return person

        @db_data
        def known(person):
            person.name["as"] = "Ann"
            flag_modified(person, "name")

        @pytest.mark.parametrize("again", range(2))
        def test_person(person, session, again):
            assert person.name == {}
            assert person not in session.dirty
            person.name["as"] = "Bob"

        @pytest.fixture
        def earlier(session):
            person = Person(name={})
            session.add(person)
            session.commit()
            person.name = {"as": "Cid"}
            return person

        def test_earlier(earlier, person, session):
            assert session.is_modified(earlier)

        def test_known(known, person):
            assert person.name == {"as": "Ann"}
        """
    )

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=4)


def test_random_data_does_not_depend_on_who_was_first_to_ask_for_data(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makepyfile(
        test_it="""
        import os, random
        from pathlib import Path
        import pytest
        from service.testing.data import db_data
        from shop_factories import AuthorFactory

        @db_data
        def author(): return AuthorFactory()

        @pytest.mark.parametrize("number", [1, 2])
        def test_it(author, number):
            with Path(os.environ["SHOP_NOTES"]).open("a") as notes:
                notes.write(f"{number} {random.random()} {AuthorFactory().name}\\n")
        """
    )

    for test in ("test_it.py", "test_it.py::test_it[2]"):
        assert run_bookshop("-n0", "-pno:randomly", test, env=given.environment).ret == 0

    first, second, alone = (bookshop.path / "notes").read_text().splitlines()
    assert first.split()[1:] != second.split()[1:]
    assert alone == second
