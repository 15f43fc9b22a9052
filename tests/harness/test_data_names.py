"""Which data a test gets by a name."""

import pytest

from tests.harness.conftest import GivenServers, RunBookshop


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
