"""Data that cannot be had: each test that asks for it is told in a sentence."""

import pytest

from tests.harness.conftest import GivenServers, RunBookshop


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
