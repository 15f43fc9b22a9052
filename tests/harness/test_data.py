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
        result.assert_outcomes(passed=16)
        if not seen:
            built = Counter(line for line in notes.read_text().splitlines() if line.startswith("built"))
            assert built["built shelf"] == 1
        seen.append(rows(notes))
        notes.unlink()

    assert seen[0] == seen[1]
    numbers, names = zip(*(row.split(", ")[2:] for row in seen[0] if not row.startswith("row [")), strict=True)
    assert len(set(numbers)) == len(set(names)) == 8
    assert len(set(seen[0])) == 9


@pytest.mark.stress
@pytest.mark.parametrize("workers", [8, 32])
def test_data_is_the_same_at_many_workers(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, given: GivenServers, workers: int
) -> None:
    notes = bookshop.path / "notes"
    run_bookshop("-n0", tests=["test_data.py"], env=given.environment).assert_outcomes(passed=16)
    alone = rows(notes)
    notes.unlink()

    run_bookshop(f"-n{workers}").assert_outcomes(passed=16)

    assert rows(notes) == alone


def test_data_that_asks_for_something_else_says_what_it_may_ask_for(
    bookshop: pytest.Pytester, run_bookshop: RunBookshop, given: GivenServers
) -> None:
    bookshop.makepyfile(
        """
        from service.testing.data import db_data

        @db_data()
        def shelf(session, tmp_path):
            pass

        def test_it(shelf):
            pass
        """
    )

    result = run_bookshop("-n0", env=given.environment)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*asks for tmp_path. It can have `session`*"])


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
