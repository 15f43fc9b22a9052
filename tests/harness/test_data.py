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


def test_data_that_fails_is_tried_once_per_module_and_told_to_each_test(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makepyfile(
        lasting="""
        from service.testing.data import db_data

        @db_data
        def broken():
            print("tried")
            raise ValueError("no such poet")

        @db_data(scope="session")
        def broken_for_all():
            print("tried for all")
            raise ValueError("no such author")
        """
    )
    test = """
        from lasting import broken, broken_for_all

        def test_one(broken): pass
        def test_other(broken): pass
        def test_of_the_run(broken_for_all): pass
        def test_without(session): pass
        """
    bookshop.makepyfile(test_one=test, test_two=test)

    result = run_bookshop("-n0", "-s", "test_one.py", "test_two.py", env=given.environment)

    result.assert_outcomes(passed=2, errors=6)
    output = result.stdout.str()
    assert (output.count("tried\n"), output.count("tried for all\n")) == (2, 1)
    assert (output.count("E       ValueError: no such poet"), output.count("E       ValueError: no such author")) == (
        4,
        2,
    )
    assert "data_layers.py" not in output


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


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("@db_data(scope='function')\ndef shelf(session): pass", "has scope 'function'. Write 'module' or 'session'."),
        ("@db_data()\ndef shelf(session): yield", "yields or is async. Write one that returns its data."),
        ("@db_data\nasync def shelf(session): pass", "yields or is async. Write one that returns its data."),
        ("class TestIt:\n  @db_data()\n  def shelf(self): pass", "is a method. Write it as a function of the module"),
    ],
)
def test_what_can_be_no_data_is_told_when_it_is_declared(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, function: str, message: str
) -> None:
    bookshop.makepyfile(test_it=f"from service.testing.data import db_data\n{function}\ndef test_it(shelf): pass")

    result = run_bookshop("-n0")

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"*Error: The db_data function test_it:*shelf {message}*"])


def test_data_of_two_directories_may_have_one_name(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    for title in ("Left", "Right"):
        folder = bookshop.mkdir(title.lower())
        (folder / "conftest.py").write_text(
            "from service.testing.data import db_data\n"
            "from shop_factories import BookFactory\n"
            "@db_data(scope='session')\n"
            f"def book(): return BookFactory(title='{title}')\n"
        )
        (folder / f"test_{title.lower()}.py").write_text(f"def test_it(book): assert book.title == '{title}'\n")

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=2)


def test_data_without_parentheses_and_with_a_default(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makepyfile(
        """
        from service.testing.data import db_data
        from shop_factories import BookFactory

        @db_data
        def shelf(session, size=2):
            return BookFactory.create_batch(size)

        def test_it(shelf, client):
            assert client.get("/books").json() == [book.title for book in shelf]
        """
    )

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=1)


def test_data_can_be_given_again_further_down_from_what_it_was(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makeconftest(
        """
        from service.testing.data import db_data
        from shop_factories import BookFactory

        @db_data(scope="session")
        def shelf():
            return BookFactory.create_batch(2)

        @db_data(scope="session")
        def title(shelf):
            return shelf[-1].title
        """
    )
    for name, override in {
        "more": "@db_data(scope='session')\ndef shelf(shelf): return [*shelf, BookFactory()]",
        "other": "@db_data(scope='session')\ndef shelf(): return [BookFactory()]",
        "plain": "@pytest.fixture\ndef shelf(shelf): return shelf[:1]",
    }.items():
        (bookshop.mkdir(name) / "conftest.py").write_text(
            "import pytest\n"
            "from service.testing.data import db_data\n"
            "from shop_factories import BookFactory\n"
            f"{override}\n"
        )
    for name, seen, stored in [(".", 2, 2), ("more", 3, 3), ("other", 1, 1), ("plain", 1, 2)]:
        last = seen if name != "plain" else stored
        (bookshop.path / name / f"test_{seen}{stored}.py").write_text(
            "def test_it(shelf, title, client):\n"
            f"    assert client.get('/books').json() == [f'Volume {{n}}' for n in range({stored})]\n"
            f"    assert [book.title for book in shelf] == [f'Volume {{n}}' for n in range({seen})]\n"
            f"    assert title == 'Volume {last - 1}'\n"
        )

    (bookshop.mkdir("nothing") / "conftest.py").write_text("import pytest\n@pytest.fixture\ndef shelf(): return []\n")
    (bookshop.path / "nothing" / "test_nothing.py").write_text(
        "def test_it(shelf, client): assert client.get('/books').json() == shelf"
    )

    run_bookshop("-n0", env=given.environment).assert_outcomes(passed=5)


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


def test_data_that_is_asked_for_too_late_is_told(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makepyfile(
        """
        from service.testing.data import db_data

        @db_data
        def shelf(): return []

        def test_it(session, request):
            request.getfixturevalue("shelf")
        """
    )

    result = run_bookshop("-n0", env=given.environment)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*shelf was asked for while the test was running already. Name it among*"])


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ("def one(one): pass", "asks for one. It can have `session`*"),
        ("def one(session, tmp_path): pass", "asks for tmp_path. It can have `session`*"),
        (
            "def short(): pass\n@db_data(scope='session')\ndef one(short): pass",
            "asks for short. It can have *fixtures of the same or a longer scope*",
        ),
        (
            "def one(two): pass\n@db_data\ndef two(one): pass",
            "asks for itself, if only by way of others*",
        ),
        (
            "def one(*a, session, **b):\n book = BookFactory()\n session.delete(book)\n return book",
            "has returned a Book that was deleted*",
        ),
        ("def one(): return (n for n in [])", "cannot be copied for each test: cannot pickle*"),
        ("def one(): return BookFactory.build()", "has returned a Book that was not stored. Return what stays stored."),
    ],
)
def test_what_cannot_be_built_is_told(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers, functions: str, message: str
) -> None:
    bookshop.makepyfile(
        f"from service.testing.data import db_data\nfrom shop_factories import BookFactory\n@db_data\n{functions}\n"
        "def test_it(one): pass"
    )

    result = run_bookshop("-n0", env=given.environment)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*db_data function*{message}"])


@pytest.mark.parametrize("returned", ["deque([AuthorFactory()])", "Basket()"])
def test_rows_where_no_session_would_know_them_are_refused(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers, returned: str
) -> None:
    bookshop.makepyfile(
        f"""
        from collections import deque

        from service.testing.data import db_data
        from shop_factories import AuthorFactory

        class Basket:
            def __init__(self):
                self.owner = AuthorFactory()

        @db_data()
        def lost():
            return {returned}

        def test_it(lost):
            pass
        """
    )

    result = run_bookshop("-n0", env=given.environment)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"A db_data function has returned a {returned.partition('(')[0]} with rows inside*"])
